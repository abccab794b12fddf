"""How a radiograph is laid into a network's input, and where its points go there.

- `image`: the whole picture, fitted into the input. For segmentation.
- `box`: the picture cut to the hand's box, background and all. For a second look at a mask.
- `upright`: likewise, but turned so that the hand's long side stands upright: a tall input then shows it larger.
- `masked`: the whole picture with background gone and contrast equalised. For the paper's key point network.
- `hand`: likewise, cut to the hand's box, so that small hands are seen as large as others. For key points.
- `canvas`: likewise, laid on the registered canvas by key points that are already known. For a second look at them.
- `open`: laid on the canvas, background and all: a look that errs on its own where the mask has lost a fingertip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.canvas import Canvas
from boneage_jax.data import contrast, images
from boneage_jax.data.images import Grey
from boneage_jax.geometry import Similarity

Frame = Literal["image", "box", "upright", "masked", "hand", "canvas", "open"]

WITH_BACKGROUND = ("box", "upright", "open")
"""Frames that show what lies around the hand, and need its mask all the same."""

BOX_MARGIN = 0.06
"""Border around a hand's box, as a fraction of its longer side."""

WIDE_MARGIN = 0.12
"""Likewise where background is wanted too: the first look may have missed a fingertip."""

UPRIGHT_MARGIN = 0.08
"""Likewise for the hand stood upright: fingertips lie at the ends of its longer side."""

SECOND_LOOK = ((-150.0, 2050.0), (250.0, 1900.0))
"""Rows and columns of the canvas that a second look at the key points sees: thumbs reach beyond the canvas's edge."""

SKIN = 0.012
"""A mask is widened by this part of the hand's box before it blots out the background, so that the tip is not lost."""


@dataclasses.dataclass(frozen=True)
class Framed:
    """A network's input and the way to it.

    Attributes:
      image: uint8 of shape (height, width).
      transform: from the original's pixels to the input's.
    """

    image: Grey
    transform: Similarity


def lay(
    frame: Frame,
    image: Grey,
    height: int,
    width: int,
    *,
    mask: Bool[np.ndarray, "h w"] | None = None,
    key_points: Float[np.ndarray, "3 2"] | None = None,
    local: bool = False,
    turn: float = 0.0,
) -> Framed:
    """Lays an image into an input of height x width.

    Args:
      frame: how.
      image: grey levels.
      height: of the input.
      width: of the input.
      mask: the hand, at the image's size; for all frames but `image`.
      key_points: of `anatomy.KEY_POINTS` in the image's pixels; for `canvas` and `open`.
      local: whether the contrast of `image`, `box`, `upright` and `open` is equalised locally; all but `image`, of
        which no mask is known, are then shown bone bright too.
      turn: degrees by which the picture is turned in the input, about its middle; not for `image`.

    Raises:
      ValueError: for `canvas` and `open`, where fingertip and capitate coincide.
    """
    if frame == "image":
        shown = contrast.local(image) if local else image
        return Framed(images.fit(shown, height, width), images.fitting(image.shape, height, width))
    assert mask is not None
    ready = prepared(frame, image, mask, local=local)
    return lay_prepared(frame, ready, mask, height, width, key_points=key_points, local=local, turn=turn)


def prepared(frame: Frame, image: Grey, mask: Bool[np.ndarray, "h w"], *, local: bool) -> Grey:
    """Returns what is laid: all that is worked out at the picture's own size, once for however many looks at it.

    With background, `local` turns the picture the right way round: it must be done before the picture is laid, for
    what comes in from outside is black. Without, the hand is left alone, its contrast equalised; the mask is widened
    by `SKIN` for that.

    Args:
      frame: any but `image`. What is prepared for one serves all others that show, or do not show, the background.
      image: grey levels.
      mask: the hand, at the image's size.
      local: see `lay`.
    """
    if frame not in WITH_BACKGROUND:
        return contrast.equalise(image, widened(mask))
    return np.invert(image) if local and contrast.is_inverted(image, mask) else image


def lay_prepared(
    frame: Frame,
    ready: Grey,
    mask: Bool[np.ndarray, "h w"],
    height: int,
    width: int,
    *,
    key_points: Float[np.ndarray, "3 2"] | None = None,
    local: bool = False,
    turn: float = 0.0,
) -> Framed:
    """Lays a picture that is `prepared`, for those who lay it more than once.

    Args:
      frame: any but `image`.
      ready: from `prepared`.
      mask: see `lay`, and so the rest.
      height: of the input.
      width: of the input.
      key_points: for `canvas` and `open`.
      local: as it was prepared.
      turn: in degrees.
    """
    transform = _way(frame, mask, height, width, key_points, turn)
    seen = images.warp(ready, transform, height, width)
    # Of what is seen, so that borders outside the box take nothing of the range.
    return Framed(contrast.local(seen) if local and frame in WITH_BACKGROUND else seen, transform)


def _way(
    frame: Frame,
    mask: Bool[np.ndarray, "h w"],
    height: int,
    width: int,
    key_points: Float[np.ndarray, "3 2"] | None,
    turn: float,
) -> Similarity:
    """From the image's pixels to the input's, for all frames but `image`."""
    if frame == "masked":
        straight = images.fitting(mask.shape, height, width)
    elif frame == "box":
        straight = box_transform(mask, height, width, margin=WIDE_MARGIN)
    elif frame == "upright":
        straight = upright_transform(mask, height, width)
    elif frame == "hand":
        straight = box_transform(mask, height, width)
    else:
        assert key_points is not None
        straight = canvas_transform(key_points, height, width)
    return straight.then(Similarity.turning(turn, height, width))


def cut(
    image: Grey,
    to_canvas: Similarity,
    rows: tuple[float, float],
    columns: tuple[float, float],
    height: int,
    width: int,
) -> Grey:
    """Returns a rectangle of the canvas in height x width, sampled once from an image.

    Args:
      image: grey levels.
      to_canvas: from the image's pixels to the canvas's.
      rows: first and last row (exclusive) on the canvas.
      columns: likewise.
      height: of what is returned, in pixels.
      width: likewise.
    """
    return images.warp(image, to_canvas.then(Similarity.framing(rows, columns, height, width)), height, width)


def on_canvas(
    image: Grey,
    mask: Bool[np.ndarray, "h w"],
    key_points: Float[np.ndarray, "3 2"],
    rectangles: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    height: int,
    width: int,
) -> list[Grey]:
    """Returns rectangles of the registered canvas, background 0 and contrast equalised, each in height x width.

    Args:
      image: grey levels.
      mask: the hand, at the image's size.
      key_points: of `anatomy.KEY_POINTS` in the image's pixels.
      rectangles: rows and columns on the canvas, in its pixels.
      height: of each picture that is returned.
      width: likewise.

    Raises:
      ValueError: where fingertip and capitate coincide.
    """
    hand, placed = contrast.equalise(image, mask), Canvas().transform(key_points)
    return [cut(hand, placed, *rectangle, height, width) for rectangle in rectangles]


def widened(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Returns a mask grown by `SKIN` of its box on all sides."""
    x0, y0, x1, y1 = box(mask)
    radius = max(1, round(SKIN * max(x1 - x0, y1 - y0)))
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) <= radius


def box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Returns x0, y0, x1, y1 of the smallest box around a mask, the ends exclusive; the whole picture for none."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    if not w:
        return 0, 0, mask.shape[1], mask.shape[0]
    return x, y, x + w, y + h


def box_transform(mask: Bool[np.ndarray, "h w"], height: int, width: int, *, margin: float = BOX_MARGIN) -> Similarity:
    """Returns the transform that fits a mask's box, with its margin, into the middle of height x width."""
    return _with_border(*box(mask), margin, height, width)


def upright_transform(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> Similarity:
    """Returns the transform that fits the smallest turned rectangle around a mask into height x width, long side up.

    It turns by at most 90 degrees. Without a mask it fits the whole picture, as it lies.

    Args:
      mask: the hand.
      height: of the input, in pixels.
      width: likewise.
    """
    shown = cv2.findNonZero(mask.astype(np.uint8))
    if shown is None:
        return box_transform(mask, height, width, margin=0.0)
    corners = cv2.boxPoints(cv2.minAreaRect(shown)).astype(np.float64)
    sides = corners[1:3] - corners[:2]
    x, y = max(sides, key=np.linalg.norm)
    # The longer side comes to point down the input; a single pixel has none.
    x, y = (x, y) if y >= 0 else (-x, -y)
    length = float(np.hypot(x, y))
    turning = Similarity(a=float(y) / length, b=float(x) / length) if length else Similarity()
    turned = turning(corners)
    (x0, y0), (x1, y1) = turned.min(0), turned.max(0) + 1
    return turning.then(_with_border(x0, y0, x1, y1, UPRIGHT_MARGIN, height, width))


def _with_border(x0: float, y0: float, x1: float, y1: float, margin: float, height: int, width: int) -> Similarity:
    """What fits a box, the ends exclusive, and a margin of its longer side into the middle of height x width."""
    border = margin * max(x1 - x0, y1 - y0)
    return Similarity.framing((y0 - border, y1 + border), (x0 - border, x1 + border), height, width)


def canvas_transform(key_points: Float[np.ndarray, "3 2"], height: int, width: int) -> Similarity:
    """Returns the transform that lays a hand as on the registered canvas, `SECOND_LOOK` of it in height x width.

    Args:
      key_points: x, y of `anatomy.KEY_POINTS` in the image's pixels.
      height: of the input.
      width: of the input.

    Raises:
      ValueError: where fingertip and capitate coincide.
    """
    return Canvas().transform(key_points).then(Similarity.framing(*SECOND_LOOK, height, width))
