"""Many random numbers from one draw.

A phantom needs some hundreds of numbers, a few at a time. Each draw is a program of its own to XLA: cut from one draw,
they compile in a fraction of the time.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

CLIP = 2.5
"""Normal draws lie within this many standard deviations."""


class RandomDraws:
    """Hands out numbers in the order in which they are asked for; lives while a function is traced."""

    def __init__(self, key: Key[Array, ""], count: int):
        """Draws `count` numbers, of which no more can be asked for."""
        low = 0.5 * math.erfc(CLIP / math.sqrt(2))
        self._uniform = jax.random.uniform(key, (count,))
        self._normal = jax.scipy.special.ndtri(low + (1 - 2 * low) * self._uniform)
        self._used = 0

    def _take(self, source: Array, shape: tuple[int, ...]) -> Array:
        start, self._used = self._used, self._used + math.prod(shape)
        if self._used > source.size:
            raise ValueError(f"asked for {self._used} of {source.size} numbers")
        return source[start : self._used].reshape(shape)

    def part(self, count: int) -> RandomDraws:
        """Returns draws of their own for the next `count` numbers, which are used up whether they are thrown or not."""
        part = object.__new__(RandomDraws)
        start, self._used = self._used, self._used + count
        part._uniform, part._normal = self._uniform[start : self._used], self._normal[start : self._used]
        part._used = 0
        return part

    def uniform(
        self, low: Array | float = 0.0, high: Array | float = 1.0, shape: tuple[int, ...] = ()
    ) -> Float[Array, " ..."]:
        """Returns numbers spread evenly from `low` to `high`."""
        return low + (high - low) * self._take(self._uniform, shape)

    def normal(self, deviation: float = 1.0, shape: tuple[int, ...] = ()) -> Float[Array, " ..."]:
        """Returns normal numbers about 0, none farther than `CLIP` deviations (which makes the deviation 0.955)."""
        return deviation * self._take(self._normal, shape)

    def chance(self, probability: float) -> Bool[Array, ""]:
        """Returns True with a probability."""
        return self._take(self._uniform, ()) < probability

    def whole(self, low: int, high: int, shape: tuple[int, ...] = ()) -> Array:
        """Returns whole numbers from `low` up to, but not including, `high`."""
        drawn = jnp.floor(low + (high - low) * self._take(self._uniform, shape)).astype(jnp.int32)
        return jnp.minimum(drawn, high - 1)
