"""Parts of bones, each with an outline of its own, and how far each bone has matured."""

from __future__ import annotations

import dataclasses
import functools

import jax
from jaxtyping import Array, Float


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["origin", "axis", "extent", "flatness", "density", "table"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Parts:
    """Parts of bones in their own coordinates; v = (-axis y, axis x), to the right of an axis that points up.

    Attributes:
      origin: x, y on the canvas where u = v = 0.
      axis: unit vector of u.
      extent: of u; a part lies between 0 and this.
      flatness: 0 for the cross section of a rod, 1 for that of a plate.
      density: of this bone.
      table: rows of `shapes.COLUMNS` at even steps of u.
    """

    origin: Float[Array, "p 2"]
    axis: Float[Array, "p 2"]
    extent: Float[Array, " p"]
    flatness: Float[Array, " p"]
    density: Float[Array, " p"]
    table: Float[Array, "p n 7"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["progress", "since_appearance", "since_fusion"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Maturation:
    """How far bones have matured; arrays have one number for each bone.

    Attributes:
      progress: 0 when the ossification centre appears, 1 when the epiphysis is fused or the outline adult.
      since_appearance: months since the ossification centre appeared, negative before.
      since_fusion: months since the epiphysis fused or the outline was adult, negative before.
    """

    progress: Float[Array, " *bones"]
    since_appearance: Float[Array, " *bones"]
    since_fusion: Float[Array, " *bones"]
