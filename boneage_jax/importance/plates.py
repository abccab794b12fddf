"""Drawing importance: hands whose bones are coloured by it, and radiographs with areas or pixels coloured by it.

Sizes and shades are chosen by eye.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from boneage_jax import anatomy
from boneage_jax.data.images import Grey
from boneage_jax.hand.atlas import AREAS, ELSEWHERE, GROUP_OF, GROUPS
from boneage_jax.phantoms import export
from boneage_jax.phantoms.export import Subject

SIZE = (416, 320)
"""Height and width of a drawn hand, in pixels."""

Colour = UInt8[np.ndarray, "h w 3"]
"""Red, green, blue."""

_SEQUENTIAL = matplotlib.colormaps["inferno"]
_DIVERGING = matplotlib.colormaps["coolwarm"]

_LETTERS = 22
_STRIP = 34
"""Heights of the letters of an animation and of the strip below it, in pixels."""


@functools.lru_cache(maxsize=128)
def _hand(age: float, sex: str) -> tuple[Grey, np.ndarray]:
    """Returns a registered phantom and the area of each pixel of its bones; the same child at all ages."""
    phantom = export.draw(Subject(sex=sex, seed=3, height=SIZE[0], width=SIZE[1], view="registered"), age)
    names = [name.removeprefix("epiphysis of ") for name in anatomy.INSTANCES]
    lookup = np.array([ELSEWHERE, *(AREAS.index(name) for name in names)])
    return export.grey(phantom), lookup[np.asarray(phantom.instances)]


def hand(age: float, sex: str, of_areas: Float[np.ndarray, " areas"], *, top: float) -> Colour:
    """Returns a phantom's hand whose bones are as bright as they are important.

    Args:
      age: bone age in months.
      sex: M or F.
      of_areas: importance of each of `atlas.AREAS`, at least 0.
      top: importance of the brightest colour.
    """
    grey, areas = _hand(float(age), sex)
    level = np.clip(np.asarray(of_areas) / max(top, 1e-12), 0, 1)[areas]
    # The colour keeps the relief of the bones.
    relief = 0.45 + 0.55 * grey[..., None] / 255.0
    colour = _bone_colours(level) * relief
    dim = np.repeat(grey[..., None] / 255.0 * 0.5, 3, axis=-1)
    drawn = np.where((areas != ELSEWHERE)[..., None], colour, dim)
    return (255 * drawn).astype(np.uint8)


def _bone_colours(level: Float[np.ndarray, "*n"]) -> np.ndarray:
    """Returns the colours of importance from 0 to 1; the darkest are left out, bones of no importance are seen."""
    return np.asarray(_SEQUENTIAL(0.12 + 0.88 * level)[..., :3])


def scale(width: int = 640, height: int = 20) -> Colour:
    """Returns the colours of `hand` from no importance, at the left, to the most."""
    return (255 * _bone_colours(np.tile(np.linspace(0, 1, width), (height, 1)))).astype(np.uint8)


def of_groups(groups: Float[np.ndarray, " groups"]) -> Float[np.ndarray, " areas"]:
    """Returns the importance of groups, divided evenly among the areas of each."""
    members = np.array(GROUP_OF)
    counts = np.bincount(members, minlength=len(GROUPS))
    return np.asarray(groups)[members] / counts[members]


def heat(image: Grey, values: Float[np.ndarray, "h w"]) -> Colour:
    """Returns an image with the values of its pixels: red makes the age older, blue younger, grey neither."""
    smooth = cv2.GaussianBlur(np.asarray(values, np.float32), (0, 0), max(1.0, image.shape[0] / 80))
    top = max(float(np.percentile(np.abs(smooth), 99.5)), 1e-12)
    scaled = np.clip(smooth / top, -1, 1)
    strength = np.abs(scaled)[..., None] ** 0.5
    colour = _DIVERGING(0.5 + 0.5 * scaled)[..., :3]
    grey = np.repeat(image[..., None] / 255.0, 3, axis=-1)
    return (255 * (grey * (1 - 0.7 * strength) + colour * 0.7 * strength)).astype(np.uint8)


def areas_over(image: Grey, areas: UInt8[np.ndarray, "h w"], of_areas: Float[np.ndarray, " areas"]) -> Colour:
    """Returns a radiograph with each bone's area tinted by its importance, the most important the brightest."""
    level = np.clip(np.asarray(of_areas) / max(float(np.max(of_areas)), 1e-12), 0, 1)[areas]
    grey = np.repeat(image[..., None] / 255.0, 3, axis=-1)
    tint = 0.55 * np.where(areas != ELSEWHERE, level, 0.0)[..., None]
    return (255 * (grey * (1 - tint) + _SEQUENTIAL(0.25 + 0.75 * level)[..., :3] * tint)).astype(np.uint8)


def resized(image: UInt8[np.ndarray, "h w *c"], height: int) -> UInt8[np.ndarray, "h2 w2 *c"]:
    """Returns an image at a height in pixels, its proportions kept."""
    factor = height / image.shape[0]
    size = (max(1, round(image.shape[1] * factor)), height)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def frame(hands: Sequence[Colour], text: str) -> UInt8[np.ndarray, "rows columns 3"]:
    """Returns a frame of an animation: hands side by side, over a strip with a line of text.

    The text differs from frame to frame, which is why it is in the picture and not beside it.
    """
    beside = np.hstack(list(hands))
    strip = Image.new("RGB", (beside.shape[1], _STRIP))
    letters = ImageFont.load_default(_LETTERS)
    ImageDraw.Draw(strip).text((strip.width / 2, _STRIP / 2), text, (235, 235, 235), letters, anchor="mm")
    return np.vstack([beside, np.asarray(strip, np.uint8)])


def as_gif(frames: Sequence[Colour], *, frames_per_second: int = 4) -> bytes:
    """Returns an animation as the bytes of a GIF that starts again at its end."""
    pictures = [Image.fromarray(frame).quantize(96) for frame in frames]
    buffer = io.BytesIO()
    duration = 1000 // frames_per_second
    pictures[0].save(buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0)
    return buffer.getvalue()
