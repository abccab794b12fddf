"""Where the bones of one hand go, registered to the canvas, before they have shapes.

Lengths are in canvas pixels. Numbers without a source are chosen by eye, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax import anatomy
from boneage_jax.phantoms.bone_templates import FOREARM_LENGTH, FOREARM_WIDTHS
from boneage_jax.phantoms.maturity import Variation
from boneage_jax.phantoms.random_draws import RandomDraws

_CARPOMETACARPAL = {1: (1054, 1531), 2: (917, 1485), 3: (802, 1475), 4: (709, 1478), 5: (630, 1502)}
"""Joints at the bases of the metacarpals in the template, beside the traced carpals."""

_TIP_LENGTHS = {1: (184, 46), 2: (143, 50), 3: (141, 40), 4: (146, 46), 5: (141, 41)}
"""From the last joint to the tip of the bone, and from there to the tip of the skin."""

_CAPITATE = (792.7, 1591.8)
"""Centroid of the traced outline of the capitate; see `bone_templates.CARPALS`."""

_WRIST = (803.0, 1592.0)
"""Middle of the wrist's ossification area in the template."""


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Where bones go, before they have shapes.

    Attributes:
      digits: per digit x, y of its joints from the base of the metacarpal outwards, of the bone's and the skin's tip.
      forearm: of radius and ulna, x, y of the joint, of the growth plate's place and of the far end.
      capitate: x, y of its centre.
      shift: from the template's wrist to this one's.
      breadth: factor on the widths of bones.
      areas: x, y of the middle of `anatomy.OSSIFICATION_AREAS`.
    """

    digits: dict[int, Array]
    forearm: Array
    capitate: Array
    shift: Array
    breadth: Array
    areas: Array


def draw(draws: RandomDraws, places: Float[Array, "17 2"], age: Array, male: Array, variation: Variation) -> Skeleton:
    """Places all joints and turns the hand so that fingertip and capitate lie at their places on the canvas.

    Args:
      draws: source of the individual.
      places: middles of `anatomy.OSSIFICATION_AREAS`, as `layout.sample` draws them.
      age: bone age in months.
      male: 1 for a boy, 0 for a girl.
      variation: how much children differ.
    """
    dip, pip, mcp, (radius, ulna, wrist) = places[:4], places[4:9], places[9:14], places[14:]
    shift = wrist - jnp.array(_WRIST)
    bases = jnp.array(list(_CARPOMETACARPAL.values()), jnp.float32) + shift + draws.normal(7.0, (5, 2))
    lengths = jnp.exp(draws.normal(0.06, (5, 2)))
    bends = draws.normal(0.05, (5,))
    digits = {}
    for digit in range(1, 6):
        last = [pip[0]] if digit == 1 else [pip[digit - 1], dip[digit - 2]]
        joints = [bases[digit - 1], mcp[digit - 1], *last]
        onward = _turned(unit(joints[-1] - joints[-2]), bends[digit - 1])
        bone, skin = (length * factor for length, factor in zip(_TIP_LENGTHS[digit], lengths[digit - 1], strict=True))
        digits[digit] = jnp.stack([*joints, joints[-1] + bone * onward, joints[-1] + (bone + skin) * onward])
    lean = jnp.array([0.02, 0.012]) + draws.normal(0.05)
    capitate = jnp.array(_CAPITATE) + shift
    # The carpals need room: the few draws that leave them less are moved.
    plates = jnp.stack([radius, ulna])
    plates = plates.at[:, 1].max(capitate[1] + 195.0)
    ends = plates + FOREARM_LENGTH * jnp.stack([jnp.sin(lean), jnp.cos(lean)], -1)

    # Registered: a similarity brings the middle fingertip and the capitate to their places on the canvas.
    tip, goal = digits[3][-1], jnp.array(anatomy.CANVAS_CAPITATE)
    reach = jnp.array(anatomy.CANVAS_FINGERTIP) - goal
    old = tip - capitate
    a = jnp.sum(reach * old) / jnp.sum(old**2)
    b = (reach[1] * old[0] - reach[0] * old[1]) / jnp.sum(old**2)
    turn = jnp.array([[a, b], [-b, a]])

    def place(points: Array) -> Array:
        return (points - capitate) @ turn + goal

    # Toddlers' bones are wider for their length, and boys' are a little wider, as the boxes of Koitka et al. show.
    seen = jnp.clip(age, 6.0, 216.0)
    young = jnp.exp(
        0.12 * (120 - seen) / 100 + 0.09 * jnp.maximum(60 - seen, 0) / 60 + 0.04 * jnp.maximum(seen - 140, 0) / 60
    )
    breadth = young * (1 + draws.normal(variation.breadth_sd))
    breadth = breadth * (1 + 0.02 * male)
    plates, ends = place(plates), place(ends)
    # The areas that human readers draw have their middle near the growth plate: the joint lies most of a grown
    # epiphysis before it.
    before = breadth * jnp.array(FOREARM_WIDTHS)[:, 1:2] * 0.36 - 22.0
    return Skeleton(
        digits={digit: place(points) for digit, points in digits.items()},
        forearm=jnp.stack([plates - unit(ends - plates) * before, plates, ends], 1),
        capitate=goal,
        shift=place(wrist) - jnp.array(_WRIST),
        breadth=breadth,
        areas=place(places),
    )


def unit(vector: Array) -> Array:
    """Returns a vector's direction; the last axis holds x and y."""
    return vector / jnp.linalg.norm(vector, axis=-1, keepdims=True)


def _turned(vector: Array, angle: Array) -> Array:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


_BOXES = (
    *((130, 163), (137, 172), (129, 158), (132, 162)),
    *((156, 186), (155, 177), (156, 192), (148, 182), (125, 160)),
    *((179, 195), (194, 224), (173, 217), (171, 219), (164, 203)),
    *((309, 230), (200, 199), (621, 405)),
)
"""Width and height of the boxes that one human reader drew around 238 hands, at 120 months (training boxes of Koitka et
al. 2018)."""


def reader_boxes(skeleton: Skeleton) -> Float[Array, "17 4"]:
    """Returns middle x, y, width and height of the boxes that a human reader would draw: they widen with the bones."""
    return jnp.concatenate([skeleton.areas, jnp.array(_BOXES, jnp.float32) * skeleton.breadth], -1)
