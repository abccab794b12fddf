"""8-bit grey images, and the conversion of other arrays to them."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

Grey = UInt8[np.ndarray, "_h _w"]
"""Grey levels of any size; the underscores keep one image's size from being held against another's."""

MAX_PIXELS = 200_000_000
"""Most pixels of an image: a film of 24 x 30 cm scanned at 1,200 dpi has 160 million. Larger headers are damaged
or worse."""

MIN_SIDE = 8
"""Least height and width in pixels: anything smaller shows no hand. Chosen by eye."""

MAX_RATIO = 20
"""Largest ratio of the longer to the shorter side: a narrow strip shows no hand. Chosen by eye."""

# OpenCV's own threads would compete with the pipeline's.
cv2.setNumThreads(0)


class ImageError(ValueError):
    """An image that cannot be decoded; says why."""


def check_size(height: int, width: int) -> None:
    """Raises `ImageError` for an impossible image size; call before decoding."""
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"the image states {width} x {height} pixels, expected at most {MAX_PIXELS // 1_000_000} million of them"
        )
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"the image is {width} x {height} pixels, expected at least {MIN_SIDE} each way")
    if max(height, width) > MAX_RATIO * min(height, width):
        raise ImageError(
            f"the image is {width} x {height} pixels, expected one side at most {MAX_RATIO} times the other"
        )


def to_grey(image: np.ndarray, white: float | None = None) -> Grey:
    """Returns an (h, w), (h, w, 1), (h, w, 3) BGR or (h, w, 4) BGRA array as 8-bit grey.

    Colour becomes luminance (ITU-R BT.601, OpenCV's), transparency black.

    Args:
      image: 8 or 16 bits; without alpha any number.
      white: value that becomes 255, black being 0; None to keep 8 bits as they are and to stretch all else.
    """
    alpha = None
    if image.ndim == 3:
        if image.shape[2] == 4:
            alpha = image[:, :, 3].astype(np.float32) / np.iinfo(image.dtype).max
        single = image.shape[2] == 1
        image = image[:, :, 0] if single else cv2.cvtColor(np.ascontiguousarray(image[:, :, :3]), cv2.COLOR_BGR2GRAY)
    if white is not None:
        image = between(image, 0, white)
    elif image.dtype != np.uint8:
        image = stretch(image)
    if alpha is not None and alpha.min() < 1:
        image = np.round(image * alpha).astype(np.uint8)
    return image


def of_mask(mask: Bool[np.ndarray, "h w"]) -> Grey:
    """Returns a mask as an image: 255 inside, 0 outside."""
    return mask.astype(np.uint8) * np.uint8(255)


def stretch(image: np.ndarray, counted: Bool[np.ndarray, "h w"] | None = None) -> Grey:
    """Maps the smallest value of an array to 0 and the largest to 255, linearly.

    What is no finite number becomes 0, and so does an array of one value.

    Args:
      image: of any type of real numbers.
      counted: pixels whose values span the range; None for all.
    """
    values = image if counted is None else image[counted]
    if not np.issubdtype(image.dtype, np.integer):
        values = values[np.isfinite(values)]
    if not values.size:
        return np.zeros(image.shape, np.uint8)
    return between(image, float(values.min()), float(values.max()))


def between(image: np.ndarray, low: float, high: float) -> Grey:
    """Maps `low` and what lies below to 0, `high` and what lies above to 255, linearly between.

    What is no number becomes 0, and all does where `low` is `high`.
    """
    if not high > low:
        return np.zeros(image.shape, np.uint8)
    # Halved, so that the range of the largest floats is finite.
    scaled = (image.astype(np.float64) / 2 - low / 2) * (255.0 / (high / 2 - low / 2))
    return np.round(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)
