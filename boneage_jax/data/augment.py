"""Random changes of training images, on the device, inside the compiled step.

Each example's changes depend on its own key alone. Geometry is applied in one resampling.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

from boneage_jax.config import AugmentConfig


def example_keys(seed: int, step: Array, slots_b: Array) -> Key[Array, " b"]:
    """Returns one key an example, a function of (seed, step, place in the global batch) and nothing else."""
    step_key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda slot: jax.random.fold_in(step_key, slot))(slots_b)


def augment(
    images_bhw: Float[Array, "b h w"], keys_b: Key[Array, " b"], config: AugmentConfig
) -> Float[Array, "b h w"]:
    """Shifts, zooms, turns, mirrors and re-exposes each image.

    Args:
      images_bhw: grey levels in [0, 1].
      keys_b: one key an image.
      config: how far; all zeros leave the images as they are.

    Returns:
      Images in [0, 1]; what comes in from outside is black.
    """
    moves = config.shift or config.zoom or config.rotation or config.flip

    def one(image: Array, key: Array) -> Array:
        key_move, key_light = jax.random.split(key)
        if moves:
            image = _move(image, key_move, config)
        if config.gamma or config.contrast:
            image = _relight(image, key_light, config)
        return image

    return jax.vmap(one)(images_bhw, keys_b)


def _symmetric(key: Array, limit: float, shape: tuple[int, ...] = ()) -> Array:
    return limit * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _move(image: Array, key: Array, config: AugmentConfig) -> Array:
    """Samples the image where a random similarity about its centre sends each pixel."""
    h, w = image.shape
    k = jax.random.split(key, 4)
    angle = jnp.deg2rad(_symmetric(k[0], config.rotation))
    zoom = 1.0 + _symmetric(k[1], config.zoom)
    shift = _symmetric(k[2], config.shift, (2,)) * jnp.array([h, w])
    mirror = jnp.where(jax.random.bernoulli(k[3], config.flip), -1.0, 1.0)
    y = jnp.arange(h)[:, None] - (h - 1) / 2 - shift[0]
    x = jnp.arange(w)[None, :] - (w - 1) / 2 - shift[1]
    c, s = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    rows = c * y - s * x + (h - 1) / 2
    columns = mirror * (s * y + c * x) + (w - 1) / 2
    return map_coordinates(image, [rows, columns], order=1, mode="constant", cval=0.0)


def _relight(image: Array, key: Array, config: AugmentConfig) -> Array:
    """Raises grey levels to a random power and stretches them about their mean."""
    k = jax.random.split(key)
    # The power's gradient at 0 is never needed, but its value there must be 0.
    image = jnp.clip(image, 0.0, 1.0) ** (1.0 + _symmetric(k[0], config.gamma))
    mean = image.mean()
    return jnp.clip(mean + (image - mean) * (1.0 + _symmetric(k[1], config.contrast)), 0.0, 1.0)
