"""Lossless JPEG, and JPEG of 12 bits, for pydicom by imagecodecs.

pydicom's own ways to them are a library under the GPL, and GDCM, which ends the process where such data are damaged.
This is a plug-in as pydicom describes it ("Adding custom decoders").
"""

from __future__ import annotations

from typing import Any

from pydicom import uid

_NEEDS = ("imagecodecs>=2024.1",)
DECODER_DEPENDENCIES = dict.fromkeys((uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), _NEEDS)


def is_available(syntax: str) -> bool:
    """Returns whether imagecodecs is installed, and can decode this frame."""
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return False
    return syntax in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Returns a frame's values, as they are stored: colours are not converted.

    Args:
      source: the JPEG.
      runner: pydicom's `DecodeRunner`: the file's description of its pixels.
    """
    import imagecodecs

    colours = "RGB" if runner.samples_per_pixel == 3 else None  # one as the other: none is converted
    decoded = imagecodecs.jpeg8_decode(source, colorspace=colours, outcolorspace=colours)
    expected = (runner.rows, runner.columns, *([runner.samples_per_pixel] if runner.samples_per_pixel > 1 else []))
    if decoded.shape != expected:
        raise ValueError(f"the JPEG is of shape {decoded.shape}, the file says {expected}")
    runner.set_option("bits_allocated", 8 * decoded.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return decoded.tobytes()
