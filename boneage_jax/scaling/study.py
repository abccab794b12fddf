"""`boneage scaling`: trains the runs of a study, one after the other, and fits the law to their errors."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from boneage_jax import tasks
from boneage_jax.config import Duration, to_dict, validate
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import check_writable
from boneage_jax.scaling.kinds import kinds_of
from boneage_jax.scaling.law import Compute, Fitted, fit_with_intervals
from boneage_jax.scaling.outcome import Outcome, as_text, error_of, folder_of, keep_error, outcome_of
from boneage_jax.scaling.request import ScalingRequest
from boneage_jax.train.loop import train

__all__ = ["HeldOut", "Outcome", "Study", "as_text", "check", "collected", "facts", "plan", "study"]


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """How the law of smaller runs goes on to a larger one.

    Attributes:
      outcome: of the run that the law was not fitted to.
      expected: its error by the law.
      low: lower end of the 95% interval of a run's error.
      high: upper end.
    """

    outcome: Outcome
    expected: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Study:
    """A whole study.

    Attributes:
      request: its settings.
      unit: of the errors, for people.
      grid: runs of all sizes and widths, which the law is fitted to.
      alone: runs of other axes, varied one at a time, by axis; with the run they depart from.
      fitted: the law of all of the grid; None for too few runs.
      shown: the law without the held-out runs; None likewise.
      held_out: the held-out runs.
      compute: operations of a run.
    """

    request: ScalingRequest
    unit: str
    grid: list[Outcome]
    alone: dict[str, list[Outcome]]
    fitted: Fitted | None
    shown: Fitted | None
    held_out: list[HeldOut]
    compute: Compute


def check(request: ScalingRequest) -> None:
    """Raises `UserError` for settings that a study cannot use, before anything is trained."""
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
    grid, alone = kinds_of(request)
    for kind in (*grid, *itertools.chain(*alone.values())):
        validate(to_dict(kind.config(request.config, 0)), origin=f"the run {kind.name} of this study")
    data = request.config.data
    records = Dataset.of(data).split(data.train_split)
    if max(request.images) > len(records):
        raise UserError(
            f"--images: found {max(request.images)}, expected at most the {len(records)} of {data.name} "
            f"{data.train_split}"
        )


def plan(request: ScalingRequest) -> list[Outcome]:
    """Returns every kind of run with its size, its cost, and the errors of runs that have ended; trains nothing."""
    grid, alone = kinds_of(request)
    return [outcome_of(request, kind) for kind in [*grid, *itertools.chain(*alone.values())]]


def study(request: ScalingRequest) -> Study:
    """Trains the runs that are missing, and fits the law.

    Raises:
      UserError: for settings no study can be made of, and for whatever training refuses.
    """
    check(request)
    check_writable(request.out)
    grid, alone = kinds_of(request)
    everything = [*grid, *itertools.chain(*alone.values())]
    for n, (kind, seed) in enumerate(itertools.product(everything, range(request.seeds))):
        folder = folder_of(request, kind, seed)
        if error_of(folder) is None:
            total = len(everything) * request.seeds
            print(f"scaling: run {n + 1} of {total}: {folder.name}", file=sys.stderr, flush=True)
            result = train(kind.config(request.config, seed), folder)
            keep_error(folder, result.score)
    return collected(request)


def collected(request: ScalingRequest) -> Study:
    """Returns the study of runs that have all ended."""
    grid_kinds, alone_kinds = kinds_of(request)
    grid = [outcome_of(request, kind) for kind in grid_kinds]
    alone = {axis: [outcome_of(request, kind) for kind in kinds] for axis, kinds in alone_kinds.items()}
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
        request=request,
        unit=tasks.build(request.config.task).score.unit,
        grid=grid,
        alone=alone,
        fitted=_fitted(grid),
        shown=shown,
        held_out=_held_out(shown, held) if shown else [],
        compute=compute,
    )


def _fitted(outcomes: Sequence[Outcome]) -> Fitted | None:
    try:
        return fit_with_intervals(*_columns(outcomes))
    except ValueError:
        return None


def _columns(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, images and error of each."""
    return (
        np.array([one.weights for one in outcomes], float),
        np.array([one.kind.images for one in outcomes], float),
        np.array([one.error for one in outcomes], float),
    )


def _held_out(shown: Fitted, outcomes: Sequence[Outcome]) -> list[HeldOut]:
    weights, images, _ = _columns(outcomes)
    expected = shown.law(weights, images)
    low, high = shown.band(weights, images, of_a_run=True)
    return [HeldOut(*row) for row in zip(outcomes, expected.tolist(), low.tolist(), high.tolist(), strict=True)]


def facts(found: Study) -> dict[str, Any]:
    """Returns a study as JSON can hold it."""
    return {
        "grid": [_of_outcome(one) for one in found.grid],
        "alone": {axis: [_of_outcome(one) for one in outcomes] for axis, outcomes in found.alone.items()},
        "fitted": _of_law(found.fitted),
        "without_held_out": _of_law(found.shown),
        "held_out": [
            {**_of_outcome(one.outcome), "expected": one.expected, "interval": [one.low, one.high]}
            for one in found.held_out
        ],
        "compute": dataclasses.asdict(found.compute),
        "unit": found.unit,
    }


def _of_law(fitted: Fitted | None) -> dict[str, Any] | None:
    if fitted is None:
        return None
    names = [field.name for field in dataclasses.fields(fitted.law)]
    numbers = {name: {"value": getattr(fitted.law, name), "interval": fitted.interval(name)} for name in names}
    return {"law": numbers, "scatter": fitted.scatter}


def _of_outcome(one: Outcome) -> dict[str, Any]:
    return {
        **dataclasses.asdict(one.kind),
        "weights": one.weights,
        "operations": one.operations,
        "errors": list(one.errors),
    }
