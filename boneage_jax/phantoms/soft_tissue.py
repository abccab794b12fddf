"""The soft tissue of a hand: capsules along digits, palm and forearm.

Lengths are in canvas pixels. Places and radii were chosen by eye beside registered radiographs of girls of 50, 82, 129
and 168 months, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from boneage_jax.phantoms.maturity import Variation
from boneage_jax.phantoms.random_draws import RandomDraws
from boneage_jax.phantoms.skeleton import Skeleton, unit

THICKNESS_AGES = (0.0, 24.0, 50.0, 84.0, 130.0, 168.0, 228.0)
"""Ages in months at which `THICKNESS` holds."""

THICKNESS = (1.5, 1.36, 1.22, 1.06, 1.0, 0.9, 0.88)
"""Thickness of fingers, over that at 130 months: measured at 50, 82, 129 and 168 months, chosen by eye elsewhere."""

DIGIT_RADII = {1: (96.0, 66.0), 2: (90.0, 60.0), 3: (92.0, 62.0), 4: (86.0, 58.0), 5: (74.0, 50.0)}
"""Radius of each digit at its base and at its tip."""


def grow(draws: RandomDraws, skeleton: Skeleton, age: Array, variation: Variation) -> tuple[Array, Array]:
    """Returns capsules (x, y, radius of one end and of the other) of digits, palm and forearm, and of the thumb's ball.

    Args:
      draws: source of the individual.
      skeleton: where the bones are.
      age: bone age in months: small children are chubby.
      variation: how much children differ.
    """
    young = jnp.interp(age, jnp.array(THICKNESS_AGES), jnp.array(THICKNESS))
    own = jnp.exp(draws.normal(variation.soft_tissue_sd))
    fat = young * own
    rows: list[tuple[Array, Array, Array, Array]] = []
    for digit, points in skeleton.digits.items():
        base, tip = DIGIT_RADII[digit]
        # The tip covers its bone at least, however slim the child, and never reaches past it.
        start_radius, tip_radius = base * fat, tip * (0.4 + 0.6 * fat)
        radii = [start_radius + (tip_radius - start_radius) * r for r in np.linspace(0.0, 1.0, len(points) - 2)]
        axis = unit(points[-1] - points[-3])
        # The skin ends at the last point, so the last capsule's centre lies one radius before it.
        centres = [*points[1:-2], points[-1] - axis * tip_radius]
        for a, b, ra, rb in zip(centres[:-1], centres[1:], radii[:-1], radii[1:], strict=True):
            rows.append((a, ra, b, rb))
        palm = (120.0 if digit > 1 else 96.0) * (0.55 + 0.45 * fat)
        rows.append((points[0], palm, points[1], start_radius * 1.02))
    thick = 0.75 + 0.25 * fat
    wrist = skeleton.shift + jnp.array([-28.0, 0.0])
    plates, ends = skeleton.forearm[:, 1].mean(0), skeleton.forearm[:, 2].mean(0)
    slim = 232.0 * thick * (1 + draws.normal(0.05))
    knuckles = [skeleton.digits[digit][1] for digit in range(1, 6)]
    palm_middle = 0.4 * (knuckles[2] + knuckles[3]) + 0.2 * skeleton.digits[3][0]
    capsules: list[tuple[Array, Array, Array, Array]] = [
        (palm_middle, 235.0 * thick, jnp.array([775.0, 1540.0]) + wrist, 215.0 * thick),
        (jnp.array([720.0, 1545.0]) + wrist, 185.0 * thick, jnp.array([900.0, 1545.0]) + wrist, 190.0 * thick),
        (jnp.array([790.0, 1600.0]) + wrist, 260.0 * thick, plates, slim),
        (plates, slim, ends, 1.18 * slim),
        (0.75 * knuckles[4] + 0.25 * knuckles[3], 95.0 * thick, 0.7 * knuckles[1] + 0.3 * knuckles[2], 95.0 * thick),
        (knuckles[1] + jnp.array([20.0, 330.0]), 130.0 * thick, knuckles[0] + jnp.array([-110.0, 60.0]), 80.0 * thick),
        (knuckles[4] + jnp.array([40.0, 140.0]), 110.0 * thick, jnp.array([640.0, 1560.0]) + wrist, 150.0 * thick),
    ]
    # The webs between the fingers reach over a good third of the proximal phalanges.
    along = [0.64 * points[1] + 0.36 * points[2] for digit, points in skeleton.digits.items() if digit > 1]
    for (a, b), (c, d) in zip(itertools.pairwise(along), itertools.pairwise(knuckles[1:]), strict=True):
        capsules.append((a, 42.0 * thick, b, 42.0 * thick))
        capsules.append(((a + b) / 2, 48.0 * thick, (c + d) / 2, 90.0 * thick))
    thumb_base = 0.5 * (skeleton.digits[1][0] + skeleton.digits[1][1])
    capsules.append((thumb_base, 100.0 * thick, 0.6 * skeleton.digits[2][0] + 0.4 * knuckles[1], 110.0 * thick))
    ball = 0.45 * skeleton.digits[1][0] + 0.55 * skeleton.digits[1][1]
    toward = skeleton.digits[2][0] + jnp.array([70.0, -60.0])
    fold = (0.7 * ball + 0.3 * toward, 135.0 * thick, 0.4 * ball + 0.6 * toward, 150.0 * thick)
    return _capsules(rows + capsules), _capsules([fold])


def _capsules(rows: list[tuple[Array, Array, Array, Array]]) -> Float[Array, "n 6"]:
    """Capsules from one end, its radius, the other end and its radius."""
    a, ra, b, rb = (jnp.stack(column) for column in zip(*rows, strict=True))
    return jnp.concatenate([a, ra[:, None], b, rb[:, None]], axis=1)
