"""Many random numbers from one draw.

A phantom needs some hundreds of numbers, a few at a time. To XLA, each draw is a program of its own: slices of a single
draw compile in a fraction of the time.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

CLIP = 2.5
"""Normal draws lie within this many standard deviations."""


class RandomDraws:
    """A source of random numbers, handed out in the order of the calls; lives while a function is traced."""

    def __init__(self, key: Key[Array, ""], count: int):
        """Draws numbers.

        Args:
          key: source of the numbers.
          count: how many can be taken; a `ValueError` is raised beyond.
        """
        low = 0.5 * math.erfc(CLIP / math.sqrt(2))
        self._uniform = jax.random.uniform(key, (count,))
        self._normal = jax.scipy.special.ndtri(low + (1 - 2 * low) * self._uniform)
        self._used = 0

    def _take(self, source: Array, shape: tuple[int, ...]) -> Array:
        start, self._used = self._used, self._used + math.prod(shape)
        if self._used > source.size:
            raise ValueError(f"found {self._used} numbers taken, expected at most {source.size}")
        return source[start : self._used].reshape(shape)

    def reserved(self, count: int) -> RandomDraws:
        """Returns a source of the next `count` numbers, which count as taken here, used or not."""
        part = object.__new__(RandomDraws)
        start, self._used = self._used, self._used + count
        part._uniform, part._normal = self._uniform[start : self._used], self._normal[start : self._used]
        part._used = 0
        return part

    def uniform(
        self, low: Array | float = 0.0, high: Array | float = 1.0, shape: tuple[int, ...] = ()
    ) -> Float[Array, " ..."]:
        """Returns numbers of the uniform distribution from `low` to `high`."""
        return low + (high - low) * self._take(self._uniform, shape)

    def normal(self, deviation: float = 1.0, shape: tuple[int, ...] = ()) -> Float[Array, " ..."]:
        """Returns normal numbers of mean 0, truncated at `CLIP` deviations, which makes their deviation 0.955 of it."""
        return deviation * self._take(self._normal, shape)

    def bernoulli(self, probability: float) -> Bool[Array, ""]:
        """Returns whether something of this probability happens."""
        return self._take(self._uniform, ()) < probability

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> Array:
        """Returns whole numbers from `low` up to, but not including, `high`."""
        drawn = jnp.floor(low + (high - low) * self._take(self._uniform, shape)).astype(jnp.int32)
        return jnp.minimum(drawn, high - 1)
