"""JPEG files by libjpeg-turbo, which is asked what it thinks of them: other readers go on in silence after damage."""

from __future__ import annotations

import struct

import numpy as np
import simplejpeg

from boneage_jax.data.grey import Grey, ImageError, check_size
from boneage_jax.errors import reason

_HARMLESS_WARNINGS = ("Warning: unknown JFIF revision number", "Unknown Adobe color transform code")
"""Of libjpeg (jerror.h): the picture is whole."""


_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers: SOF0 to SOF15 without tables (T.81, B.1.1.3), and SOF55 of JPEG-LS (T.87, C.1.1)."""


def decode(data: bytes) -> Grey | None:
    """Returns a JPEG's grey, or its luminance; None for a whole one that this library has no way to grey for.

    Bytes behind the end marker do not matter.

    Raises:
      ImageError: for what is damaged or truncated as far as libjpeg can tell, or of a size that no radiograph has.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:
        raise ImageError(f"the JPEG is damaged: its header cannot be read ({reason(error)})") from error
    check_size(height, width)
    # There is no way from four inks to grey in libjpeg; decoding them is for its warnings.
    inks = colours in ("CMYK", "YCCK")
    try:
        image = simplejpeg.decode_jpeg(data, "CMYK" if inks else "GRAY", strict=True)
    except ValueError as error:
        said = reason(error)
        if said.startswith(_HARMLESS_WARNINGS):
            return None
        what = "truncated" if "Premature end of JPEG file" in said else "damaged"
        raise ImageError(f"the JPEG is {what} ({said})") from error
    return None if inks else np.ascontiguousarray(image[:, :, 0])


def size(data: bytes) -> tuple[int, int] | None:
    """Returns height and width in the frame header (ITU-T T.81, B.2.2) of any JPEG, lossless ones and JPEG-LS too.

    None where there is none.
    """
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        # Fill bytes stand before a marker; all else before the frame header has a length.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
