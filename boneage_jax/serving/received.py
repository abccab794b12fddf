"""What a node receives, checked before it is accepted: the sender learns at once what will not be read.

Nothing here quotes a header: reasons are for logs and for other systems.
"""

from __future__ import annotations

import dataclasses
import io
import zlib
from typing import TYPE_CHECKING, Any

from boneage_jax.clinical import source
from boneage_jax.data import dicom, dicom_header, images
from boneage_jax.data.grey import MAX_RATIO, MIN_SIDE
from boneage_jax.data.images import ImageError
from boneage_jax.errors import UserError
from boneage_jax.workflows.radiographs import Radiograph, Read

if TYPE_CHECKING:
    import pydicom

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
OTHER_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
"""Statuses of C-STORE (PS3.4 B.2.3)."""

IMAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography X-Ray, for presentation: used for hands in places
    "1.2.840.10008.5.1.4.1.1.1.2.1",  # Digital Mammography X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.1.3",  # Digital Intra-Oral X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.3.1",  # Digital Intra-Oral X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture
    "1.2.840.10008.5.1.4.1.1.12.1",  # X-Ray Angiographic
    "1.2.840.10008.5.1.4.1.1.12.2",  # X-Ray Radiofluoroscopic
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic: of a film
)
"""SOP classes of images that may show one hand (PS3.4 B.5); of those with frames one frame alone is read."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT = "1.2.840.10008.1.2.1"


class NotAccepted(Exception):
    """A radiograph that is refused.

    Attributes:
      status: of C-STORE.
      reason: in words that quote nothing of it, at most 64 characters (Error Comment, VR LO, PS3.7 C).
    """

    def __init__(self, status: int, reason: str):
        """Refuses with a status and a reason."""
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclasses.dataclass(frozen=True)
class Received:
    """A radiograph that was received.

    Attributes:
      number: by which logs and files name it.
      data: the file, uncompressed where it was deflated.
      header: its data set without the pixels.
    """

    number: int
    data: bytes
    header: pydicom.Dataset

    def radiograph(self) -> Radiograph:
        """Returns it as something to be read."""
        return Radiograph("radiograph", None, states_sex=True, load=self._read)

    def _read(self) -> Read:
        try:
            return Read(images.decode(self.data), dicom_header.stated(self.data))
        except (ImageError, UserError):  # their words may quote the header
            return Read(None, problem="the pixels cannot be decoded")


def file_of(meta: pydicom.Dataset, encoded: bytes, most_bytes: int) -> bytes:
    """Returns a file of what was received.

    A deflated data set is written inflated, for a hundred kilobytes may hold a hundred megabytes, and later readers do
    not count.

    Args:
      meta: file meta information.
      encoded: data set, as it came.
      most_bytes: of the data set, inflated.

    Raises:
      NotAccepted: for one that is larger, or damaged.
    """
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    if meta.TransferSyntaxUID == _DEFLATED:
        encoded = _inflated(encoded, most_bytes)
        meta.TransferSyntaxUID = _EXPLICIT
    if len(encoded) > most_bytes:
        raise NotAccepted(CANNOT_UNDERSTAND, "larger than this node takes")
    file = DicomBytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, meta, enforce_standard=True)
    file.write(encoded)
    return bytes(file.getvalue())


def _inflated(encoded: bytes, most_bytes: int) -> bytes:
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)  # without header (PS3.5 A.5)
    try:
        plain = unpacking.decompress(encoded, most_bytes + 1)
    except zlib.error as error:
        raise NotAccepted(CANNOT_UNDERSTAND, "the deflated data set is damaged") from error
    if len(plain) <= most_bytes and not unpacking.eof:
        raise NotAccepted(CANNOT_UNDERSTAND, "the deflated data set is damaged")
    return plain


def header_of(data: bytes) -> Any:
    """Returns the data set of a file without its pixels. Raises `NotAccepted` for a damaged one."""
    pydicom = dicom.library()
    with dicom.quiet():
        try:
            return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        # pydicom raises whatever a damaged file makes it run into.
        except Exception as error:
            raise NotAccepted(CANNOT_UNDERSTAND, "the data set cannot be read") from error


def check(header: Any, sop_class: str, most_pixels: int) -> None:
    """Raises `NotAccepted` for what could not be read or answered.

    Args:
      header: data set without pixels.
      sop_class: UID of the class that it was sent as.
      most_pixels: rows times columns.
    """
    with dicom.quiet():
        try:
            is_of_class = str(header.SOPClassUID) == sop_class
            rows, columns, frames = int(header.Rows), int(header.Columns), int(header.get("NumberOfFrames") or 1)
        except Exception as error:
            raise NotAccepted(OTHER_CLASS, "no class, or no size of an image") from error
    if not is_of_class:
        raise NotAccepted(OTHER_CLASS, "of another class than it was sent as")
    if frames != 1:
        raise NotAccepted(OTHER_CLASS, "several frames, expected one image")
    if rows * columns > most_pixels:
        raise NotAccepted(CANNOT_UNDERSTAND, "more pixels than this node takes")
    if min(rows, columns) < MIN_SIDE or max(rows, columns) > MAX_RATIO * min(rows, columns):
        raise NotAccepted(CANNOT_UNDERSTAND, "too small or too narrow for a hand")
    try:
        source.header(header)
    except UserError as error:
        raise NotAccepted(OTHER_CLASS, "patient or study are not as reports need them") from error
