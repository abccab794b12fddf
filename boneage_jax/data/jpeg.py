"""JPEG files by libjpeg-turbo, whose warnings are errors here: other readers go on after damage without a message.

It does not warn of a progressive file that was cut between two scans and given an end marker, a coarser image. So
what the scans send is checked here.
"""

from __future__ import annotations

import re
import struct

import numpy as np
import simplejpeg

from boneage_jax.data.grey import Grey, ImageError, check_size
from boneage_jax.errors import reason

_JFIF = re.compile(rb"(\xff\xe0(?:\0[\x10-\xff]|[^\0].)JFIF\0)[^\x01]", re.DOTALL)
_ADOBE = {
    3: re.compile(rb"(\xff\xee(?:\0[\x0e-\xff]|[^\0].)Adobe.{6})[\x02-\xff]", re.DOTALL),
    4: re.compile(rb"(\xff\xee(?:\0[\x0e-\xff]|[^\0].)Adobe.{6})[\x01\x03-\xff]", re.DOTALL),
}
"""Segments with a version, and a colour transform by number of components, that libjpeg does not know: it warns, and
takes the usual one (jdmarker.c, jdapimin.c). Shorter segments, which have neither, it skips."""

_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers: SOF0 to SOF15 without tables (T.81, B.1.1.3), and SOF55 of JPEG-LS (T.87, C.1.1)."""

_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
"""Those of progressive JPEGs: SOF2, 6, 10 and 14 (T.81, table B.1)."""
_SCAN, _END = 0xDA, 0xD9
"""Markers of a scan's header and of the image's end: SOS and EOI (T.81, table B.1)."""
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""What ends a scan's data: no stuffed zero, no restart, no fill byte (T.81, B.1.1)."""


def decode(data: bytes) -> Grey | None:
    """Returns a JPEG's grey, or its luminance; None for an intact JPEG that it cannot convert to grey.

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
    # It stops at the first warning. With the usual values in place of unknown ones, that is one of damage.
    data = _JFIF.sub(b"\\g<1>\1", data)
    data = _ADOBE[4].sub(b"\\g<1>\2", data) if inks else _ADOBE[3].sub(b"\\g<1>\1", data)
    try:
        image = simplejpeg.decode_jpeg(data, "CMYK" if inks else "GRAY", strict=True)
    except ValueError as error:
        message = reason(error)
        what = "truncated" if "Premature end of JPEG file" in message else "damaged"
        raise ImageError(f"the JPEG is {what} ({message})") from error
    _check_scans(data)
    return None if inks else np.ascontiguousarray(image[:, :, 0])


def _check_scans(data: bytes) -> None:
    """Raises `ImageError` for a progressive JPEG whose scans do not send all bits of all coefficients.

    A scan sends coefficients `Ss` to `Se` of its components but for their lowest `Al` bits (T.81, B.2.3 and G.1.2).

    Args:
      data: of a JPEG that libjpeg has read to its end marker.
    """
    missing: dict[int, list[bool]] = {}
    at, marker = 2, 0
    while (found := _MARKER.search(data, at)) and marker != _END:
        at, marker = found.end(), data[found.end() - 1]
        if marker in _FRAMES and marker not in _PROGRESSIVE:
            return
        if marker in _PROGRESSIVE:
            missing = {data[at + 8 + 3 * n]: [True] * 64 for n in range(data[at + 7])}
        elif marker == _SCAN:
            count = data[at + 2]
            first, last, bits = data[at + 3 + 2 * count : at + 6 + 2 * count]
            for n in range(count):
                for k in range(first, last + 1):
                    missing[data[at + 3 + 2 * n]][k] = bits & 0xF != 0
        if marker != _END:
            at += int.from_bytes(data[at : at + 2], "big")
    if any(any(of_one) for of_one in missing.values()):
        raise ImageError("the JPEG is truncated (it is progressive, and its last scans are missing)")


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
