"""Random keys of initial weights."""

from __future__ import annotations

from typing import cast

import jax
from flax import nnx
from jaxtyping import Array, Key


def parameter_keys(seed: int) -> nnx.Rngs:
    """Returns what draws the keys that `nnx.Rngs(params=seed)` draws for parameters, at a fraction of its time.

    NNX counts draws in an array: while a network is traced, each draw makes JAX describe where that array comes from,
    and that takes longer than all the rest for deep networks (Flax 0.12). This one counts in Python.
    """
    return cast("nnx.Rngs", _ParameterKeys(seed))


class _ParameterKeys:
    def __init__(self, seed: int):
        self._key = jax.random.key(seed)
        self._drawn = 0

    def params(self) -> Key[Array, ""]:
        """Returns the next key."""
        key = jax.random.fold_in(self._key, self._drawn)
        self._drawn += 1
        return key
