"""Pictures of a reading as DICOM secondary captures. Needs the extra `clinic`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from boneage_jax.clinical import codes
from boneage_jax.clinical.instance import own_attributes
from boneage_jax.clinical.measurement import Measurement, Unmeasured
from boneage_jax.clinical.source import concept, header, highdicom, refusing, with_least_character_set
from boneage_jax.errors import UserError

if TYPE_CHECKING:
    import pydicom

SERIES_NUMBER = 9002
"""Of the picture's series: right after that of the report."""

_LONGEST_TEXT = 1024
"""Most characters of a short text (VR ST, PS3.5 6.2), as which the derivation is described."""

_MOST_PIXELS = 65535
"""Of a side: rows and columns have 16 bits (PS3.3 C.7.6.3)."""


def secondary_capture(
    picture: np.ndarray, measurement: Measurement | Unmeasured, source: pydicom.Dataset
) -> pydicom.Dataset:
    """Returns a picture that was drawn from a radiograph, as a new series of its study, uncompressed.

    Burned In Annotation is that of the radiograph, and absent where the radiograph has none: it says whether pixels
    identify the patient (PS3.3 C.7.6.1.1.8), which an age and outlines that are drawn in do not. So a picture must not
    show a name, an identifier or a date that is not in the radiograph's own pixels.

    Args:
      picture: RGB, uint8 of shape (h, w, 3).
      measurement: what the picture shows; or why it shows no age.
      source: the radiograph; its pixels are not needed.

    Raises:
      UserError: for a picture or a source that cannot be used, and where highdicom is not installed.
    """
    hd = highdicom()
    _check(picture)
    image = header(source)
    with refusing():
        made = hd.sc.SCImage.from_ref_dataset(
            ref_dataset=image,
            pixel_array=np.ascontiguousarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            **own_attributes(measurement, SERIES_NUMBER),
            laterality=measurement.laterality or None,
            patient_orientation=("L", "F"),  # highdicom wants one
            transfer_syntax_uid=hd.UID("1.2.840.10008.1.2.1"),  # Explicit VR Little Endian
        )
        made.copy_patient_and_study_information(image)
    # A picture may be turned, cut or laid beside others: how the patient lies in it is not known (type 2C).
    made.PatientOrientation = None
    made.Laterality = measurement.laterality or None
    made.BodyPartExamined = "HAND"  # PS3.16 Annex L
    made.ConversionType = "WSD"  # workstation (PS3.3 C.8.6.1)
    made.DerivationDescription = _derivation(measurement)
    made.SourceImageSequence = [_reference(image)]
    for keyword in ("BurnedInAnnotation", "LossyImageCompression"):
        if image.get(keyword):
            setattr(made, keyword, image[keyword].value)
    # What was once compressed with loss says so for ever (PS3.3 C.7.6.1.1.5).
    if image.get("LossyImageCompression") == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if image.get(keyword):
                setattr(made, keyword, image[keyword].value)
    return with_least_character_set(made)


def _check(picture: np.ndarray) -> None:
    """Raises `UserError` for an array that is no RGB picture of 8 bits."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise UserError(
            f"a picture cannot be stored: it is {picture.dtype} of shape {picture.shape}, expected uint8 of (h, w, 3)"
        )
    if not all(1 <= side <= _MOST_PIXELS for side in picture.shape[:2]):
        raise UserError(
            f"a picture cannot be stored: it is {picture.shape[1]} x {picture.shape[0]}, "
            f"expected sides of 1 to {_MOST_PIXELS} pixels"
        )


def _derivation(measurement: Measurement | Unmeasured) -> str:
    """Returns how the picture came about."""
    said = [f"Drawn by {measurement.algorithm} from the source image: {measurement.summary}", *measurement.statements]
    return "; ".join(said)[:_LONGEST_TEXT]


def _reference(image: Any) -> Any:
    """Returns an item that names the radiograph as source (PS3.3 C.7.6.1.1.4)."""
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [concept(codes.SOURCE_IMAGE)]
    return item
