"""Secondary captures, read by pydicom, and checked by dcmtk and dicom3tools."""

import numpy as np
import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.data import images
from boneage_jax.errors import UserError

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from pydicom import uid  # noqa: E402

from boneage_jax.clinical.capture import secondary_capture  # noqa: E402
from boneage_jax.clinical.measurement import Measurement, Unmeasured  # noqa: E402
from tests.clinical import reports  # noqa: E402
from tests.clinical.reports import BARE, CR, FULL, IDENTITY, PATIENT, STUDY, radiograph, stored  # noqa: E402

PICTURE = np.random.default_rng(3).integers(0, 256, (61, 47, 3), dtype=np.uint8)
"""Sides of odd lengths: the number of bytes is odd, and DICOM pads it."""


@pytest.fixture(scope="module")
def capture():
    return stored(secondary_capture(PICTURE, FULL, radiograph()))


def test_the_picture_comes_back(capture):
    np.testing.assert_array_equal(capture.pixel_array, PICTURE)
    assert (capture.PhotometricInterpretation, capture.SamplesPerPixel, capture.BitsStored) == ("RGB", 3, 8)


def test_also_from_an_array_that_lies_otherwise_in_memory():
    made = stored(secondary_capture(PICTURE.transpose(1, 0, 2)[:, ::-1], FULL, radiograph()))
    np.testing.assert_array_equal(made.pixel_array, np.rot90(PICTURE, -1))


def test_boneage_reads_it_as_grey(tmp_path):
    path = tmp_path / "capture.dcm"
    secondary_capture(PICTURE, FULL, radiograph()).save_as(path)
    assert np.abs(images.read(path) - PICTURE @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_kind_and_origin(capture):
    assert capture.SOPClassUID == uid.SecondaryCaptureImageStorage
    assert list(capture.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert (capture.ConversionType, capture.Modality, capture.SeriesNumber) == ("WSD", "OT", 9002)
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == IDENTITY["SOPInstanceUID"]
    assert source.ReferencedSOPClassUID == uid.DigitalXRayImageStorageForPresentation
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert (capture.Laterality, capture.BodyPartExamined) == ("L", "HAND")
    assert capture["PatientOrientation"].is_empty, "the picture may be turned"


def test_words(capture):
    said = capture.DerivationDescription
    assert said.startswith("Drawn by boneage-jax 0.1.0 from the source image: bone age 127.4 months")
    for part in ("90% prediction interval: 118.2 to 134.9 months", NOT_A_MEDICAL_DEVICE, "Weights for research only."):
        assert part in said
    assert "not a medical device" in capture.SeriesDescription


def test_long_terms_are_cut_after_what_matters():
    made = secondary_capture(PICTURE, Measurement(96.5, "a", "1", notices=("x" * 3000,)), radiograph())
    assert len(made.DerivationDescription) == 1024
    assert NOT_A_MEDICAL_DEVICE in made.DerivationDescription


def test_patient_and_study_are_copied_and_series_and_object_are_new(capture):
    for name, value in (PATIENT | STUDY).items():
        assert capture[name].value == value, name
    assert capture.StudyInstanceUID == IDENTITY["StudyInstanceUID"]
    for name in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert capture[name].value != IDENTITY[name]
    assert (capture.SoftwareVersions, capture.ManufacturerModelName) == ("0.1.0", "boneage-jax")


@pytest.mark.parametrize("stated", ["YES", "NO", None])
def test_burned_in_annotation_is_that_of_the_radiograph(stated):
    """An age and outlines identify nobody; a name that was in the radiograph is still in its picture."""
    made = stored(secondary_capture(PICTURE, FULL, radiograph(BurnedInAnnotation=stated)))
    assert made.get("BurnedInAnnotation") == stated


def test_loss_is_never_forgotten():
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    made = stored(secondary_capture(PICTURE, FULL, radiograph(**lossy)))
    assert {name: str(made[name].value) for name in lossy} == lossy
    made = stored(secondary_capture(PICTURE, FULL, radiograph(LossyImageCompression="00")))
    assert made.LossyImageCompression == "00"
    assert "LossyImageCompression" not in stored(secondary_capture(PICTURE, FULL, radiograph()))


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (PICTURE[..., 0], r"uint8 of shape \(61, 47\)"),
        (PICTURE.astype(np.float32), r"float32 of shape \(61, 47, 3\)"),
        (np.dstack([PICTURE, PICTURE[..., :1]]), r"uint8 of shape \(61, 47, 4\)"),
        (PICTURE[:0], "47 x 0"),
        (np.zeros((1, 65536, 3), np.uint8), "65536 x 1"),
    ],
    ids=["grey", "float", "alpha", "empty", "wide"],
)
def test_what_is_no_picture_is_refused(picture, found):
    with pytest.raises(UserError, match=f"a picture cannot be stored: it is {found}, expected"):
        secondary_capture(picture, FULL, radiograph())


@pytest.mark.parametrize("field", IDENTITY)
def test_a_source_that_cannot_be_referred_to_is_refused(field):
    with pytest.raises(UserError, match=f"{field} is missing, expected a UID"):
        secondary_capture(PICTURE, FULL, radiograph(**{field: None}))


def test_names_of_other_character_sets():
    latin = radiograph(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    assert stored(secondary_capture(PICTURE, FULL, latin)).PatientName == "Müller^Jürgen"


@pytest.mark.engine
@pytest.mark.parametrize("source", [{}, CR | {"BurnedInAnnotation": "YES"}], ids=["DX", "CR"])
def test_dcmdump_and_dciodvfy_find_no_fault(source, tmp_path):
    made = secondary_capture(PICTURE, FULL, radiograph(**source))
    printed, complaints = reports.said_by("dcmdump", made, tmp_path)
    assert not complaints
    assert "(0008,0064) CS [WSD]" in printed
    assert reports.said_by("dciodvfy", made, tmp_path)[1].strip() == "SCImage"


@pytest.mark.engine
def test_dciodvfy_of_a_hand_whose_side_is_not_known(tmp_path):
    """Empty only where it is not known: so it is."""
    lines = reports.said_by("dciodvfy", secondary_capture(PICTURE, BARE, radiograph()), tmp_path)[1].splitlines()
    assert [line for line in lines if line != "SCImage"] == [
        "Warning - is only permitted to be empty when actually unknown; should be absent (not empty) if an unpaired "
        "body part, and have a value if a paired body part - attribute <Laterality>"
    ]


def test_a_picture_of_no_age_says_so(tmp_path):
    unmeasured = Unmeasured(
        ("two hands", "cut off"), "boneage-jax", "0.1.0", laterality="R", notices=("For research.",)
    )
    made = secondary_capture(PICTURE, unmeasured, radiograph())
    said = stored(made).DerivationDescription
    assert said.startswith("Drawn by boneage-jax 0.1.0 from the source image: no bone age: two hands, cut off; ")
    for part in (NOT_A_MEDICAL_DEVICE, "For research."):
        assert part in said
    assert made.Laterality == "R"
    _, complaints = reports.said_by("dcmdump", made, tmp_path)
    assert not complaints
