"""Pictures of what the hand pipeline found: outline and key points over radiographs."""

from __future__ import annotations

import dataclasses

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


_MARGIN = 0.06
"""Of what stays about a hand, as a fraction of the larger side of its box: skin that the mask has missed, and no text
at the picture's edge; chosen by eye."""

_COARSE = 48
"""Longest side, in pixels, of a picture without a hand whose text must not be read; chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Covered:
    """A picture without anything that may identify its patient.

    Attributes:
      image: grey levels.
      top: row of the radiograph that its first row is.
      left: column of the radiograph that its first column is.
    """

    image: Grey
    top: int = 0
    left: int = 0


def covered(picture: Grey, mask: Bool[np.ndarray, "h w"] | None) -> Covered:
    """Returns the part of a picture about the hand, and nothing that may identify its patient: names are burnt in.

    All but the hand and a margin about it becomes black; what is left is cut out. Where no hand was found, the whole
    picture is so coarse that no text can be read.

    Args:
      picture: the radiograph.
      mask: of the hand; None or empty where none was found.
    """
    if mask is None or not mask.any():
        size = (picture.shape[1], picture.shape[0])
        return Covered(np.asarray(cv2.resize(reduced(picture, _COARSE), size, interpolation=cv2.INTER_LINEAR)))
    # At a small size: the margin is wide, and a large kernel slow.
    small = (reduced(mask.astype(np.uint8) * 255, 256) > 0).astype(np.float32)
    rows, columns = np.nonzero(small)
    margin = max(1, round(_MARGIN * max(np.ptp(rows) + 1, np.ptp(columns) + 1)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    size = (picture.shape[1], picture.shape[0])
    kept = cv2.resize(cv2.dilate(small, kernel), size, interpolation=cv2.INTER_LINEAR) > 0.5
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Covered(np.where(kept, picture, 0).astype(np.uint8)[box], int(rows[0]), int(columns[0]))


@dataclasses.dataclass(frozen=True)
class AboutHand:
    """What of a radiograph is shown to people.

    Attributes:
      image: grey levels; where a hand was found, its own take the whole range.
      inside: the hand in it; None where none was found.
      key_points: in its pixels; None where there are none.
    """

    image: Grey
    inside: Bool[np.ndarray, "h w"] | None
    key_points: Float[np.ndarray, "3 2"] | None


def about_hand(
    picture: Grey,
    mask: Bool[np.ndarray, "h w"] | None,
    key_points: Float[np.ndarray, "3 2"] | None,
    *,
    whole: bool = False,
) -> AboutHand:
    """Returns the part of a radiograph that is shown to people, with what was found in it.

    Args:
      picture: the radiograph.
      mask: of the hand; None or empty where none was found.
      key_points: in the radiograph's pixels; None, or not finite, where there are none.
      whole: whether all of it is shown, with text that may be burnt in; else what `covered` leaves.
    """
    part = Covered(picture) if whole else covered(picture, mask)
    places = None
    if key_points is not None and np.isfinite(key_points).all():
        places = key_points - (part.left, part.top)
    if mask is None or not mask.any():
        return AboutHand(part.image, None, places)
    height, width = part.image.shape
    inside = mask[part.top : part.top + height, part.left : part.left + width]
    return AboutHand(stretched(part.image, inside), inside, places)


def stretched(picture: Grey, inside: Bool[np.ndarray, "h w"]) -> Grey:
    """Returns a picture whose grey levels within a mask, but for 1% at either end, take the whole range."""
    low, high = np.percentile(picture[inside], (1, 99))
    return np.clip((picture.astype(np.float32) - low) * (255 / max(high - low, 1.0)), 0, 255).astype(np.uint8)


def outline_svg(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> page.Markup:
    """Returns a mask's outline as SVG for its picture at a height and width in pixels."""
    shrunk = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(shrunk, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    paths = []
    for outline in outlines:
        points = cv2.approxPolyDP(outline, 0.7, True)[:, 0]
        paths.append("M" + "L".join(f"{x + 0.5:.1f} {y + 0.5:.1f}" for x, y in points) + "Z")
    width_of_line = max(height, width) / 500
    return page.Markup(
        f'<path d="{"".join(paths)}" fill="none" stroke="{OUTLINE.colour}" stroke-width="{width_of_line:.1f}"/>'
    )


def key_points_svg(key_points: Float[np.ndarray, "3 2"], scale: float, size: float) -> page.Markup:
    """Returns key points as SVG.

    Args:
      key_points: in the radiograph's pixels.
      scale: pixels of the picture for one of the radiograph.
      size: of a mark, in pixels of the picture.
    """
    return page.Markup(
        "".join(
            page.drawn_mark(mark, float(x + 0.5) * scale, float(y + 0.5) * scale, size)
            for (x, y), mark in zip(key_points, POINTS, strict=True)
        )
    )


def coloured(picture: Grey, values: Float[np.ndarray, "h w"]) -> Colour:
    """Returns a picture with signed values over it: orange above 0, blue below.

    Args:
      picture: grey levels.
      values: of each pixel, from -1 to 1.
    """
    colours = np.array([_rgb(page.PALETTE["sky blue"]), _rgb(page.PALETTE["orange"])], np.float32)
    weight = 0.6 * np.abs(np.clip(values, -1, 1))[..., None].astype(np.float32)
    grey = np.repeat(picture[..., None], 3, axis=-1).astype(np.float32)
    return (grey * (1 - weight) + weight * colours[(values > 0).astype(int)]).round().astype(np.uint8)


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
