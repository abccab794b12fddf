"""One training step, as a pure function compiled over the mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from boneage_jax.config import ExperimentConfig
from boneage_jax.data.augment import augment, example_keys
from boneage_jax.distributed.mesh import replicated, split
from boneage_jax.runs.predict_step import DeviceBatch, layers_of
from boneage_jax.runs.state import Arrays, Network, TrainState
from boneage_jax.tasks import Task

Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]]


def train_step(
    state: TrainState,
    batch: DeviceBatch,
    *,
    config: ExperimentConfig,
    network: Network,
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Returns the state after one step, and the step's metrics.

    Args:
      state: before the step.
      batch: see `pipeline.Batch`.
      config: the experiment.
      network: see `Network`.
      task: see `Task`.
      optimizer: from the config.
      schedule: learning rate by step, for the log.
      axis_name: mapped axis to average over, where this runs inside `jax.pmap`; None under `jax.jit`.
    """
    keys = example_keys(config.train.seed, state.step, batch["slot"])
    count = _sum(jnp.sum(batch["mask"]), axis_name)

    def loss_of(
        params: Arrays, batch_stats: Arrays, part: DeviceBatch, part_keys: Array
    ) -> tuple[Array, tuple[Metrics, Arrays]]:
        part = {**part, **augment(layers_of(part), part_keys, config.augment)}
        outputs, batch_stats = network.apply(
            params, batch_stats, task.model_input(part["image"]), part["male"], dropout_keys_b=part_keys, train=True
        )
        values = task.losses(outputs, part)
        sums = {name: jnp.sum(value * part["mask"]) / count for name, value in values.items()}
        return sums["loss"], (sums, batch_stats)

    gradient_of = jax.value_and_grad(loss_of, has_aux=True)
    parts = config.train.accumulation
    if parts == 1:
        (_, (sums, batch_stats)), gradient = gradient_of(state.params, state.batch_stats, batch, keys)
    else:
        # Part p takes examples p, p + parts, ...: so every part is spread over all devices as the batch is.
        cut = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), (batch, keys))

        def add_part(carry: tuple[Any, ...], part: tuple[Any, ...]) -> tuple[tuple[Any, ...], None]:
            gradient, sums, batch_stats = carry
            (_, (new_sums, batch_stats)), new_gradient = gradient_of(state.params, batch_stats, *part)
            gradient, sums = jax.tree.map(jnp.add, (gradient, sums), (new_gradient, new_sums))
            return (gradient, sums, batch_stats), None

        zeros = jax.tree.map(jnp.zeros_like, state.params)
        start = (zeros, {name: jnp.zeros(()) for name in task.metrics}, state.batch_stats)
        (gradient, sums, batch_stats), _ = jax.lax.scan(add_part, start, cut)
    gradient, sums = _sum(gradient, axis_name), _sum(sums, axis_name)

    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if config.train.ema:
        # A short average at first, so that it does not remember the initial weights (as TensorFlow's `num_updates`).
        decay = jnp.minimum(config.train.ema, (1.0 + state.step) / (10.0 + state.step))
        fresh = {"params": params, "batch_stats": batch_stats}
        average = jax.tree.map(lambda old, new: old + (1.0 - decay) * (new - old), average, fresh)
    metrics = {**sums, "gradient_norm": optax.global_norm(gradient), "learning_rate": jnp.asarray(schedule(state.step))}
    return TrainState(state.step + 1, params, batch_stats, opt_state, average), metrics


def _sum(tree: Any, axis_name: str | None) -> Any:
    """Sums over a mapped axis; under `jit` the global view has summed already."""
    return jax.lax.psum(tree, axis_name) if axis_name else tree


def compile_train_step(
    mesh: Mesh,
    *,
    config: ExperimentConfig,
    network: Network,
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> TrainStep:
    """Returns `train_step` for the mesh: state replicated and donated, batch split over `data`."""

    def step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        return train_step(
            state, batch, config=config, network=network, task=task, optimizer=optimizer, schedule=schedule
        )

    whole = replicated(mesh)
    return jax.jit(step, donate_argnums=0, in_shardings=(whole, split(mesh)), out_shardings=(whole, whole))
