"""Gradient times input: the gradient of the age with respect to each pixel, times the pixel's grey level."""

import jax

from boneage_jax.importance.method import Batch, PixelMethod


def gradient_times_input(batch: Batch) -> jax.Array:
    """Returns the product, for each pixel: months for its whole grey level."""
    # The age of an image depends on that image alone: the gradient of the sum holds the gradient of each.
    gradient = jax.grad(lambda images: batch.months(images).sum())(batch.image)
    return gradient * batch.image


METHOD = PixelMethod(
    name="gradient times input",
    sentence="Multiplies the gradient at each pixel by its grey level.",
    reference="Shrikumar et al. 2016",
    kind="gradient",
    additive=False,
    pixels=gradient_times_input,
)
