"""Blurs and interpolation of images, as matrix products and shifts that compile well everywhere."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mean_within(values: Float[Array, "h w"], mask: Bool[Array, "h w"]) -> Float[Array, ""]:
    """Returns the mean of the values within a mask; 0 for an empty mask."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def binomial(image: Float[Array, "h w"]) -> Float[Array, "h w"]:
    """Returns an image blurred by (1, 2, 1) / 4 both ways: standard deviation 0.7 pixels."""
    padded = jnp.pad(image, 1, mode="edge")
    rows = 0.25 * (padded[:-2] + padded[2:]) + 0.5 * padded[1:-1]
    return 0.25 * (rows[:, :-2] + rows[:, 2:]) + 0.5 * rows[:, 1:-1]


def coarse(image: Float[Array, "h w"], squares: int = 24) -> Float[Array, "h w"]:
    """Returns an image without anything finer than about a twelfth of its height.

    Args:
      image: of any size.
      squares: number of squares along the height over which it is averaged.
    """
    height, width = image.shape
    step = max(height // squares, 1)
    rows, columns = height // step, width // step
    small = image[: rows * step, : columns * step].reshape(rows, step, columns, step).mean((1, 3))
    small = binomial(binomial(small))
    return enlarged(small, step, (height, width))


def enlarged(small: Float[Array, "n m"], step: int, shape: tuple[int, int]) -> Float[Array, "h w"]:
    """Returns values at the centres of squares, interpolated linearly; beyond the last centres they stay constant.

    Args:
      small: one value for each square.
      step: side of a square, in pixels.
      shape: height and width of what is returned.
    """

    # Two products with narrow matrices: every device is fast at these.
    def weights(size: int, squares: int) -> Array:
        position = jnp.clip((jnp.arange(size) + 0.5) / step - 0.5, 0, squares - 1)
        return jnp.maximum(1 - jnp.abs(position[:, None] - jnp.arange(squares)), 0.0)

    return weights(shape[0], small.shape[0]) @ small @ weights(shape[1], small.shape[1]).T
