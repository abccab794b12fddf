"""What a DICOM header states: ages against the calendar, refusals of what is no age, and no free text."""

import dataclasses
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sequence import Sequence

from boneage_jax.data.dicom_header import BODY_PARTS, DAYS_A_MONTH, HAND_PARTS, Stated, stated
from tests.dicom_files import dataset, written

NAMES = ("DOE^JANE", "4711-0815", "20010203", "SECRET")


def of(**elements):
    made = dataset(PatientSex=None)
    for name, value in elements.items():
        # As pydicom lets nobody write it: real headers hold what they hold.
        made.add_new(name, "LO", value)
    return stated(written(made))


@given(st.dates(datetime.date(1950, 1, 1), datetime.date(2030, 1, 1)), st.integers(0, 25 * 365))
def test_ages_are_those_of_the_calendar(born, days):
    taken = born + datetime.timedelta(days)
    found = of(PatientBirthDate=f"{born:%Y%m%d}", StudyDate=f"{taken:%Y%m%d}", PatientAge="099Y")
    assert found.age_months == pytest.approx(days / DAYS_A_MONTH)
    assert found.age_source == "PatientBirthDate and StudyDate"
    assert round(found.age_months / 12 * 365.25) == days


@pytest.mark.parametrize(
    ("elements", "months", "source"),
    [
        ({"PatientAge": "096M"}, 96, "PatientAge"),
        ({"PatientAge": "008Y"}, 102, "PatientAge, the middle of the year that it states"),
        ({"PatientAge": "026W"}, 26 * 7 / DAYS_A_MONTH, "PatientAge"),
        ({"PatientAge": "010D"}, 10 / DAYS_A_MONTH, "PatientAge"),
        (
            {"PatientBirthDate": "20100101", "AcquisitionDate": "20200101"},
            119.97,
            "PatientBirthDate and AcquisitionDate",
        ),
        ({"PatientBirthDate": "20100230", "StudyDate": "20200101", "PatientAge": "009Y"}, 114, "PatientAge, the"),
        ({"PatientBirthDate": "20200101", "StudyDate": "20100101", "PatientAge": "009Y"}, None, ""),
        ({"PatientBirthDate": "2010", "StudyDate": "20200101"}, None, ""),
        ({"PatientAge": "8"}, None, ""),
        ({"PatientAge": "0008Y"}, None, ""),
        ({"PatientAge": "999Y"}, None, ""),
        ({}, None, ""),
    ],
)
def test_ages_of_other_headers(elements, months, source):
    """A birth after the examination is a fault: no age is guessed from what is left."""
    found = of(**elements)
    assert found.age_months == (None if months is None else pytest.approx(months, abs=0.05))
    assert found.age_source.startswith(source)


def test_side_spacing_part_and_modality():
    made = dataset(PixelSpacing=[0.2, 0.2], ImagerPixelSpacing=[0.3, 0.3], ImageLaterality="L", Modality="DX")
    made.BodyPartExamined = "HAND"
    found = stated(written(made))
    assert dataclasses.replace(found, male=None) == Stated(
        laterality="L", spacing_mm=0.2, spacing_source="PixelSpacing", body_part="HAND", modality="DX"
    )
    assert stated(written(dataset(ImagerPixelSpacing=[0.3, 0.3]))).spacing_source == "ImagerPixelSpacing"
    for spacing in ([0.2, 0.4], [0, 0], [200, 200]):
        assert stated(written(dataset(PixelSpacing=spacing))).spacing_mm is None
    assert of(Laterality="R", ImageLaterality="B").laterality == ""
    assert of(Laterality="r ").laterality == "R"
    assert of(Modality="XRAY").modality == ""
    assert of(BodyPartExamined="hand").body_part == "HAND"
    assert set(HAND_PARTS) < set(BODY_PARTS)


def test_no_free_text_leaves_the_header():
    """Names, numbers and dates planted in every attribute that is read, as text, and in sequences."""
    tags = (
        "PatientName", "PatientID", "StudyDescription", "SeriesDescription", "BodyPartExamined", "Modality",
        "ImageLaterality", "PatientAge", "PatientSex", "PatientBirthDate", "StudyDate",
    )  # fmt: skip
    for planted in NAMES:
        made = dataset(PatientSex=None)
        for name in tags:
            made.add_new(name, "LO", planted)
        made.ReferencedStudySequence = Sequence([dataset(PatientComments=planted)])
        found = stated(written(made))
        assert planted not in str(found)
        assert found.male is None


def test_what_is_no_dicom_states_nothing():
    assert stated(b"") == stated(b"id,boneage,male\n" * 60) == Stated()
    damaged = written(dataset(PatientAge="096M"))
    assert stated(damaged[:200]).age_months is None
