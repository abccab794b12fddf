"""Pictures of what the hand pipeline found: outlines and key points over radiographs, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from boneage_jax.data import images
from boneage_jax.data.images import Grey
from boneage_jax.errors import printable

Colour = UInt8[np.ndarray, "h w 3"]
"""Blue, green, red."""

OUTLINE = (60, 200, 255)
POINTS = ((80, 80, 255), (80, 220, 80), (255, 160, 60))
"""Of the middle fingertip, the thumb's tip and the capitate."""

_GOOD, _BAD = (110, 170, 60), (60, 60, 220)


def overlay(
    picture: Grey,
    mask: Bool[np.ndarray, "h w"] | None,
    key_points: Float[np.ndarray, "3 2"] | None,
    *,
    side: int = 320,
) -> Colour:
    """Returns the picture, at most `side` pixels high and wide, with the mask's outline and the key points on it."""
    scale = min(1.0, side / max(picture.shape))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    drawn = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    if mask is not None:
        shrunk = cv2.resize(mask.astype(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(shrunk, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, OUTLINE, 1)
    if key_points is not None and np.isfinite(key_points).all():
        for (x, y), colour in zip(key_points, POINTS, strict=True):
            place = (round((x + 0.5) * scale - 0.5), round((y + 0.5) * scale - 0.5))
            cv2.circle(drawn, place, max(3, side // 80), colour, -1, cv2.LINE_AA)
    return drawn


def tile(parts: Sequence[np.ndarray], caption: str, *, good: bool = True, height: int = 200) -> Colour:
    """Returns pictures side by side, each of one height, in a coloured frame over a caption."""
    scaled = []
    for part in parts:
        colour = part if part.ndim == 3 else cv2.cvtColor(part, cv2.COLOR_GRAY2BGR)
        width = max(1, round(colour.shape[1] * height / colour.shape[0]))
        scaled.append(cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA))
    body = np.hstack(scaled)
    strip = np.full((16, body.shape[1], 3), 24, np.uint8)
    # OpenCV ends the process on text that is no UTF-8.
    cv2.putText(strip, printable(caption), (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (230, 230, 230), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(np.vstack([body, strip]), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=_GOOD if good else _BAD)


def contact_sheet(tiles: Sequence[Colour], *, width: int = 1560) -> bytes:
    """Returns tiles of any widths in rows of at most `width` pixels, as JPEG bytes."""
    rows: list[list[Colour]] = [[]]
    for one in tiles:
        if rows[-1] and sum(t.shape[1] for t in rows[-1]) + one.shape[1] > width:
            rows.append([])
        rows[-1].append(one)
    lines = []
    for row in rows:
        if not row:
            continue
        height = max(t.shape[0] for t in row)
        line = np.hstack([cv2.copyMakeBorder(t, 0, height - t.shape[0], 0, 0, cv2.BORDER_CONSTANT) for t in row])
        lines.append(cv2.copyMakeBorder(line, 0, 0, 0, max(0, width - line.shape[1]), cv2.BORDER_CONSTANT))
    widest = max((line.shape[1] for line in lines), default=1)
    lines = [cv2.copyMakeBorder(line, 0, 0, 0, widest - line.shape[1], cv2.BORDER_CONSTANT) for line in lines]
    sheet = np.vstack(lines) if lines else np.zeros((1, 1, 3), np.uint8)
    done, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise images.ImageError("OpenCV could not encode a contact sheet")
    return data.tobytes()
