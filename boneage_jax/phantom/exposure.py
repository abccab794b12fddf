"""From thickness of tissue to grey levels: the X-ray's way, the detector, the processing, what else is in the picture.

Nothing here knows an age: bones and ages that differ change a picture only where the bone is.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from boneage_jax.phantom import texture
from boneage_jax.phantom.random_draws import RandomDraws


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How a picture was taken and processed. Ranges are drawn from evenly; chances are probabilities.

    Attributes:
      bone: range of the attenuation of bone against soft tissue; around 1.
      hardness: range of the exposure: small gives nearly linear grey levels, large a film that saturates.
      contrast: range of the standard deviation of the tissue's grey levels; with `masked`, of the grey level of bone.
      brightness: range of the mean of the tissue's grey levels.
      scatter: range of the part of the light that comes from around.
      flattening: range of how much of the coarse structure the lab's processing takes out.
      sharpening: range of the unsharp mask.
      gradient: largest change of brightness over the picture.
      grain: range of the noise's standard deviation, for pictures of a contrast of 0.2 or more.
      blur: range of the detector's blur, in pixels.
      collimated: chance of a field with borders; beyond them the picture is unexposed.
      marker: chance of a side marker, with initials or without.
      label: chance of a line of text.
      plate: chance of the cassette's edge, or of what lies under it.
      faded: chance of a picture whose grey levels were squeezed together before it was stored.
      inverted: chance of bone dark on bright.
      masked: whether all beyond the hand is set to 0 and its contrast is stretched, as after segmentation.
    """

    bone: tuple[float, float] = (0.9, 1.8)
    hardness: tuple[float, float] = (0.5, 1.3)
    contrast: tuple[float, float] = (0.18, 0.32)
    brightness: tuple[float, float] = (0.30, 0.48)
    scatter: tuple[float, float] = (0.0, 0.25)
    flattening: tuple[float, float] = (0.0, 0.0)
    sharpening: tuple[float, float] = (0.0, 0.8)
    gradient: float = 0.06
    grain: tuple[float, float] = (0.005, 0.025)
    blur: tuple[float, float] = (0.0, 0.6)
    collimated: float = 0.0
    marker: float = 0.0
    label: float = 0.0
    plate: float = 0.0
    faded: float = 0.0
    inverted: float = 0.0
    masked: bool = False


CLEAN = Exposure()
"""A plain picture: one exposure, grain, nothing beside the hand."""

DISTURBED = Exposure(
    bone=(0.7, 2.6),
    hardness=(0.3, 1.8),
    contrast=(0.02, 0.38),
    brightness=(0.22, 0.70),
    scatter=(0.0, 0.45),
    flattening=(0.0, 1.0),
    sharpening=(0.0, 2.0),
    gradient=0.25,
    grain=(0.0, 0.04),
    blur=(0.0, 1.2),
    collimated=0.55,
    marker=0.75,
    label=0.25,
    plate=0.25,
    faded=0.25,
    inverted=0.08,
)
"""All disturbances at once, wider than they occur."""

MASKED = Exposure(
    bone=(1.1, 2.6),
    hardness=(0.3, 1.0),
    brightness=(0.30, 0.62),
    contrast=(0.68, 0.90),
    flattening=(0.0, 0.5),
    sharpening=(0.0, 1.6),
    grain=(0.0, 0.02),
    masked=True,
)
"""As pictures come out of segmentation: nothing but the hand."""


_MIDDLING_BONE = 45 / 105
"""Way through a metacarpal's shaft, over the length that takes away 1 - 1/e of the light."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["bone", "soft_tissue", "inside", "corners", "right"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Scene:
    """What the rays meet; thicknesses in canvas pixels.

    Attributes:
      bone: way through bone.
      soft_tissue: way through soft tissue.
      inside: whether a pixel shows the hand.
      corners: bounding box of the hand in pixels: x0, y0, x1, y1.
      right: whether it is a right hand.
    """

    bone: Float[Array, "h w"]
    soft_tissue: Float[Array, "h w"]
    inside: Bool[Array, "h w"]
    corners: Float[Array, " 4"]
    right: Bool[Array, ""]


@functools.partial(jax.jit, static_argnames="exposure")
def expose(key: Key[Array, ""], scene: Scene, exposure: Exposure) -> tuple[Float[Array, "h w"], Bool[Array, "h w"]]:
    """Takes the picture.

    Args:
      key: source of everything that is drawn.
      scene: what is before the tube.
      exposure: how it is taken.

    Returns:
      Grey levels in [0, 1], and the hand as far as it lies within the exposed field.
    """
    of_scene, of_noise = jax.random.split(key)
    draws = RandomDraws(of_scene, 128)
    flattening, inverted = draws.uniform(*exposure.flattening), draws.chance(exposure.inverted)
    floor = draws.uniform(0.02, 0.10)
    # Each has numbers of its own, used or not, so that what is left out does not change the rest.
    of_plate, of_field, of_marker, of_label, of_levels = (draws.part(count) for count in (8, 16, 24, 24, 4))
    height, width = scene.bone.shape
    hardness = draws.uniform(*exposure.hardness)
    soft_tissue_only = 1 - jnp.exp(-hardness * scene.soft_tissue / 330.0)
    bone_factor = draws.uniform(*exposure.bone)
    level = 1 - jnp.exp(-hardness * (scene.soft_tissue / 330.0 + bone_factor * scene.bone / 105.0))
    # Scattered light follows the soft tissue at large: it fills the shadows around and under the bones.
    part = draws.uniform(*exposure.scatter)
    level = (1 - part) * level + part * _coarse(soft_tissue_only)

    # The machine exposes for the hand at large, and so does this: by its soft tissue, which bones do not change.
    mean = _mean(soft_tissue_only, scene.inside)
    spread = jnp.sqrt(_mean((soft_tissue_only - mean) ** 2, scene.inside)) + 0.06
    brightness, contrast = draws.uniform(*exposure.brightness), draws.uniform(*exposure.contrast)
    if exposure.masked:
        # Stretched to the whole range, as after segmentation: middling bone goes to a bright grey.
        bone = 1 - (1 - mean) * jnp.exp(-hardness * bone_factor * _MIDDLING_BONE)
        slope = (contrast - brightness) / ((1 - part) * (bone - mean) + 1e-3)
    else:
        slope = 0.6 * contrast / spread
    grey = brightness + slope * (level - mean)

    y = jnp.linspace(-1, 1, height)[:, None]
    x = jnp.linspace(-1, 1, width)[None, :]
    tilt = exposure.gradient * draws.uniform(-1.0, 1.0, (3,))
    grey = grey + tilt[0] * y + tilt[1] * x + 0.5 * tilt[2] * (x**2 + y**2)

    field = jnp.ones((height, width))
    if exposure.plate:
        grey = _cassette(of_plate, grey, x, y, exposure.plate)
    if exposure.collimated:
        grey, field = _collimate(of_field, grey, scene, exposure.collimated)
    if exposure.marker:
        grey = _mark(of_marker, grey, scene, exposure.marker)
    if exposure.label:
        grey = _label(of_label, grey, exposure.label)
    if exposure.flattening[1]:
        coarse = _coarse(grey)
        grey = grey - flattening * (coarse - jnp.mean(coarse))

    # Grain first, then detector and processing act on it as they do on the rest.
    # It is that of the film: a picture of little contrast has little of it.
    grain = draws.uniform(*exposure.grain) * jnp.clip(contrast / 0.2, 0.1, 1.0)
    noise = jax.random.normal(of_noise, grey.shape)
    grey = grey + grain * noise
    blurred = _binomial(grey)
    blur = draws.uniform(*exposure.blur)
    soft = grey + jnp.minimum(blur / 0.7, 1.0) * (blurred - grey)
    grey = soft + draws.uniform(*exposure.sharpening) * (grey - _binomial(blurred)) * (blur < 0.35)
    mask = scene.inside & (field > 0.5)
    if exposure.masked:
        grey = jnp.where(mask, jnp.maximum(grey, floor), 0.0)
    if exposure.faded:
        squeezed = of_levels.uniform(0.3, 0.7) + of_levels.uniform(0.1, 0.8) * (jnp.clip(grey, 0, 1) - 0.5)
        grey = jnp.where(of_levels.chance(exposure.faded), squeezed, grey)
    if exposure.inverted:
        grey = jnp.where(inverted, 1 - grey, grey)
    return jnp.clip(grey, 0.0, 1.0), mask


def _mean(values: Array, mask: Array) -> Array:
    """Mean of the values within a mask; 0 for an empty one."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def _binomial(picture: Array) -> Array:
    """A blur by (1, 2, 1) / 4 both ways: standard deviation 0.7 pixels."""
    padded = jnp.pad(picture, 1, mode="edge")
    rows = 0.25 * (padded[:-2] + padded[2:]) + 0.5 * padded[1:-1]
    return 0.25 * (rows[:, :-2] + rows[:, 2:]) + 0.5 * rows[:, 1:-1]


def _coarse(picture: Array, cells: int = 24) -> Array:
    """The picture without anything finer than about a twelfth of its height."""
    height, width = picture.shape
    step = max(height // cells, 1)
    rows, columns = height // step, width // step
    small = picture[: rows * step, : columns * step].reshape(rows, step, columns, step).mean((1, 3))
    small = _binomial(_binomial(small))
    return enlarged(small, step, (height, width))


def enlarged(small: Array, step: int, shape: tuple[int, int]) -> Array:
    """Linear interpolation of values at the middles of squares of `step` pixels; beyond the last middles, their values.

    As two products with narrow matrices, which every device does well.
    """

    def weights(size: int, cells: int) -> Array:
        position = jnp.clip((jnp.arange(size) + 0.5) / step - 0.5, 0, cells - 1)
        return jnp.maximum(1 - jnp.abs(position[:, None] - jnp.arange(cells)), 0.0)

    return weights(shape[0], small.shape[0]) @ small @ weights(shape[1], small.shape[1]).T


def _collimate(draws: RandomDraws, grey: Array, scene: Scene, chance: float) -> tuple[Array, Array]:
    """Borders of the exposed field: a turned rectangle about the hand, with or without a bright seam."""
    height, width = grey.shape
    x0, y0, x1, y1 = scene.corners
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
    has = draws.chance(chance)
    inside = jnp.where(has, inside, 1e6)
    edge = jax.nn.sigmoid(inside / draws.uniform(0.3, 0.008 * height + 0.31))
    outside = jnp.where(draws.chance(0.65), draws.uniform(0.0, 0.15), draws.uniform())
    seam = jnp.maximum(draws.uniform(-0.5, 0.5), 0.0)
    seam = seam * jnp.exp(-0.5 * (inside / (0.006 * height)) ** 2)
    return edge * grey + (1 - edge) * outside + seam, edge


def _cassette(draws: RandomDraws, grey: Array, x: Array, y: Array, chance: float) -> Array:
    """A straight edge at one side, beyond which the picture is brighter or darker, and a faint strip."""
    angle = draws.whole(0, 4) * jnp.pi / 2 + draws.normal(0.03)
    distance = draws.uniform(0.82, 0.98) - (jnp.cos(angle) * x + jnp.sin(angle) * y)
    step = draws.uniform(-0.6, 0.6)
    beyond = jax.nn.sigmoid(-distance * 150.0)
    changed = grey + beyond * step + 0.1 * jnp.exp(-0.5 * (distance * 120.0) ** 2)
    return jnp.where(draws.chance(chance), changed, grey)


def _write(
    grey: Array, letters: Array, places: Array, sizes: Array, angle: Array, value: Array, ink: Array, most: int
) -> Array:
    """Sets letters into the picture, one after the other.

    Args:
      grey: the picture.
      letters: numbers in `texture.LETTERS`.
      places: x, y of their middles in pixels.
      sizes: sides of their tiles in pixels.
      angle: that all are turned by, in radians.
      value: their grey level.
      ink: 1 for letters that are there, 0 for those that are not.
      most: largest reach of a tile in pixels.
    """
    height, width = grey.shape
    side = (min(most, height), min(most, width))
    tiles = jnp.asarray(texture.glyphs())
    c, s = jnp.cos(angle), jnp.sin(angle)

    def add(grey, row):
        letter, place, size, shown = row
        start = jnp.round(place[::-1] - most / 2).astype(jnp.int32)
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

    return lax.scan(add, grey, (letters, places, sizes, ink))[0]


def _mark(draws: RandomDraws, grey: Array, scene: Scene, chance: float) -> Array:
    """A side marker of lead, with initials beside it or without, where the hand is not."""
    height, width = grey.shape
    x0, y0, x1, y1 = scene.corners
    size = draws.uniform(0.035, 0.10) * height
    # Beside the thumb or the little finger, or at a corner; a few times out of ten someone has marked the wrong side.
    low = jnp.stack([jnp.minimum(size, x0), jnp.maximum(y0 - 0.05 * height, size)])
    high = jnp.stack([jnp.maximum(width - size, x1), jnp.minimum(y1, height - size)])
    spot = draws.uniform(shape=(2,))
    left = draws.chance(0.5)
    near = jnp.where(left, low[0] + spot[0] * 0.15 * width, high[0] - spot[0] * 0.15 * width)
    middle = jnp.stack([near, low[1] + spot[1] * (high[1] - low[1])])
    angle = jnp.where(draws.chance(0.7), 0.15, 1.6) * draws.normal()
    shown = draws.chance(chance)
    value = draws.uniform(0.75, 1.1)
    side = jnp.where(scene.right, 1, 0)
    letters = jnp.concatenate([side[None], draws.whole(2, len(texture.LETTERS), (3,))])
    initials = draws.chance(0.4)
    steps = jnp.stack([-jnp.sin(angle), jnp.cos(angle)])
    rows = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    small = 0.55 * size
    below = [middle + steps * size * 0.85 + rows * small * 0.75 * n for n in (-1, 0, 1)]
    places = jnp.clip(jnp.stack([middle, *below]), 0.6 * size, jnp.array([width, height]) - 0.6 * size)
    ink = shown * jnp.array([1.0, *([0.0] * 3)]) + (shown & initials) * jnp.array([0.0, 1.0, 1.0, 1.0])
    sizes = jnp.stack([size, small, small, small])
    return _write(grey, letters, places, sizes, angle, value, ink, int(0.16 * height) + 2)


def _label(draws: RandomDraws, grey: Array, chance: float) -> Array:
    """A line of burnt-in text along an edge."""
    height, width = grey.shape
    size = draws.uniform(0.018, 0.03) * height
    corner = draws.uniform(0.05, 0.35, (2,)) * jnp.array([width, 0.1 * height])
    at = jnp.where(draws.chance(0.5), corner + size, jnp.array([corner[0], height - corner[1] - size]))
    letters = draws.whole(2, len(texture.LETTERS), (9,))
    shown = draws.chance(chance)
    places = at + jnp.arange(9)[:, None] * jnp.stack([0.72 * size, jnp.zeros(())])
    sizes, ink = jnp.full(9, size), jnp.full(9, 1.0 * shown)
    return _write(grey, letters, places, sizes, jnp.zeros(()), jnp.ones(()), ink, int(0.05 * height) + 2)
