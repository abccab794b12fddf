"""`boneage learning-curve`: what a start is worth in labelled images.

Runs of one config from several starts, on more and more images; the errors of all of them on the same evaluation split,
the law that they follow, and how many images one start needs where another needs fewer.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from boneage_jax.analysis import local_calibration, predictions, scores
from boneage_jax.analysis.predictions import SplitPredictions
from boneage_jax.analysis.scores import Score
from boneage_jax.config import Duration, ExperimentConfig, to_dict, validate
from boneage_jax.data.reading import epoch_of, view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import check_writable
from boneage_jax.runs import bundle, run_folder
from boneage_jax.scaling import curve_law
from boneage_jax.scaling.curve_law import CurveLaw
from boneage_jax.scaling.request import RANDOM, LearningCurveRequest
from boneage_jax.train.loop import train

LINES = "with a line for each sex"
"""What a start's own ages are called once they are corrected by lines."""

RESAMPLES = 400
"""Bootstrap resamples of the evaluation images, each with laws of its own; chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Point:
    """Runs of one start on one number of images.

    Attributes:
      start: as it was named; with `LINES` where its ages are corrected and not trained.
      images: that were trained on, or that lines were fitted to.
      errors: absolute error of each evaluation image, in months: the mean over seeds.
      seeds: number of runs.
      mae: of these, with its interval over images.
      lowest: MAE of the best seed.
      highest: MAE of the worst seed.
    """

    start: str
    images: int
    errors: Float[np.ndarray, " n"]
    seeds: int
    mae: Score
    lowest: float
    highest: float


@dataclasses.dataclass(frozen=True)
class Equivalent:
    """How many images a start needs to come where another comes with fewer.

    Attributes:
      start: that needs fewer.
      images: that it has.
      other: that needs more.
      needed: images that the other needs after the law; infinite where none suffice.
      low: lower end of the 95% interval.
      high: upper end.
    """

    start: str
    images: int
    other: str
    needed: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """The whole study.

    Attributes:
      request: its settings.
      evaluated: dataset and split of the errors, and the number of images.
      points: of all starts.
      laws: of the trained starts that have three numbers of images.
      equivalents: of each start against the first one.
      is_phantom: whether the images are rendered.
    """

    request: LearningCurveRequest
    evaluated: str
    points: tuple[Point, ...]
    laws: dict[str, CurveLaw]
    equivalents: tuple[Equivalent, ...]
    is_phantom: bool


@dataclasses.dataclass(frozen=True)
class CurveRun:
    """One run.

    Attributes:
      start: as it was named.
      images: that it trains on.
      seed: number of the run among those of its kind, from 0.
      folder: of the run.
      config: of the run.
    """

    start: str
    images: int
    seed: int
    folder: pathlib.Path
    config: ExperimentConfig


def plan(request: LearningCurveRequest) -> list[CurveRun]:
    """Returns all runs, the smallest first.

    Raises:
      UserError: for settings that no study can be made of.
    """
    return list(_runs(request, _checked(request)))


def _checked(request: LearningCurveRequest) -> int:
    """Returns the number of training images there are. Raises `UserError` for settings that cannot be used."""
    data, problems = request.config.data, []
    if request.config.task.name != "bone_age":
        problems.append(f"task.name: found {request.config.task.name!r}, expected 'bone_age'")
    if data.fresh or data.folds or "[" in data.train_split:
        problems.append("data: found fresh phantoms, folds or a part of a split, expected a whole training split")
    if Duration.parse(request.config.train.length).unit != "epochs":
        problems.append(f"train.length: found {request.config.train.length!r}, expected epochs")
    if len(set(request.starts)) < len(request.starts) or not request.starts:
        problems.append(f"--starts: found {', '.join(request.starts)}, expected different ones")
    if min(request.images) < 0:
        problems.append(f"--images: found {min(request.images)}, expected 0 or more")
    fail_if_any(problems, "no learning curve can be made of this", "See boneage learning-curve --help.")
    for start in request.starts:
        if start != RANDOM:
            bundle.load(pathlib.Path(start), "")  # raises where there is no such network
    records = Dataset.of(data).split(data.train_split)
    if max(request.images) > len(records):
        raise UserError(
            f"--images: found {max(request.images)}, expected at most the {len(records)} of {data.name} "
            f"{data.train_split}"
        )
    return len(records)


def _runs(request: LearningCurveRequest, available: int) -> Iterator[CurveRun]:
    base = request.config
    for images in sorted(set(request.images) - {0}):
        for seed in range(_seeds(request, images, available)):
            first = seed * images
            part = f"{base.data.train_split}[{first}:{first + images}]"
            batch = base.train.batch_size
            epoch = epoch_of(images, base.data)
            steps = Duration.parse(base.train.length).in_steps(
                batch_size=batch, examples_per_epoch=epoch, total_steps=None
            )
            steps = max(steps, request.least_steps)
            for start in request.starts:
                config = dataclasses.replace(
                    base,
                    data=dataclasses.replace(base.data, train_split=part),
                    train=dataclasses.replace(
                        base.train,
                        start="" if start == RANDOM else start,
                        seed=base.train.seed + seed,
                        length=f"{steps} steps",
                    ),
                    # The end of each run is what counts: no checkpoint is chosen on the images that are reported.
                    eval=dataclasses.replace(base.eval, every="100%"),
                )
                name = f"{_slug(start)}-images{images}-seed{seed}"
                config = validate(to_dict(config), origin=f"the run {name}")
                yield CurveRun(start, images, seed, request.out / "runs" / name, config)


def _seeds(request: LearningCurveRequest, images: int, available: int) -> int:
    """Runs on so many images: each has images of its own, as far as they go."""
    wanted = request.seeds if images <= request.seeds_up_to else 1
    return max(1, min(wanted, available // images))


def _slug(start: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in start)


def learning_curve(request: LearningCurveRequest) -> LearningCurve:
    """Trains the runs that are missing, and fits the laws.

    Raises:
      UserError: for settings that no study can be made of, and for whatever training refuses.
    """
    available = _checked(request)
    check_writable(request.out)
    runs = list(_runs(request, available))
    for n, run in enumerate(runs):
        if not (run.folder / _ERRORS).exists():
            print(f"learning curve: run {n + 1} of {len(runs)}: {run.folder.name}", file=sys.stderr, flush=True)
            train(run.config, run.folder)
            _keep(predictions_of(run_folder.load(run.folder), request, request.config.data.eval_split), run.folder)
    points = [*_trained(request, runs), *_untrained(request, available)]
    laws = _laws(points)
    data = request.config.data
    dataset = Dataset.of(data)
    return LearningCurve(
        request,
        f"{data.name} {data.eval_split}, {len(points[0].errors):,} images",
        tuple(points),
        laws,
        tuple(_equivalents(points, laws, request.starts)),
        dataset.is_phantom,
    )


_ERRORS = "errors.csv"
"""In a run's folder: the error of each evaluation image at its end."""


def predictions_of(loaded: run_folder.LoadedRun, request: LearningCurveRequest, split: str) -> SplitPredictions:
    """Returns the ages of a network for a split of the study's dataset."""
    data = request.config.data
    opened = Dataset.of(data)
    own = dataclasses.replace(data, height=loaded.config.data.height, width=loaded.config.data.width)
    return predictions.predict_split(loaded, predictions.open_labelled(opened, split, view_of(own)))


def _keep(found: SplitPredictions, folder: pathlib.Path) -> None:
    predictions.write_csv(found, folder / _ERRORS)


def _read(folder: pathlib.Path) -> Float[np.ndarray, " n"]:
    with (folder / _ERRORS).open(newline="") as file:
        return np.array([abs(float(row["error"])) for row in csv.DictReader(file)])


def _point(start: str, images: int, errors: Sequence[np.ndarray]) -> Point:
    each = [float(one.mean()) for one in errors]
    mean = np.mean(errors, axis=0)
    return Point(start, images, mean, len(errors), scores.bootstrapped(mean, np.mean), min(each), max(each))


def _trained(request: LearningCurveRequest, runs: Sequence[CurveRun]) -> Iterator[Point]:
    for start in request.starts:
        for images in sorted({run.images for run in runs}):
            members = [run for run in runs if (run.start, run.images) == (start, images)]
            yield _point(start, images, [_read(run.folder) for run in members])


def _untrained(request: LearningCurveRequest, available: int) -> Iterator[Point]:
    """The starts as they are, and corrected by lines that are fitted to as many images as others train on."""
    for start in request.starts:
        if start == RANDOM or not (0 in request.images or request.lines):
            continue
        loaded = bundle.load(pathlib.Path(start), "")
        on_split = _cached(request, loaded, start, request.config.data.eval_split)
        if 0 in request.images:
            yield _point(start, 0, [np.abs(on_split.error)])
        if not request.lines:
            continue
        on_train = _cached(request, loaded, start, request.config.data.train_split)
        for images in sorted(set(request.images) - {0}):
            errors = []
            for seed in range(_seeds(request, images, available)):
                part = slice(seed * images, (seed + 1) * images)
                fitted = local_calibration.lines(on_train.months[part], on_train.reading[part], on_train.male[part])
                ages = local_calibration.corrected(on_split.months, on_split.male, *fitted)
                errors.append(np.abs(ages - on_split.reading))
            yield _point(f"{start} {LINES}", images, errors)


def _cached(request: LearningCurveRequest, loaded: run_folder.LoadedRun, start: str, split: str) -> SplitPredictions:
    """The ages of an untrained start, kept beside the runs."""
    path = request.out / "starts" / f"{_slug(start)}-{split}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        predictions.write_csv(predictions_of(loaded, request, split), path)
    return predictions.read_csv(path)


def _laws(points: Sequence[Point], weights: np.ndarray | None = None) -> dict[str, CurveLaw]:
    """The laws of all starts that have been trained on three numbers of images; of resampled images with `weights`."""
    columns: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for start in dict.fromkeys(point.start for point in points if point.images and LINES not in point.start):
        members = [point for point in points if point.start == start and point.images]
        if len(members) >= 3:
            images = np.array([point.images for point in members], float)
            columns[start] = images, np.array([float(np.average(point.errors, weights=weights)) for point in members])
    return curve_law.fit(columns) if columns else {}


def _equivalents(points: Sequence[Point], laws: dict[str, CurveLaw], starts: Sequence[str]) -> Iterator[Equivalent]:
    """For each point of a start, the images that the first start needs to come as far."""
    other = starts[0]
    if other not in laws:
        return
    draws = np.random.default_rng(0)
    count = len(points[0].errors)
    resampled = [np.bincount(draws.integers(0, count, count), minlength=count) for _ in range(RESAMPLES)]
    refitted = [_laws(points, weights.astype(float))[other] for weights in resampled]
    for point in points:
        if point.start == other or point.start.startswith(f"{other} "):
            continue
        drawn = [
            law.images_for(float(np.average(point.errors, weights=weights)))
            for law, weights in zip(refitted, resampled, strict=True)
        ]
        low, high = np.sort(drawn)[[int(0.025 * RESAMPLES), int(0.975 * RESAMPLES)]]
        yield Equivalent(
            point.start, point.images, other, laws[other].images_for(point.mae.value), float(low), float(high)
        )


def plan_as_text(runs: Sequence[CurveRun]) -> str:
    """Returns the runs for people, with those that have ended."""
    lines = [f"{'run':<44}{'steps':>9}  done"]
    lines += [
        f"{run.folder.name:<44}{run.config.train.length.removesuffix(' steps'):>9}  "
        f"{'yes' if (run.folder / _ERRORS).exists() else ''}"
        for run in runs
    ]
    steps = sum(int(run.config.train.length.split()[0]) for run in runs)
    return "\n".join([*lines, f"{len(runs)} runs, {steps:,} steps in all"])


def facts(found: LearningCurve) -> dict[str, Any]:
    """Returns the study as JSON can hold it."""
    return {
        "evaluated": found.evaluated,
        "phantom": found.is_phantom,
        "points": [
            {
                "start": point.start,
                "images": point.images,
                "seeds": point.seeds,
                "mae": dataclasses.asdict(point.mae),
                "lowest": point.lowest,
                "highest": point.highest,
            }
            for point in found.points
        ],
        "laws": {start: dataclasses.asdict(law) for start, law in found.laws.items()},
        "equivalents": [
            {key: (value if value != float("inf") else None) for key, value in dataclasses.asdict(one).items()}
            for one in found.equivalents
        ],
    }
