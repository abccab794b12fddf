"""Attribution by gradients, pixel by pixel, each method as its authors define it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from boneage_jax.importance.function import PredictMonths
from boneage_jax.importance.method import Batch, PixelMethod


def _gradient(months: PredictMonths) -> Callable[[Array], Array]:
    # Each example's output depends on its own image alone: the gradient of the sum holds the gradient of each.
    return jax.grad(lambda x: months(x).sum())


def integrated_gradients(
    months: PredictMonths, image: Float[Array, "b h w p"], baseline: Float[Array, "b h w p"], *, steps: int = 32
) -> Float[Array, "b h w p"]:
    """Returns each pixel's part, in months, of the difference between the predictions for the image and the baseline.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks": (x - x') times the mean gradient on the
    straight line from x' to x. The integral is taken by the midpoint rule, whose error falls with the square of the
    steps; up to that error the parts add up to the difference (completeness).

    Args:
      months: the network.
      image: grey levels in [0, 1].
      baseline: image that it is compared with.
      steps: number of steps of the integral.
    """
    gradient = _gradient(months)

    def add(total: Array, place: Array) -> tuple[Array, None]:
        return total + gradient(baseline + place * (image - baseline)), None

    places = (jnp.arange(steps) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(image), places)
    return (image - baseline) * total / steps


def smooth_grad(
    months: PredictMonths,
    image: Float[Array, "b h w p"],
    keys: Key[Array, " b"],
    *,
    samples: int = 16,
    noise: float = 0.1,
) -> Float[Array, "b h w p"]:
    """Returns the gradient of the age with respect to each pixel, averaged over noise: months for each unit of grey.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise": the mean gradient at the image with normal noise
    of 10 to 20% of the range of grey levels.

    Args:
      months: the network.
      image: grey levels in [0, 1].
      keys: one for each image, so that its noise is the same in any batch.
      samples: number of noisy copies.
      noise: standard deviation, as a part of the range of grey levels.
    """
    gradient = _gradient(months)

    def add(total: Array, sample: Array) -> tuple[Array, None]:
        def disturbed(key: Array, one: Array) -> Array:
            return one + noise * jax.random.normal(jax.random.fold_in(key, sample), one.shape)

        return total + gradient(jax.vmap(disturbed)(keys, image)), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(image), jnp.arange(samples))
    return total / samples


def grad_cam(
    months_of_maps: Callable[[list[Array]], Float[Array, " b"]],
    maps: list[Float[Array, "b oh ow c"]],
    size: tuple[int, int],
) -> Float[Array, "b h w p"]:
    """Returns the weighted sum of each channel's last feature maps, enlarged to the size of the image.

    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2, before the rectifier: the weight of a feature map is the mean
    of the output's gradient over it. The rectifier keeps the evidence for a class. Evidence for a younger age is as
    important as evidence for an older one, so both are kept, told apart by their sign.

    Args:
      months_of_maps: the part of the network behind its feature maps.
      maps: feature maps of each channel of the images.
      size: height and width of the images, in pixels.
    """
    gradients = jax.grad(lambda x: months_of_maps(x).sum())(maps)
    channels = []
    for one, gradient in zip(maps, gradients, strict=True):
        weights = gradient.mean((1, 2), keepdims=True)
        coarse = (weights * one).sum(-1).astype(jnp.float32)
        channels.append(jax.image.resize(coarse, (coarse.shape[0], *size), "bilinear"))
    return jnp.stack(channels, axis=-1)


def _integrated_gradients(batch: Batch) -> Float[Array, "b h w p"]:
    return integrated_gradients(batch.months, batch.image, batch.fill)


INTEGRATED_GRADIENTS = PixelMethod(
    name="integrated gradients",
    sentence="Adds up the gradient on the line from the image with all parts replaced to the image itself.",
    reference="Sundararajan, Taly and Yan 2017",
    kind="gradient",
    additive=True,
    pixels=_integrated_gradients,
)


def _smooth_grad(batch: Batch) -> Float[Array, "b h w p"]:
    return smooth_grad(batch.months, batch.image, batch.keys)


SMOOTH_GRAD = PixelMethod(
    name="SmoothGrad",
    sentence="Averages the gradient over noisy copies of the image.",
    reference="Smilkov et al. 2017",
    kind="gradient",
    additive=False,
    pixels=_smooth_grad,
)


def _grad_cam(batch: Batch) -> Float[Array, "b h w p"]:
    size = (batch.image.shape[1], batch.image.shape[2])
    return grad_cam(batch.months_of_maps, batch.feature_maps(batch.image), size)


GRAD_CAM = PixelMethod(
    name="Grad-CAM",
    sentence="Weighs the last feature maps by the mean gradient over each and adds them up.",
    reference="Selvaraju et al. 2017",
    kind="gradient",
    additive=False,
    pixels=_grad_cam,
)
