"""How a radiograph is laid into a network's input, and where its points go there.

- `image`: the whole image, fitted into the input. For segmentation.
- `hand_box`: cut to the hand's box, with background. For the fine stage of a mask.
- `upright_box`: likewise, but turned so that the hand's long side stands upright: a tall input then shows it larger.
- `masked_image`: the whole image with background removed and contrast equalised. For the paper's key point network.
- `masked_hand_box`: likewise, cut to the hand's box, so that small hands are seen as large as others. For key points.
- `masked_canvas`: likewise, laid on the registered canvas by key points that are already known. For their fine stage.
- `canvas`: laid on the canvas, with background: it does not depend on a mask that has lost a fingertip.

Margins, `SKIN` and the extent of the canvas are chosen by eye.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.canvas import Canvas
from boneage_jax.data import contrast, images
from boneage_jax.data.images import Grey
from boneage_jax.geometry import Similarity
from boneage_jax.schema import InputLayout

WITH_BACKGROUND: tuple[InputLayout, ...] = ("hand_box", "upright_box", "canvas")
"""Layouts that show what lies around the hand, and need its mask all the same."""

BOX_MARGIN = 0.06
"""Border around a hand's box, as a fraction of its longer side."""

WIDE_MARGIN = 0.12
"""Likewise where background is wanted too: the coarse stage may have missed a fingertip."""

UPRIGHT_MARGIN = 0.08
"""Likewise for the hand stood upright: fingertips lie at the ends of its longer side."""

CANVAS_EXTENT = ((-150.0, 2050.0), (250.0, 1900.0))
"""Rows and columns of the canvas that the fine stage of the key points sees: thumbs reach beyond the canvas's edge."""

SKIN = 0.012
"""A mask is widened by this part of the hand's box before it blots out the background, so that the tip is not lost."""


@dataclasses.dataclass(frozen=True)
class LaidOut:
    """A network's input and the transform to it.

    Attributes:
      image: uint8 of shape (height, width).
      transform: from the original's pixels to the input's.
    """

    image: Grey
    transform: Similarity


def lay(
    layout: InputLayout,
    image: Grey,
    height: int,
    width: int,
    *,
    mask: Bool[np.ndarray, "h w"] | None = None,
    key_points: Float[np.ndarray, "3 2"] | None = None,
    local: bool = False,
    turn: float = 0.0,
) -> LaidOut:
    """Lays an image into an input of height x width.

    Args:
      layout: how.
      image: grey levels.
      height: of the input.
      width: of the input.
      mask: the hand, at the image's size; for all layouts but `image`.
      key_points: of `anatomy.KEY_POINTS` in the image's pixels; for `masked_canvas` and `canvas`.
      local: whether the contrast of `image`, `hand_box`, `upright_box` and `canvas` is equalised locally; all but
        `image`, for which no mask is known, are then shown bone bright too.
      turn: degrees by which the image is turned in the input, about its middle; not for `image`.

    Raises:
      ValueError: for `masked_canvas` and `canvas`, where fingertip and capitate coincide.
    """
    if layout == "image":
        shown = contrast.local(image) if local else image
        return LaidOut(images.fit(shown, height, width), images.fitting(image.shape, height, width))
    assert mask is not None
    ready = prepared(layout, image, mask, local=local)
    return lay_prepared(layout, ready, mask, height, width, key_points=key_points, local=local, turn=turn)


def prepared(layout: InputLayout, image: Grey, mask: Bool[np.ndarray, "h w"], *, local: bool) -> Grey:
    """Returns the image that is laid: all that is computed at its own size, once for all stages and turns.

    With background, `local` makes bone bright: it must be done before the image is laid, for what comes in from
    outside is black. Without, the hand is left alone, its contrast equalised; the mask is widened
    by `SKIN` for that.

    Args:
      layout: any but `image`. What is prepared for one serves all others that show, or do not show, the background.
      image: grey levels.
      mask: the hand, at the image's size.
      local: see `lay`.
    """
    if layout not in WITH_BACKGROUND:
        return contrast.equalise(image, widened(mask))
    return np.invert(image) if local and contrast.is_inverted(image, mask) else image


def lay_prepared(
    layout: InputLayout,
    ready: Grey,
    mask: Bool[np.ndarray, "h w"],
    height: int,
    width: int,
    *,
    key_points: Float[np.ndarray, "3 2"] | None = None,
    local: bool = False,
    turn: float = 0.0,
) -> LaidOut:
    """Lays an image that is `prepared`, for callers that lay it more than once.

    Args:
      layout: any but `image`.
      ready: from `prepared`.
      mask: see `lay`, and so the rest.
      height: of the input.
      width: of the input.
      key_points: for `masked_canvas` and `canvas`.
      local: as it was prepared.
      turn: in degrees.
    """
    transform = _way(layout, mask, height, width, key_points, turn)
    seen = images.warp(ready, transform, height, width)
    # Of what is seen, so that borders outside the box take nothing of the range.
    return LaidOut(contrast.local(seen) if local and layout in WITH_BACKGROUND else seen, transform)


def _way(
    layout: InputLayout,
    mask: Bool[np.ndarray, "h w"],
    height: int,
    width: int,
    key_points: Float[np.ndarray, "3 2"] | None,
    turn: float,
) -> Similarity:
    """From the image's pixels to the input's, for all layouts but `image`."""
    if layout == "masked_image":
        straight = images.fitting(mask.shape, height, width)
    elif layout == "hand_box":
        straight = box_transform(mask, height, width, margin=WIDE_MARGIN)
    elif layout == "upright_box":
        straight = upright_transform(mask, height, width)
    elif layout == "masked_hand_box":
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
      height: of each image that is returned.
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
    """Returns x0, y0, x1, y1 of the smallest box around a mask, the ends exclusive; the whole image for none."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    if not w:
        return 0, 0, mask.shape[1], mask.shape[0]
    return x, y, x + w, y + h


def box_transform(mask: Bool[np.ndarray, "h w"], height: int, width: int, *, margin: float = BOX_MARGIN) -> Similarity:
    """Returns the transform that fits a mask's box, with its margin, into the middle of height x width."""
    return _with_border(*box(mask), margin, height, width)


def upright_transform(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> Similarity:
    """Returns the transform that fits the smallest turned rectangle around a mask into height x width, long side up.

    It turns by at most 90 degrees. Without a mask it fits the whole image, as it lies.

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
    """The transform that fits a box, the ends exclusive, with a margin of its longer side into height x width."""
    border = margin * max(x1 - x0, y1 - y0)
    return Similarity.framing((y0 - border, y1 + border), (x0 - border, x1 + border), height, width)


def canvas_transform(key_points: Float[np.ndarray, "3 2"], height: int, width: int) -> Similarity:
    """Returns the transform that lays a hand as on the registered canvas, `CANVAS_EXTENT` of it in height x width.

    Args:
      key_points: x, y of `anatomy.KEY_POINTS` in the image's pixels.
      height: of the input.
      width: of the input.

    Raises:
      ValueError: where fingertip and capitate coincide.
    """
    return Canvas().transform(key_points).then(Similarity.framing(*CANVAS_EXTENT, height, width))
