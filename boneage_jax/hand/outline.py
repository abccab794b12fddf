"""Grey levels along the outline of a mask: where a hand ends, they change.

The constants are chosen by eye, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data import input_layout
from boneage_jax.data.images import Grey

_LARGEST = 640
"""Longer side in pixels to which larger images are reduced first, so that bands and windows mean the same in all."""

_BAND = (1.0, 5.0)
"""Least and largest distance from the outline, in pixels, of the grey levels that are compared, on either side. The
pixels next to the outline show both sides."""

_WINDOW = 15
"""Side in pixels of the window over which they are averaged."""

_FEWEST = 10
"""Pixels of each band that a window must hold: at the image's edge there is nothing to compare with."""

FAINT = 0.3
"""Fraction of the outline's median step below which a pixel of it is faint."""


def steps(image: Grey, mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " n"]:
    """Returns by how many grey levels the hand is brighter than its surroundings, at each pixel of its outline.

    Means over the bands `_BAND` inside and outside, in a window around the pixel. A pixel whose window holds too little
    of either, as at the image's edge, is left out. Empty for a mask without an outline.

    Args:
      image: grey levels.
      mask: the hand, at the image's size.
    """
    shrink = _LARGEST / max(image.shape)
    if shrink < 1:
        size = tuple(max(1, round(side * shrink)) for side in image.shape[::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    # Windows around the outline reach no farther beyond the hand's box.
    reach = _WINDOW // 2
    x0, y0, x1, y1 = input_layout.box(mask)
    seen = np.s_[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach]
    image, mask = image[seen], mask[seen]
    inner, outer = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (mask, ~mask)
    )

    def around(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        band = ((distance > _BAND[0]) & (distance <= _BAND[1])).astype(np.float32)
        levels, pixels = (
            cv2.boxFilter(x, -1, (_WINDOW, _WINDOW), normalize=False, borderType=cv2.BORDER_CONSTANT)
            for x in (image * band, band)
        )
        return levels / np.maximum(pixels, 1), pixels

    (within, pixels_within), (beyond, pixels_beyond) = around(inner), around(outer)
    outline = mask & (inner <= 1) & (pixels_within > _FEWEST) & (pixels_beyond > _FEWEST)
    return (within - beyond)[outline]


def faint(image: Grey, mask: Bool[np.ndarray, "h w"]) -> float:
    """Returns the fraction of a mask's outline across which grey levels change by less than `FAINT` of the median step.

    Steps of the other sign count as none. It is large where a hand fades into black or white, and where the mask leaves
    the hand: the outline then runs through air or through tissue. 1 for a mask without an outline.

    Args:
      image: grey levels; bone may be bright or dark.
      mask: the hand, at the image's size.
    """
    found = steps(image, mask)
    usual = float(np.median(found)) if len(found) else 0.0
    return float((found * np.sign(usual) < FAINT * abs(usual)).mean()) if usual else 1.0
