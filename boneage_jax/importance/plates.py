"""Pictures of importance: hands whose bones are coloured by it, by stage and by age; heat over radiographs."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from boneage_jax import anatomy
from boneage_jax.data import images
from boneage_jax.data.images import Grey
from boneage_jax.importance.atlas import AREAS, GROUP_OF, GROUPS
from boneage_jax.phantom import export
from boneage_jax.phantom.export import Subject

SIZE = (416, 320)
"""Height and width of a plate's hand."""

_MAP = matplotlib.colormaps["inferno"]
_HEAT = matplotlib.colormaps["coolwarm"]

Colour = UInt8[np.ndarray, "h w 3"]
"""Red, green, blue."""


@functools.lru_cache(maxsize=128)
def _hand(age: float, sex: str) -> tuple[Grey, np.ndarray]:
    """A registered phantom and the area of each of its bones' pixels; the same child at all ages."""
    phantom = export.draw(Subject(sex=sex, seed=3, height=SIZE[0], width=SIZE[1], view="registered"), age)
    names = [name.removeprefix("epiphysis of ") for name in anatomy.INSTANCES]
    lookup = np.array([0, *(AREAS.index(name) for name in names)])
    return export.grey(phantom), lookup[np.asarray(phantom.instances)]


def hand(age: float, sex: str, of_bones: Float[np.ndarray, " areas"], *, top: float, caption: str) -> Colour:
    """Returns a hand of an age whose bones are as bright as they are important, over a caption.

    Args:
      age: in months.
      sex: M or F.
      of_bones: importance of each of `AREAS`, at least 0.
      top: importance that is brightest.
      caption: text.
    """
    picture, areas = _hand(float(age), sex)
    level = np.clip(np.asarray(of_bones) / max(top, 1e-12), 0, 1)[areas]
    # Bones keep their relief: the colour is laid over the picture.
    relief = 0.45 + 0.55 * picture[..., None] / 255.0
    colour = _MAP(0.12 + 0.88 * level)[..., :3] * relief
    grey = np.repeat(picture[..., None] / 255.0 * 0.5, 3, axis=-1)
    drawn = np.where((areas > 0)[..., None], colour, grey)
    return captioned((255 * drawn).astype(np.uint8), caption)


def captioned(picture: Colour, caption: str) -> Colour:
    """Returns a picture over a dark strip with a line of text."""
    strip = np.full((20, picture.shape[1], 3), 20, np.uint8)
    cv2.putText(strip, caption, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([picture, strip])


def of_groups(groups: Float[np.ndarray, " groups"]) -> Float[np.ndarray, " areas"]:
    """Returns groups' importance shared out evenly among their bones."""
    members = np.array(GROUP_OF)
    counts = np.bincount(members, minlength=len(GROUPS))
    return np.asarray(groups)[members] / counts[members]


def bar(top: float, width: int) -> Colour:
    """Returns the scale of `hand`'s colours, from 0 to `top` percent."""
    line = np.tile(np.linspace(0, 1, width)[None], (14, 1))
    drawn = (255 * _MAP(0.12 + 0.88 * line)[..., :3]).astype(np.uint8)
    return captioned(drawn, f"0%{' ' * 10}share of a bone in all importance, up to {100 * top:.1f}%")


def heat(picture: Grey, values: Float[np.ndarray, "h w"]) -> Colour:
    """Returns attribution over a picture: red for what makes the age older, blue for younger."""
    smooth = cv2.GaussianBlur(np.asarray(values, np.float32), (0, 0), max(1.0, picture.shape[0] / 80))
    top = max(float(np.percentile(np.abs(smooth), 99.5)), 1e-12)
    scaled = np.clip(smooth / top, -1, 1)
    strength = np.abs(scaled)[..., None] ** 0.5
    colour = _HEAT(0.5 + 0.5 * scaled)[..., :3]
    grey = np.repeat(picture[..., None] / 255.0, 3, axis=-1)
    return (255 * (grey * (1 - 0.7 * strength) + colour * 0.7 * strength)).astype(np.uint8)


def areas_over(picture: Grey, areas: UInt8[np.ndarray, "h w"], of_areas: Float[np.ndarray, " areas"]) -> Colour:
    """Returns a radiograph with each area tinted by its importance."""
    level = np.clip(np.asarray(of_areas) / max(float(np.max(of_areas)), 1e-12), 0, 1)[areas]
    grey = np.repeat(picture[..., None] / 255.0, 3, axis=-1)
    tint = 0.55 * ((areas > 0) * level)[..., None]
    return (255 * (grey * (1 - tint) + _MAP(0.25 + 0.75 * level)[..., :3] * tint)).astype(np.uint8)


def row(pictures: Sequence[Colour], height: int) -> Colour:
    """Returns pictures side by side at one height."""
    scaled = [
        cv2.resize(one, (max(1, round(one.shape[1] * height / one.shape[0])), height), interpolation=cv2.INTER_AREA)
        for one in pictures
    ]
    return np.hstack(scaled)


def stacked(rows: Sequence[Colour]) -> Colour:
    """Returns rows below each other, filled up to the widest."""
    width = max(one.shape[1] for one in rows)
    return np.vstack([np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0))) for one in rows])


def as_jpeg(picture: Colour) -> bytes:
    """Returns a picture as JPEG bytes. Raises `ImageError` where OpenCV cannot."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise images.ImageError("OpenCV could not encode a plate")
    return data.tobytes()


def as_gif(frames: Sequence[Colour], *, frames_per_second: int = 4) -> bytes:
    """Returns an animation as GIF bytes."""
    pictures = [Image.fromarray(frame).quantize(96) for frame in frames]
    buffer = io.BytesIO()
    duration = 1000 // frames_per_second
    pictures[0].save(buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0)
    return buffer.getvalue()
