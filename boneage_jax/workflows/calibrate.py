"""What `boneage calibrate quality` does: chooses quality thresholds for a pair of networks on a dataset's hands."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from boneage_jax.data.images import Grey
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.hand import thresholds
from boneage_jax.hand.accuracy import against_truth
from boneage_jax.hand.pipeline import HandPipeline, Registered, Settings
from boneage_jax.hand.quality import Thresholds
from boneage_jax.parallel import in_batches, progress, read_ahead
from boneage_jax.workflows import calibration, transformations
from boneage_jax.workflows.calibration import Calibration, Origin
from boneage_jax.workflows.hand_networks import open_networks
from boneage_jax.workflows.requests import CalibrateRequest

Row = TypeVar("Row")

CHANGES = tuple(one for one in transformations.TRANSFORMATIONS if one.kind in ("exposure", "sharpness"))
"""What makes radiographs of other sources look otherwise, while the hand stays where it is."""

FEWEST = 20
"""Hands that thresholds are chosen on, at least; chosen by eye, see docs/explanation/lab-notes.md."""


def write(request: CalibrateRequest) -> Calibration:
    """Chooses thresholds and writes their file.

    Raises:
      UserError: for runs, datasets and splits that cannot be used, too few hands, and a file that cannot be written.
    """
    if not 0 < request.share < 0.5:
        raise UserError(f"--share: found {request.share}, expected a number above 0 and below 0.5")
    dataset = Dataset.open(request.data, request.dataset)
    source = f"{request.dataset} {request.split}"
    missing = {"mask", "key_points"} - set(dataset.features)
    if request.method == "failures" and missing:
        raise UserError(
            f"{source}: holds no {' and no '.join(sorted(missing))}, expected true masks and key points; use phantoms, "
            "or --method quantile"
        )
    if request.method == "failures" and request.varied:
        raise UserError("--varied: found with --method failures, expected --method quantile: leave one of them out")
    records = dataset.split(request.split)
    networks = open_networks(request.segmentation, request.landmarks)
    # The pipeline's own thresholds do not matter here: only its measures count.
    settings = Settings((), views=request.views, fine_stage=request.fine_stage)
    with HandPipeline(networks.segmentation, networks.landmarks, settings) as pipeline:
        if request.method == "failures":
            found = by_failures(pipeline, records, source, request.share)
        else:
            found = by_quantile(pipeline, records, source, request.share, varied=request.varied)
    calibration.write(found, calibration.identities(networks.segmentation, networks.landmarks), request.out)
    return found


def by_quantile(
    pipeline: HandPipeline, records: Records, source: str, share: float, *, varied: bool = False
) -> Calibration:
    """Chooses thresholds on ordinary hands; see `thresholds.by_quantile`.

    Args:
      pipeline: of the networks.
      records: radiographs.
      source: name of dataset and split.
      share: of the hands that the thresholds may flag, 0 to 1.
      varied: take each hand once more, changed as radiographs of other sources may be.

    Raises:
      UserError: for too few hands.
    """

    def measured(_: int, hand: Registered) -> dict[str, float] | None:
        # A hand that was not found has no key points to measure; it is flagged whatever the thresholds are.
        return hand.quality.measures if hand.registration else None

    found = _registered(pipeline, records, source, measured)
    measures = [row for row in found if row is not None]
    if len(measures) < FEWEST:
        raise UserError(
            f"{source}: found a hand in {len(measures)} of {len(records)} images, expected at least {FEWEST}; "
            "train the networks longer"
        )
    if varied:
        again = _registered(pipeline, records, source, measured, read=lambda n: _of_another_source(records, n))
        measures += [row for row in again if row is not None]
        source += ", as they are and changed in exposure or sharpness"
    chosen, reached = thresholds.by_quantile(measures, share)
    return Calibration(chosen, Origin(source, len(measures), reached, views=pipeline.settings.views))


def _of_another_source(records: Records, n: int) -> Grey:
    """A radiograph after one of `CHANGES`, by its number: each as often as the others."""
    return CHANGES[n % len(CHANGES)].change(records.image(n), np.random.default_rng(n))


def by_failures(pipeline: HandPipeline, records: Records, source: str, share: float) -> Calibration:
    """Chooses thresholds on hands whose truth is known; see `thresholds.by_failures`.

    Args:
      pipeline: of the networks.
      records: radiographs with true masks and key points.
      source: name of dataset and split.
      share: of the good hands that the thresholds may flag, 0 to 1.

    Raises:
      UserError: for too few hands, and for hands that all failed, or none of which did.
    """

    def compared(n: int, hand: Registered) -> tuple[dict[str, float], bool]:
        truth = np.asarray(records.key_points(n), np.float64)
        return hand.quality.measures, against_truth(hand, records.mask(n), truth).failed

    rows = _registered(pipeline, records, source, compared)
    measures, failed = [row for row, _ in rows], np.array([failure for _, failure in rows])
    if failed.all() or not failed.any():
        raise UserError(
            f"{source}: found {failed.sum()} failures among {len(rows)} hands, expected some failures and some good "
            "hands; use other images, or --method quantile"
        )
    chosen = thresholds.by_failures(measures, failed, share)
    reached = thresholds.outcome(measures, failed, chosen)
    flagged, found = reached.flagged, (reached.failures, reached.caught)
    return Calibration(chosen, Origin(source, len(rows), flagged, "failures", *found, views=pipeline.settings.views))


def _registered(
    pipeline: HandPipeline,
    records: Records,
    source: str,
    row: Callable[[int, Registered], Row],
    *,
    read: Callable[[int], Grey] | None = None,
) -> list[Row]:
    """Registers all hands; returns `row` of each one's number and hand. Raises `UserError` for too few.

    `read` returns an image by its number; the dataset's own where it is None.
    """
    if len(records) < FEWEST:
        raise UserError(f"{source}: found {len(records)} images, expected at least {FEWEST} to take thresholds from")
    batches = in_batches(len(records), pipeline.settings.batch_size)
    pictures = progress(
        read_ahead(read or records.image, batches), total=len(batches), label="calibrating", unit=" batches"
    )
    rows = []
    for numbers, images in pictures:
        rows += [row(n, hand) for n, hand in zip(numbers, pipeline.register(images), strict=True)]
    return rows


def as_text(found: Calibration, path: pathlib.Path) -> str:
    """Returns the thresholds for people."""
    default = Thresholds()
    names = [*thresholds.LOW, *thresholds.HIGH]
    if found.origin is not None and found.origin.method == "failures":
        names += thresholds.EXPOSURE
    lines = [f"{'threshold':<16}{'of these networks':>20}{'default':>10}"]
    lines += [f"{name:<16}{getattr(found.thresholds, name):>20.4f}{getattr(default, name):>10.4f}" for name in names]
    return "\n".join([*lines, str(found.origin), f"thresholds    {path}"])
