"""Pictures of what the hand pipeline found: outline and key points over radiographs."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from boneage_jax import anatomy, page
from boneage_jax.data.images import Grey

Colour = UInt8[np.ndarray, "_h _w 3"]
"""Red, green, blue."""

OUTLINE = page.Mark("outline of the hand", page.PALETTE["yellow"], "line")

_STYLES: tuple[tuple[str, page.Shape], ...] = (
    ("orange", "circle"),
    ("sky blue", "square"),
    ("reddish purple", "triangle"),
)

POINTS = tuple(
    page.Mark(name, page.PALETTE[colour], shape)
    for name, (colour, shape) in zip(anatomy.KEY_POINTS, _STYLES, strict=True)
)
"""How each of `anatomy.KEY_POINTS` is drawn: by a colour and a shape of its own."""

_RIM = (13, 18, 22)
"""Colour of the dark rim about a mark: red, green, blue; chosen by eye."""


def legend() -> page.Markup:
    """Returns the legend of what `overlay` draws."""
    return page.legend((OUTLINE, *POINTS))


def overlay(
    picture: Grey,
    mask: Bool[np.ndarray, "h w"] | None,
    key_points: Float[np.ndarray, "3 2"] | None,
    *,
    side: int = 320,
) -> Colour:
    """Returns the picture, at most `side` pixels high and wide, with the mask's outline and the key points on it."""
    small = reduced(picture, side)
    scale = min(1.0, side / max(picture.shape))
    drawn = np.repeat(small[..., None], 3, axis=-1)
    if mask is not None:
        shrunk = cv2.resize(mask.astype(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(shrunk, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, _rgb(OUTLINE.colour), 1)
    if key_points is not None and np.isfinite(key_points).all():
        for (x, y), mark in zip(key_points, POINTS, strict=True):
            place = (round((x + 0.5) * scale - 0.5), round((y + 0.5) * scale - 0.5))
            _draw(drawn, mark, place, max(4, side // 64))
    return drawn


def reduced(picture: Grey, side: int) -> Grey:
    """Returns a picture at most `side` pixels high and wide."""
    scale = min(1.0, side / max(picture.shape))
    if scale == 1.0:
        return picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _draw(drawn: Colour, mark: page.Mark, place: tuple[int, int], radius: int) -> None:
    """Draws a mark, a dark rim about it, so that it is seen on bone as well."""
    for grown, colour in ((radius + 1, _RIM), (radius, _rgb(mark.colour))):
        if mark.shape == "circle":
            cv2.circle(drawn, place, grown, colour, -1, cv2.LINE_AA)
            continue
        # Shapes of about the same area.
        corners = {
            "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            "triangle": [(0.0, -1.25), (1.25, 1.0), (-1.25, 1.0)],
        }[mark.shape]
        points = np.rint(np.array(place) + grown * np.array(corners)).astype(np.int32)
        cv2.fillPoly(drawn, [points], colour, cv2.LINE_AA)
