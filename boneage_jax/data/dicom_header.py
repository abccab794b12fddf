"""What a DICOM file states of child and examination, beside the image. Needs the extra `dicom`.

Only numbers and the standard's own terms leave it by `stated`: no name, id, date or free text. `identifiers` is for
those who ask for these.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import re
from collections.abc import Sequence
from typing import Any

from boneage_jax.data import dicom

DAYS_A_MONTH = 365.25 / 12
"""Of the Julian year, by which ages in months are counted."""

_SEXES = {"M": True, "F": False}

_AGE = re.compile(r"(\d{3})([DWMY])")
"""Value representation AS (PS3.5 6.2): three digits, and days, weeks, months or years."""

_MONTHS = {"D": 1 / DAYS_A_MONTH, "W": 7 / DAYS_A_MONTH, "M": 1.0, "Y": 12.0}

_SIDES = {"L": "L", "R": "R"}

HAND_PARTS = ("HAND", "WRIST", "EXTREMITY", "FINGER", "ARM", "UPPER LIMB", "UPPER EXTREMITY", "CARPUS", "HANDBOTH")
"""Terms of BodyPartExamined (PS3.16 Annex L) under which hands are filed."""

BODY_PARTS = (
    *HAND_PARTS,
    *("ABDOMEN", "ABDOMENPELVIS", "ANKLE", "BREAST", "CERVICALSPINE", "CHEST", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW"),
    *("FACE", "FEMUR", "FOOT", "FOREARM", "HEAD", "HEART", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE", "MAXILLA"),
    *("NECK", "PELVIS", "RIB", "SACRUM", "SCAPULA", "SHOULDER", "SKULL", "SPINE", "SSPINE", "STERNUM", "TOE", "TSPINE"),
    *("TIBIA", "WHOLEBODY", "ZYGOMA"),
)
"""Terms of BodyPartExamined (PS3.16 Annex L) that are shown; others may be free text, and are not."""

RADIOGRAPHY = ("CR", "DX", "RG", "XA", "RF", "MG", "PX", "OT", "SC")
"""Modalities (PS3.3 C.7.3.1.1.1) of single projections, and of pictures whose origin is not told."""


@dataclasses.dataclass(frozen=True)
class Stated:
    """What a file states; nothing where it is no DICOM file.

    Attributes:
      male: whether PatientSex is male; None for none or another.
      age_months: chronological age at the examination; None where it is not stated, or not between 0 and 130 years.
      age_source: the attributes it comes from, for people; empty where there is none.
      laterality: `L`, `R`, or empty.
      spacing_mm: height of a pixel in millimetres; None where it is not stated.
      spacing_source: PixelSpacing, or ImagerPixelSpacing, which is at the detector and not corrected for magnification.
      body_part: BodyPartExamined, where it is one of `BODY_PARTS`; else empty.
      modality: as in `DX`, where it has two letters; else empty.
    """

    male: bool | None = None
    age_months: float | None = None
    age_source: str = ""
    laterality: str = ""
    spacing_mm: float | None = None
    spacing_source: str = ""
    body_part: str = ""
    modality: str = ""


_TAGS = (
    *("PatientSex", "PatientBirthDate", "PatientAge", "StudyDate", "AcquisitionDate", "ImageLaterality", "Laterality"),
    *("FrameLaterality", "PixelSpacing", "ImagerPixelSpacing", "BodyPartExamined", "Modality"),
)


def stated(data: bytes) -> Stated:
    """Returns what a file states.

    Args:
      data: of any file.

    Raises:
      UserError: for a DICOM file where pydicom is not installed.
    """
    with dicom.quiet():
        header = _header(data, _TAGS)
        if header is None:
            return Stated()
        texts = {name: _text(header, name).upper() for name in _TAGS}
        spacing, spacing_source = _spacing(header)
    age, age_source = _age(texts)
    part = " ".join(texts["BodyPartExamined"].split())
    side = texts["ImageLaterality"] or texts["Laterality"] or texts["FrameLaterality"]
    return Stated(
        male=_SEXES.get(texts["PatientSex"]),
        age_months=age,
        age_source=age_source,
        laterality=_SIDES.get(side, ""),
        spacing_mm=spacing,
        spacing_source=spacing_source,
        body_part=part if part in BODY_PARTS else "",
        modality=texts["Modality"] if re.fullmatch("[A-Z]{2}", texts["Modality"]) else "",
    )


IDENTIFIERS = (
    *("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate", "StudyTime", "StudyDescription"),
    *("SeriesDescription", "ProtocolName", "InstitutionName", "ReferringPhysicianName"),
)
"""Attributes by which people tell examinations apart, and that may tell who a patient is."""


def identifiers(data: bytes) -> tuple[tuple[str, str], ...]:
    """Returns what a file holds of `IDENTIFIERS`, by attribute, in their order; nothing where it is no DICOM file.

    Args:
      data: of any file.

    Raises:
      UserError: for a DICOM file where pydicom is not installed.
    """
    with dicom.quiet():
        header = _header(data, IDENTIFIERS)
        found = [(name, _text(header, name)) for name in IDENTIFIERS] if header is not None else []
    return tuple((name, text) for name, text in found if text)


def _header(data: bytes, tags: Sequence[str]) -> Any:
    """Some attributes of a file; None where it is no DICOM file, or cannot be read."""
    if not dicom.is_dicom(data):
        return None
    pydicom = dicom.library()
    try:
        wanted = ["SpecificCharacterSet", *tags]
        return pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True, specific_tags=wanted)
    # Whatever a damaged file makes pydicom run into; `dicom.decode` says what is wrong with it.
    except Exception:
        return None


def _text(header: Any, name: str) -> str:
    """An attribute as text, empty where it cannot be read: one damaged value hides no other."""
    try:
        return str(header.get(name) or "").strip()
    except Exception:
        return ""


def _age(texts: dict[str, str]) -> tuple[float | None, str]:
    """Chronological age in months and where it comes from; dates count for more than PatientAge."""
    born = _date(texts["PatientBirthDate"])
    for name in ("StudyDate", "AcquisitionDate"):
        taken = _date(texts[name])
        if born and taken:
            months = (taken - born).days / DAYS_A_MONTH
            return (months, f"PatientBirthDate and {name}") if 0 <= months <= 130 * 12 else (None, "")
    match = _AGE.fullmatch(texts["PatientAge"])
    if not match:
        return None, ""
    number, unit = int(match[1]), match[2]
    if unit == "Y":
        # Completed years: the middle of the year errs least.
        months, note = (number + 0.5) * 12, "PatientAge, the middle of the year that it states"
    else:
        months, note = number * _MONTHS[unit], "PatientAge"
    return (months, note) if months <= 130 * 12 else (None, "")


def _date(text: str) -> datetime.date | None:
    """A date of the value representation DA (PS3.5 6.2), as in 20170930; None for anything else."""
    if not re.fullmatch(r"\d{8}", text):
        return None
    try:
        return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def _spacing(header: Any) -> tuple[float | None, str]:
    """Height of a pixel in millimetres, and the attribute that states it (PS3.3 10.7.1.3)."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            rows, columns = map(float, header.get(name) or ())
        except (TypeError, ValueError):
            continue
        if 0.001 <= rows <= 10 and abs(rows - columns) < 0.01 * rows:
            return rows, name
    return None, ""
