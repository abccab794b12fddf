"""Ages fitted to one's own readers: from a folder of radiographs and a table to predictions."""

import csv
import json

import cv2
import pytest

from boneage_jax.runs import bundle
from boneage_jax.workflows import age_calibration
from tests.hand_networks import build_radiographs
from tests.test_cli import call


@pytest.fixture
def clinic(data_dir, tmp_path):
    """Twenty-four radiographs of phantoms, and a table whose readers find them ten months older than they are."""
    records = build_radiographs(data_dir).split("train[:24]")
    readings, male = records.labels()
    folder = tmp_path / "clinic"
    folder.mkdir()
    for n in range(len(records)):
        cv2.imwrite(str(folder / f"{n:02}.png"), records.image(n))
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "male", "boneage"])
        writer.writerows((f"{n:02}.png", bool(male[n]), min(240, readings[n] + 10)) for n in range(len(records)))
    return folder


@pytest.mark.integration
def test_from_a_table_to_calibrated_predictions(clinic, tmp_path, capsys):
    out, into = tmp_path / "ages.json", tmp_path / "clinic.safetensors"
    fit = ("calibrate", "ages", clinic / "labels.csv", "--bundle", "phantom_only", "--views", 1)
    status, said, _ = call(capsys, *fit, "--out", out, "--into", into)
    assert status == 0, said
    assert "cross-validated" in said
    assert "warning: " in said, "24 images are few"

    def predicted(*options):
        arguments = ("predict", clinic / "00.png", "--sex", "M", "--views", 1, "--out", tmp_path / "p.csv", *options)
        status, said, _ = call(capsys, *arguments)
        assert status == 0
        (row,) = csv.DictReader((tmp_path / "p.csv").open())
        return float(row["months"]), said

    plain, without = predicted("--bundle", "phantom_only")
    beside, with_file = predicted("--bundle", "phantom_only", "--age-calibration", out)
    inside, _ = predicted("--bundle", into)
    stored = json.loads(out.read_text())
    expected = plain - (stored["male"]["slope"] * plain + stored["male"]["intercept"])
    assert beside == pytest.approx(expected, abs=0.11)
    assert inside == pytest.approx(beside, abs=0.11)
    assert "Ages are corrected by a line for each sex, fitted to labels.csv" in with_file
    assert "Ages are corrected" not in without
    assert bundle.read(into).about[age_calibration.NOTES]["source"] == "labels.csv"

    status, _, said = call(
        capsys, "predict", clinic / "00.png", "--sex", "M", "--run", "phantom_only:age0", "--age-calibration", out
    )
    assert status == 2
    assert "calibrates the ages of other networks" in said


@pytest.mark.integration
def test_what_cannot_be_used_is_refused(clinic, tmp_path, capsys):
    table = clinic / "few.csv"
    table.write_text("file,male\n00.png,1\n")
    status, _, said = call(capsys, "calibrate", "ages", table, "--out", tmp_path / "a.json")
    assert status == 2
    assert "an age and a sex" in said
    assert not (tmp_path / "a.json").exists()
    table.write_text("file,boneage\n00.png,100\n")
    status, _, said = call(capsys, "calibrate", "ages", table, "--out", tmp_path / "a.json")
    assert status == 2
    assert "found no column with sexes" in said
    status, _, said = call(
        capsys, "predict", clinic / "00.png", "--sex", "M", "--age-calibration", clinic / "labels.csv"
    )
    assert status == 2
    assert "expected a file of boneage calibrate ages" in said
