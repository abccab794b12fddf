"""What changes during training, as one tree of arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from boneage_jax import models, tasks
from boneage_jax.distributed.mesh import replicated
from boneage_jax.schema import ExperimentConfig

Arrays = dict[str, Any]
"""Nested dictionaries of arrays, keyed by the path inside the network."""


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


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as a pure function of its arrays; the only place where NNX modules are taken apart and put together.

    Attributes:
      graph: the module's structure.
    """

    graph: nnx.GraphDef

    @classmethod
    def build(
        cls, config: ExperimentConfig, *, seed: int, axis_name: str | None = None
    ) -> tuple[Network, Arrays, Arrays]:
        """Returns the network with fresh weights and statistics."""
        shape = (config.data.height, config.data.width)
        outputs = tasks.build(config.task).outputs
        module = models.build(
            config.model,
            shape,
            outputs=outputs,
            pictures=config.data.pictures,
            rngs=models.parameter_keys(seed),
            axis_name=axis_name,
        )
        graph, params, batch_stats = nnx.split(module, nnx.Param, nnx.BatchStat)  # type: ignore[misc]
        return cls(graph), _plain(params), _plain(batch_stats)

    def apply(
        self,
        params: Arrays,
        batch_stats: Arrays,
        image_bhwp: Float[Array, "b h w p"],
        male_b: Float[Array, " b"],
        *,
        dropout_keys_b: Key[Array, " b"] | None = None,
        train: bool = False,
    ) -> tuple[Array, Arrays]:
        """Returns the network's outputs and the new batch statistics."""
        module = self.module(params, batch_stats)
        outputs = module(image_bhwp, male_b, train=train, dropout_keys_b=dropout_keys_b)
        return outputs, _plain(nnx.state(module, nnx.BatchStat))

    def module(self, params: Arrays, batch_stats: Arrays) -> Any:
        """Returns the network as its Flax module with these weights and statistics, for a look inside it."""
        return nnx.merge(self.graph, _native(params), _native(batch_stats))


def _plain(state: Any) -> Arrays:
    """NNX state as nested dictionaries keyed by text, so that checkpoints stay readable without NNX."""
    return _rekeyed(nnx.to_pure_dict(state), str)


def _native(arrays: Arrays) -> Arrays:
    """The inverse of `_plain`: NNX numbers the items of lists."""
    return _rekeyed(arrays, lambda key: int(key) if key.isdigit() else key)


def _rekeyed(arrays: Any, rekey: Any) -> Any:
    if not isinstance(arrays, dict):
        return arrays
    return {rekey(key): _rekeyed(value, rekey) for key, value in arrays.items()}


def compile_initial_state(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> tuple[Network, Callable[[], TrainState]]:
    """Returns the network, and the program that makes a fresh state on the devices from `train.seed`."""
    network: Network | None = None

    def make() -> TrainState:
        nonlocal network
        network, params, batch_stats = Network.build(config, seed=config.train.seed)
        # A copy: what is donated to the step must not be the same buffer twice.
        average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if config.train.ema else {}
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params), average)

    program = jax.jit(make, out_shardings=replicated(mesh)).trace().lower().compile()
    assert network is not None
    return network, program


def initial_state(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> tuple[Network, TrainState]:
    """Returns the network and a fresh state; see `compile_initial_state`."""
    network, program = compile_initial_state(config, optimizer, mesh)
    return network, program()


def abstract_state(config: ExperimentConfig, optimizer: optax.GradientTransformation) -> tuple[Network, TrainState]:
    """Returns the network and the shapes of its state without computing anything."""
    network: Network | None = None

    def make() -> TrainState:
        nonlocal network
        network, params, batch_stats = Network.build(config, seed=0)
        average = {"params": params, "batch_stats": batch_stats} if config.train.ema else {}
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params), average)

    state = jax.eval_shape(make)
    assert network is not None
    return network, state
