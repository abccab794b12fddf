"""Series of phantoms that can be drawn again: what a dataset must remember, so that a child of it can be changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from boneage_jax import anatomy
from boneage_jax.phantom import views
from boneage_jax.phantom.maturity import Variation
from boneage_jax.phantom.render import Camera, Phantom, render

SPLITS = ("train", "validation", "test")
"""Splits of a series, in the order in which their children are drawn."""


def named(split: str, number: int) -> str:
    """Returns the id of a split's n-th child."""
    return f"{split}_{number:05d}"


def place_of(child: str) -> tuple[str, int]:
    """Returns split and number of a child by its id. Raises `ValueError` for what is no such id."""
    split, _, number = child.rpartition("_")
    if split not in SPLITS:
        raise ValueError(f"found {child!r}, expected an id as in test_00012")
    return split, int(number)


_OLDEST = 216.0
"""Months up to which the hand about a carrier may be: older ones look alike."""


@dataclasses.dataclass(frozen=True)
class Series:
    """How phantoms are drawn.

    Attributes:
      seed: same seed, same children.
      view: one of `views.VIEWS`.
      sizes: heights and widths that pictures take in turn, in pixels.
      variation: how much children of one bone age differ.
      carrier: bones that alone show the bone age, as `anatomy.select` takes them; the rest of the hand is of an age
        drawn by itself, which says nothing. Empty for ordinary hands.
    """

    seed: int
    view: str
    sizes: tuple[tuple[int, int], ...]
    variation: Variation = Variation()
    carrier: str = ""

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Series:
        """Returns a series from what `as_json` gave. Raises `KeyError` or `TypeError` for anything else."""
        sizes = tuple((int(height), int(width)) for height, width in stored["sizes"])
        return cls(stored["seed"], stored["view"], sizes, Variation(**stored["variation"]), stored["carrier"])

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return dataclasses.asdict(self)

    def camera(self, number: int) -> Camera:
        """Returns the camera of a split's n-th picture."""
        return views.view(self.view).sized(*self.sizes[number % len(self.sizes)])

    def draw(
        self, split: str, number: int, age: float, male: bool, ages: Float[np.ndarray, " 30"] | None = None
    ) -> Phantom:
        """Draws a child, on the processor or accelerator that JAX uses by default; fields are NumPy arrays.

        Args:
          split: one of `SPLITS`.
          number: of the child in it.
          age: bone age in months.
          male: whether it is a boy.
          ages: bone ages of single bones, NaN for those that stay as they are: the same child otherwise.
        """
        of_split = jax.random.fold_in(jax.random.key(self.seed), SPLITS.index(split))
        key = jax.random.fold_in(of_split, number)
        shown: Array = jnp.float32(age)
        # All NaN for none: one program draws children as they are, and with some bones of another age.
        ages = np.full(len(anatomy.BONES), np.nan) if ages is None else ages
        if self.carrier:
            ages = np.where(np.isnan(ages) & anatomy.select(self.carrier), age, ages)
            shown = _OLDEST * jax.random.uniform(jax.random.fold_in(key, 1))
        phantom = render(
            key,
            shown,
            jnp.float32(male),
            self.camera(number),
            self.variation,
            views.view(self.view).exposure,
            jnp.asarray(ages, jnp.float32),
        )
        drawn: Phantom = jax.device_get(phantom)
        return drawn
