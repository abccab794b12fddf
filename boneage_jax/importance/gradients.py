"""Attribution by gradients, pixel by pixel, each as its authors define it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from boneage_jax.importance.function import Months


def _gradient(months: Months) -> Callable[[Array], Array]:
    # Each example's output depends on its own picture alone: the gradient of the sum holds the gradient of each.
    return jax.grad(lambda x: months(x).sum())


def integrated_gradients(
    months: Months, image: Float[Array, "b h w p"], baseline: Float[Array, "b h w p"], *, steps: int = 32
) -> Float[Array, "b h w p"]:
    """Returns each pixel's part, in months, of the difference between what is said of the image and of the baseline.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks": (x - x') times the mean gradient on the
    straight way from x' to x. The integral is taken by the midpoint rule, whose error falls with the square of the
    steps; the parts sum to the difference (completeness) as exactly as that.

    Args:
      months: the network.
      image: grey levels in [0, 1].
      baseline: what it is compared with.
      steps: of the integral.
    """
    gradient = _gradient(months)

    def add(total: Array, place: Array) -> tuple[Array, None]:
        return total + gradient(baseline + place * (image - baseline)), None

    places = (jnp.arange(steps) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(image), places)
    return (image - baseline) * total / steps


def smooth_grad(
    months: Months, image: Float[Array, "b h w p"], keys: Key[Array, " b"], *, samples: int = 16, noise: float = 0.1
) -> Float[Array, "b h w p"]:
    """Returns how many months the age changes with a pixel's grey level, of all grey levels, averaged over noise.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise": the mean gradient at the image with normal noise
    of 10 to 20% of the range of grey levels.

    Args:
      months: the network.
      image: grey levels in [0, 1].
      keys: an example each, so that an example's noise is the same in any batch.
      samples: of the noise.
      noise: standard deviation, in grey levels.
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
    """Returns the weighted sum of each plane's last feature maps, laid over the plane.

    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2, before the rectifier: the weight of a feature map is the mean
    of the output's gradient over it. The rectifier keeps what speaks for a class; what speaks for a younger age is no
    less important than what speaks for an older one, so both are kept and the sign says which.

    Args:
      months_of_maps: the network from its feature maps on.
      maps: of the pictures, a plane each.
      size: height and width of the planes, in pixels.
    """
    gradients = jax.grad(lambda x: months_of_maps(x).sum())(maps)
    planes = []
    for one, gradient in zip(maps, gradients, strict=True):
        weights = gradient.mean((1, 2), keepdims=True)
        coarse = (weights * one).sum(-1).astype(jnp.float32)
        planes.append(jax.image.resize(coarse, (coarse.shape[0], *size), "bilinear"))
    return jnp.stack(planes, axis=-1)


def over_areas(values: Float[Array, "b h w p"], areas: Int[Array, "b h w p"], count: int) -> Float[Array, "b areas"]:
    """Returns the sum of each area's values, over all planes."""

    def one(value: Array, area: Array) -> Array:
        return jax.ops.segment_sum(value.reshape(-1), area.reshape(-1).astype(jnp.int32), num_segments=count)

    return jax.vmap(one)(values, areas)
