"""A network as a pure function of its arrays; the only place where NNX modules are taken apart and put together."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import Array, Float, Key

from boneage_jax import tasks
from boneage_jax.schema import ExperimentConfig, ModelConfig

# Flax is imported where a module is built: a program that was kept needs none.

Arrays = dict[str, Any]
"""Nested dictionaries of arrays, keyed by the path inside the network."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as a pure function of its arrays. Networks of one architecture are equal.

    Attributes:
      model: the architecture.
      size: height and width of its input, in pixels.
      outputs: numbers, or maps, in its output.
      pictures: images of one child that it sees together.
      axis_name: mapped axis that batch statistics are averaged over; None under `jit`.
    """

    model: ModelConfig
    size: tuple[int, int]
    outputs: int
    pictures: int
    axis_name: str | None = None

    @classmethod
    def of(cls, config: ExperimentConfig, *, axis_name: str | None = None) -> Network:
        """Returns a config's network."""
        size = (config.data.height, config.data.width)
        return cls(config.model, size, tasks.build(config.task).outputs, config.data.pictures, axis_name)

    @classmethod
    def build(
        cls, config: ExperimentConfig, *, seed: int, axis_name: str | None = None
    ) -> tuple[Network, Arrays, Arrays]:
        """Returns the network with fresh weights and statistics."""
        network = cls.of(config, axis_name=axis_name)
        return network, *network.fresh(seed)

    def fresh(self, seed: int) -> tuple[Arrays, Arrays]:
        """Returns fresh weights and statistics."""
        _, params, batch_stats = _split(self, seed)
        return _plain(params), _plain(batch_stats)

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
        from flax import nnx

        module = self.module(params, batch_stats)
        outputs = module(image_bhwp, male_b, train=train, dropout_keys_b=dropout_keys_b)
        return outputs, _plain(nnx.state(module, nnx.BatchStat))

    def module(self, params: Arrays, batch_stats: Arrays) -> Any:
        """Returns the network as its Flax module with these weights and statistics, for a look inside it."""
        from flax import nnx

        return nnx.merge(_graph(self), _native(params), _native(batch_stats))


def _split(network: Network, seed: int) -> Any:
    """The module's structure, and its weights and statistics as NNX has them."""
    from flax import nnx

    from boneage_jax import models

    module = models.build(
        network.model,
        network.size,
        outputs=network.outputs,
        pictures=network.pictures,
        rngs=models.parameter_keys(seed),
        axis_name=network.axis_name,
    )
    return nnx.split(module, nnx.Param, nnx.BatchStat)


@functools.lru_cache(maxsize=32)
def _graph(network: Network) -> Any:
    """The module's structure."""
    graph = None

    def make() -> Any:
        nonlocal graph
        graph, params, batch_stats = _split(network, 0)
        return _plain(params), _plain(batch_stats)

    jax.eval_shape(make)
    assert graph is not None
    return graph


def _plain(state: Any) -> Arrays:
    """NNX state as nested dictionaries keyed by text, so that checkpoints stay readable without NNX."""
    from flax import nnx

    return _rekeyed(nnx.to_pure_dict(state), str)


def _native(arrays: Arrays) -> Arrays:
    """The inverse of `_plain`: NNX numbers the items of lists."""
    return _rekeyed(arrays, lambda key: int(key) if key.isdigit() else key)


def _rekeyed(arrays: Any, rekey: Any) -> Any:
    if not isinstance(arrays, dict):
        return arrays
    return {rekey(key): _rekeyed(value, rekey) for key, value in arrays.items()}
