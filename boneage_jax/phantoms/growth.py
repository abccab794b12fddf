"""From bone age, sex and an individual to the shapes of all bones and of the soft tissue.

Lengths are in canvas pixels: of the registered canvas of 2080 x 1600 on which the middle fingertip lies at (800, 100)
and the capitate at (800, 1600). Where the joints lie comes from a model fitted to real hands (`layout`); widths and
outlines were measured on four registered radiographs (`bone_templates`). Hands of all ages fill the same canvas, as
real radiographs fill their image, so size tells nothing; but toddlers' bones and fingers are wider for their length.
Age shows above all in the epiphyses and growth plates (`tubular_bones`) and in the carpals (`round_bones`).
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from boneage_jax import anatomy
from boneage_jax.phantoms import layout, round_bones, skeleton, soft_tissue, tubular_bones
from boneage_jax.phantoms.maturity import Variation, maturity
from boneage_jax.phantoms.parts import Maturation, Parts
from boneage_jax.phantoms.random_draws import RandomDraws


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "shafts",
        "epiphyses",
        "round_bones",
        "soft_tissue",
        "folds",
        "joints",
        "key_points",
        "areas",
        "maturity",
    ],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Hand:
    """One hand on the canvas, lengths in canvas pixels.

    Attributes:
      shafts: of `anatomy.TUBULAR_BONES`, u from the metaphysis to the other end.
      epiphyses: of `anatomy.TUBULAR_BONES`, u across the bone; all halves are 0 where one has not appeared.
      round_bones: `anatomy.ROUND_BONES`, u along x.
      soft_tissue: capsules of soft tissue that blend into one another: x, y, radius of one end and of the other.
      folds: capsules of soft tissue that lie upon the others with an edge of their own: the ball of the thumb.
      joints: x, y of `anatomy.JOINTS`.
      key_points: x, y of `anatomy.KEY_POINTS`.
      areas: `anatomy.OSSIFICATION_AREAS` as middle x, y, width and height.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    shafts: Parts
    epiphyses: Parts
    round_bones: Parts
    soft_tissue: Float[Array, "n 6"]
    folds: Float[Array, "m 6"]
    joints: Float[Array, "26 2"]
    key_points: Float[Array, "3 2"]
    areas: Float[Array, "17 4"]
    maturity: Float[Array, " 30"]


@functools.partial(jax.jit, static_argnames=("variation", "samples"))
def grow(
    key: Key[Array, ""],
    age: Float[Array, ""],
    male: Float[Array, ""],
    variation: Variation = Variation(),
    ages: Float[Array, " 30"] | None = None,
    samples: int = 64,
) -> Hand:
    """Grows one hand.

    Args:
      key: source of all individual variation.
      age: bone age in months, 0 to 240.
      male: 1 for a boy, 0 for a girl.
      variation: how much children differ.
      ages: bone ages set for single bones, NaN where they are not; the rest of the hand stays exactly as it was.
      samples: rows of each part's table.
    """
    age_key, layout_key, shape_key = jax.random.split(key, 3)
    months = maturity(age_key, age, variation, ages)
    draws = RandomDraws(shape_key, 512)
    appears, fuses = (
        jnp.where(male > 0.5, table[:, 0], table[:, 1])
        for table in (jnp.array([b.appears for b in anatomy.BONES]), jnp.array([b.fuses for b in anatomy.BONES]))
    )
    progress = (months - appears) / (fuses - appears)

    def maturation(bones: slice) -> Maturation:
        return Maturation(progress[bones], months[bones] - appears[bones], months[bones] - fuses[bones])

    density = (1 + variation.density * draws.uniform(-1.0)) * (1 + draws.normal(0.06, (len(anatomy.BONES),)))
    bones = skeleton.draw(draws, layout.sample(layout_key, age, male, variation.layout), age, male, variation)
    tubular, other = slice(None, len(anatomy.TUBULAR_BONES)), slice(len(anatomy.TUBULAR_BONES), None)
    shafts, epiphyses = tubular_bones.grow(draws, bones, maturation(tubular), density[tubular], samples)
    carpals_and_sesamoid = round_bones.grow(draws, bones, maturation(other), density[other], samples)
    capsules, folds = soft_tissue.grow(draws, bones, age, variation)
    joints = [points[np.array([*range(len(points) - 2), -1])] for points in bones.digits.values()]
    return Hand(
        shafts=shafts,
        epiphyses=epiphyses,
        round_bones=carpals_and_sesamoid,
        soft_tissue=capsules,
        folds=folds,
        joints=jnp.concatenate([*joints, bones.forearm[:, 0]]),
        key_points=jnp.stack([bones.digits[3][-1], bones.digits[1][-1], bones.capitate]),
        areas=skeleton.reader_boxes(bones),
        maturity=months,
    )
