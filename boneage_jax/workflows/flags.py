"""All flags of an assessment: of the hand, of the DICOM header, of the age. What they mean, and which refuse an age."""

from __future__ import annotations

import numpy as np

from boneage_jax.data.dicom_header import HAND_PARTS, RADIOGRAPHY, Stated
from boneage_jax.hand import quality

SEX_DIFFERS = "PatientSex differs"
"""Of a DICOM file whose PatientSex is not the given sex, where the user chose which of them counts."""

OTHER_BODY_PART = "other body part"
OTHER_MODALITY = "other modality"
ADULT = "adult"
MATURE = "nearly mature"

OLDEST = 228
"""Months: the oldest reading of the RSNA challenge's training set, 19 years."""

MATURE_FROM = 210
"""Months of bone age from which the growth plates of the hand are closed or nearly so; chosen by eye, between the last
two plates of girls in the atlas of Greulich and Pyle, 17 and 18 years. Adults are read as 210 to 230 months too."""

MEANINGS: dict[str, tuple[str, str]] = {
    **quality.MEANINGS,
    SEX_DIFFERS: ("The DICOM header states another sex than was given.", "Find out which is right, and correct it."),
    OTHER_BODY_PART: (
        "The DICOM header says that this is another part of the body.",
        "Look whether the picture shows a hand; headers are often wrong.",
    ),
    OTHER_MODALITY: (
        "The DICOM header says that this is no radiograph, as with CT or MR.",
        "Choose the radiograph of the hand.",
    ),
    ADULT: (
        f"The patient is older than the oldest hand that was learnt from, {OLDEST // 12} years.",
        "Do not use the age: a grown hand has none.",
    ),
    MATURE: (
        "The skeleton is nearly mature: hands of adults are read alike.",
        "Take the age as a lower bound.",
    ),
}
"""What each flag means, and what to do, in a sentence each."""

REFUSING = quality.REFUSING | {OTHER_MODALITY}
"""Flags of pictures that get no age."""


def of_header(stated: Stated) -> tuple[str, ...]:
    """Returns the flags of what a DICOM header states; none where it states nothing."""
    raised = []
    if stated.modality and stated.modality not in RADIOGRAPHY:
        raised.append(OTHER_MODALITY)
    if stated.body_part and stated.body_part not in HAND_PARTS:
        raised.append(OTHER_BODY_PART)
    return tuple(raised)


def of_age(months: float, chronological: float | None) -> tuple[str, ...]:
    """Returns the flags of a bone age, NaN for none, and of the chronological age where it is known; both in months."""
    raised = []
    if chronological is not None and chronological > OLDEST:
        raised.append(ADULT)
    if np.isfinite(months) and months >= MATURE_FROM:
        raised.append(MATURE)
    return tuple(raised)
