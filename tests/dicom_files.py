"""DICOM files to order, by pydicom."""

import io

import numpy as np
from pydicom import dcmwrite, uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

RAMP = np.linspace(0, 4095, 80 * 64).round().astype(np.uint16).reshape(80, 64)
"""12 bits, all of the range."""


def dataset(pixels=RAMP, syntax=uid.ExplicitVRLittleEndian, **elements):
    """A radiograph of 12 bits; elements given as None are left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    made = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    size = pixels.dtype.itemsize * 8
    about = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "PatientSex": "F",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": size,
        "BitsStored": min(size, 12),
        "HighBit": min(size, 12) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "SamplesPerPixel": 3 if pixels.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2",
        "PlanarConfiguration": 0 if pixels.ndim == 3 else None,
        "PixelData": pixels.astype(
            pixels.dtype.newbyteorder(">" if syntax == uid.ExplicitVRBigEndian else "<")
        ).tobytes(),
    }
    for name, value in (about | elements).items():
        if value is not None:
            setattr(made, name, value)
    return made


def written(made, **options):
    file = io.BytesIO()
    dcmwrite(file, made, **(options or {"enforce_file_format": True}))
    return file.getvalue()


def encapsulated(made, syntax, frame):
    """The same with these compressed pixels."""
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return made
