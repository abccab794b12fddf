"""Bones that ossify from one centre: carpals and the sesamoid, from dots to facetted outlines.

Numbers without a source are chosen by eye, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax import anatomy
from boneage_jax.phantoms import shapes
from boneage_jax.phantoms.bone_templates import CARPAL_OUTLINES, SESAMOID_OUTLINE, SESAMOID_PLACE
from boneage_jax.phantoms.parts import Maturation, Parts
from boneage_jax.phantoms.random_draws import RandomDraws
from boneage_jax.phantoms.skeleton import Skeleton, unit

CARPAL_GROWTH = 0.28
"""Exponent of a carpal's size over its progress: centres grow fast at first. Read off four radiographs."""

EMERGES_MONTHS = 4.0
"""A centre grows from nothing to its size over its first months."""

PLACE_SD = 5.0
"""Standard deviation of a carpal's centre about its place, in canvas pixels."""


def grow(
    draws: RandomDraws, skeleton: Skeleton, maturation: Maturation, density: Float[Array, " 9"], samples: int
) -> Parts:
    """Returns `anatomy.ROUND_BONES`.

    Args:
      draws: source of the individual.
      skeleton: where the joints are.
      maturation: of `anatomy.ROUND_BONES`.
      density: of each bone.
      samples: rows of each part's table.
    """
    count = len(anatomy.ROUND_BONES)
    inside = jnp.clip(maturation.progress, 0.0, 1.0)
    emerged = jnp.sqrt(jnp.clip(maturation.since_appearance / EMERGES_MONTHS, 0.0, 1.0))
    size = emerged * (0.08 + 0.92 * jnp.maximum(inside, 1e-4) ** CARPAL_GROWTH)
    size = 1.09 * size * (0.92 + 0.08 * skeleton.breadth) * (1 + draws.normal(0.05, (count,)))
    sharpness = jnp.clip((inside - 0.15) / 0.7, 0.0, 1.0)
    sharpness = sharpness * sharpness * (3 - 2 * sharpness)
    middles = jnp.concatenate([_carpal_centres(draws, skeleton, inside[:-1]), _sesamoid_centre(draws, skeleton)[None]])
    reaches = jnp.array([*(reach for _, reach in CARPAL_OUTLINES), SESAMOID_OUTLINE])
    polygons = jax.vmap(shapes.grown_outline)(
        reaches,
        size,
        jnp.clip(inside / 0.3, 0.0, 1.0).at[-1].set(1.0),
        sharpness.at[-1].set(0.0),
        draws.normal(0.07, (count,)),
        draws.normal(0.03, (count, 4)),
    )
    depth = 0.72 * reaches.mean(1) * size
    table, first, extent = jax.vmap(functools.partial(shapes.outline, samples))(
        polygons, depth=depth, wall=jnp.minimum(5.0, 0.25 * depth)
    )
    origins = middles + jnp.stack([first, jnp.zeros(count)], -1)
    flatness = (0.25 + 0.5 * sharpness).at[-1].set(0.0)
    return Parts(origins, jnp.tile(jnp.array([[1.0, 0.0]]), (count, 1)), extent, flatness, density, table)


def _carpal_centres(draws: RandomDraws, skeleton: Skeleton, inside: Float[Array, " 8"]) -> Float[Array, "8 2"]:
    """Centres lie farther apart while the carpals are small; the capitate's is a key point and stays."""
    away = jnp.array([centre for centre, _ in CARPAL_OUTLINES]) + skeleton.shift - skeleton.capitate
    # The proximal row keeps between capitate and radius, however far apart these are.
    room = jnp.clip((skeleton.forearm[0, 1, 1] - skeleton.capitate[1] + 22.0) / 240.0, 0.85, 1.15)
    away = away * jnp.where(away > 0, jnp.stack([jnp.ones(()), room]), 1.0)
    away = away * (1 + 0.12 * (1 - inside[:, None])) + draws.normal(PLACE_SD, (len(CARPAL_OUTLINES), 2))
    return (skeleton.capitate + away).at[0].set(skeleton.capitate)


def _sesamoid_centre(draws: RandomDraws, skeleton: Skeleton) -> Float[Array, " 2"]:
    """Beside the head of the thumb's metacarpal, on the side of the palm."""
    thumb = skeleton.digits[1]
    axis = unit(thumb[2] - thumb[1])
    beside = jnp.stack([axis[1], -axis[0]])
    beside = jnp.where(beside[0] < 0, beside, -beside)
    return thumb[1] + SESAMOID_PLACE[0] * beside + SESAMOID_PLACE[1] * axis + draws.normal(4.0, (2,))
