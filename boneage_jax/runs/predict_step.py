"""Prediction and score as pure functions compiled over the mesh."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from boneage_jax.data.augment import Move, moved
from boneage_jax.distributed.mesh import replicated, split
from boneage_jax.runs.network import Arrays, Network
from boneage_jax.tasks import Task

DeviceBatch = dict[str, Array]
"""A batch on the devices: see `pipeline.Batch`."""

EvalStep = Callable[[Arrays, DeviceBatch], Any]
"""From (`TrainState.evaluated`, batch) to one result an image."""

_KEPT = 32
"""Compiled programs kept for networks of the same architecture. Chosen by eye: an ensemble has few."""


def layers_of(batch: DeviceBatch) -> DeviceBatch:
    """Returns the image and what moves with it under augmentation, images in [0, 1]."""
    layers = {name: batch[name].astype(jnp.float32) / 255.0 for name in batch if name in ("image", "hand")}
    return layers | {name: batch[name] for name in batch if name == "key_points"}


def compile_predict_step(mesh: Mesh, *, network: Network, task: Task, moves: Sequence[Move] = (Move(),)) -> EvalStep:
    """Returns a function from (`TrainState.evaluated`, batch) to the task's prediction for each image.

    With several moves it is the mean of the predictions for the images so moved: test-time augmentation, for
    predictions that do not move along. Networks of one architecture, as the members of an ensemble, share one program.
    """
    return _predict_step(mesh, network, task, tuple(moves))


@functools.lru_cache(maxsize=_KEPT)
def _predict_step(mesh: Mesh, network: Network, task: Task, moves: tuple[Move, ...]) -> EvalStep:
    def predict(arrays: Arrays, batch: DeviceBatch) -> Any:
        images = layers_of(batch)["image"]

        def one(move: Move) -> Array:
            seen = images if move == Move() else jax.vmap(lambda image: moved({"image": image}, move)["image"])(images)
            outputs, _ = network.apply(arrays["params"], arrays["batch_stats"], task.model_input(seen), batch["male"])
            return task.prediction(outputs, (images.shape[1], images.shape[2]))

        return one(moves[0]) if len(moves) == 1 else jnp.mean(jnp.stack([one(move) for move in moves]), axis=0)

    return _compiled(predict, mesh)


@functools.lru_cache(maxsize=_KEPT)
def compile_score_step(mesh: Mesh, *, network: Network, task: Task) -> EvalStep:
    """Returns a function from (`TrainState.evaluated`, batch) to the task's score of each image."""

    def score(arrays: Arrays, batch: DeviceBatch) -> Array:
        batch = {**batch, **layers_of(batch)}
        outputs, _ = network.apply(
            arrays["params"], arrays["batch_stats"], task.model_input(batch["image"]), batch["male"]
        )
        return task.losses(outputs, batch)[task.score.name]

    return _compiled(score, mesh)


def _compiled(function: Callable[[Arrays, DeviceBatch], Any], mesh: Mesh) -> EvalStep:
    whole = replicated(mesh)
    return jax.jit(function, in_shardings=(whole, split(mesh)), out_shardings=whole)
