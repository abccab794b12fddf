"""Bone ages of registered hands, by one network or the blend of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from boneage_jax.analysis.ensemble import Blend
from boneage_jax.canvas import Canvas
from boneage_jax.data import images, input_layout
from boneage_jax.data.augment import TEST_TIME, Move
from boneage_jax.data.examples import regions_of
from boneage_jax.data.images import Grey
from boneage_jax.data.reading import view_of
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity
from boneage_jax.hand.network import Network, expect_task
from boneage_jax.hand.regions import Region, named
from boneage_jax.runs.inference import Ages, ages_of
from boneage_jax.runs.run_folder import LoadedRun


@dataclasses.dataclass(frozen=True)
class EnsembleAges:
    """What networks read of some children.

    Attributes:
      blended: the answer.
      members: of each network alone; NaN for children of a sex that it was not trained on.
    """

    blended: Ages
    members: tuple[Ages, ...]


class AgeEnsemble:
    """Age networks whose predictions are blended into one.

    A network that was trained on one sex takes part in that sex's predictions only.

    Attributes:
      canvas: that hands are laid on for them.
      regions: of the canvas that the networks take; empty where all of them take whole radiographs.
      needs_sex: whether a child's sex must be known.
      members: what each network takes, for people: its regions of the canvas, as in `B and C`, or the whole radiograph.
      labels: of `regions`, for people, as in `B`.
      batch_size: most children at a time.
    """

    def __init__(self, runs: Sequence[LoadedRun], *, batch_size: int = 16, views: int = 1, blend: Blend = Blend()):
        """Makes one predictor of several runs.

        Args:
          runs: of the task `bone_age`, one or more.
          batch_size: most children at a time.
          views: 1, or more for test-time augmentation: see `augment.TEST_TIME`.
          blend: of their ages.

        Raises:
          UserError: for runs of other tasks, and for runs that were trained on different canvases.
        """
        for loaded in runs:
            expect_task(loaded, "bone_age")
        self.canvas = canvas_of(runs) or Canvas()
        moves: Sequence[Move] = TEST_TIME if views > 1 else (Move(),)
        self._blend = blend
        self.batch_size = batch_size
        self._members = [
            _Member(loaded, Network(loaded, batch_size, moves=moves), _regions_of(loaded, f"m{n}"))
            for n, loaded in enumerate(runs)
        ]
        self.regions = tuple(region for member in self._members for region in member.regions)
        self.members = tuple(" and ".join(_taken(loaded)) for loaded in runs)
        self.labels = tuple(label for member in self._members if member.regions for label in _taken(member.loaded))
        self.needs_sex = any(
            member.loaded.config.model.sex != "none" or member.loaded.config.data.sex != "all"
            for member in self._members
        )

    def on_canvas(self, image: Grey) -> dict[str, Grey]:
        """Returns the regions of an image that shows a registered hand on the whole canvas, by name."""
        return {name: cut for member in self._members for name, cut in member.on_canvas(image, self.canvas).items()}

    def predict(
        self, regions: Sequence[dict[str, Grey]], images: Sequence[Grey], males: Sequence[bool | None]
    ) -> EnsembleAges:
        """Returns the ages of at most `batch_size` children.

        Args:
          regions: of each child's registered hand, by name.
          images: radiographs at their own size, for networks that take these.
          males: whether each child is a boy; None where that is not known and not needed.
        """
        predicted = [member.predict(regions, images, males) for member in self._members]
        months, spread = (np.stack([getattr(ages, name) for ages in predicted]) for name in ("months", "spread"))
        return EnsembleAges(Ages(*self._blend(months, spread)), tuple(predicted))


@dataclasses.dataclass(frozen=True)
class _Member:
    """A network and the regions that it takes together; none where it takes whole radiographs."""

    loaded: LoadedRun
    network: Network
    regions: tuple[Region, ...]

    def on_canvas(self, image: Grey, canvas: Canvas) -> dict[str, Grey]:
        """Regions of an image of the whole canvas, cut as in training where the network was trained on such images."""
        data = self.loaded.config.data
        if data.feature == "image":
            cuts = regions_of(dataclasses.replace(view_of(data), input_layout="image"), image)
        else:
            to_canvas = Similarity.scaling(canvas.height / image.shape[0])
            cuts = [input_layout.cut(image, to_canvas, r.rows, r.columns, r.height, r.width) for r in self.regions]
        return {region.name: cut for region, cut in zip(self.regions, cuts, strict=True)} if self.regions else {}

    def predict(
        self, regions: Sequence[dict[str, Grey]], radiographs: Sequence[Grey], males: Sequence[bool | None]
    ) -> Ages:
        """Ages; NaN for children of a sex that the network was not trained on."""
        if self.regions:
            planes = [[of_hand[region.name] for region in self.regions] for of_hand in regions]
        else:
            planes = [[images.fit(radiograph, *self.network.size)] for radiograph in radiographs]
        stack = np.stack([one[0] if len(one) == 1 else np.stack(one, axis=-1) for one in planes])
        male = np.array([float(bool(one)) for one in males], np.float32)
        return of_known_sex(self.loaded, ages_of(self.loaded, self.network.predict(stack, male)), male > 0)


def _taken(loaded: LoadedRun) -> list[str]:
    """What a network takes, for people: regions of the canvas, or the whole radiograph."""
    data = loaded.config.data
    if _canvas_of(loaded) is None:
        return ["whole radiograph"]
    names = data.regions.split("+") if data.regions else [f.removeprefix("region_") for f in data.feature.split("+")]
    return ["whole canvas" if name in ("image", "whole") else name for name in names]


def of_known_sex(loaded: LoadedRun, ages: Ages, male: Bool[np.ndarray, " n"]) -> Ages:
    """Returns a run's ages, NaN for children of a sex that it was not trained on."""
    sex = loaded.config.data.sex
    known = np.ones_like(male) if sex == "all" else male == (sex == "male")
    return Ages(np.where(known, ages.months, np.nan), np.where(known, ages.spread, np.nan))


def _facts(loaded: LoadedRun) -> dict[str, Any]:
    """The run's notes on its training data."""
    facts: dict[str, Any] = loaded.about.get("data", {})
    return facts


def canvas_of(runs: Sequence[LoadedRun]) -> Canvas | None:
    """Returns the canvas of the hands that runs were trained on; None where all were trained on whole radiographs.

    Raises:
      UserError: for runs that were trained on different canvases.
    """
    canvases = {canvas for loaded in runs if (canvas := _canvas_of(loaded)) is not None}
    if len(canvases) > 1:
        raise UserError(
            f"{', '.join(str(loaded.folder) for loaded in runs)}: learnt from hands on different canvases, "
            "expected one for all; choose runs that were trained on the same"
        )
    return canvases.pop() if canvases else None


def _canvas_of(loaded: LoadedRun) -> Canvas | None:
    if loaded.config.data.input_layouts == ("masked_canvas",):
        return Canvas()
    if not _facts(loaded).get("registered"):
        return None
    stored = _facts(loaded).get("canvas")
    return canvas_from(stored) if stored else Canvas()


def canvas_from(stored: Mapping[str, Any]) -> Canvas:
    """Returns a canvas from its fields as JSON has them, with lists for tuples."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Canvas(**fields)


def _regions_of(loaded: LoadedRun, prefix: str) -> tuple[Region, ...]:
    """The regions of the canvas that a run takes, at its size; their names begin with the prefix."""
    canvas, data = _canvas_of(loaded), loaded.config.data
    if canvas is None:
        return ()
    stored = {region["name"]: (region["rows"], region["columns"]) for region in _facts(loaded).get("regions", ())}
    places: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for feature in data.feature.split("+"):
        name = feature.removeprefix("region_")
        if data.regions:
            places += [(region.rows, region.columns) for region in named(data.regions.split("+"))]
        elif name in stored:
            places.append(stored[name])
        elif feature == "image" and stored:
            places.append(next(iter(stored.values())))
        elif feature == "image":
            places.append(((0, canvas.height), (0, canvas.width)))
        else:
            raise UserError(
                f"{loaded.folder}: learnt from the image {feature!r}, whose place on the canvas is not known; "
                "expected a run on registered hands of boneage register"
            )
    return tuple(
        Region(f"{prefix}_{n}", tuple(rows), tuple(columns), data.height, data.width)  # type: ignore[arg-type]
        for n, (rows, columns) in enumerate(places)
    )


def trained_on_phantoms(loaded: LoadedRun) -> bool:
    """Returns whether a run was trained on phantoms only."""
    phantom = _facts(loaded).get("phantom")
    return loaded.config.data.name.startswith("hand_phantom") if phantom is None else bool(phantom)
