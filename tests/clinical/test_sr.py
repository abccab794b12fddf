"""Structured reports, read by pydicom element by element, by highdicom, and by dcmtk and dicom3tools."""

import builtins
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.errors import UserError

pydicom = pytest.importorskip("pydicom")
hd = pytest.importorskip("highdicom")

from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sr.codedict import codes  # noqa: E402

from boneage_jax.clinical import sr  # noqa: E402
from boneage_jax.clinical.measurement import Measurement  # noqa: E402
from tests.clinical import reports  # noqa: E402
from tests.clinical.reports import BARE, CR, FULL, IDENTITY, PATIENT, STUDY, radiograph, stored  # noqa: E402

VR_CHECKER = "W: The VR checker does not support this Specific Character Set: ISO_IR 192"
"""All that dcmtk 3.6.7 says of a report in UTF-8."""


def items(node):
    """All content items below one, as (relationship, concept code, item), depth first."""
    for item in node.get("ContentSequence", ()):
        name = item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
        yield item.RelationshipType, name, item
        yield from items(item)


def named(report, code):
    return [item for _, name, item in items(report) if name == code]


def texts(report, code):
    return [item.TextValue for item in named(report, code) if item.ValueType == "TEXT"]


def number(report, code):
    """Value and unit of the only NUM of a concept, from the element that has all of its digits."""
    (item,) = named(report, code)
    (measured,) = item.MeasuredValueSequence
    (unit,) = measured.MeasurementUnitsCodeSequence
    assert unit.CodingSchemeDesignator == "UCUM"
    assert float(measured.NumericValue) == pytest.approx(measured.FloatingPointValue, rel=1e-12)
    return measured.FloatingPointValue, unit.CodeValue


@pytest.fixture(scope="module")
def report():
    return stored(sr.structured_report(FULL, radiograph()))


def test_values_by_their_codes(report):
    assert number(report, "85151-9") == (127.43120193481445, "mo")
    assert number(report, "121033") == (130.2, "mo")
    assert number(report, "121416") == (-0.37, "1")
    above, below = number(report, "371886008"), number(report, "371885007")
    assert above[1] == below[1] == "mo"
    assert 127.43120193481445 + above[0] == pytest.approx(134.9, abs=1e-12)
    assert 127.43120193481445 - below[0] == pytest.approx(118.2, abs=1e-12)


def test_where_values_stand(report):
    """The chronological age is the subject's; SD score and interval are the bone age's."""
    (age,) = named(report, "85151-9")
    assert age.RelationshipType == "CONTAINS"
    below = [(relationship, name) for relationship, name, _ in items(age)]
    assert below == [
        ("HAS CONCEPT MOD", "370129005"),
        ("HAS PROPERTIES", "121416"),
        ("HAS PROPERTIES", "121406"),
        ("HAS PROPERTIES", "371886008"),
        ("HAS PROPERTIES", "371885007"),
        ("HAS PROPERTIES", "121106"),
        ("INFERRED FROM", "121112"),
    ]
    (subject_age,) = [item for item in report.ContentSequence if item.get("RelationshipType") == "HAS OBS CONTEXT"][-1:]
    assert subject_age.ConceptNameCodeSequence[0].CodeValue == "121033"


def test_words(report):
    assert texts(report, "121406") == [FULL.sd_reference]
    assert texts(report, "111052") == ["cut off", "low contrast (uncalibrated)"]
    assert texts(report, "121106") == [
        "90% prediction interval: 118.2 to 134.9 months",
        NOT_A_MEDICAL_DEVICE,
        "The picture was turned before it was read: by 90 degrees to the left.",
        "Weights for research only.",
    ]
    assert "not a medical device" in report.SeriesDescription


def test_algorithm_and_observer(report):
    assert texts(report, "111001") == ["boneage-jax"]
    assert texts(report, "111003") == ["0.1.0"]
    assert texts(report, "111002") == [
        "sex of the child: F",
        "network: rsna.safetensors: age0, step 61,000",
        "network: rsna.safetensors: age1, step 61,000",
    ]
    (kind,) = named(report, "121005")
    assert kind.ConceptCodeSequence[0].CodeValue == "121007", "a device and no person"
    assert not named(report, "121008"), "no person's name"
    assert "VerifyingObserverSequence" not in report
    assert (report.ManufacturerModelName, report.SoftwareVersions) == ("boneage-jax", "0.1.0")


def test_a_version_is_a_device():
    newer = Measurement(96.5, "boneage-jax", "0.2.0")
    assert sr.device_uid(FULL) == sr.device_uid(BARE) != sr.device_uid(newer)
    assert uid.UID(sr.device_uid(FULL)).is_valid


@pytest.mark.parametrize(("side", "code"), [("L", "7771000"), ("R", "24028007"), ("", None)])
def test_hand_and_its_side(side, code):
    made = stored(sr.structured_report(Measurement(96.5, "boneage-jax", "0.1.0", laterality=side), radiograph()))
    (site,) = named(made, "363698007")
    assert site.ConceptCodeSequence[0].CodeValue == "85562004"
    assert [item.ConceptCodeSequence[0].CodeValue for item in named(made, "272741003")] == ([code] if code else [])


def test_what_is_not_known_is_left_out():
    made = stored(sr.structured_report(BARE, radiograph()))
    for code in ("121033", "121416", "121406", "371886008", "371885007", "111052", "272741003"):
        assert not named(made, code)
    assert texts(made, "121106") == [NOT_A_MEDICAL_DEVICE]
    assert texts(made, "111002") == ["sex of the child: not given"]


def test_state_and_kind(report):
    assert report.SOPClassUID == uid.EnhancedSRStorage
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert (report.Modality, report.SeriesNumber, report.InstanceNumber) == ("SR", 9001, 1)
    assert report.SeriesDate == report.ContentDate == report.InstanceCreationDate
    assert report.ContentDate > "20260105"


@pytest.mark.parametrize("kind", [{}, CR], ids=["DX", "CR"])
def test_the_radiograph_is_named(kind):
    source = radiograph(**kind)
    made = stored(sr.structured_report(FULL, source))
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (image,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID, image.ReferencedSOPInstanceUID) == tuple(
        IDENTITY.values()
    )
    assert image.ReferencedSOPClassUID == source.SOPClassUID
    (inferred,) = named(made, "121112")
    assert inferred.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == IDENTITY["SOPInstanceUID"]


def test_patient_and_study_are_copied_and_series_and_object_are_new(report):
    for name, value in (PATIENT | STUDY).items():
        assert report[name].value == value, name
    assert report.StudyInstanceUID == IDENTITY["StudyInstanceUID"]
    other = sr.structured_report(FULL, radiograph())
    for name in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert len({IDENTITY[name], report[name].value, other[name].value}) == 3
        assert uid.UID(report[name].value).is_valid
    assert report.file_meta.MediaStorageSOPInstanceUID == report.SOPInstanceUID
    for name in ("PixelData", "Rows", "ImagerPixelSpacing"):
        assert name not in report


def test_nothing_of_the_source_is_changed():
    source = radiograph()
    before = source.to_json()
    sr.structured_report(FULL, source)
    assert source.to_json() == before


def test_highdicom_reads_it(tmp_path):
    path = tmp_path / "report.dcm"
    sr.structured_report(FULL, radiograph()).save_as(path)
    read = hd.sr.srread(path)
    assert type(read) is hd.sr.EnhancedSR
    (group,) = read.content.get_image_measurement_groups()
    (age,) = group.get_measurements(name=hd.sr.CodedConcept("85151-9", "LN", "XR Bone age"))
    assert (age.value, age.unit) == (127.43120193481445, codes.UCUM.Month)
    assert age.method == codes.DCM.ArtificialIntelligence
    assert age.referenced_images[0].referenced_sop_instance_uid == IDENTITY["SOPInstanceUID"]
    (site,) = group.finding_sites
    assert (site.value, site.laterality) == (codes.SCT.Hand, codes.SCT.Left)
    (observer,) = read.content.get_observer_contexts()
    assert observer.observer_type == codes.DCM.Device
    assert observer.observer_identifying_attributes.name == "boneage-jax 0.1.0"
    assert [found[2] for found in read.get_evidence()] == [IDENTITY["SOPInstanceUID"]]


@settings(max_examples=25)
@given(st.floats(0, 300), st.floats(0, 60), st.floats(0, 60), st.floats(-8, 8))
def test_any_number_comes_back_exactly(months, above, below, score):
    interval = (max(months - below, 0.0), months + above)
    measured = Measurement(
        months, "a", "1", interval=interval, chronological_months=above, sd_score=score, sd_reference="girls"
    )
    made = stored(sr.structured_report(measured, radiograph()))
    assert number(made, "85151-9")[0] == months
    assert number(made, "121033")[0] == above
    assert number(made, "121416")[0] == score
    assert months + number(made, "371886008")[0] == pytest.approx(interval[1], abs=1e-9)
    assert months - number(made, "371885007")[0] == pytest.approx(interval[0], abs=1e-9)


# ---- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [*IDENTITY, "SOPClassUID"])
@pytest.mark.parametrize("found", [None, ""], ids=["missing", "empty"])
def test_a_source_that_cannot_be_referred_to_is_refused(field, found):
    with pytest.raises(UserError, match=rf"{field} is (missing|empty), expected a UID"):
        sr.structured_report(FULL, radiograph(**{field: found}))


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("field", "found", "expected"),
    [
        ("PatientSex", "W", "M, F, O or nothing"),
        ("PatientBirthDate", "2015", "a date"),
        ("StudyDate", "5.1.2026", "a date"),
        ("StudyTime", "09:30:00", "a time"),
        ("SOPClassUID", "1.2.3.4", "that of an image"),
        ("SOPClassUID", uid.EnhancedSRStorage, "that of an image"),
    ],
)
def test_what_the_standard_does_not_allow_is_refused(field, found, expected):
    with pytest.raises(UserError, match=rf"{field} is '{found}', expected {expected}"):
        sr.structured_report(FULL, radiograph(**{field: found}))


@pytest.mark.parametrize("field", [*PATIENT, *STUDY, "PatientOrientation", "ImagerPixelSpacing", "Modality"])
def test_what_may_be_missing_may_be_missing(field):
    made = stored(sr.structured_report(FULL, radiograph(**{field: None})))
    assert not made.get(field) or field == "Modality"
    assert number(made, "85151-9") == (FULL.months, "mo")


@pytest.mark.filterwarnings("error")
def test_small_faults_of_a_name_say_nothing():
    """As many clinics write it: one component."""
    made = sr.structured_report(FULL, radiograph(PatientName="Doe Jane"))
    assert made.PatientName == "Doe Jane"


def test_texts_of_other_character_sets():
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "17ß", "Zürich", "TEXT"
    latin = radiograph(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jürgen",
        StudyDescription="Linke Hand für Knochenalter",
        OtherPatientIDsSequence=[other],
    )
    made = stored(sr.structured_report(FULL, latin))
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert made.PatientName == "Müller^Jürgen"
    assert made.StudyDescription == "Linke Hand für Knochenalter"
    assert made.OtherPatientIDsSequence[0].IssuerOfPatientID == "Zürich"
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    japanese = radiograph(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name)
    assert stored(sr.structured_report(FULL, japanese)).PatientName == name
    flagged = Measurement(96.5, "boneage-jax", "0.1.0", flags=("zu dunkel für Knochen",))
    made = stored(sr.structured_report(flagged, radiograph()))
    assert (made.SpecificCharacterSet, texts(made, "111052")) == ("ISO_IR 192", ["zu dunkel für Knochen"])


def test_no_character_set_where_none_is_needed(report):
    assert "SpecificCharacterSet" not in report


def test_without_highdicom_the_extra_is_named(monkeypatch):
    original = builtins.__import__

    def without(name, *rest, **options):
        if name.partition(".")[0] == "highdicom":
            raise ImportError(name)
        return original(name, *rest, **options)

    source = radiograph()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs the package 'highdicom'.*\[clinic\]"):
        sr.structured_report(FULL, source)


# ---- other programs --------------------------------------------------------------------------------------------------

SOURCES = {
    "DX": {},
    "CR": CR | {"PatientOrientation": None, "ImagerPixelSpacing": None},
    "umlauts": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"},
}


@pytest.mark.engine
@pytest.mark.parametrize("measured", [FULL, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("source", SOURCES)
def test_dsrdump_reads_it_without_complaint(source, measured, tmp_path):
    made = sr.structured_report(measured, radiograph(**SOURCES[source]))
    printed, complaints = reports.said_by("dsrdump", made, tmp_path, "--print-long-values", "--print-all-codes")
    assert complaints.strip() == (VR_CHECKER if source == "umlauts" else "")
    assert printed.startswith("Enhanced SR Document")
    assert "Verification Flag   : UNVERIFIED" in printed
    assert f'<contains NUM:(85151-9,LN,"XR Bone age")="{measured.months:.12f}'.rstrip("0") in printed
    for said in (*measured.findings, *measured.statements, *measured.parameters):
        assert f'"{said}">' in printed


@pytest.mark.engine
def test_dsrdump_refuses_a_damaged_one(tmp_path):
    """So that its silence means something."""
    made = sr.structured_report(FULL, radiograph())
    (age,) = named(made, "85151-9")
    del age.MeasuredValueSequence[0].MeasurementUnitsCodeSequence
    with pytest.raises(AssertionError, match="Reading content item NUM"):
        reports.said_by("dsrdump", made, tmp_path)


@pytest.mark.engine
@pytest.mark.parametrize("source", SOURCES)
def test_dcmdump_reads_it_without_complaint(source, tmp_path):
    made = sr.structured_report(FULL, radiograph(**SOURCES[source]))
    printed, complaints = reports.said_by("dcmdump", made, tmp_path)
    assert not complaints
    assert "(0040,a493) CS [UNVERIFIED]" in printed
    assert f"(0008,1155) UI [{IDENTITY['SOPInstanceUID']}]" in printed


@pytest.mark.engine
@pytest.mark.parametrize("measured", [FULL, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_fault(source, measured, tmp_path):
    made = sr.structured_report(measured, radiograph(**SOURCES[source]))
    _, complaints = reports.said_by("dciodvfy", made, tmp_path)
    assert complaints.strip() == "EnhancedSR"


@pytest.mark.engine
def test_dciodvfy_finds_a_fault_that_is_there(tmp_path):
    made = sr.structured_report(FULL, radiograph())
    del made.CompletionFlag
    with pytest.raises(AssertionError, match="CompletionFlag"):
        reports.said_by("dciodvfy", made, tmp_path)


def test_a_report_can_be_sent_as_bytes(report):
    """Written to memory, as a sender over the network does."""
    file = io.BytesIO()
    report.save_as(file)
    assert file.getvalue()[128:132] == b"DICM"
