"""Opens the two networks that find hands, with the quality thresholds that were chosen for them."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from boneage_jax import resources
from boneage_jax.analysis.ensemble import Blend
from boneage_jax.canvas import Canvas
from boneage_jax.errors import UserError, printable, reason
from boneage_jax.hand.age_ensemble import canvas_from
from boneage_jax.hand.network import expect_task
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.quality import Thresholds
from boneage_jax.network_ref import NetworkRef
from boneage_jax.runs import bundle
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.workflows import calibration
from boneage_jax.workflows.calibration import Calibration
from boneage_jax.workflows.fitted import Fit, Kind

Place = NetworkRef | str | os.PathLike[str]
"""Place of a network: see `NetworkRef.parse`."""


@dataclasses.dataclass(frozen=True)
class HandNetworks:
    """The networks that find the mask and the key points of a hand.

    Attributes:
      segmentation: a run of that task.
      landmarks: a run of that task.
      calibration: quality thresholds that were chosen for the two; None where there are none.
      canvas: that the bundle of both states; None where they come from no bundle, or it states none.
    """

    segmentation: LoadedRun
    landmarks: LoadedRun
    calibration: Calibration | None = None
    canvas: Canvas | None = None

    def thresholds(self) -> Thresholds:
        """Returns the quality thresholds: those chosen for the networks, else the default ones, with a warning."""
        if self.calibration is not None:
            return self.calibration.thresholds
        first, second = (printable(str(loaded.folder)) for loaded in (self.segmentation, self.landmarks))
        print(
            "boneage: warning: no quality thresholds were chosen for these networks. Those of phantom_only are "
            "used, and flags are marked as uncalibrated. Choose some with: boneage calibrate quality DATASET "
            f"--segmentation {first} --landmarks {second} --out thresholds.json; then add --thresholds thresholds.json",
            file=sys.stderr,
        )
        return Thresholds()


def open_networks(segmentation: Place, landmarks: Place, thresholds: pathlib.Path | None = None) -> HandNetworks:
    """Opens both networks.

    Args:
      segmentation: a run's folder, or a bundle.
      landmarks: likewise.
      thresholds: file of `boneage calibrate quality` for the two; None for those of the bundle that both come from.

    Raises:
      UserError: for networks and thresholds that cannot be used.
    """
    first, second = NetworkRef.of(segmentation), NetworkRef.of(landmarks)
    # A bundle's thresholds are those of the members of these names.
    from_one = first.place == second.place and first.place.is_file()
    own = from_one and first.member in ("", "segmentation") and second.member in ("", "landmarks")
    stated = _stated(bundle.notes(first.place), first.place) if own else (None, None)
    return _checked(bundle.load(first, "segmentation"), bundle.load(second, "landmarks"), stated, thresholds)


def open_pipeline(segmentation: Place, landmarks: Place, settings: Settings) -> HandPipeline:
    """Opens the pipeline of two networks, with the quality thresholds that were chosen for them.

    Args:
      segmentation: a run's folder, or a bundle.
      landmarks: likewise.
      settings: of the pipeline; its thresholds do not count.

    Raises:
      UserError: for networks that cannot be used.
    """
    networks = open_networks(segmentation, landmarks)
    return HandPipeline(
        networks.segmentation,
        networks.landmarks,
        dataclasses.replace(settings, thresholds=networks.thresholds(), calibrated=networks.calibration is not None),
    )


TERMS = "terms"
"""Where a bundle's notes keep the terms of the images that its networks have learnt from."""


def terms_of(networks: Sequence[LoadedRun]) -> tuple[str, ...]:
    """Returns the terms that come with networks, each once: they follow them out of their bundle.

    Args:
      networks: those of a bundle have its terms, a run has those of the shipped bundle that it started from.

    Raises:
      UserError: for bundles that cannot be read.
    """
    starts = [NetworkRef.parse(loaded.config.train.start) for loaded in networks]
    shipped = [start.place for start in starts if start.path is None]
    bundles = [loaded.folder for loaded in networks if loaded.folder.is_file()]
    found = [bundle.notes(path).get(TERMS, "") for path in dict.fromkeys([*bundles, *shipped])]
    return tuple(dict.fromkeys(filter(None, found)))


class BundledNetworks:
    """The networks of a bundle, read when the first of them is wanted."""

    def __init__(self, path: pathlib.Path | None):
        """Names the bundle's file; None for the shipped one."""
        self._path = path or resources.shipped_bundle()

    @functools.cached_property
    def _bundle(self) -> bundle.Bundle:
        return bundle.read(self._path)

    def hand_networks(
        self, segmentation: Place | None, landmarks: Place | None, thresholds: pathlib.Path | None
    ) -> HandNetworks:
        """Returns the networks that find hands.

        Args:
          segmentation: a run's folder or another bundle; None for this bundle's network.
          landmarks: likewise.
          thresholds: see `open_networks`.

        Raises:
          UserError: for networks and thresholds that cannot be used.
        """
        if segmentation is None and landmarks is None:
            stated = _stated(self._bundle.about, self._path)
            return _checked(self._network("segmentation"), self._network("landmarks"), stated, thresholds)
        own = NetworkRef(self._path)
        return open_networks(segmentation or own, landmarks or own, thresholds)

    def _network(self, name: str) -> LoadedRun:
        runs = self._bundle.runs
        if name not in runs:
            raise UserError(f"{self._path}: holds no {name!r} but {', '.join(runs)}; name a run with --{name}")
        return runs[name]

    def ages(self) -> list[LoadedRun]:
        """Returns the age networks. Raises `UserError` where there are none."""
        found = [loaded for loaded in self._bundle.runs.values() if loaded.task.needs_age]
        if not found:
            raise UserError(f"{self._path}: holds no age network; name a run with --run")
        return found

    def blend(self) -> Blend:
        """Returns how the ages of its networks become one."""
        return Blend.of(self._bundle.about.get("blend", {}))

    def fitted(self, kind: Kind[Fit]) -> Fit | None:
        """Returns what was fitted to its ages, of a kind; None where it holds none.

        Raises:
          UserError: for what cannot be used.
        """
        return kind.of_bundle(self._bundle.about, self._path)


def _stated(notes: dict[str, Any], path: pathlib.Path) -> tuple[Calibration | None, Canvas | None]:
    """The quality thresholds and the canvas that the notes of a bundle state."""
    try:
        return Calibration.from_json(notes), canvas_from(notes["canvas"]) if notes.get("canvas") else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: its quality thresholds or canvas cannot be used ({reason(error)}); write it anew with boneage "
            "bundle"
        ) from error


def _checked(
    segmentation: LoadedRun,
    landmarks: LoadedRun,
    stated: tuple[Calibration | None, Canvas | None],
    thresholds: pathlib.Path | None,
) -> HandNetworks:
    """The networks, if they are of their tasks, with what their bundle states; a file of thresholds counts for more."""
    expect_task(segmentation, "segmentation")
    expect_task(landmarks, "landmarks")
    found, canvas = stated
    if thresholds is not None:
        found = calibration.read(thresholds, calibration.identities(segmentation, landmarks))
    return HandNetworks(segmentation, landmarks, found, canvas)
