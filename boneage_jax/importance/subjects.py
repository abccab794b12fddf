"""The images of a study: which they are, what the network sees of them, and the area of each of their pixels."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from jaxtyping import Bool, Float, UInt8

from boneage_jax import anatomy, parallel
from boneage_jax.analysis.stages import stages_of
from boneage_jax.data import images
from boneage_jax.data.examples import View
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity
from boneage_jax.hand import atlas
from boneage_jax.hand.atlas import AreaMap, PlacedImage
from boneage_jax.importance import truth
from boneage_jax.importance.cache import Cache
from boneage_jax.importance.function import Runner
from boneage_jax.importance.request import ImportanceRequest
from boneage_jax.phantoms.series import Series
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.shown import command

FEWEST = 8
"""Fewest images of a study: the mean of fewer, and its interval, say little. Chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which images of which dataset a study is about.

    Attributes:
      dataset: the dataset.
      records: of its split.
      numbers: of the chosen images among the records, in order.
      view: how images are laid into the network's input.
      series: how the phantoms were drawn; None for images without a truth.
    """

    dataset: Dataset
    records: Records
    numbers: np.ndarray
    view: View
    series: Series | None

    @classmethod
    def of(cls, request: ImportanceRequest, loaded: LoadedRun) -> Selection:
        """Returns the images that a request is about, spread evenly over the ages.

        Raises:
          UserError: for data that cannot be read, radiographs that are not registered, phantoms that another version
            drew, and fewer than `FEWEST` images.
        """
        config = loaded.config.data
        dataset = Dataset.open((request.data or pathlib.Path(config.dir)).expanduser(), request.dataset or config.name)
        view = view_of(config)
        records = dataset.split(request.split, view)
        series = truth.series_of(dataset)
        if series is not None:
            truth.check_same(series, records)
        elif not dataset.facts["registered"]:
            networks = ("--segmentation", "shipped", "--landmarks", "shipped")
            raise UserError(
                f"{dataset.path}: found radiographs that are not registered, expected phantoms or registered hands; "
                "register them first: "
                + command("register", dataset.name, *networks, "--data", dataset.path.parents[2])
            )
        ages, _ = records.labels()
        order = np.argsort(np.where(np.isfinite(ages), ages, np.inf), kind="stable")
        chosen = evenly_spread(len(order), request.images)
        if len(chosen) < FEWEST:
            raise UserError(f"{len(chosen)} images: expected at least {FEWEST}")
        return cls(dataset, records, np.sort(order[chosen]), view, series)

    @property
    def children(self) -> list[truth.Child]:
        """What the phantoms' children are drawn from; for a selection with `series`."""
        return [truth.Child.of(self.records.row(int(n))) for n in self.numbers]


@dataclasses.dataclass(frozen=True)
class Subjects:
    """The images of a study, a row for each.

    Attributes:
      ids: of the records.
      image: the network's input.
      areas: area of each of its pixels.
      male: whether each child is a boy.
      reading: bone age as labelled, in months; as predicted for images without a label.
      predicted: bone age as predicted, in months.
      area_maps: the same areas, on the images that the dataset stores.
    """

    ids: list[str]
    image: UInt8[np.ndarray, "n h w p"]
    areas: UInt8[np.ndarray, "n h w p"]
    male: Bool[np.ndarray, " n"]
    reading: Float[np.ndarray, " n"]
    predicted: Float[np.ndarray, " n"]
    area_maps: list[AreaMap]

    @property
    def stage(self) -> np.ndarray:
        """Each child's stage of development, a number in `anatomy.STAGES`."""
        return stages_of(self.reading, self.male)


def evenly_spread(count: int, most: int) -> np.ndarray:
    """Returns at most `most` of the numbers from 0 to `count` - 1, evenly spread, both ends among them."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def read(selection: Selection, runner: Runner, cache: Cache, *, workers: int) -> Subjects:
    """Reads the images, predicts their ages and finds their areas.

    Args:
      selection: which images.
      runner: the network.
      cache: for the areas.
      workers: threads that draw phantoms.
    """
    examples = [selection.records[int(n)] for n in selection.numbers]
    stacked = np.stack([example["image"] for example in examples])
    image = stacked if stacked.ndim == 4 else stacked[..., None]
    male = np.array([example["male"] > 0.5 for example in examples])
    predicted = runner.months(image, male, label="ages")
    label = np.array([float(example["bone_age"]) for example in examples])
    reading = np.where(np.isfinite(label), label, np.clip(predicted, 0, anatomy.MAX_MONTHS))

    def located() -> dict[str, np.ndarray]:
        maps = _area_maps(selection, stages_of(reading, male), male, workers=workers)
        on_input = [
            atlas.on_input(area_map, selection.view, _stored_images(selection, int(n), area_map))
            for n, area_map in zip(selection.numbers, maps, strict=True)
        ]
        return {
            "input": np.stack(on_input),
            **{f"areas{n}": area_map.areas for n, area_map in enumerate(maps)},
            "to_canvas": np.stack([area_map.to_canvas.matrix for area_map in maps]),
        }

    stored = cache("areas", located)
    maps = [AreaMap(stored[f"areas{n}"], Similarity.of_matrix(matrix)) for n, matrix in enumerate(stored["to_canvas"])]
    ids = selection.records.ids()
    return Subjects(
        ids=[ids[n] for n in selection.numbers],
        image=image,
        areas=stored["input"],
        male=male,
        reading=reading,
        predicted=predicted,
        area_maps=maps,
    )


def _area_maps(selection: Selection, stage: np.ndarray, male: Bool[np.ndarray, " n"], *, workers: int) -> list[AreaMap]:
    """Returns the areas of each child: its own where it can be drawn again, else those of the stage's atlas."""
    series = selection.series
    if series is None:
        return [atlas.of_stage(int(one), bool(boy)) for one, boy in zip(stage, male, strict=True)]

    def drawn(child: truth.Child) -> AreaMap:
        return atlas.of_phantom(series, child.split, child.number, age=child.age, male=child.male)

    children = selection.children
    maps = parallel.ordered_map(drawn, children, workers=workers, kind="thread")
    return list(parallel.progress(maps, total=len(children), label="anatomy"))


def _stored_images(selection: Selection, number: int, area_map: AreaMap) -> list[PlacedImage]:
    """Returns where the stored images that a record's view reads lie on the canvas."""
    if selection.series is not None:
        return [PlacedImage(area_map.areas.shape, area_map.to_canvas)]
    by_name = {f"region_{region['name']}": region for region in selection.dataset.facts.get("regions", ())}
    placed = []
    for feature in selection.records.features:
        region = by_name.get(feature) or (next(iter(by_name.values())) if by_name and feature == "image" else None)
        if region is None:
            height, width = images.decode(selection.records.row(number)[feature]).shape
            rows, columns = (0, anatomy.CANVAS[0]), (0, anatomy.CANVAS[1])
        else:
            height, width = region["height"], region["width"]
            rows, columns = region["rows"], region["columns"]
        placed.append(PlacedImage.of_region(rows, columns, height=height, width=width))
    return placed
