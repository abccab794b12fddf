"""Codes of the reports, each with its source.

DICOM's context groups (PS3.16) and LOINC name most of what is said here. They have no SNOMED CT concept for bone age;
LOINC has one for its value, so DICOM and FHIR share that.
"""

from __future__ import annotations

import dataclasses

SYSTEMS = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "UCUM": "http://unitsofmeasure.org",
}
"""Coding schemes: designator in DICOM (PS3.16 8), URI in FHIR (R4 4.3.1)."""


@dataclasses.dataclass(frozen=True)
class Code:
    """A coded concept.

    Attributes:
      value: in its coding scheme.
      scheme: designator of the coding scheme, one of `SYSTEMS`.
      meaning: for people, at most 64 characters (PS3.3 8.3).
    """

    value: str
    scheme: str
    meaning: str

    @property
    def system(self) -> str:
        """The coding scheme's URI in FHIR."""
        return SYSTEMS[self.scheme]


# LOINC: "This term is used to report the bone age (e.g. in years, months)", a quantity (Qn) of time.
BONE_AGE = Code("85151-9", "LN", "XR Bone age")
# LOINC's older code, of a report on bone age and not of its value. HL7's draft profile hspc-boneage and growth chart
# programs look for it, so FHIR has it as second code.
BONE_AGE_REPORT = Code("37362-1", "LN", "Bones X-ray bone age")
# LOINC, which names it as the X-ray procedure of 85151-9.
PROCEDURE = Code("24724-7", "LN", "Wrist and Hand X-ray bone age")
# LOINC; HL7's value set LOINCObservationActContextAgeDefinitionCode: age "with no implied method of determination".
AGE = Code("30525-0", "LN", "Age")
# PS3.16, TID 1007 Subject Context, Patient.
SUBJECT_AGE = Code("121033", "DCM", "Subject Age")

# PS3.16, CID 270 Observer Type.
DEVICE = Code("121007", "DCM", "Device")

# PS3.16, CID 7456 Age Unit.
MONTHS = Code("mo", "UCUM", "month")
# PS3.16 7.2.2: what has no unit.
NO_UNITS = Code("1", "UCUM", "no units")

# PS3.16, CID 4031 Common Anatomic Region.
HAND = Code("85562004", "SCT", "Hand")
# PS3.16, CID 244 Laterality.
SIDES = {"L": Code("7771000", "SCT", "Left"), "R": Code("24028007", "SCT", "Right")}
# SNOMED CT body structures; FHIR's Observation has no laterality beside its body site. The left one is that of HL7's
# own example of a hand (R4, Media).
HANDS = {
    "": Code("85562004", "SCT", "Hand structure"),
    "L": Code("85151006", "SCT", "Structure of left hand"),
    "R": Code("78791008", "SCT", "Structure of right hand"),
}

# PS3.16, CID 7162 Surface Processing Algorithm Family, the standard's list of families of algorithms.
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
# PS3.16, CID 227 Sample Statistical Descriptor, for TID 311.
SD_SCORE = Code("121416", "DCM", "Z-Score of measurement")
# PS3.16, CID 225 Measurement Uncertainty Concept, for TID 310.
ABOVE = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
BELOW = Code("371885007", "SCT", "-, range of lower measurement uncertainty")
# PS3.16 Annex D.
QUALITY_FINDING = Code("111052", "DCM", "Quality Finding")
COMMENT = Code("121106", "DCM", "Comment")
# PS3.16, CID 7202 Source Image Purpose of Reference.
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
