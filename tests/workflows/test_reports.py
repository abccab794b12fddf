"""Assessments as reports: what is said, left out, and lies on disk; read by pydicom, highdicom, FHIR's schemas."""

import dataclasses
import json

import numpy as np
import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.data import images
from boneage_jax.data.dicom_header import Stated
from boneage_jax.errors import UserError
from boneage_jax.workflows import report_picture
from boneage_jax.workflows.assessment import Assessment, Interval, Seen

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from boneage_jax.workflows import reports  # noqa: E402
from tests.clinical.reports import IDENTITY, PATIENT, radiograph, said_by  # noqa: E402
from tests.dicom_files import written  # noqa: E402

READ = Assessment(
    "in/hand.dcm",
    127.4,
    6.5,
    "F",
    flags=("low contrast",),
    intervals=(Interval(0.8, 120.0, 133.0), Interval(0.9, 118.2, 134.9)),
    turned=90,
    stated=Stated(laterality="L"),
    chronological_months=130.2,
    chronological_source="PatientBirthDate and StudyDate",
    sd_score=-0.37,
)
REFUSED = dataclasses.replace(
    READ, months=np.nan, spread=np.nan, intervals=(), sd_score=None, flags=("two hands",), refused=("two hands",)
)
PROBLEM = Assessment("in/hand.dcm", np.nan, np.nan, "", problem="the PNG is truncated")
BELOW_BIRTH = dataclasses.replace(READ, months=-1.5, intervals=())

MASK = np.zeros((300, 200), bool)
MASK[60:240, 50:150] = True
SEEN = Seen(np.full((300, 200), 60, np.uint8), MASK, np.array([[100.0, 70], [60, 150], [100, 200]]), ())
NETWORKS = ("the shipped bundle rsna: step 5", "/srv/secret place/best.safetensors: step 7")
ALL = ("sr", "sc", "fhir")


def written_by(tmp_path, assessment, kinds=ALL, seen=SEEN, source=None, **options):
    data = written(radiograph()) if source is None else source
    return reports.write(assessment, seen, data, tmp_path / "out", kinds, networks=NETWORKS, **options)


def test_what_is_measured():
    made = reports.measured(READ, networks=NETWORKS, remarks=("Terms.",))
    assert (made.months, made.interval, made.level) == (127.4, (118.2, 134.9), 0.9)
    assert (made.sex, made.laterality, made.flags) == ("F", "L", ("low contrast",))
    assert (made.chronological_months, made.sd_score) == (130.2, -0.37)
    assert "Greulich and Pyle" in made.sd_reference
    assert made.turned == "by 90 degrees counterclockwise"
    assert made.networks == (NETWORKS[0], "best.safetensors: step 7"), "where folders lie is not reported"
    assert made.notices == (NOT_A_MEDICAL_DEVICE, "Terms.")


def test_flags_of_thresholds_that_were_not_chosen_for_the_networks_say_so():
    made = reports.measured(dataclasses.replace(READ, calibrated=False))
    assert made.flags == ("low contrast (uncalibrated)",)
    assert any("uncalibrated" in notice for notice in made.notices)


@pytest.mark.parametrize(
    ("assessment", "why"),
    [
        (REFUSED, "two hands"),
        (PROBLEM, "the PNG is truncated"),
        (BELOW_BIRTH, "below birth"),
        (dataclasses.replace(READ, months=np.nan), "the networks give none"),
    ],
)
def test_without_an_age_nothing_is_measured(assessment, why):
    with pytest.raises(UserError, match=f"a bone age cannot be reported: .*{why}"):
        reports.measured(assessment)
    assert why in reports.unmeasured(assessment).summary


def test_an_age_is_not_called_unmeasured():
    with pytest.raises(UserError, match="reasons is"):
        reports.unmeasured(READ)


def test_all_reports_of_a_radiograph(tmp_path):
    done = written_by(tmp_path, READ, subject="Patient/17")
    assert [path.name for path in done.paths] == ["hand.sr.dcm", "hand.sc.dcm", "hand.fhir.json"]
    assert not done.left_out
    assert sorted(tmp_path.joinpath("out").iterdir()) == sorted(done.paths)
    report = highdicom.sr.srread(done.paths[0])
    picture = pydicom.dcmread(done.paths[1])
    for made in (report, picture):
        assert (made.StudyInstanceUID, made.PatientID) == (IDENTITY["StudyInstanceUID"], PATIENT["PatientID"])
    np.testing.assert_array_equal(picture.pixel_array, report_picture.draw(READ, SEEN))
    observed = json.loads(done.paths[2].read_text())
    assert observed["valueQuantity"]["value"] == 127.4
    assert observed["subject"] == {"reference": "Patient/17"}
    assert observed["effectiveDateTime"] == "2026-01-05"
    assert observed["derivedFrom"][0]["identifier"]["value"] == f"urn:oid:{IDENTITY['StudyInstanceUID']}"


def test_the_observation_is_one_by_the_schemas_of_fhir(tmp_path):
    resources = pytest.importorskip("fhir.resources.R4B.observation")
    (path,) = written_by(tmp_path, READ, ("fhir",)).paths
    assert resources.Observation.model_validate_json(path.read_text()).status == "preliminary"


def test_dcmtk_reads_both_dicom_objects(tmp_path):
    made = reports.objects(READ, SEEN, radiograph(), networks=NETWORKS)
    out, err = said_by("dsrdump", made["sr"], tmp_path)
    assert "127.4" in out
    assert not err
    out, err = said_by("dcmdump", made["sc"], tmp_path)
    assert "no bone age" not in out
    assert not err


def test_a_refused_radiograph_has_a_picture_alone_that_says_why(tmp_path):
    done = written_by(tmp_path, REFUSED)
    assert [path.name for path in done.paths] == ["hand.sc.dcm"]
    assert done.left_out == ("sr: no bone age: two hands", "fhir: no bone age: two hands")
    picture = pydicom.dcmread(done.paths[0])
    assert "no bone age: two hands" in picture.DerivationDescription
    assert NOT_A_MEDICAL_DEVICE in picture.DerivationDescription


def test_a_radiograph_that_could_not_be_read_has_nothing(tmp_path):
    done = written_by(tmp_path, PROBLEM, seen=None)
    assert not done.paths
    assert [line.partition(":")[0] for line in done.left_out] == ["sr", "sc", "fhir"]
    assert not (tmp_path / "out").exists()


def test_a_picture_file_belongs_to_no_study(tmp_path):
    done = written_by(tmp_path, READ, source=images.encode(SEEN.image, "png"), name="other")
    assert [path.name for path in done.paths] == ["other.fhir.json"]
    assert [line.partition(":")[0] for line in done.left_out] == ["sr", "sc"]
    assert "derivedFrom" not in json.loads(done.paths[0].read_text())


def test_a_source_that_cannot_be_referred_to_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match="StudyInstanceUID is missing"):
        written_by(tmp_path, READ, source=written(radiograph(StudyInstanceUID=None)))
    assert not (tmp_path / "out").exists()


def test_all_or_nothing_is_written(tmp_path):
    (tmp_path / "out" / "hand.fhir.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"hand\.fhir\.json: this is a folder"):
        written_by(tmp_path, READ)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hand.fhir.json"]


ACCENT, GROUND = np.array(report_picture._ACCENT), np.array(report_picture._GROUND)


def near(picture, colour, tolerance=12):
    return (np.abs(picture.astype(int) - colour).max(-1) <= tolerance).sum()


UNFLAGGED = dataclasses.replace(READ, flags=())


def test_the_outline_is_that_of_the_mask_and_the_only_accent():
    bare = report_picture.draw(UNFLAGGED, dataclasses.replace(SEEN, mask=None, key_points=None))
    assert near(bare, ACCENT) == 0, "the accent marks what was found, and flags"
    drawn = report_picture.draw(UNFLAGGED, dataclasses.replace(SEEN, key_points=None))
    rows, columns = np.nonzero(np.abs(drawn.astype(int) - ACCENT).max(-1) <= 12)
    assert columns.max() < report_picture._RADIOGRAPH
    assert abs((np.ptp(rows) / np.ptp(columns)) / (180 / 100) - 1) < 0.02
    assert np.ptp(rows) > 700, "the hand fills the sheet"


def test_key_points_are_marked_where_they_are():
    drawn = report_picture.draw(UNFLAGGED, dataclasses.replace(SEEN, mask=None))
    scale = 960 / 300  # a height of 1024 less two margins of 32
    left, top = (report_picture._RADIOGRAPH - 200 * scale) / 2, 32
    for x, y in SEEN.key_points:
        column, row = left + (x + 0.5) * scale, top + (y + 0.5) * scale
        part = drawn[round(row) - 20 : round(row) + 21, round(column) - 20 : round(column) + 21].astype(int)
        rows, columns = np.nonzero(np.abs(part - ACCENT).max(-1) <= 12)
        assert abs(rows.mean() - 20) < 1.5
        assert abs(columns.mean() - 20) < 1.5


def test_nothing_is_shown_of_what_lies_away_from_the_hand():
    """Names may be burnt in there."""
    image = SEEN.image.copy()
    image[5:40, 5:195] = np.random.default_rng(0).integers(0, 256, (35, 190))
    image[260:, 10:190] = 255
    named = dataclasses.replace(SEEN, image=image)
    np.testing.assert_array_equal(report_picture.draw(READ, named), report_picture.draw(READ, SEEN))


def test_flags_and_refusals_stand_out():
    with_flags = near(report_picture.draw(READ, SEEN), ACCENT)
    without = near(report_picture.draw(dataclasses.replace(READ, flags=()), SEEN), ACCENT)
    refused = near(report_picture.draw(REFUSED, SEEN, no_age=("two hands",)), ACCENT)
    assert without < with_flags < refused


@pytest.mark.parametrize("shape", [(8, 8), (20, 400), (400, 20), (3000, 2400)])
def test_pictures_of_any_shape_fit(shape):
    drawn = report_picture.draw(READ, Seen(np.full(shape, 200, np.uint8), None, None, ()))
    frame = np.concatenate([drawn[:30].reshape(-1, 3), drawn[-30:].reshape(-1, 3), drawn[:, :30].reshape(-1, 3)])
    np.testing.assert_array_equal(frame, np.broadcast_to(GROUND, frame.shape))


def test_words_never_leave_the_sheet():
    long = dataclasses.replace(READ, flags=tuple(f"flag of many words number {n}" for n in range(9)), calibrated=False)
    drawn = report_picture.draw(long, SEEN, remarks=("terms that go on " * 40, "W" * 300))
    assert (drawn[-24:] == GROUND).all()
    assert (drawn[:, -24:] == GROUND).all()
    assert near(drawn[760:, report_picture._RADIOGRAPH + 20 :], np.array(report_picture._TEXT)) > 300, "what it is"
