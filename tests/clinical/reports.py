"""Measurements and radiographs to report on, and what other programs say of the reports."""

import io
import shutil
import subprocess

import pydicom
import pytest
from pydicom import uid

from boneage_jax.clinical.measurement import Measurement
from tests.dicom_files import dataset, written

ROOT = "1.2.826.0.1.3680043.10.511.3.99"
IDENTITY = {
    "StudyInstanceUID": f"{ROOT}.1",
    "SeriesInstanceUID": f"{ROOT}.2",
    "SOPInstanceUID": f"{ROOT}.3",
}
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "17",
    "PatientBirthDate": "20150102",
    "PatientSex": "F",
    "PatientAge": "011Y",
}
STUDY = {
    "StudyDate": "20260105",
    "StudyTime": "093000",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "House^Gregory",
    "StudyDescription": "Left hand for bone age",
}
DX = {"Modality": "DX", "PatientOrientation": ["L", "F"], "ImagerPixelSpacing": [0.14, 0.15]}
CR = {"SOPClassUID": uid.ComputedRadiographyImageStorage, "Modality": "CR"}

FULL = Measurement(
    months=127.43120193481445,
    algorithm_name="boneage-jax",
    algorithm_version="0.1.0",
    interval=(118.2, 134.9),
    level=0.9,
    sex="F",
    chronological_months=130.2,
    sd_score=-0.37,
    sd_reference="Greulich and Pyle 1959, Brush Foundation, girls",
    flags=("cut off", "low contrast (uncalibrated)"),
    laterality="L",
    turned="by 90 degrees to the left",
    networks=("rsna.safetensors: age0, step 61,000", "rsna.safetensors: age1, step 61,000"),
    notices=("Weights for research only.",),
)
BARE = Measurement(96.5, "boneage-jax", "0.1.0")


def radiograph(**elements):
    """A radiograph as read from a file, DX unless `elements` say otherwise; those given as None are left out."""
    made = dataset(**(IDENTITY | PATIENT | STUDY | DX | elements))
    return pydicom.dcmread(io.BytesIO(written(made)))


def stored(made):
    """The same, written to a file and read again by pydicom."""
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(file.getvalue()))


def said_by(program, made, folder, *options):
    """What a program prints about an object, and what it complains of."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed (Debian: dcmtk, dicom3tools)")
    path = folder / "object.dcm"
    made.save_as(path, enforce_file_format=True)
    done = subprocess.run([program, *options, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
