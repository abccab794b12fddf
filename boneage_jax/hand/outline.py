"""What a picture shows along the outline of a mask: where a hand ends, grey levels change."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data import input_layout
from boneage_jax.data.images import Grey

_LARGEST = 640
"""Longer side in pixels to which larger pictures are reduced first, so that bands and windows mean the same in all."""

_BAND = (1.0, 5.0)
"""Pixels from the outline between which grey levels are taken, on either side: the pixel of the outline itself is of
both."""

_WINDOW = 15
"""Side in pixels of the window over which they are averaged."""

_FEWEST = 10
"""Pixels of both bands that a window must hold: where the picture ends there is nothing to compare with."""

FAINT = 0.3
"""Part of its usual step under which an outline is faint."""


def steps(picture: Grey, mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " n"]:
    """Returns by how many grey levels the hand is brighter than what lies beside it, at each pixel of its outline.

    Means over the bands `_BAND` inside and outside, in a window around the pixel. Where a window holds too little of
    either, as at the picture's edge, the pixel is left out; without an outline nothing is left.

    Args:
      picture: grey levels.
      mask: the hand, at the picture's size.
    """
    shrink = _LARGEST / max(picture.shape)
    if shrink < 1:
        size = tuple(max(1, round(side * shrink)) for side in picture.shape[::-1])
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    # Windows around the outline reach so far beyond the hand's box, and no farther.
    reach = _WINDOW // 2
    x0, y0, x1, y1 = input_layout.box(mask)
    seen = np.s_[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach]
    picture, mask = picture[seen], mask[seen]
    inner, outer = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (mask, ~mask)
    )

    def around(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        band = ((distance > _BAND[0]) & (distance <= _BAND[1])).astype(np.float32)
        levels, pixels = (
            cv2.boxFilter(x, -1, (_WINDOW, _WINDOW), normalize=False, borderType=cv2.BORDER_CONSTANT)
            for x in (picture * band, band)
        )
        return levels / np.maximum(pixels, 1), pixels

    (within, held), (beyond, others) = around(inner), around(outer)
    outline = mask & (inner <= 1) & (held > _FEWEST) & (others > _FEWEST)
    return (within - beyond)[outline]


def faint(picture: Grey, mask: Bool[np.ndarray, "h w"]) -> float:
    """Returns the part of a mask's outline across which grey levels change by less than `FAINT` of their median step.

    Steps the other way count as none at all. It is large where a hand fades into what is black or white all over, and
    where the mask leaves the hand: the outline then runs through air or through tissue. 1 where no outline is seen.

    Args:
      picture: grey levels; which way round does not matter.
      mask: the hand, at the picture's size.
    """
    found = steps(picture, mask)
    usual = float(np.median(found)) if len(found) else 0.0
    return float((found * np.sign(usual) < FAINT * abs(usual)).mean()) if usual else 1.0
