"""The folder of `boneage assess`: what lies in it, going on after an end at any point, what it refuses."""

import json
import math
import re
import signal
import subprocess
import sys
import time

import cv2
import filelock
import numpy as np
import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.data import images
from boneage_jax.data.dicom_header import Stated
from boneage_jax.errors import UserError
from boneage_jax.workflows import assess_command, assess_journal, flags, record
from boneage_jax.workflows.assessment import Assessment, Interval, NetworkAge, as_years_and_months
from boneage_jax.workflows.requests import AssessRequest
from tests.workflows.test_assess import Means, _means, dcm, png  # noqa: F401  # its fixture


def folder_of(root):
    """Every file of a result, but for the journal, whose order is that of the work."""
    kept = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name not in (assess_journal.FILE, ".lock"):
            kept[str(path.relative_to(root))] = path.read_bytes()
    return kept


@pytest.fixture
def radiographs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(10):
        (folder / f"{n}.png").write_bytes(png(20 + 10 * n))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def request(folder, **options):
    return AssessRequest((folder,), **({"sex": "F", "batch_size": 3} | options))


def test_what_lies_in_the_folder(radiographs, tmp_path):
    out = tmp_path / "out"
    text, status = assess_command.assess(request(radiographs), out)
    assert status == 4
    assert str(out / "index.html") in text
    files = folder_of(out)
    cases = [f"cases/{n:04}.html" for n in range(1, 12)]
    assert sorted(files) == sorted(["ages.csv", "ages.json", "index.html", "manifest.json", *cases])
    document = json.loads(files["ages.json"])
    assert document["schema"] == record.SCHEMA
    assert document["notice"] == NOT_A_MEDICAL_DEVICE
    ages = [one["bone_age"] and one["bone_age"]["months"] for one in document["radiographs"]]
    assert ages == [20 + 10 * n for n in range(10)] + [None]
    assert [one["status"] for one in document["radiographs"]] == ["read"] * 10 + ["unusable"]
    index = files["index.html"].decode()
    assert re.findall(r'href="(cases/[0-9]+\.html)"', index) == cases, "each row leads to its page"
    for name in cases:
        page = files[name].decode()
        assert NOT_A_MEDICAL_DEVICE in page
        for address in re.findall(r'href="([^"]+)"', page):
            assert (out / "cases" / address).resolve().exists()
    manifest = json.loads(files["manifest.json"])
    assert (manifest["radiographs"], manifest["unusable"]) == (11, 1)
    assert set(manifest["versions"]) >= {"boneage-jax", "jax", "python"}


def test_the_same_command_does_nothing_twice_and_a_new_file_is_read(radiographs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assess_command.assess(request(radiographs), out)
    before = folder_of(out)
    with monkeypatch.context() as patched:
        patched.setattr(Means, "predict", lambda *_: pytest.fail("read again"))
        assess_command.assess(request(radiographs), out)
    assert folder_of(out) == before
    (radiographs / "9a.png").write_bytes(png(99))
    assess_command.assess(request(radiographs), out)
    fresh = tmp_path / "fresh"
    assess_command.assess(request(radiographs), fresh)
    assert folder_of(out) == folder_of(fresh)
    (radiographs / "9a.png").unlink()
    (radiographs / "3.png").write_bytes(png(77))
    assess_command.assess(request(radiographs), out)
    document = json.loads((out / "ages.json").read_text())
    assert document["radiographs"][3]["bone_age"]["months"] == 77, "a changed file is read anew"
    assert len(list((out / "cases").iterdir())) == 11, "the page of a file that is gone is gone"


@pytest.mark.parametrize("after", range(1, 5))
@pytest.mark.parametrize("torn", [0, 1, 40])
def test_ended_anywhere_it_comes_to_the_same_files(radiographs, tmp_path, monkeypatch, after, torn):
    """Ended after a number of batches, with a page written for the next and a torn last line of the journal."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    assess_command.assess(request(radiographs), whole)
    add, done = assess_journal.Journal.add, []

    def ending(self, batch, assessments):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(batch)
        return add(self, batch, assessments)

    with monkeypatch.context() as patched:
        patched.setattr(assess_journal.Journal, "add", ending)
        if after < 4:
            with pytest.raises(KeyboardInterrupt):
                assess_command.assess(request(radiographs), out)
            assert not (out / "ages.csv").exists()
        else:
            assess_command.assess(request(radiographs), out)
    journal = out / assess_journal.FILE
    if torn:
        journal.write_bytes(journal.read_bytes()[:-torn])
    assess_command.assess(request(radiographs), out)
    assert folder_of(out) == folder_of(whole)


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"}", b"null", b'{"batch": "x", "radiographs": [{}]}'])
@pytest.mark.parametrize("number", [0, 2])
def test_a_damaged_journal(radiographs, tmp_path, damage, number):
    """Batches of damaged lines are read again; without its first line nothing can be told, and that is said."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    for folder in (whole, out):
        assess_command.assess(request(radiographs), folder)
    journal = out / assess_journal.FILE
    lines = journal.read_bytes().split(b"\n")
    lines[number] = damage
    journal.write_bytes(b"\n".join(lines))
    if number == 0:
        with pytest.raises(UserError, match=r"journal\.jsonl: damaged.*name another one"):
            assess_command.assess(request(radiographs), out)
        return
    assess_command.assess(request(radiographs), out)
    assert folder_of(out) == folder_of(whole)


def test_another_command_in_the_folder_is_refused(radiographs, tmp_path):
    out = tmp_path / "out"
    assess_command.assess(request(radiographs), out)
    before = folder_of(out)
    for other, what in (
        (request(radiographs, sex="M"), "sex"),
        (request(radiographs, batch_size=4), "batch_size"),
        (request(radiographs / "3.png"), "inputs"),
    ):
        with pytest.raises(UserError, match=rf"result of another command \(it differs in {what}\)"):
            assess_command.assess(other, out)
    assert folder_of(out) == before
    with filelock.FileLock(out / ".lock"), pytest.raises(UserError, match="at work in this folder"):
        assess_command.assess(request(radiographs), out)


def test_results_within_the_radiographs_are_no_radiographs(radiographs):
    out = radiographs / "ages"
    assess_command.assess(request(radiographs), out)
    before = folder_of(out)
    (out / "cases" / "left.png").write_bytes(png(50))
    assess_command.assess(request(radiographs), out)
    assert folder_of(out).keys() - {"cases/left.png"} == before.keys()


def test_one_file_alone(radiographs, tmp_path):
    """As in the folder; never in the place of something that is read."""
    assess_command.assess(request(radiographs), tmp_path / "out")
    for name in ("ages.csv", "ages.json"):
        text, status = assess_command.assess(request(radiographs), tmp_path / name)
        assert status == 4
        assert f"10 of 11 lie in {tmp_path / name}" in text
        assert (tmp_path / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    table = tmp_path / "sexes.csv"
    table.write_text("file,male\n1,1\n")
    with pytest.raises(UserError, match=r"sexes\.csv: this file is read"):
        assess_command.assess(request(radiographs, sex="", sex_csv=table), table)
    assert table.read_text() == "file,male\n1,1\n"
    with pytest.raises(UserError, match="cannot be written"):
        assess_command.assess(request(radiographs), radiographs / "1.png" / "a.csv")


def test_a_record_comes_back_as_it_was():
    """All fields, and none of them."""
    full = Assessment(
        file="a b.dcm",
        months=123.45,
        spread=8.5,
        sex="M",
        flags=(flags.SEX_DIFFERS, "uncertain mask"),
        calibrated=False,
        intervals=(Interval(0.8, 110.25, 135.5), Interval(0.9, 104.0, 141.75)),
        turned=90,
        stated=Stated(False, 120.5, "PatientAge", "L", 0.15, "PixelSpacing", "HAND", "DX"),
        chronological_months=120.5,
        chronological_source="PatientAge",
        sd_score=0.25,
        networks=(NetworkAge("A", 121.5, 8.25), NetworkAge("B and C", math.nan, math.nan)),
        hand_mm=132.25,
        identifiers=(("PatientID", "7"),),
    )
    stored = json.loads(json.dumps(record.record(full), allow_nan=False))
    back = record.assessment(stored)
    assert record.record(back) == record.record(full)
    assert back.stated == full.stated
    assert back.intervals == full.intervals
    assert (back.months, back.flags, back.identifiers, back.turned) == (123.45, full.flags, full.identifiers, 90)
    assert stored["bone_age"]["text"] == "10 years 3 months"
    refused = record.record(Assessment("b", math.nan, math.nan, "", ("no hand",), refused=("no hand",)))
    assert (refused["status"], refused["bone_age"], refused["sex"]) == ("refused", None, None)
    assert refused["flags"][0]["refuses"]
    assert record.assessment(refused).refused == ("no hand",)
    problem = record.assessment(record.record(Assessment("c", math.nan, math.nan, "", problem="damaged")))
    assert problem.problem == "damaged"
    assert math.isnan(problem.months)


@pytest.mark.parametrize(
    ("months", "text"),
    [
        (0, "0 months"),
        (1.2, "1 month"),
        (23.4, "23 months"),
        (23.6, "2 years"),
        (36.6, "3 years 1 month"),
        (123.4, "10 years 3 months"),
        (227.7, "19 years"),
    ],
)
def test_ages_in_years_and_months(months, text):
    assert as_years_and_months(months) == text


def test_flags_of_header_and_age(tmp_path):
    """CT is refused, another part of the body is flagged, adults and nearly mature hands are flagged."""
    assert flags.of_header(Stated()) == ()
    assert flags.of_header(Stated(modality="DX", body_part="HAND")) == ()
    assert flags.of_header(Stated(modality="CT", body_part="CHEST")) == (flags.OTHER_MODALITY, flags.OTHER_BODY_PART)
    assert flags.of_age(100, 120) == ()
    assert flags.of_age(math.nan, None) == ()
    assert flags.of_age(216, 240) == (flags.ADULT, flags.MATURE)
    assert {flags.OTHER_MODALITY} == flags.REFUSING & set(flags.of_header(Stated(modality="CT", body_part="CHEST")))
    assert set(flags.MEANINGS) > flags.REFUSING


# ---- identifiers -----------------------------------------------------------------------------------------------------

PLANTED = "PLANTED"


def planted(level):
    """A DICOM file with a text of its own in every field that takes one, and in a private block."""
    import io

    import pydicom

    made = pydicom.dcmread(io.BytesIO(dcm(level, "F")))
    for element in pydicom.datadict.DicomDictionary.items():
        tag, (kind, many, _, retired, keyword) = element
        if (
            not keyword
            or retired
            or keyword in made
            or tag >> 16 in (0x0000, 0x0002, 0x0028, 0x7FE0)
            or "n" in many[:1]
        ):
            continue
        if kind in ("LO", "SH", "PN", "LT", "ST", "UT", "UC"):
            setattr(made, keyword, f"{PLANTED}^{keyword}"[:60] if kind == "PN" else f"{PLANTED} {keyword}"[:16])
        elif kind == "DA":
            setattr(made, keyword, "20110203")
    made.PatientBirthDate, made.StudyDate = "20010203", "20110203"
    made.PatientID, made.AccessionNumber = "PLANTED-ID", "PLANTED-ACC"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.3.4", "1.2.3.4.5", "1.2.3.4.5.6"
    made.BodyPartExamined = "PLANTED HAND"
    block = made.private_block(0x0011, f"{PLANTED} CORP", create=True)
    block.add_new(0x01, "LO", f"{PLANTED} private")
    file = io.BytesIO()
    made.save_as(file)
    assert file.getvalue().count(PLANTED.encode()) > 100
    return file.getvalue()


def test_nothing_of_the_header_identifies_the_patient_unless_it_is_asked_for(tmp_path, capfd):
    pytest.importorskip("pydicom")
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}.dcm").write_bytes(planted(90 + n))
    (tmp_path / "in" / "cut.dcm").write_bytes(planted(99)[:-2000])
    text, _ = assess_command.assess(request(tmp_path / "in", sex=""), tmp_path / "out")
    said = capfd.readouterr()
    everything = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    everything += [text.encode(), said.out.encode(), said.err.encode()]
    for written in everything:
        for secret in (PLANTED, "20010203", "20110203", "2001-02-03", "2011-02-03"):
            assert secret.encode() not in written
    assert "120.0 months" in text, "the age of ten years, from the dates, is shown"
    assess_command.assess(request(tmp_path / "in", sex="", keep_identifiers=True), tmp_path / "kept")
    for shown in (
        (tmp_path / "kept" / "ages.json").read_text(),
        (tmp_path / "kept" / "cases" / "0001.html").read_text(),
    ):
        assert "PLANTED-ID" in shown
        assert "20110203" in shown


def test_text_in_the_picture_is_covered(tmp_path):
    """Beyond the hand black, without a hand coarse: a line of letters of 12 pixels is gone from both."""
    from boneage_jax.workflows import pictures

    picture = np.full((600, 400), 60, np.uint8)
    cv2.putText(picture, "DOE^JANE 20010203", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    letters = picture > 150
    mask = np.zeros(picture.shape, bool)
    mask[200:500, 100:300] = True
    shown = pictures.covered(picture, mask)
    assert (shown.image[:, :] <= 60).all()
    assert shown.top > 100
    np.testing.assert_array_equal(
        shown.image[200 - shown.top : 500 - shown.top, 100 - shown.left : 300 - shown.left], picture[200:500, 100:300]
    )
    coarse = pictures.covered(picture, None).image.astype(float)
    inside, about = coarse[letters], coarse[15:35, 10:200][~letters[15:35, 10:200]]
    assert abs(inside.mean() - about.mean()) < 12, "letters do not stand out from the gaps between them"


@pytest.mark.engine
def test_killed_in_mid_batch_the_same_command_ends_with_the_same_files(tmp_path):
    """By the real program and networks, at several moments."""
    from boneage_jax.api import phantoms

    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(6):
        hand = phantoms.phantom(60 + 20 * n, "F", n, view="raw", size=(260, 208))
        (folder / f"{n}.png").write_bytes(images.encode(hand.image, "png"))
    command = [sys.executable, "-m", "boneage_jax.cli", "assess", str(folder), "--sex=F", "--bundle=phantom_only"]
    command += ["--views=1", "--batch-size=1", "--force", "-o"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True, timeout=300)
    out = tmp_path / "out"
    for lines in (1, 3, 5):
        started = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal, end = out / assess_journal.FILE, time.monotonic() + 200
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= lines) and time.monotonic() < end:
            time.sleep(0.005)
        started.send_signal(signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL, "it was still at work"
    subprocess.run([*command, str(out)], check=True, capture_output=True, timeout=300)
    assert folder_of(out) == folder_of(tmp_path / "whole")


def test_reports_of_a_folder(tmp_path):
    """Of DICOM files; of others an observation alone; what is not there says why; read by pydicom and JSON."""
    pytest.importorskip("highdicom")
    import pydicom

    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(planted(90))
    (folder / "b.png").write_bytes(png(60))
    (folder / "c.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assess_command.assess(request(folder, reports=("sr", "sc", "fhir")), out)
    names = sorted(path.name for path in (out / "reports").iterdir())
    assert names == [
        *("0001.fhir.json", "0001.sc.dcm", "0001.sr.dcm", "0002.fhir.json", "0002.missing.txt", "0003.missing.txt"),
    ]
    source = pydicom.dcmread(folder / "a.dcm")
    report = pydicom.dcmread(out / "reports" / "0001.sr.dcm")
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert report.PatientID == "PLANTED-ID"
    observed = json.loads((out / "reports" / "0002.fhir.json").read_text())
    assert observed["valueQuantity"]["value"] == 60
    assert "no DICOM file" in (out / "reports" / "0002.missing.txt").read_text()
    (folder / "a.dcm").unlink()
    assess_command.assess(request(folder, reports=("sr", "sc", "fhir")), out)
    assert not (out / "reports" / "0003.missing.txt").exists(), "files of radiographs that are gone are gone"
    with pytest.raises(UserError, match="--reports: found no folder"):
        assess_command.assess(request(folder, reports=("fhir",)), None)
