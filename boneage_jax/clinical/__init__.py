"""Bone ages for clinical systems: DICOM structured reports and secondary captures, and FHIR observations."""
