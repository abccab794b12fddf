"""What else is in a radiograph: borders of the exposed field, the cassette's edge, side markers and burnt-in text.

Sizes, places and grey levels were chosen by eye, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from boneage_jax.phantoms import texture
from boneage_jax.phantoms.random_draws import RandomDraws

LABEL_LENGTH = 9
"""Characters of a line of burnt-in text."""

Image = Float[Array, "h w"]


def collimate(draws: RandomDraws, grey: Image, box: Float[Array, " 4"], probability: float) -> tuple[Image, Image]:
    """Borders the exposed field: a turned rectangle about the hand, with or without a bright seam.

    Args:
      draws: source of everything that is drawn.
      grey: grey levels.
      box: of the hand in pixels: x0, y0, x1, y1.
      probability: of such borders.

    Returns:
      The image, and the part of each pixel that is exposed.
    """
    height, width = grey.shape
    x0, y0, x1, y1 = box
    margins = draws.uniform(-0.01, 0.16, (4,)) * height
    # The forearm may leave the field, fingers seldom do.
    below = draws.uniform(-0.12, 0.12) * height
    middle = jnp.stack([(x0 + x1) / 2, (y0 + y1) / 2])
    angle = draws.normal(math.radians(8.0))
    c, s = jnp.cos(angle), jnp.sin(angle)
    x = jnp.arange(width, dtype=jnp.float32)[None, :] - middle[0]
    y = jnp.arange(height, dtype=jnp.float32)[:, None] - middle[1]
    across, along = c * x + s * y, c * y - s * x
    half = jnp.stack([(x1 - x0) / 2, (y1 - y0) / 2])
    inside = jnp.minimum(
        jnp.minimum(half[0] + margins[0] - across, across + half[0] + margins[1]),
        jnp.minimum(half[1] + below - along, along + half[1] + jnp.abs(margins[2])),
    )
    collimated = draws.bernoulli(probability)
    inside = jnp.where(collimated, inside, 1e6)
    edge = jax.nn.sigmoid(inside / draws.uniform(0.3, 0.008 * height + 0.31))
    outside = jnp.where(draws.bernoulli(0.65), draws.uniform(0.0, 0.15), draws.uniform())
    seam = jnp.maximum(draws.uniform(-0.5, 0.5), 0.0)
    seam = seam * jnp.exp(-0.5 * (inside / (0.006 * height)) ** 2)
    return edge * grey + (1 - edge) * outside + seam, edge


def add_cassette(draws: RandomDraws, grey: Image, probability: float) -> Image:
    """Draws a straight edge at one side, beyond which the image is brighter or darker, and a faint strip along it.

    Args:
      draws: source of everything that is drawn.
      grey: grey levels.
      probability: of such an edge.
    """
    y, x = unit_coordinates(grey.shape)
    angle = draws.integers(0, 4) * jnp.pi / 2 + draws.normal(0.03)
    distance = draws.uniform(0.82, 0.98) - (jnp.cos(angle) * x + jnp.sin(angle) * y)
    step = draws.uniform(-0.6, 0.6)
    beyond = jax.nn.sigmoid(-distance * 150.0)
    changed = grey + beyond * step + 0.1 * jnp.exp(-0.5 * (distance * 120.0) ** 2)
    return jnp.where(draws.bernoulli(probability), changed, grey)


def unit_coordinates(shape: tuple[int, ...]) -> tuple[Float[Array, "h 1"], Float[Array, "1 w"]]:
    """Returns y and x of an image's rows and columns, each from -1 to 1."""
    return jnp.linspace(-1, 1, shape[0])[:, None], jnp.linspace(-1, 1, shape[1])[None, :]


def add_marker(
    draws: RandomDraws, grey: Image, box: Float[Array, " 4"], right: Bool[Array, ""], probability: float
) -> Image:
    """Draws a side marker of lead, with initials below it or without, beside the hand.

    Args:
      draws: source of everything that is drawn.
      grey: grey levels.
      box: of the hand in pixels: x0, y0, x1, y1.
      right: whether it is a right hand; the marker is always correct.
      probability: of a marker.
    """
    height, width = grey.shape
    x0, y0, x1, y1 = box
    size = draws.uniform(0.035, 0.10) * height
    # Beside the thumb or the little finger, or at a corner.
    low = jnp.stack([jnp.minimum(size, x0), jnp.maximum(y0 - 0.05 * height, size)])
    high = jnp.stack([jnp.maximum(width - size, x1), jnp.minimum(y1, height - size)])
    spot = draws.uniform(shape=(2,))
    left = draws.bernoulli(0.5)
    near = jnp.where(left, low[0] + spot[0] * 0.15 * width, high[0] - spot[0] * 0.15 * width)
    middle = jnp.stack([near, low[1] + spot[1] * (high[1] - low[1])])
    angle = jnp.where(draws.bernoulli(0.7), 0.15, 1.6) * draws.normal()
    shown = draws.bernoulli(probability)
    value = draws.uniform(0.75, 1.1)
    side = jnp.where(right, 1, 0)
    letters = jnp.concatenate([side[None], draws.integers(2, len(texture.LETTERS), (3,))])
    initials = draws.bernoulli(0.4)
    steps = jnp.stack([-jnp.sin(angle), jnp.cos(angle)])
    rows = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    small = 0.55 * size
    below = [middle + steps * size * 0.85 + rows * small * 0.75 * n for n in (-1, 0, 1)]
    places = jnp.clip(jnp.stack([middle, *below]), 0.6 * size, jnp.array([width, height]) - 0.6 * size)
    ink = shown * jnp.array([1.0, *([0.0] * 3)]) + (shown & initials) * jnp.array([0.0, 1.0, 1.0, 1.0])
    text = _Letters(letters, places, jnp.stack([size, small, small, small]), ink)
    return _write(grey, text, angle=angle, value=value, largest=int(0.16 * height) + 2)


def add_label(draws: RandomDraws, grey: Image, probability: float) -> Image:
    """Draws a line of burnt-in text along an edge.

    Args:
      draws: source of everything that is drawn.
      grey: grey levels.
      probability: of such a line.
    """
    height, width = grey.shape
    size = draws.uniform(0.018, 0.03) * height
    corner = draws.uniform(0.05, 0.35, (2,)) * jnp.array([width, 0.1 * height])
    at = jnp.where(draws.bernoulli(0.5), corner + size, jnp.array([corner[0], height - corner[1] - size]))
    letters = draws.integers(2, len(texture.LETTERS), (LABEL_LENGTH,))
    shown = draws.bernoulli(probability)
    places = at + jnp.arange(LABEL_LENGTH)[:, None] * jnp.stack([0.72 * size, jnp.zeros(())])
    text = _Letters(letters, places, jnp.full(LABEL_LENGTH, size), jnp.full(LABEL_LENGTH, 1.0 * shown))
    return _write(grey, text, angle=jnp.zeros(()), value=jnp.ones(()), largest=int(0.05 * height) + 2)


class _Letters(NamedTuple):
    """Letters to set into an image.

    Attributes:
      letters: numbers in `texture.LETTERS`.
      places: x, y of their middles in pixels.
      sizes: sides of their tiles in pixels.
      ink: 1 for letters that are there, 0 for those that are not.
    """

    letters: Int[Array, " n"]
    places: Float[Array, "n 2"]
    sizes: Float[Array, " n"]
    ink: Float[Array, " n"]


def _write(grey: Image, text: _Letters, *, angle: Array, value: Array, largest: int) -> Image:
    """Sets letters into the image, one after the other.

    Args:
      grey: the image.
      text: the letters.
      angle: that all are turned by, in radians.
      value: their grey level.
      largest: reach of the largest tile in pixels.
    """
    height, width = grey.shape
    side = (min(largest, height), min(largest, width))
    tiles = jnp.asarray(texture.glyphs())
    c, s = jnp.cos(angle), jnp.sin(angle)

    def add(grey: Array, row: _Letters) -> tuple[Array, None]:
        letter, place, size, shown = row
        start = jnp.round(place[::-1] - largest / 2).astype(jnp.int32)
        start = jnp.clip(start, 0, jnp.array([height - side[0], width - side[1]]))
        y = jnp.arange(side[0])[:, None] + start[0] - place[1]
        x = jnp.arange(side[1])[None, :] + start[1] - place[0]
        scale = texture.GLYPH / jnp.maximum(size, 1.0)
        column = jnp.floor((c * x + s * y) * scale + texture.GLYPH / 2).astype(jnp.int32)
        line = jnp.floor((c * y - s * x) * scale + texture.GLYPH / 2).astype(jnp.int32)
        within = (line >= 0) & (line < texture.GLYPH) & (column >= 0) & (column < texture.GLYPH)
        drawn = tiles[letter, jnp.clip(line, 0, texture.GLYPH - 1), jnp.clip(column, 0, texture.GLYPH - 1)]
        old = lax.dynamic_slice(grey, start, side)
        new = old + jnp.where(within, shown * drawn, 0.0) * (value - old)
        return lax.dynamic_update_slice(grey, new, start), None

    return lax.scan(add, grey, text)[0]
