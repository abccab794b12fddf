"""Reads and writes radiographs. Offers what other packages use of `decode`, `resample` and `grey`.

Kept light (NumPy, OpenCV, Pillow and libjpeg only), so that worker processes start quickly.
"""

from __future__ import annotations

import pathlib

import cv2

from boneage_jax.data.choices import Encoding
from boneage_jax.data.decode import (
    FORMATS,
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    decode,
    is_stored_as_is,
    looks_like_image,
)
from boneage_jax.data.grey import MAX_PIXELS, MAX_RATIO, MIN_SIDE, Grey, ImageError, of_mask, stretch, to_grey
from boneage_jax.data.resample import fit, fitting, unfit, warp
from boneage_jax.errors import UserError, printable

__all__ = [
    "FORMATS",
    "HEAD_BYTES",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MAX_RATIO",
    "MIN_SIDE",
    "Encoding",
    "Grey",
    "ImageError",
    "decode",
    "encode",
    "fit",
    "fitting",
    "is_stored_as_is",
    "looks_like_image",
    "of_mask",
    "read",
    "stretch",
    "to_grey",
    "unfit",
    "warp",
]


def encode(image: Grey, encoding: Encoding, quality: int = 95) -> bytes:
    """Returns the image as PNG, as JPEG of the given quality, or as its raw bytes in row order."""
    if encoding == "raw":
        return image.tobytes()
    extension, options = (".png", []) if encoding == "png" else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    done, data = cv2.imencode(extension, image, options)
    if not done:
        raise ImageError(f"OpenCV could not encode the image as {encoding}")
    return data.tobytes()


def read(path: pathlib.Path) -> Grey:
    """Reads a file as `decode` does.

    Raises:
      UserError: naming the file and what is wrong with it.
    """
    try:
        return decode(path.read_bytes())
    except (OSError, ImageError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{printable(str(path))}: {why}; expected a radiograph as {FORMATS}") from error
