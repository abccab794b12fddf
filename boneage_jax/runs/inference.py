"""Predictions for a whole source, each example exactly once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from boneage_jax.data.augment import Move
from boneage_jax.data.pipeline import evaluation_batches
from boneage_jax.data.sources import Source
from boneage_jax.distributed import processes
from boneage_jax.distributed.feed import DeviceFeed
from boneage_jax.distributed.mesh import check_batch_size, share
from boneage_jax.runs.network import Arrays
from boneage_jax.runs.predict_step import EvalStep, compile_predict_step
from boneage_jax.runs.run_folder import LoadedRun


def predict_all(
    step: EvalStep,
    arrays: Arrays,
    source: Source,
    mesh: Mesh,
    *,
    batch_size: int,
    threads: int = 4,
    prefetch: int = 8,
) -> Any:
    """Returns the step's results for every example of the source, in order, as NumPy arrays.

    Args:
      step: from `compile_predict_step` or `compile_score_step`.
      arrays: weights and statistics on the devices.
      source: what is predicted.
      mesh: devices.
      batch_size: global, a multiple of the number of devices; the last batch is padded.
      threads: that read and decode.
      prefetch: batches read ahead.
    """
    batches = evaluation_batches(source, batch_size=batch_size, share=share(mesh), threads=threads, prefetch=prefetch)
    outputs: list[Any] = []
    for batch in DeviceFeed(batches, mesh):
        outputs.append(processes.serialised(step(arrays, batch)))
        # The devices always have a few batches to do, and never hold more than these.
        if len(outputs) > 4:
            jax.block_until_ready(outputs[-5])
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(source)], *jax.device_get(outputs))


@dataclasses.dataclass(frozen=True)
class Ages:
    """Predicted bone ages.

    Attributes:
      months: one an image.
      spread: standard deviation of each, in months; NaN where nothing is known of it.
    """

    months: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]


def predict_ages(loaded: LoadedRun, source: Source, *, moves: Sequence[Move] = (Move(),)) -> Ages:
    """Returns the bone ages that a run of the task `bone_age` predicts.

    A regression's spread is that of a Laplace distribution, which the mean absolute error assumes, with the run's own
    evaluation error: its standard deviation is the error times the root of two.

    Args:
      loaded: the run.
      source: what is predicted.
      moves: whose predictions are averaged; see `augment.TEST_TIME`.

    Raises:
      UserError: for a batch size that the devices do not divide.
    """
    step = compile_predict_step(loaded.mesh, network=loaded.network, task=loaded.task, moves=moves)
    return ages_of(loaded, predict_with(loaded, step, source))


def ages_of(loaded: LoadedRun, predicted: Float[np.ndarray, "n 2"]) -> Ages:
    """Converts a run's predictions to ages; see `predict_ages`."""
    months, spread = np.asarray(predicted, np.float64).T
    return Ages(months, np.where(np.isnan(spread), constant_spread(loaded), spread))


def constant_spread(loaded: LoadedRun) -> float:
    """Returns the spread of a regression's ages, in months; see `predict_ages`. NaN for a run without evaluation."""
    return math.sqrt(2) * loaded.score


def predict_with(loaded: LoadedRun, step: EvalStep, source: Source) -> Any:
    """Returns `predict_all`'s results of a run, with the batch size and threads of its config.

    Raises:
      UserError: for a batch size that the devices do not divide.
    """
    config = loaded.config
    check_batch_size("eval.batch_size", config.eval.batch_size, loaded.mesh)
    return predict_all(
        step,
        loaded.arrays,
        source,
        loaded.mesh,
        batch_size=config.eval.batch_size,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
    )
