"""Thickness of soft tissue along each pixel's ray: capsules that blend into one another."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from boneage_jax.phantoms.camera import Camera, Pose
from boneage_jax.phantoms.filters import enlarged
from boneage_jax.phantoms.growth import Hand

STEP, STEP_OF_SMALL_IMAGES = 4, 2
"""Soft tissue is smooth: it is computed at every fourth pixel (second, below a height of 256) and interpolated."""

BLEND = 9.0
"""Canvas pixels over which capsules blend into one another; this and all below chosen by eye, see
docs/explanation/lab-notes.md."""

THICKEST = 130.0
"""Half thickness of palm and forearm, in canvas pixels."""

FLATTENING = 0.6
"""Square of thickness over that of a round cross section."""

FOLD_THICKNESS, FOLD_EDGE = 45.0, 25.0
"""What the ball of the thumb adds to the thickness, and the width of its edge, in canvas pixels."""


def draw_soft_tissue(hand: Hand, pose: Pose, camera: Camera) -> Float[Array, "h w"]:
    """Returns the square of the thickness of soft tissue, in canvas pixels; negative outside the hand.

    Args:
      hand: on the canvas.
      pose: how it lies in the image.
      camera: gives the size of the image.
    """
    step = STEP if camera.height >= 256 else STEP_OF_SMALL_IMAGES
    rows, columns = -(-camera.height // step), -(-camera.width // step)
    y = (jnp.arange(rows, dtype=jnp.float32) * step + (step - 1) / 2)[:, None]
    x = (jnp.arange(columns, dtype=jnp.float32) * step + (step - 1) / 2)[None, :]

    def depth(capsule: Array) -> tuple[Array, Array]:
        """How far inside a capsule a pixel lies, and the capsule's radius there, in canvas pixels."""
        a, b = pose.to_pixels(capsule[0:2]), pose.to_pixels(capsule[3:5])
        axis = b - a
        t = jnp.clip(((x - a[0]) * axis[0] + (y - a[1]) * axis[1]) / jnp.sum(axis**2), 0, 1)
        radius = capsule[2] + (capsule[5] - capsule[2]) * t
        return radius - jnp.hypot(x - a[0] - t * axis[0], y - a[1] - t * axis[1]) / pose.scale, radius

    def add(sums: tuple[Array, Array], capsule: Array) -> tuple[tuple[Array, Array], None]:
        total, radii = sums
        inside, radius = depth(capsule)
        weight = jnp.exp(jnp.clip(inside / BLEND, -40.0, 40.0))
        return (total + weight, radii + weight * radius), None

    zeros = jnp.zeros((rows, columns))
    (total, radii), _ = lax.scan(add, (zeros + 1e-18, zeros + 1e-16), hand.soft_tissue)
    # For one capsule this is its chord, squared; palm and forearm are wider than they are thick.
    inside, radius = BLEND * jnp.log(total), jnp.minimum(radii / total, THICKEST)
    inside = jnp.minimum(inside, radius)
    squared = 4 * inside * (2 * radius - inside) * FLATTENING
    for fold in hand.folds:
        over, _ = depth(fold)
        thicker = (jnp.sqrt(jnp.maximum(squared, 0.0)) + FOLD_THICKNESS * jnp.clip(over / FOLD_EDGE, 0.0, 1.0)) ** 2
        squared = jnp.where(squared > 0, thicker, squared)
    return enlarged(squared, step, (camera.height, camera.width))
