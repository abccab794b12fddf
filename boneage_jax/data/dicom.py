"""DICOM files as they ask to be shown, and the sex that they state. Needs the extra `dicom`.

The way of a stored value (PS3.4 N.2): modality transform (rescale or lookup table), then the values of interest (lookup
table or window; else all values that are not padding), then the presentation (`MONOCHROME1`, `INVERSE`).
"""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data import jpeg
from boneage_jax.data.grey import Grey, ImageError, between, check_size, stretch
from boneage_jax.errors import missing_extra, reason

SUFFIXES = (".dcm", ".dicom")

_MAGIC_AT = 128
"""Bytes of the preamble, after which a file has `DICM` (PS3.10 7.1)."""
_DIRECTORY_CLASS = b"UI\x14\x001.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR, Media Storage Directory Storage (PS3.4 I.4), as file meta information has it."""

_FIRST_GROUPS = (0x0002, 0x0008)
"""First groups of a data set without preamble: file meta information, or identification."""
_NEXT_GROUPS = (*_FIRST_GROUPS, 0x0010, 0x0018, 0x0020, 0x0028)
_FIRST_ELEMENTS = 0x0100
"""Numbers of the first elements of these groups lie below this one."""
_LONGEST_FIRST = 256
"""Most bytes of the first element: a length, a UID, a character set or a type."""
_SHORT_VRS = (b"UL", b"UI", b"CS", b"LO", b"SH", b"DA", b"TM", b"DT")
"""Value representations of the elements that come first, whose lengths have 16 bits."""

_MOST_BITS = 16
"""Most bits of an entry of a lookup table (PS3.3 C.11.1.1.1)."""

_PLUGINS = ("boneage", "pylibjpeg", "pyjpegls", "pydicom", "pillow")
"""Decoders of pydicom's to try, in order. Not `gdcm`: on damaged data it ends the process."""

_JP2 = b"\0\0\0\x0cjP  "
"""Signature box of a JP2 file (ITU-T T.800, I.5.1)."""

_NEEDED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
)
"""Attributes that an image must have (PS3.3 C.7.6.3)."""

_lock = threading.Lock()


def is_dicom(head: bytes) -> bool:
    """Returns whether a file that begins so is DICOM, with or without preamble."""
    return (
        head[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM"
        or _starts_with_elements(head, "<")
        or _starts_with_elements(head, ">")
    )


def _starts_with_elements(head: bytes, order: str) -> bool:
    """Whether two data elements (PS3.5 7.1) of the first groups stand at the beginning."""
    if len(head) < 8:
        return False
    group, element = struct.unpack_from(f"{order}HH", head)
    explicit = head[4:6] in _SHORT_VRS
    (length,) = struct.unpack_from(f"{order}{'H' if explicit else 'I'}", head, 6 if explicit else 4)
    if group not in _FIRST_GROUPS or element >= _FIRST_ELEMENTS or length > min(_LONGEST_FIRST, len(head) - 12):
        return False
    following, _ = struct.unpack_from(f"{order}HH", head, 8 + length)
    return following in _NEXT_GROUPS


def is_directory(head: bytes) -> bool:
    """Returns whether a file that begins so is a DICOMDIR: a list of files, no image."""
    return head[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM" and _DIRECTORY_CLASS in head


def entries_of_directory(data: bytes) -> list[str]:
    """Returns the images that a DICOMDIR names, as paths from its folder with `/` between the parts.

    Raises:
      ImageError: for a damaged one.
      UserError: where pydicom is not installed.
    """
    pydicom = library()
    with quiet():
        try:
            records = pydicom.dcmread(io.BytesIO(data)).get("DirectoryRecordSequence") or []
            named = [record.get("ReferencedFileID") for record in records if record.DirectoryRecordType == "IMAGE"]
            return ["/".join([one] if isinstance(one, str) else one) for one in named if one]
        # As in `decode`.
        except Exception as error:
            raise ImageError(f"the DICOMDIR cannot be read ({reason(error)})") from error


def decode(data: bytes) -> Grey:
    """Decodes a DICOM file that holds one image to 8-bit grey as it asks to be shown, bone bright.

    Windows and lookup tables that would leave nothing to see (a width of 0, a rescale slope of 0, one grey level for
    all) are ignored; of several the first counts. Padding is shown black.

    Raises:
      ImageError: for files that hold no image or several, are damaged, or compressed as nothing here can decode.
      UserError: where pydicom is not installed.
    """
    pydicom = library()
    with quiet():
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            _check(dataset)
            pixels, photometric = _stored(dataset)
            if pixels.ndim == 3:
                return _colour(pixels, photometric, int(dataset.BitsStored))
            if photometric == "PALETTE COLOR":
                painted = pydicom.pixels.apply_color_lut(pixels, dataset)
                return _colour(painted, "RGB", int(dataset.RedPaletteColorLookupTableDescriptor[2]))
            return _monochrome(pixels, dataset, photometric)
        except ImageError:
            raise
        # pydicom and its decoders raise whatever a damaged file makes them run into.
        except Exception as error:
            message = "; ".join(line.strip() for line in str(error).splitlines()) or type(error).__name__
            raise ImageError(f"the DICOM file cannot be read ({message[:300]})") from error


def transfer_syntaxes() -> list[str]:
    """Returns the UIDs of the transfer syntaxes whose images `decode` reads with what is installed here.

    Raises:
      UserError: where pydicom is not installed.
    """
    library()
    from pydicom import uid
    from pydicom.pixels import get_decoder

    found = []
    for syntax in uid.AllTransferSyntaxes:
        with contextlib.suppress(NotImplementedError):
            if _plugins(get_decoder(syntax)):
                found.append(str(syntax))
    return found


def library() -> Any:
    """Returns pydicom. Raises `UserError` where it is not installed."""
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise missing_extra("pydicom", "dicom", "reading DICOM") from error
    with _adding:  # two threads may read their first files at once
        _add_jpeg()
    return pydicom


_adding = threading.Lock()


@functools.cache
def _add_jpeg() -> None:
    """Adds our decoders of JPEG to pydicom's."""
    from pydicom.pixels import get_decoder

    from boneage_jax.data import dicom_jpeg

    for syntax in dicom_jpeg.DECODER_DEPENDENCIES:
        get_decoder(syntax).add_plugin("boneage", (dicom_jpeg.__name__, dicom_jpeg.decode_frame.__name__))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides pydicom's warnings of a file's small faults from the user; filters are the process's, hence the lock."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check(dataset: Any) -> None:
    """Raises `ImageError` for what is no single image of a possible size, or cannot be decoded here."""
    from pydicom import uid
    from pydicom.encaps import generate_frames
    from pydicom.pixels import get_decoder

    meta = dataset.file_meta
    if "PixelData" not in dataset:
        name = dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")
        raise ImageError(f"the DICOM file holds no image but {name.name if name else 'an unknown kind of object'}")
    if lacking := [name for name in _NEEDED if dataset.get(name) in (None, "")]:
        raise ImageError(f"the DICOM file does not state {', '.join(lacking)}")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"the DICOM file holds {frames} frames, expected one image")
    check_size(int(dataset.Rows), int(dataset.Columns))
    if "TransferSyntaxUID" not in meta:
        if dataset["PixelData"].is_undefined_length:
            raise ImageError("the DICOM file does not state the transfer syntax of its compressed pixels")
        implicit, little = dataset.original_encoding
        plain = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        meta.TransferSyntaxUID = plain if little else uid.ExplicitVRBigEndian
    syntax = meta.TransferSyntaxUID
    advice = "write it uncompressed, as in: gdcmconv --raw IN OUT"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageError(
            f"its pixels are stored as {syntax.name} ({syntax}), which cannot be decoded; {advice}"
        ) from error
    if not _plugins(decoder):
        needed = missing_extra("a decoder of it", "dicom", f"{syntax.name} ({syntax}), as which its pixels are stored,")
        raise ImageError(f"{needed}; or {advice}")
    if syntax in uid.JPEGTransferSyntaxes + uid.JPEGLSTransferSyntaxes + uid.JPEG2000TransferSyntaxes:
        for frame in generate_frames(dataset.PixelData, number_of_frames=1):
            _check_frame(frame, syntax, (int(dataset.Rows), int(dataset.Columns)))


def _check_frame(frame: bytes, syntax: str, expected: tuple[int, int]) -> None:
    """Raises `ImageError` for compressed pixels of another size than the file states, before decoders take memory."""
    from pydicom import uid

    found = j2k_size(frame) if syntax in uid.JPEG2000TransferSyntaxes else jpeg.size(frame)
    if found != expected:
        stated = f"{found[1]} x {found[0]}" if found else "of no size that can be read"
        raise ImageError(f"the DICOM file's compressed pixels are {stated}, it states {expected[1]} x {expected[0]}")
    if syntax == uid.JPEGBaseline8Bit:
        jpeg.decode(frame)  # for what it says of damage


def j2k_size(frame: bytes) -> tuple[int, int] | None:
    """Returns height and width in the SIZ segment of JPEG 2000 (ITU-T T.800, A.5.1); None where there is none.

    A JP2 file is taken for its codestream, as pydicom does, which goes on for ever in one with a box of no length.
    """
    at = 0
    if frame.startswith(_JP2):
        while frame[at + 4 : at + 8] != b"jp2c":
            length = int.from_bytes(frame[at : at + 4], "big")
            if length < 8:
                return None
            at += length
        at += 8
    if frame[at : at + 4] != b"\xff\x4f\xff\x51" or len(frame) < at + 24:  # SOC, SIZ
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", frame, at + 8)
    return bottom - top, right - left


def _plugins(decoder: Any) -> list[str | None]:
    """Returns the names of the decoders to try, in order; None for pixels that are not compressed."""
    if not decoder.UID.is_encapsulated:
        return [None]
    return [name for name in _PLUGINS if name in decoder.available_plugins]


def _stored(dataset: Any) -> tuple[np.ndarray, str]:
    """Returns stored values, (h, w) or (h, w, 3), without what lies in unused bits, and what they mean."""
    from pydicom.pixels import get_decoder
    from pydicom.pixels.utils import as_pixel_options

    options = as_pixel_options(dataset)
    options["number_of_frames"] = 1
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    low = int(dataset.get("HighBit", stored - 1)) + 1 - stored
    shifted = not decoder.UID.is_encapsulated and low > 0 and allocated >= low + stored
    if shifted:
        # pydicom takes it that values begin at bit 0, as the standard has it since 2014; older files need not.
        options |= {"bits_stored": allocated, "pixel_representation": 0}
    failures = []
    for plugin in _plugins(decoder):
        try:
            pixels, about = decoder.as_array(dataset, raw=True, decoding_plugin=plugin or "", **options)
            break
        # Decoders raise whatever damaged data make them run into.
        except Exception as error:
            failures.append(reason(error) if plugin is None else f"{plugin}: {reason(error)}")
    else:
        raise ImageError(f"the DICOM file's pixels cannot be decoded ({'; '.join(failures)})")
    if shifted:
        pixels = (pixels >> low) & ((1 << stored) - 1)
        if dataset.PixelRepresentation:
            pixels = pixels.astype(np.int64)
            pixels -= (pixels >> (stored - 1)) << stored
    return pixels, str(about["photometric_interpretation"])


def _colour(pixels: np.ndarray, photometric: str, bits: int) -> Grey:
    """Returns luminance (ITU-R BT.601): the first plane of YBR_FULL (PS3.3 C.7.6.3.1.2), the weighted sum of RGB."""
    if pixels.shape[-1] != 3:
        raise ImageError(f"the DICOM file holds {pixels.shape[-1]} values a pixel, expected 1 or 3")
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        luminance = pixels[..., 0]
    elif photometric == "RGB":
        luminance = pixels @ np.array([0.299, 0.587, 0.114])
    else:
        raise ImageError(f"the DICOM file's colours are {photometric}, expected RGB, YBR_FULL or a palette")
    return between(luminance, 0, 2**bits - 1)


def _monochrome(stored: np.ndarray, dataset: Any, photometric: str) -> Grey:
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError(f"found photometric interpretation {photometric or 'none'}, expected MONOCHROME2")
    counted = ~_padding(stored, dataset)
    if not counted.any():
        raise ImageError("the DICOM file holds nothing but padding")
    values = _modality(stored, dataset)
    shown = _of_interest(values, dataset)
    grey = stretch(values, counted) if shown is None else between(shown, 0, 1)
    if shown is not None and np.ptp(grey[counted]) == 0:
        grey = stretch(values, counted)
    # Both say the same of one image (PS3.3 C.8.11.1.1.2): it is turned round once.
    if photometric == "MONOCHROME1" or str(dataset.get("PresentationLUTShape") or "").strip() == "INVERSE":
        grey = 255 - grey
    grey[~counted] = 0
    return grey


def _padding(stored: np.ndarray, dataset: Any) -> Bool[np.ndarray, "h w"]:
    """Returns where an image was filled up to be a rectangle (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    ends = [_in_range(int(end), dataset) for end in (value, dataset.get("PixelPaddingRangeLimit", value))]
    return (stored >= min(ends)) & (stored <= max(ends))


def _in_range(value: int, dataset: Any) -> int:
    """Returns a value of 16 bits with the sign that the image's values have: writers confuse US and SS."""
    if dataset.PixelRepresentation and value >= 1 << 15:
        return value - (1 << 16)
    return value + (1 << 16) if not dataset.PixelRepresentation and value < 0 else value


def _modality(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """Returns values of the modality (PS3.3 C.11.1): by its lookup table, or rescaled."""
    if table := dataset.get("ModalityLUTSequence"):
        return _looked_up(stored, table[0], dataset)[0]
    slope = dataset.get("RescaleSlope")
    slope = 1.0 if slope in (None, "") else float(slope)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    if (slope, intercept) == (1, 0) or slope == 0 or not np.isfinite([slope, intercept]).all():
        return stored
    return stored * slope + intercept


def _of_interest(values: np.ndarray, dataset: Any) -> Float[np.ndarray, "h w"] | None:
    """Returns values of interest, 0 to 1 (PS3.3 C.11.2): by lookup table, or by window; None where there is neither."""
    if tables := dataset.get("VOILUTSequence"):
        found, most = _looked_up(values, tables[0], dataset)
        return found / most
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
    if width <= 0 or (function == "LINEAR" and width < 1):
        return None
    x = values.astype(np.float64)
    if function == "SIGMOID":
        return (1 + np.tanh(2 * (x - center) / width)) / 2  # 1 / (1 + exp(-4 (x - c) / w)), without overflow
    if function == "LINEAR_EXACT":
        return np.clip((x - center) / width + 0.5, 0, 1)
    if width == 1:
        return (x > center - 0.5).astype(np.float64)
    return np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _first(value: Any) -> float | None:
    """Returns the first of several numbers; None for none, or one that is not finite."""
    if value is None or value == "":
        return None
    first = float(value if isinstance(value, (int, float)) else np.atleast_1d(np.asarray(value, object))[0])
    return first if np.isfinite(first) else None


def _looked_up(values: np.ndarray, item: Any, dataset: Any) -> tuple[np.ndarray, int]:
    """Returns what a lookup table has for values (PS3.3 C.11.1.1), and the most it could have.

    Not pydicom's: its index wraps round in tables of 8 bits, and it refuses first values below those of the type.
    """
    entries, first, bits = (int(v) for v in item.LUTDescriptor)
    entries = entries or 1 << 16
    if not 1 <= bits <= _MOST_BITS:
        raise ImageError(f"a lookup table of the DICOM file has entries of {bits} bits, expected up to {_MOST_BITS}")
    if first >= 1 << 15 and values.min() < 0:
        first -= 1 << 16  # written as unsigned
    data = item["LUTData"].value
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        data = np.frombuffer(data, "u1" if len(data) <= entries + 1 else f"{order}u2")
    table = np.atleast_1d(np.asarray(data)).astype(np.uint16)[:entries]
    if len(table) < entries:
        raise ImageError(f"a lookup table of the DICOM file has {len(table)} entries, expected {entries}")
    index = np.clip(np.round(values.astype(np.float64)) - first, 0, entries - 1).astype(np.intp)
    return table[index], (1 << bits) - 1
