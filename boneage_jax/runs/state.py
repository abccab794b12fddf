"""What changes during training, as one tree of arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from boneage_jax.distributed.mesh import replicated
from boneage_jax.runs.network import Arrays, Network
from boneage_jax.schema import ExperimentConfig


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "params", "batch_stats", "opt_state", "average"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state of a run after `step` steps.

    Attributes:
      step: number of finished steps.
      params: float32 weights.
      batch_stats: running means and variances of batch norm.
      opt_state: Optax's state.
      average: moving average of `params` and `batch_stats`, or empty where the config wants none.
    """

    step: Int[Array, ""]
    params: Arrays
    batch_stats: Arrays
    opt_state: optax.OptState
    average: Arrays

    @property
    def evaluated(self) -> Arrays:
        """The weights and statistics that predictions are made with."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


def compile_initial_state(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> tuple[Network, Callable[[], TrainState]]:
    """Returns the network, and the program that makes a fresh state on the devices from `train.seed`."""
    network = Network.of(config)

    def make() -> TrainState:
        params, batch_stats = network.fresh(config.train.seed)
        # A copy: what is donated to the step must not be the same buffer twice.
        average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if config.train.ema else {}
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params), average)

    program = jax.jit(make, out_shardings=replicated(mesh)).trace().lower().compile()
    return network, program


def initial_state(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> tuple[Network, TrainState]:
    """Returns the network and a fresh state; see `compile_initial_state`."""
    network, program = compile_initial_state(config, optimizer, mesh)
    return network, program()


def abstract_state(config: ExperimentConfig, optimizer: optax.GradientTransformation) -> tuple[Network, TrainState]:
    """Returns the network and the shapes of its state without computing anything."""
    network = Network.of(config)

    def make() -> TrainState:
        params, batch_stats = network.fresh(0)
        average = {"params": params, "batch_stats": batch_stats} if config.train.ema else {}
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params), average)

    return network, jax.eval_shape(make)
