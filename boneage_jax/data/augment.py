"""Random changes of training images, on the device, inside the compiled step.

Each example's changes depend on its own key alone. Geometry is applied in one resampling.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Key

from boneage_jax.schema import AugmentConfig


@dataclasses.dataclass(frozen=True)
class Move:
    """A similarity of an image about its middle, as `augment` draws them.

    Attributes:
      rotation: in degrees, clockwise as seen.
      zoom: factor; above 1 the hand becomes larger.
      shift: down and right, as fractions of height and width.
      mirror: whether left and right change sides.
    """

    rotation: float | Array = 0.0
    zoom: float | Array = 1.0
    shift: tuple[float | Array, float | Array] = (0.0, 0.0)
    mirror: bool | Array = False


TEST_TIME = (
    Move(),
    Move(rotation=3.0),
    Move(rotation=-3.0),
    Move(zoom=1.03),
    Move(zoom=0.97),
)
"""Moves whose predictions are averaged; chosen by eye, no larger than the augmentation of the configs for ages."""

Layers = dict[str, Array]
"""Image and truth of one image, by name: see `examples.Example`."""


def example_keys(seed: int, step: Array, slots_b: Array) -> Key[Array, " b"]:
    """Returns one key an example, a function of (seed, step, place in the global batch) and nothing else."""
    step_key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda slot: jax.random.fold_in(step_key, slot))(slots_b)


def augment(example: Layers, keys_b: Key[Array, " b"], config: AugmentConfig) -> Layers:
    """Inverts, shifts, zooms, turns, mirrors and re-exposes each image; masks and points move along.

    Args:
      example: `image` with grey levels in [0, 1], (b, h, w) or (b, h, w, p),
        all p changed alike; and where they are there `hand` in [0, 1], of the same
        shape, and `key_points` as x, y in pixels, (b, n, 2).
      keys_b: one key an image.
      config: how far; all zeros leave everything as it is.

    Returns:
      The same layers; what comes in from outside is black and not hand. Points may leave the image.
    """
    moves = config.shift or config.zoom or config.rotation or config.flip

    def one(layers: Layers, key: Array) -> Layers:
        key_move, key_light, key_blur, key_noise, key_invert, key_sharpen = _keys(key)
        if config.invert:
            # Before it moves: what comes in from outside is black either way.
            layers = {**layers, "image": _inverted(layers["image"], key_invert, config.invert)}
        if moves:
            layers = _move(layers, key_move, config)
        if config.gamma or config.contrast:
            layers = {**layers, "image": _relight(layers["image"], key_light, config)}
        if config.blur:
            layers = {**layers, "image": _blurred(layers["image"], key_blur, config.blur)}
        if config.sharpen:
            layers = {**layers, "image": _sharpened(layers["image"], key_sharpen, config.sharpen)}
        if config.noise:
            layers = {**layers, "image": _noisy(layers["image"], key_noise, config.noise)}
        return layers

    return jax.vmap(one)(example, keys_b)


def _keys(key: Array) -> tuple[Array, ...]:
    """One key for each kind of change; the first two are the same as in versions without the others."""
    move, light = jax.random.split(key)
    return move, light, *(jax.random.fold_in(key, n) for n in (2, 3, 4, 5))


def _inverted(image: Array, key: Array, probability: float) -> Array:
    """Turns black and white round, or leaves them."""
    return jnp.where(jax.random.bernoulli(key, probability), 1.0 - image, image)


def _symmetric(key: Array, limit: float, shape: tuple[int, ...] = ()) -> Array:
    return limit * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _move(layers: Layers, key: Array, config: AugmentConfig) -> Layers:
    """Draws a move and makes it."""
    k = jax.random.split(key, 4)
    down, right = _symmetric(k[2], config.shift, (2,))
    drawn = Move(
        _symmetric(k[0], config.rotation),
        1.0 + _symmetric(k[1], config.zoom),
        (down, right),
        jax.random.bernoulli(k[3], config.flip),
    )
    return moved(layers, drawn)


def moved(layers: Layers, move: Move) -> Layers:
    """Returns one example's layers after a move, in one resampling; see `augment`."""
    h, w = layers["image"].shape[:2]
    angle, zoom = jnp.deg2rad(move.rotation), move.zoom
    shift = (move.shift[0] * h, move.shift[1] * w)
    mirror = jnp.where(move.mirror, -1.0, 1.0)

    y = jnp.arange(h)[:, None] - (h - 1) / 2 - shift[0]
    x = jnp.arange(w)[None, :] - (w - 1) / 2 - shift[1]
    c, s = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    rows = c * y - s * x + (h - 1) / 2
    columns = mirror * (s * y + c * x) + (w - 1) / 2
    result = {}
    for name, values in layers.items():
        if name == "key_points":
            right, down = mirror * (values[:, 0] - (w - 1) / 2), values[:, 1] - (h - 1) / 2
            new_x = (c * right - s * down) * zoom**2 + (w - 1) / 2 + shift[1]
            new_y = (c * down + s * right) * zoom**2 + (h - 1) / 2 + shift[0]
            result[name] = jnp.stack([new_x, new_y], axis=-1)
        else:
            planes = values.reshape(h, w, -1)
            result[name] = jax.vmap(
                lambda plane: map_coordinates(plane, [rows, columns], order=1, mode="constant", cval=0.0), -1, -1
            )(planes).reshape(values.shape)
    return result


def _relight(image: Array, key: Array, config: AugmentConfig) -> Array:
    """Raises grey levels to a random power and stretches them about their mean."""
    k = jax.random.split(key)
    # The power's gradient at 0 is never needed, but its value there must be 0.
    image = jnp.clip(image, 0.0, 1.0) ** (1.0 + _symmetric(k[0], config.gamma))
    mean = image.mean()
    return jnp.clip(mean + (image - mean) * (1.0 + _symmetric(k[1], config.contrast)), 0.0, 1.0)


def _blurred(image: Array, key: Array, limit: float) -> Array:
    """Blurs an image, or leaves it sharp; what is black, as beyond a hand's mask, stays so."""
    sigma = jnp.maximum(_symmetric(key, limit), 1e-3)
    return jnp.where(image > 0, _smoothed(image, sigma, math.ceil(2.5 * limit)), 0.0)


def _sharpened(image: Array, key: Array, limit: float) -> Array:
    """Adds a part of what a blur of one pixel takes away, or nothing; what is black stays so."""
    strength = jnp.maximum(_symmetric(key, limit), 0.0)
    sharp = image + strength * (image - _smoothed(image, 1.0, 3))
    return jnp.where(image > 0, jnp.clip(sharp, 0.0, 1.0), 0.0)


def _smoothed(image: Array, sigma: float | Array, reach: int) -> Array:
    """A Gaussian blur of `sigma` pixels, cut off at `reach` pixels; edges are repeated."""
    weights = jnp.exp(-0.5 * (jnp.arange(-reach, reach + 1) / sigma) ** 2)
    weights = weights / weights.sum()
    soft = image
    for axis in (0, 1):
        size = image.shape[axis]
        padded = jnp.pad(soft, [(reach, reach) if n == axis else (0, 0) for n in range(image.ndim)], mode="edge")
        soft = sum(weight * jax.lax.slice_in_dim(padded, n, n + size, axis=axis) for n, weight in enumerate(weights))
    return soft


def _noisy(image: Array, key: Array, limit: float) -> Array:
    """Adds noise to an image; what is black stays so."""
    of_strength, of_pixels = jax.random.split(key)
    strength = limit * jax.random.uniform(of_strength)
    noisy = image + strength * jax.random.normal(of_pixels, image.shape)
    return jnp.where(image > 0, jnp.clip(noisy, 0.0, 1.0), 0.0)
