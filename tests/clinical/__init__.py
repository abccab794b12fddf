"""Reports for clinical systems, against pydicom, highdicom's reader, dcmtk, dicom3tools and FHIR's schemas."""
