"""`boneage scaling`: the runs of a study, one after the other, and what they come to."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from boneage_jax import tasks
from boneage_jax.config import Duration, ExperimentConfig
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import check_writable, replacing
from boneage_jax.planning.cost import operations_an_image
from boneage_jax.runs.run_folder import shapes_of
from boneage_jax.scaling.law import Compute, Fitted, fit_with_intervals
from boneage_jax.train.loop import train

AXES = ("images", "width", "depth", "scale", "batch")


@dataclasses.dataclass(frozen=True)
class ScalingRequest:
    """What is varied about a config.

    Attributes:
      config: the experiment; its training length must be in epochs, so that each run sees its images equally often.
      out: folder for runs, tables and page.
      images: numbers of training images.
      widths: factors of all widths of the network.
      depths: blocks of a vgg or levels of a unet, layers of a resnet; varied alone.
      scales: factors of height and width of the input; varied alone.
      batches: batch sizes; varied alone.
      seeds: runs of each kind, whose errors are averaged.
      hold_out: runs of most operations that the law is not shown, to see how it goes on.
    """

    config: ExperimentConfig
    out: pathlib.Path
    images: tuple[int, ...]
    widths: tuple[float, ...] = (0.5, 1.0, 2.0)
    depths: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    batches: tuple[int, ...] = ()
    seeds: int = 1
    hold_out: int = 1


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of run: what differs from the config.

    Attributes:
      images: of training.
      width: factor of the widths.
      depth: see `ScalingRequest.depths`; 0 for the config's.
      scale: factor of height and width.
      batch: batch size; 0 for the config's.
    """

    images: int
    width: float = 1.0
    depth: int = 0
    scale: float = 1.0
    batch: int = 0

    @property
    def name(self) -> str:
        """Of its folders."""
        parts = [f"images{self.images}", f"width{self.width:g}"]
        parts += [f"depth{self.depth}"] if self.depth else []
        parts += [f"scale{self.scale:g}"] if self.scale != 1 else []
        parts += [f"batch{self.batch}"] if self.batch else []
        return "-".join(parts)

    def config(self, base: ExperimentConfig, seed: int) -> ExperimentConfig:
        """Returns the experiment."""
        model = base.model
        widths = tuple(max(1, round(width * self.width)) for width in _deepened(model.widths, model.name, self.depth))
        model = dataclasses.replace(
            model,
            widths=widths,
            dense=tuple(max(1, round(width * self.width)) for width in model.dense),
            depth=self.depth if self.depth and model.name == "resnet" else model.depth,
        )
        data = dataclasses.replace(
            base.data,
            train_split=f"{base.data.train_split}[:{self.images}]",
            height=round(base.data.height * self.scale),
            width=round(base.data.width * self.scale),
        )
        trained = dataclasses.replace(
            base.train, seed=base.train.seed + seed, batch_size=self.batch or base.train.batch_size
        )
        return dataclasses.replace(base, model=model, data=data, train=trained)


def _deepened(widths: tuple[int, ...], name: str, depth: int) -> tuple[int, ...]:
    """Blocks or levels taken away at the end, or more of the last."""
    if not depth or name == "resnet":
        return widths
    return widths[:depth] + widths[-1:] * (depth - len(widths))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a kind of run came to.

    Attributes:
      kind: of run.
      weights: of the network.
      operations: that its training takes.
      errors: of each seed; empty where none has ended.
    """

    kind: Kind
    weights: int
    operations: float
    errors: tuple[float, ...]

    @property
    def error(self) -> float:
        """Mean over seeds, geometric as the law sees it."""
        return float(np.exp(np.mean(np.log(self.errors)))) if self.errors else math.nan


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """How the law of smaller runs goes on to a larger one.

    Attributes:
      outcome: of the run that the law was not shown.
      expected: error.
      low: lower end of the 95% interval of a run's error.
      high: upper end.
    """

    outcome: Outcome
    expected: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Study:
    """All of it.

    Attributes:
      request: what was asked.
      unit: of the errors, for people.
      grid: runs of all sizes and widths, that the law is of.
      alone: runs of other axes, varied one at a time, by axis; with the run they depart from.
      fitted: the law of all of the grid; None for too few runs.
      shown: the law without the held-out ones; None likewise.
      held: how that goes on.
      compute: what a run takes.
    """

    request: ScalingRequest
    unit: str
    grid: list[Outcome]
    alone: dict[str, list[Outcome]]
    fitted: Fitted | None
    shown: Fitted | None
    held: list[HeldOut]
    compute: Compute


def kinds_of(request: ScalingRequest) -> tuple[list[Kind], dict[str, list[Kind]]]:
    """Returns the kinds of the grid, and those of the other axes about its largest set of images at width 1."""
    grid = [Kind(images, width) for images, width in itertools.product(request.images, request.widths)]
    base = Kind(max(request.images))
    alone = {
        "depth": [dataclasses.replace(base, depth=depth) for depth in request.depths],
        "scale": [dataclasses.replace(base, scale=scale) for scale in request.scales],
        "batch": [dataclasses.replace(base, batch=batch) for batch in request.batches],
    }
    return grid, {axis: kinds for axis, kinds in alone.items() if kinds}


def check(request: ScalingRequest) -> None:
    """Raises `UserError` for what no study can be made of, before anything is trained."""
    problems = []
    unit = Duration.parse(request.config.train.length).unit
    if unit != "epochs":
        problems.append(f"train.length: found {request.config.train.length!r}, expected epochs")
    if tasks.build(request.config.task).score.higher_is_better:
        problems.append(f"task.name: found {request.config.task.name!r}, expected one whose score is an error")
    if request.config.data.fresh:
        problems.append("data.fresh: found phantoms without end, expected a dataset whose images can be counted")
    for name, values in (("--images", request.images), ("--widths", request.widths)):
        if len(set(values)) < 3:
            problems.append(f"{name}: found {len(set(values))} values, expected at least 3 for a law")
    for name in ("images", "widths", "depths", "scales", "batches"):
        if any(value <= 0 for value in getattr(request, name)):
            problems.append(f"--{name}: found {getattr(request, name)}, expected numbers above 0")
    largest = len(request.images) * len(request.widths) - 7
    if not problems and not 0 <= request.hold_out <= max(0, largest):
        problems.append(f"--hold-out: found {request.hold_out}, expected 0 to {max(0, largest)} of these runs")
    fail_if_any(problems, "no scaling study can be made of this", "See boneage scaling --help.")
    data = request.config.data
    records = Dataset.open(pathlib.Path(data.dir).expanduser(), data.name).split(data.train_split)
    if max(request.images) > len(records):
        raise UserError(
            f"--images: found {max(request.images)}, expected at most the {len(records)} of {data.name} "
            f"{data.train_split}"
        )


def plan(request: ScalingRequest) -> list[Outcome]:
    """Returns every kind of run with its size, its cost, and the errors that are there already; trains nothing."""
    grid, alone = kinds_of(request)
    return [_outcome(request, kind) for kind in [*grid, *itertools.chain(*alone.values())]]


def study(request: ScalingRequest) -> Study:
    """Trains what is missing, and fits the law.

    Raises:
      UserError: for settings no study can be made of, and for whatever training refuses.
    """
    check(request)
    check_writable(request.out)
    grid, alone = kinds_of(request)
    everything = [*grid, *itertools.chain(*alone.values())]
    for n, (kind, seed) in enumerate(itertools.product(everything, range(request.seeds))):
        folder = _folder(request, kind, seed)
        if _error_of(folder) is None:
            total = len(everything) * request.seeds
            print(f"scaling: run {n + 1} of {total}: {folder.name}", file=sys.stderr, flush=True)
            result = train(kind.config(request.config, seed), folder)
            _keep(folder, result.score)
    return collected(request)


def collected(request: ScalingRequest) -> Study:
    """Returns the study of runs that are all there."""
    grid_kinds, alone_kinds = kinds_of(request)
    grid = [_outcome(request, kind) for kind in grid_kinds]
    alone = {axis: [_outcome(request, kind) for kind in kinds] for axis, kinds in alone_kinds.items()}
    by_cost = sorted(grid, key=lambda one: one.operations)
    few, held = by_cost[: len(by_cost) - request.hold_out], by_cost[len(by_cost) - request.hold_out :]
    epochs = Duration.parse(request.config.train.length).amount
    compute = Compute.fit(
        np.array([one.weights for one in grid], float),
        np.array([one.operations / (epochs * one.kind.images) for one in grid]),
        epochs,
    )
    shown = _fitted(few)
    return Study(
        request,
        tasks.build(request.config.task).score.unit,
        grid,
        alone,
        _fitted(grid),
        shown,
        _held_out(shown, held) if shown else [],
        compute,
    )


def _fitted(outcomes: Sequence[Outcome]) -> Fitted | None:
    try:
        return fit_with_intervals(*_columns(outcomes))
    except ValueError:
        return None


def _columns(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weights, images, error = (
        np.array([value(one) for one in outcomes], float)
        for value in (lambda one: one.weights, lambda one: one.kind.images, lambda one: one.error)
    )
    return weights, images, error


def _held_out(shown: Fitted, outcomes: Sequence[Outcome]) -> list[HeldOut]:
    weights, images, _ = _columns(outcomes)
    expected = shown.law(weights, images)
    low, high = shown.band(weights, images, of_a_run=True)
    return [HeldOut(*row) for row in zip(outcomes, expected.tolist(), low.tolist(), high.tolist(), strict=True)]


def _folder(request: ScalingRequest, kind: Kind, seed: int) -> pathlib.Path:
    return request.out / "runs" / f"{kind.name}-seed{request.config.train.seed + seed}"


_SCORE = "score.json"


def _keep(folder: pathlib.Path, score: float) -> None:
    """The error at the end: a run that had ended before says no score when it is asked to go on."""
    if math.isnan(score):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        score = [value for line in lines for key, value in line.items() if key.startswith("eval_")][-1]
    with replacing(folder / _SCORE) as scratch:
        scratch.write_text(json.dumps({"error": score}) + "\n")


def _error_of(folder: pathlib.Path) -> float | None:
    path = folder / _SCORE
    return float(json.loads(path.read_text())["error"]) if path.exists() else None


def _outcome(request: ScalingRequest, kind: Kind) -> Outcome:
    weights, operations = _size_of(dataclasses.replace(kind, images=1), request.config)
    seen = Duration.parse(request.config.train.length).amount * kind.images
    errors = [_error_of(_folder(request, kind, seed)) for seed in range(request.seeds)]
    found = tuple(error for error in errors if error is not None)
    return Outcome(kind, weights, operations * seen, found)


@functools.cache
def _size_of(kind: Kind, base: ExperimentConfig) -> tuple[int, float]:
    """Weights of a kind's network, and operations on an image; the number of images changes neither."""
    config = kind.config(base, 0)
    _, state = shapes_of(config)
    return sum(leaf.size for leaf in jax.tree.leaves(state.params)), operations_an_image(config)


def as_text(request: ScalingRequest, outcomes: Sequence[Outcome]) -> str:
    """Returns the plan for people."""
    lines = [f"{'run':<40}{'weights':>12}{'images':>9}{'TFLOP':>12}  seeds done"]
    for one in outcomes:
        lines.append(
            f"{one.kind.name:<40}{one.weights:>12,}{one.kind.images:>9,}{one.operations / 1e12:>12.4g}  "
            f"{len(one.errors)} of {request.seeds}"
        )
    total = sum(one.operations for one in outcomes) * request.seeds
    return "\n".join([*lines, f"{len(outcomes) * request.seeds} runs, {total / 1e12:,.4g} TFLOP in all"])


def facts(found: Study) -> dict[str, Any]:
    """Returns a study as JSON can hold it."""

    def of_law(fitted: Fitted | None) -> Any:
        if fitted is None:
            return None
        names = [field.name for field in dataclasses.fields(fitted.law)]
        numbers = {name: {"value": getattr(fitted.law, name), "interval": fitted.interval(name)} for name in names}
        return {"law": numbers, "scatter": fitted.scatter}

    def of_outcome(one: Outcome) -> dict[str, Any]:
        return {
            **dataclasses.asdict(one.kind),
            "weights": one.weights,
            "operations": one.operations,
            "errors": list(one.errors),
        }

    return {
        "grid": [of_outcome(one) for one in found.grid],
        "alone": {axis: [of_outcome(one) for one in outcomes] for axis, outcomes in found.alone.items()},
        "fitted": of_law(found.fitted),
        "without_held_out": of_law(found.shown),
        "held_out": [
            {**of_outcome(one.outcome), "expected": one.expected, "interval": [one.low, one.high]} for one in found.held
        ],
        "compute": dataclasses.asdict(found.compute),
        "unit": found.unit,
    }
