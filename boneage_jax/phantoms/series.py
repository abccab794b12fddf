"""Series of phantoms that can be drawn again: what a dataset stores so that a child can be redrawn, changed or not."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from boneage_jax import anatomy, renamed
from boneage_jax.phantoms import views
from boneage_jax.phantoms.camera import Camera
from boneage_jax.phantoms.maturity import Variation
from boneage_jax.phantoms.render import Phantom, render

SPLITS = ("train", "validation", "test")
"""Splits of a series, in the order in which their children are drawn."""


def child_id(split: str, number: int) -> str:
    """Returns the id of a split's n-th child, from 0."""
    return f"{split}_{number:05d}"


def place_of(child: str) -> tuple[str, int]:
    """Returns split and number of a child from its id. Raises `ValueError` for other texts."""
    split, _, number = child.rpartition("_")
    if split not in SPLITS:
        raise ValueError(f"found {child!r}, expected an id as in test_00012")
    return split, int(number)


_OLDEST = 216.0
"""Oldest bone age in months of the bones that show nothing in a series with a carrier: beyond it hands look alike."""


@dataclasses.dataclass(frozen=True)
class Series:
    """How phantoms are drawn.

    Attributes:
      seed: same seed, same children.
      view: one of `views.VIEWS`.
      sizes: heights and widths of the images, in pixels; the n-th image has the n-th, over and over.
      variation: how much children of one bone age differ.
      carrier: bones that alone show the bone age, as `anatomy.select` takes them; the others have one of their own,
        drawn at random. Empty for ordinary hands.
    """

    seed: int
    view: str
    sizes: tuple[tuple[int, int], ...]
    variation: Variation = Variation()
    carrier: str = ""

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Series:
        """Returns a series from the values of `as_json`. Raises `KeyError` or `TypeError` for others."""
        sizes = tuple((int(height), int(width)) for height, width in stored["sizes"])
        variation = Variation(**renamed.stored(stored["variation"]))
        return cls(stored["seed"], stored["view"], sizes, variation, stored["carrier"])

    def as_json(self) -> dict[str, Any]:
        """Returns its fields as JSON values."""
        return dataclasses.asdict(self)

    def camera(self, number: int) -> Camera:
        """Returns the camera of a split's n-th image."""
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
        split_key = jax.random.fold_in(jax.random.key(self.seed), SPLITS.index(split))
        key = jax.random.fold_in(split_key, number)
        age_of_others: Array = jnp.float32(age)
        # All NaN for none: one program draws children as they are, and with some bones of another age.
        ages = np.full(len(anatomy.BONES), np.nan) if ages is None else ages
        if self.carrier:
            ages = np.where(np.isnan(ages) & anatomy.select(self.carrier), age, ages)
            age_of_others = _OLDEST * jax.random.uniform(jax.random.fold_in(key, 1))
        phantom = render(
            key,
            age_of_others,
            jnp.float32(male),
            self.camera(number),
            self.variation,
            views.view(self.view).exposure,
            jnp.asarray(ages, jnp.float32),
        )
        drawn: Phantom = jax.device_get(phantom)
        return drawn
