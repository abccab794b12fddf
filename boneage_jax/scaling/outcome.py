"""The runs of a scaling study: their folders, sizes, costs and errors."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from boneage_jax.config import Duration, ExperimentConfig
from boneage_jax.files import replacing
from boneage_jax.planning.cost import operations_an_image
from boneage_jax.runs.run_folder import shapes_of
from boneage_jax.scaling.kinds import Kind
from boneage_jax.scaling.request import ScalingRequest

_SCORE = "score.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A kind of run with its size, cost and errors.

    Attributes:
      kind: of run.
      weights: number of the network's weights.
      operations: floating-point operations of the whole training.
      errors: of each seed; empty where no run has ended.
    """

    kind: Kind
    weights: int
    operations: float
    errors: tuple[float, ...]

    @property
    def error(self) -> float:
        """Geometric mean over seeds, as the law compares logarithms; NaN without any."""
        return float(np.exp(np.mean(np.log(self.errors)))) if self.errors else math.nan


def outcome_of(request: ScalingRequest, kind: Kind) -> Outcome:
    """Returns a kind's size and cost, and the errors of those of its runs that have ended."""
    weights, operations = _size_of(dataclasses.replace(kind, images=1), request.config)
    seen = Duration.parse(request.config.train.length).amount * kind.images
    errors = [error_of(folder_of(request, kind, seed)) for seed in range(request.seeds)]
    found = tuple(error for error in errors if error is not None)
    return Outcome(kind, weights, operations * seen, found)


@functools.cache
def _size_of(kind: Kind, base: ExperimentConfig) -> tuple[int, float]:
    """Weights of a kind's network, and operations on an image; the number of images changes neither."""
    config = kind.config(base, 0)
    _, state = shapes_of(config)
    return sum(leaf.size for leaf in jax.tree.leaves(state.params)), operations_an_image(config)


def folder_of(request: ScalingRequest, kind: Kind, seed: int) -> pathlib.Path:
    """Returns the folder of a run; `seed` is its number among those of its kind, from 0."""
    return request.out / "runs" / f"{kind.name}-seed{request.config.train.seed + seed}"


def keep_error(folder: pathlib.Path, score: float) -> None:
    """Writes down the error at the end of a run.

    Args:
      folder: of the run.
      score: of the training; NaN where the run had ended before it was asked to go on: its log has the error then.
    """
    if math.isnan(score):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        score = [value for line in lines for key, value in line.items() if key.startswith("eval_")][-1]
    with replacing(folder / _SCORE) as scratch:
        scratch.write_text(json.dumps({"error": score}) + "\n")


def error_of(folder: pathlib.Path) -> float | None:
    """Returns the error of a run that has ended; None of one that has not."""
    path = folder / _SCORE
    return float(json.loads(path.read_text())["error"]) if path.exists() else None


def as_text(request: ScalingRequest, outcomes: Sequence[Outcome]) -> str:
    """Returns the runs of a study as a table, with their sizes and costs."""
    lines = [f"{'run':<40}{'weights':>12}{'images':>9}{'TFLOP':>12}  seeds done"]
    for one in outcomes:
        lines.append(
            f"{one.kind.name:<40}{one.weights:>12,}{one.kind.images:>9,}{one.operations / 1e12:>12.4g}  "
            f"{len(one.errors)} of {request.seeds}"
        )
    total = sum(one.operations for one in outcomes) * request.seeds
    return "\n".join([*lines, f"{len(outcomes) * request.seeds} runs, {total / 1e12:,.4g} TFLOP in all"])
