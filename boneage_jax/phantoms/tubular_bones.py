"""Bones with a growth plate: shafts and epiphyses of the digits and the forearm, at any maturity.

Numbers without a source are chosen by eye, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from boneage_jax import anatomy
from boneage_jax.phantoms import bone_templates, shapes
from boneage_jax.phantoms.bone_templates import BoneTemplate
from boneage_jax.phantoms.parts import Maturation, Parts
from boneage_jax.phantoms.random_draws import RandomDraws
from boneage_jax.phantoms.skeleton import Skeleton, unit

LINE_FADES_MONTHS = 20.0
"""How long after fusion its line stays visible: twice the standard deviation of a bell curve (I: see `anatomy`)."""

EMERGES_MONTHS = 5.0
"""A centre grows from nothing to its size over its first months."""

FUSES_MONTHS = 14.0
"""Fusion begins so long before it is complete."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["near", "far", "widths"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class _Placement:
    """Where tubular bones lie, in canvas pixels; arrays have a row for each bone.

    Attributes:
      near: x, y of the joint at the epiphysis.
      far: x, y of the joint at the other end.
      widths: full widths at the waist, the metaphysis and the other end.
    """

    near: Float[Array, "*bones 2"]
    far: Float[Array, "*bones 2"]
    widths: Float[Array, "*bones 3"]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["bend", "skew", "cortex", "height", "density"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class _Individual:
    """What the tubular bones of one child have of their own; arrays have one number for each bone.

    Attributes:
      bend: sideways bow over the length.
      skew: difference of the two sides' width, as a fraction.
      cortex: factor on the thickness of the cortex.
      height: factor on the height of the epiphysis.
      density: of the bone.
    """

    bend: Float[Array, " *bones"]
    skew: Float[Array, " *bones"]
    cortex: Float[Array, " *bones"]
    height: Float[Array, " *bones"]
    density: Float[Array, " *bones"]


def grow(
    draws: RandomDraws, skeleton: Skeleton, maturation: Maturation, density: Float[Array, " 21"], samples: int
) -> tuple[Parts, Parts]:
    """Returns shafts and epiphyses of `anatomy.TUBULAR_BONES`.

    Args:
      draws: source of the individual.
      skeleton: where the joints are.
      maturation: of `anatomy.TUBULAR_BONES`.
      density: of each bone.
      samples: rows of each part's table.
    """
    count = len(anatomy.TUBULAR_BONES)
    individual = _Individual(
        bend=draws.normal(0.012, (count,)),
        skew=draws.normal(0.03, (count,)),
        cortex=draws.uniform(0.75, 1.25) * jnp.ones(count),
        height=1 + draws.normal(0.08, (count,)),
        density=density,
    )
    placement = _place(draws, skeleton)
    template = jax.tree.map(jnp.array, bone_templates.tubular_templates())
    return jax.vmap(functools.partial(_grow_one, samples=samples))(placement, maturation, individual, template)


def _place(draws: RandomDraws, skeleton: Skeleton) -> _Placement:
    """Places the bones between their joints, as broad as the child's are."""
    near, far, widths = [], [], []
    for bone in anatomy.DIGIT_BONES:
        points = skeleton.digits[bone.digit]
        place = [b.name for b in anatomy.DIGIT_BONES if b.digit == bone.digit].index(bone.name)
        ends = (points[place], points[place + 1])
        near.append(ends[1] if bone.epiphysis == "distal" else ends[0])
        far.append(ends[0] if bone.epiphysis == "distal" else ends[1])
        widths.append(bone_templates.WIDTHS[bone.digit][place])
    near += [*skeleton.forearm[:, 0]]
    far += [*skeleton.forearm[:, 2]]
    full = jnp.array([*widths, *bone_templates.FOREARM_WIDTHS], jnp.float32)
    own = 1 + draws.normal(0.03, (len(anatomy.TUBULAR_BONES), 3))
    return _Placement(jnp.stack(near), jnp.stack(far), full * skeleton.breadth * own)


def _grow_one(
    placement: _Placement, maturation: Maturation, individual: _Individual, template: BoneTemplate, *, samples: int
) -> tuple[Parts, Parts]:
    """One bone: along its axis from `near` follow cartilage, epiphysis, growth plate, shaft, cartilage, `far`."""
    near, far = placement.near, placement.far
    waist, metaphysis, other = placement.widths
    inside = jnp.clip(maturation.progress, 0.0, 1.0)

    def ratio(values: tuple[float, ...]) -> Array:
        return jnp.interp(inside, jnp.array(bone_templates.PROGRESS), jnp.array(values))

    emerged = jnp.sqrt(jnp.clip(maturation.since_appearance / EMERGES_MONTHS, 0.0, 1.0))
    fused = jnp.clip(1 + maturation.since_fusion / FUSES_MONTHS, 0.0, 1.0)
    half_height = metaphysis * template.half_height * ratio(bone_templates.HEIGHT_RATIO) * individual.height
    half_width = 0.5 * metaphysis * ratio(bone_templates.WIDTH_RATIO)
    growth_plate = ratio(bone_templates.PLATE_PIXELS)
    cartilage = metaphysis * (0.02 + 0.12 * (1 - inside) ** 1.3)
    # Until bone fills it the cartilage keeps the grown epiphysis' place, so that the shaft does not jump.
    zone = jnp.maximum(cartilage + 2 * half_height + growth_plate, metaphysis * template.zone * (1 - inside))
    axis = unit(far - near)
    start = near + axis * zone
    length = jnp.clip(jnp.linalg.norm(far - near) - zone - cartilage, 0.3 * metaphysis, template.longest)
    capped = ratio(bone_templates.CAPPING)
    shaft = shapes.shaft(
        samples,
        length,
        (metaphysis / 2, waist / 2, other / 2),
        flares=(template.metaphysis_flare, template.end_flare),
        end_sharpness=template.end_sharpness,
        end_reach=template.end_reach,
        neck=template.neck,
        flatness=template.flatness,
        capped=capped * (1 - 0.7 * template.dome),
        fused=fused,
        bend=individual.bend * length,
        skew=individual.skew,
        cortex=individual.cortex,
        line=jnp.exp(-0.5 * (maturation.since_fusion / (LINE_FADES_MONTHS / 2)) ** 2),
    )
    plate = shapes.plate(
        samples,
        half_width * emerged,
        half_height * emerged,
        squareness=ratio(bone_templates.SQUARENESS),
        dome=template.dome,
        hollow=template.hollow,
        cap=template.cap * capped,
        wedge=template.wedge * ratio(bone_templates.SQUARENESS),
        spike=template.spike * ratio(bone_templates.CAPPING),
        spike_at=template.spike_at,
        square=template.square,
        flatness=template.flatness,
        fused=fused,
    )
    # At fusion the two overlap a little, so that no dark line is left between them.
    middle = start - axis * (growth_plate + half_height - 2.0 * fused)
    # Across runs towards the thumb in an upright hand: there the radius is high; the ulna's styloid lies on the other
    # side.
    across = jnp.stack([-axis[1], axis[0]])
    across = jnp.where(across[0] < 0, -across, across)
    return (
        Parts(start, axis, length, jnp.zeros(()), individual.density, shaft),
        Parts(
            middle - across * half_width * emerged,
            across,
            2 * half_width * emerged,
            0.9 * ratio(bone_templates.SQUARENESS),
            0.85 * individual.density,
            _facing(plate, across, -axis),
        ),
    )


def _facing(table: shapes.Table, axis: Array, v: Array) -> shapes.Table:
    """Mirrors a table where v, at right angles to its part's axis, points the other way in the part's coordinates."""
    sign = jnp.sign(-axis[1] * v[0] + axis[0] * v[1])
    flip = np.array([name in ("centre", "inner centre") for name in shapes.COLUMNS])
    return jnp.where(flip, sign * table, table)
