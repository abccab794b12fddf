"""Grey levels of a hand: which way round they are, and one range for all."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool

from boneage_jax.data.images import Grey

LOW, MIDDLE, HIGH = 24.0, 120.0, 245.0
"""Where the 1st percentile, the median and the 99th percentile of a hand's grey levels go: measured on registered
images of the paper's pipeline (24, 114 to 129, 232 to 253)."""

_GAMMAS = (0.4, 2.5)
"""Range of the exponent that brings the median to its place; beyond it an image is of another kind. Chosen by eye."""


_LOCAL_CLIP, _LOCAL_TILES = 12.0, 8
"""Clip limit, and tiles each way, of the local equalisation. Strong on purpose, so that a hand of ten grey levels
between bright borders looks like others; chosen by eye."""


_LOCAL_RANGE = (1.0, 99.0)
"""Percentiles that become black and white: limited contrast leaves an image of few grey levels in a narrow band. Chosen
by eye."""


def local(image: Grey) -> Grey:
    """Returns the image with its contrast equalised locally and its whole range used.

    CLAHE (Zuiderveld 1994), OpenCV's, then `_LOCAL_RANGE` stretched linearly. An image of one grey level stays so.
    """
    even = cv2.createCLAHE(_LOCAL_CLIP, (_LOCAL_TILES, _LOCAL_TILES)).apply(image)
    low, high = np.percentile(even, _LOCAL_RANGE)
    if high <= low:
        return even
    levels = (np.arange(256) - low) * (255 / (high - low))
    return cv2.LUT(even, np.clip(np.round(levels), 0, 255).astype(np.uint8)).astype(np.uint8)


_SMALL = 512
"""Longer side, in pixels, of the copies on which `is_inverted` compares wide bands; chosen by eye."""


def is_inverted(image: Grey, mask: Bool[np.ndarray, "h w"]) -> bool:
    """Returns whether bone is dark: whether the air beside the hand is brighter than the skin's edge.

    Args:
      image: grey levels.
      mask: the hand, at the image's size. Without hand or without background the answer is False.
    """
    shrink = min(1.0, _SMALL / max(image.shape))
    size = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    hand = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    width = max(2, round(0.012 * max(size)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    inner = (hand > 0) & (cv2.erode(hand, kernel) == 0)
    outer = (cv2.dilate(hand, kernel) > 0) & (hand == 0)
    if not inner.any() or not outer.any():
        return False
    return bool(np.median(small[outer]) > np.median(small[inner]))


def equalise(image: Grey, mask: Bool[np.ndarray, "h w"], *, inverted: bool | None = None) -> Grey:
    """Returns the hand alone, bone bright, its grey levels on one range; the background is exactly 0.

    The 1st and the 99th percentile go linearly to `LOW` and `HIGH`, the median by a power to `MIDDLE`.

    Args:
      image: grey levels.
      mask: the hand, at the image's size.
      inverted: whether bone is dark; None to judge by `is_inverted`.
    """
    counts = np.bincount(image[mask], minlength=256)
    if not counts.any():
        return np.zeros_like(image)
    inverted = is_inverted(image, mask) if inverted is None else inverted
    if inverted:
        counts = counts[::-1]
    below = np.cumsum(counts) / counts.sum()
    low, middle, high = (float(np.searchsorted(below, part)) for part in (0.01, 0.50, 0.99))
    levels = np.arange(256, dtype=np.float64)
    levels = 255 - levels if inverted else levels
    unit = np.clip((levels - low) / max(high - low, 1.0), 0.0, 1.0)
    at = np.clip((middle - low) / max(high - low, 1.0), 0.02, 0.98)
    gamma = np.clip(np.log((MIDDLE - LOW) / (HIGH - LOW)) / np.log(at), *_GAMMAS)
    # What lies beyond the percentiles keeps its order: a little above HIGH, a little below LOW.
    beyond = 0.25 * (np.minimum(levels - low, 0) + np.maximum(levels - high, 0))
    table = np.clip(np.round(LOW + (HIGH - LOW) * unit**gamma + beyond), 1, 255).astype(np.uint8)
    return np.where(mask, cv2.LUT(image, table), 0).astype(np.uint8)
