"""How mature each bone of one child is, and how much children of one bone age differ."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from boneage_jax import anatomy
from boneage_jax.phantoms.random_draws import RandomDraws


@dataclasses.dataclass(frozen=True)
class Variation:
    """How much children of one bone age differ. All draws are independent of age.

    Attributes:
      region_sd: standard deviation of a region's maturity about the child's bone age, in months: carpals may lag, for
        example. Below six years it is less, down to a quarter at birth (`scatter_at`); so is `bone_sd`.
      bone_sd: standard deviation of one bone's maturity about its region's, in months.
      layout: factor on the spread of proportions and pose, where 1 is that of real hands.
      breadth_sd: standard deviation of the breadth of all bones, as a fraction.
      soft_tissue_sd: standard deviation of the thickness of the soft tissue, as a fraction.
      density: largest deviation of a child's bone density, as a fraction.
    """

    region_sd: float = 4.0
    bone_sd: float = 3.0
    layout: float = 1.0
    breadth_sd: float = 0.07
    soft_tissue_sd: float = 0.10
    density: float = 0.25


def scatter_at(age: Any) -> Any:
    """Returns the factor on the scatter of maturity, and of readings, at ages in months (an array).

    Infants cannot lag by many months: it grows from a quarter at birth to 1 at six years, as the spread of skeletal
    ages about chronological ones does. A quarter and six years are chosen by eye, see docs/explanation/lab-notes.md.
    """
    return (0.25 + 0.75 * age / 72.0).clip(0.25, 1.0)


def maturity(
    key: Key[Array, ""],
    age: Float[Array, ""],
    variation: Variation = Variation(),
    ages: Float[Array, " 30"] | None = None,
) -> Float[Array, " 30"]:
    """Returns the bone age of each bone of one child, in months.

    Args:
      key: source of the individual.
      age: the child's bone age in months.
      variation: how far regions and bones stray from it.
      ages: bone ages that are set for single bones, NaN where they are not: the handle for counterfactuals.
    """
    draws = RandomDraws(key, len(anatomy.REGIONS) + len(anatomy.BONES))
    places = np.array([anatomy.REGIONS.index(bone.region) for bone in anatomy.BONES])
    offsets = draws.normal(variation.region_sd, (len(anatomy.REGIONS),))[places]
    offsets = offsets + draws.normal(variation.bone_sd, (len(anatomy.BONES),))
    own = jnp.clip(age + scatter_at(age) * offsets, 0.0, anatomy.MAX_MONTHS)
    return own if ages is None else jnp.where(jnp.isnan(ages), own, ages)
