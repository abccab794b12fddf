"""What reports take over from the radiograph: patient, study and identity. Needs the extra `clinic`."""

from __future__ import annotations

import contextlib
import copy
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from boneage_jax.clinical.codes import Code
from boneage_jax.errors import UserError, missing_extra, reason

if TYPE_CHECKING:
    import pydicom

IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
"""Attributes by which a report refers to an image (PS3.3 C.17.2.1, Hierarchical SOP Instance Reference Macro)."""

MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""Attributes of type 2 (PS3.3 C.7.1.1, C.7.2.1): every object has them, empty where they are not known."""

COPIED = (
    # Patient Module (PS3.3 C.7.1.1)
    *("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID", "PatientBirthTime"),
    *("OtherPatientNames", "OtherPatientIDsSequence", "ResponsiblePerson", "ResponsiblePersonRole"),
    *("PatientComments", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    # General Study and Patient Study Modules (PS3.3 C.7.2.1, C.7.2.2)
    *("StudyDescription", "IssuerOfAccessionNumberSequence", "ReferringPhysicianIdentificationSequence"),
    *("ProcedureCodeSequence", "PhysiciansOfRecord", "ReferencedStudySequence"),
    *("PatientAge", "PatientSize", "PatientWeight", "AdmissionID", "IssuerOfAdmissionIDSequence"),
    # Clinical Trial Subject and Clinical Trial Study Modules (PS3.3 C.7.1.3, C.7.2.3)
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialProtocolEthicsCommitteeName", "ClinicalTrialProtocolEthicsCommitteeApprovalNumber"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription"),
)
"""What reports have of patient and study beside `MAY_BE_EMPTY`, where the radiograph has it."""

_OF_THE_IMAGE = (
    *("Modality", "Rows", "Columns", "PatientOrientation", "ImagerPixelSpacing", "BurnedInAnnotation"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    # General Equipment Module (PS3.3 C.7.5.1): highdicom names the machine as contributing equipment.
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "StationName"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
)

_SEXES = ("M", "F", "O", "")
"""Enumerated values of the patient's sex (PS3.3 C.7.1.1), or not known."""

_PIXELS = 0x7FE00000
"""Pixel data begin at this tag (PS3.3 C.7.6.3)."""

_lock = threading.Lock()


def highdicom() -> Any:
    """Returns the library that makes the objects.

    Raises:
      UserError: where it is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise missing_extra("highdicom", "clinic", "writing DICOM reports") from error
    return highdicom


def header(source: pydicom.Dataset) -> Any:
    """Returns a data set of what reports need of a radiograph, texts decoded, without its pixels.

    Raises:
      UserError: for a source that cannot be referred to, or whose patient or study is not as the standard has it; where
        highdicom is not installed.
    """
    highdicom()
    from pydicom import Dataset

    made = Dataset()
    with refusing():
        for keyword in (*IDENTITY, *MAY_BE_EMPTY, *COPIED, *_OF_THE_IMAGE):
            if keyword in source:
                made.add(copy.deepcopy(source[keyword]))
        for keyword in MAY_BE_EMPTY:
            if keyword not in made:
                setattr(made, keyword, None)
        list(made.iterall())  # reads what lies in sequences, while their character set is known
    for keyword in IDENTITY:
        if not str(made.get(keyword) or "").strip():
            found = "empty" if keyword in made else "missing"
            raise _refused(keyword, found, "a UID, for a report refers to its image by it")
    _check(made)
    return made


def _check(made: Any) -> None:
    """Raises `UserError` for values that the standard does not allow in any object, and so not in a report."""
    from pydicom import uid
    from pydicom.valuerep import DA, TM

    kind = uid.UID(made.SOPClassUID)
    if "Image Storage" not in kind.name:
        raise _refused("SOPClassUID", repr(str(kind)), "that of an image, as in 1.2.840.10008.5.1.4.1.1.1 for CR")
    if (made.PatientSex or "") not in _SEXES:
        raise _refused("PatientSex", repr(made.PatientSex), "M, F, O or nothing")
    for keyword, form, expected in (
        ("PatientBirthDate", DA, "a date as in 20150102, or nothing"),
        ("StudyDate", DA, "a date as in 20260331, or nothing"),
        ("StudyTime", TM, "a time as in 093000, or nothing"),
    ):
        try:
            form(made[keyword].value or "")
        except ValueError as error:
            raise _refused(keyword, repr(made[keyword].value), expected) from error


def _refused(field: str, found: str, expected: str) -> UserError:
    return UserError(
        f"the DICOM source cannot be reported on: {field} is {found}, expected {expected}; take the radiograph as it "
        "came from the archive, or have the archive mend it"
    )


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Raises `UserError` for what pydicom or highdicom refuse of a source, and hides what they say of its small faults.

    Filters of warnings are the process's, hence the lock.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        # They raise whatever a damaged value makes them run into.
        except Exception as error:
            raise UserError(
                f"the DICOM source cannot be reported on ({type(error).__name__}: {reason(error)}); expected a "
                "radiograph whose patient and study are as PS3.3 has them; have the archive mend it"
            ) from error


def concept(code: Code) -> Any:
    """Returns a code as highdicom takes it."""
    return highdicom().sr.CodedConcept(code.value, code.scheme, code.meaning)


def with_least_character_set(made: Any) -> Any:
    """Returns an object in UTF-8, or without a character set where its texts need none (PS3.3 C.12.1.1.2).

    Not every reader knows UTF-8; to those that do not, all but the child's name is plain English.
    """
    made.SpecificCharacterSet = "ISO_IR 192"
    if all(str(element.value).isascii() for element in made.iterall() if element.VR != "SQ" and element.tag < _PIXELS):
        del made.SpecificCharacterSet
    return made
