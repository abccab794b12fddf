"""Images from bytes: PNG, JPEG, DICOM, TIFF, BMP and WebP, told apart by their content.

A file's header is read before its pixels, so that no absurd size is ever allocated. Every sign of damage that a format
has leads to an error: checksums of PNG and deflated TIFF, the warnings after which libjpeg goes on, missing scans of a
progressive JPEG, the end of the file. A flipped bit inside a JPEG's compressed data may decode without a warning: that
is not found, and neither are many changed bytes of BMP, WebP and other TIFF, which have no checksum either.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import cv2
import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    _imaging,
)

from boneage_jax.data import dicom, jpeg
from boneage_jax.data.grey import MAX_PIXELS, Grey, ImageError, check_size, stretch, to_grey
from boneage_jax.errors import reason

FORMATS = "PNG, JPEG, DICOM, TIFF, BMP or WebP"
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp"),
    *dicom.SUFFIXES,
)
"""Endings of files that count as images whatever they hold, so that damaged ones are named."""

HEAD_BYTES = 1024
"""Bytes of a file's beginning that `looks_like_image` needs."""

Kind = Literal["PNG", "JPEG", "DICOM", "TIFF", "BMP", "WebP", ""]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Sizes in bytes of the known headers: text may begin with `BM` too."""

# Their own constructors, not `Image.open`: sizes are checked here, and Pillow's limit is one of the whole process.
_PILLOW: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}

_DEFLATE = (8, 32946)
"""Numbers of TIFF's deflate compression: Adobe's, and the older one."""
_MOST_UNPACKED = 16 * MAX_PIXELS
"""Most bytes of a whole unpacked TIFF: four channels of 32 bits."""

_ORIENTATION = 0x0112
"""EXIF's tag of the orientation."""
_MARKS = (b"Exif\0", b"Raw profile type", b"tiff:Orientation")
"""Bytes that precede an orientation in a file."""
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")

# `ImageError` says what is wrong with a file. Pillow's warnings, and what libtiff's C code writes to standard error,
# would be printed beside it. Both are turned off for the whole process: neither can be for one thread. Where Pillow was
# built with libtiff inside, its function cannot be reached by name, and libtiff still prints.
warnings.filterwarnings("ignore", module=r"PIL\.")
with contextlib.suppress(AttributeError, OSError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def kind_of(head: bytes) -> Kind:
    """Returns the format of a file that begins so; empty for none that is known."""
    if dicom.is_dicom(head):  # first: its preamble may hold a TIFF header
        return "DICOM"
    if head.startswith(_PNG_SIGNATURE):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(_TIFF_SIGNATURES):
        return "TIFF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith(b"BM") and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS:
        return "BMP"
    return ""


def looks_like_image(head: bytes, suffix: str) -> bool:
    """Returns whether a file counts as an image: by its content, or by its ending, so that damaged ones are named.

    Args:
      head: its first `HEAD_BYTES`.
      suffix: its ending, with the dot, in any case.
    """
    if dicom.is_directory(head):
        return False
    return kind_of(head) != "" or suffix.lower() in IMAGE_SUFFIXES


def is_stored_as_is(data: bytes) -> bool:
    """Returns whether these are a PNG's or JPEG's bytes that every reader decodes to the same upright image."""
    kind = kind_of(data)
    try:
        return kind in ("PNG", "JPEG") and _orientation(data, kind) == 1
    except ImageError:
        return False


def decode(data: bytes) -> Grey:
    """Decodes an image to 8-bit grey, upright.

    Colour becomes luminance (ITU-R BT.601), transparency black; 16 bits and floats are stretched linearly from their
    smallest to their largest value; EXIF orientation is applied; DICOM is shown as it asks to be (see `dicom.decode`).
    Bytes behind the image's end do not matter.

    Raises:
      ImageError: for bytes that are empty, damaged, truncated, of another format, of several pages, or of a size that
        no radiograph has.
      UserError: for DICOM where pydicom is not installed.
    """
    if not data:
        raise ImageError("the file is empty")
    kind = kind_of(data)
    if not kind:
        raise ImageError(f"not a readable {FORMATS}")
    try:
        if kind == "DICOM":
            return dicom.decode(data)
        if kind == "PNG":
            grey = _png(data)
        elif kind == "JPEG":
            luminance = jpeg.decode(data)
            grey = _by_pillow(data, kind, turned=False) if luminance is None else luminance
        else:
            return _by_pillow(data, kind)
    except MemoryError as error:
        raise ImageError(f"the {kind} does not fit into memory") from error
    return np.ascontiguousarray(_TURNS[_orientation(data, kind)](grey))


def _png(data: bytes) -> Grey:
    size, end = (0, 0), 0
    for name, start, stop in _chunks(data):
        if zlib.crc32(memoryview(data)[start - 4 : stop]) != int.from_bytes(data[stop : stop + 4], "big"):
            raise ImageError(f"the PNG is damaged: the checksum of its part {name.decode('latin1')!r} does not fit")
        if (name == b"IHDR") != (end == 0) or (name == b"IHDR" and stop - start != 13):
            raise ImageError("the PNG is damaged: its header is not where it belongs")
        if name == b"IHDR":
            width, height = struct.unpack_from(">II", data, start)
            size = (height, width)
            check_size(*size)
        end = stop + 4
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8, end), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"the PNG cannot be read ({reason(error)})") from error
    if image is None or image.shape[:2] != size:
        raise ImageError("the PNG is damaged: its pixels cannot be unpacked")
    return to_grey(image)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields a PNG's chunks, to its end chunk: name, and where its content starts and stops (a checksum follows).

    Raises:
      ImageError: where the file ends before the end chunk.
    """
    at, name = len(_PNG_SIGNATURE), b""
    while name != b"IEND":
        if at + 12 > len(data):
            raise ImageError("the PNG is truncated")
        length, name = struct.unpack_from(">I4s", data, at)
        start, at = at + 8, at + 12 + length
        if at > len(data):
            raise ImageError("the PNG is truncated")
        yield name, start, at - 4


def _by_pillow(data: bytes, kind: Kind, *, turned: bool = True) -> Grey:
    try:
        image: Any
        with _PILLOW[kind](io.BytesIO(data)) as image:
            check_size(image.height, image.width)
            pages = getattr(image, "n_frames", 1)
            if pages > 1 and kind != "JPEG":  # of a JPEG, what lies behind the first image does not matter
                raise ImageError(f"the {kind} holds {pages} pages, expected one image; save the one that is meant")
            if kind == "TIFF" and image.tag_v2.get(TiffImagePlugin.COMPRESSION) in _DEFLATE:
                _check_deflated(data, image.tag_v2)
            # Pillow inverts TIFFs of 1 and 8 bits whose smallest value is white, not those of more.
            white_is_zero = kind == "TIFF" and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
            upright = ImageOps.exif_transpose(image) if turned else image
            upright.load()
            return _grey_of(upright, inverted=white_is_zero)
    except ImageError:
        raise
    # Pillow's readers raise whatever a damaged file makes them run into.
    except Exception as error:
        raise ImageError(f"the {kind} cannot be read ({reason(error)})") from error


def _check_deflated(data: bytes, tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Raises `ImageError` where a strip or tile is cut or its Adler-32 is wrong (RFC 1950): libtiff does not look."""
    if tags.get(TiffImagePlugin.FILLORDER, 1) != 1:  # bits in the other order, which Pillow turns
        return
    unpacked = 0
    for starts, sizes in (
        (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS),
        (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS),
    ):
        for start, size in zip(tags.get(starts, ()), tags.get(sizes, ()), strict=False):
            packed, more = zlib.decompressobj(), data[start : start + size]
            while not packed.eof:
                try:
                    part = len(packed.decompress(more, 1 << 20))
                except zlib.error as error:
                    raise ImageError(f"the TIFF is damaged: a part cannot be unpacked ({reason(error)})") from error
                more, unpacked = packed.unconsumed_tail, unpacked + part
                if not (part or more):
                    raise ImageError("the TIFF is damaged: a part of its pixels ends too early")
                if unpacked > _MOST_UNPACKED:
                    raise ImageError(f"the TIFF's pixels are unpacked over {_MOST_UNPACKED >> 20} MiB, expected fewer")


def _grey_of(image: Image.Image, *, inverted: bool) -> Grey:
    """Returns Pillow's image as `to_grey` does."""
    mode = image.mode
    if mode in ("1", "L"):
        return np.array(image.convert("L"))
    if mode == "F" or mode.startswith("I"):
        grey = stretch(np.asarray(image))
        return 255 - grey if inverted else grey
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return to_grey(cv2.cvtColor(np.asarray(image.convert("RGBA")), cv2.COLOR_RGBA2BGRA))
    return to_grey(np.asarray(image.convert("RGB"))[:, :, ::-1])


def _orientation(data: bytes, kind: Kind) -> int:
    """Returns the EXIF orientation, 1 (upright) to 8, of a PNG or JPEG; 1 where none can be read."""
    if not _may_be_turned(data, kind):
        return 1
    try:
        with _PILLOW[kind](io.BytesIO(data)) as image:
            found = image.getexif().get(_ORIENTATION, 1)
    # Whatever damaged EXIF makes Pillow run into; the pixels are whole, and other readers show them as they are.
    except Exception:
        return 1
    return found if found in _TURNS else 1


def _may_be_turned(data: bytes, kind: Kind) -> bool:
    """Whether an orientation may be found: most files have none, and to open them for it takes time."""
    if kind == "PNG":
        # By name; and ImageMagick's "Raw profile type exif" and Adobe's XMP are texts.
        return any(
            name == b"eXIf" or (name in _PNG_TEXTS and any(mark in data[start:stop] for mark in _MARKS))
            for name, start, stop in _chunks(data)
        )
    scan = data.find(b"\xff\xda")  # what describes a JPEG stands before its pixels
    return any(mark in data[:scan] for mark in _MARKS)


_TURNS: dict[int, Callable[[Grey], Grey]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}
"""What makes an image of each EXIF orientation (tag 0x0112, EXIF 2.3, 4.6.4) stand upright."""
