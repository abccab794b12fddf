"""Ages fitted to one's own readers: from a folder of radiographs and a table to predictions."""

import csv
import json

import cv2
import numpy as np
import pytest

from boneage_jax.runs import bundle
from boneage_jax.workflows import fitted
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
        out = tmp_path / f"p{len(list(tmp_path.glob('p*')))}"
        arguments = ("assess", clinic / "00.png", "--sex", "M", "--views", 1, "--out", out, *options)
        status, said, _ = call(capsys, *arguments)
        assert status == 0
        (row,) = csv.DictReader((out / "ages.csv").open())
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
    assert bundle.read(into).about[fitted.LINES.notes]["source"] == "labels.csv"

    status, _, said = call(
        capsys, "assess", clinic / "00.png", "--sex", "M", "--run", "phantom_only:age0", "--age-calibration", out
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
        capsys, "assess", clinic / "00.png", "--sex", "M", "--age-calibration", clinic / "labels.csv"
    )
    assert status == 2
    assert "expected a file of boneage calibrate ages" in said


@pytest.mark.integration
def test_intervals_from_a_table_to_predictions(clinic, tmp_path, capsys):
    """24 hands are refused; four times as many make intervals that come with ages, from a file and from a bundle."""
    out, into = tmp_path / "intervals.json", tmp_path / "clinic.safetensors"
    fit = ("calibrate", "intervals", clinic / "labels.csv", "--bundle", "phantom_only", "--views", 1)
    status, _, said = call(capsys, *fit, "--out", out)
    assert status == 2
    assert "expected 20 of each at least" in said
    with (clinic / "labels.csv").open("a", newline="") as file:
        rows = list(csv.reader((clinic / "labels.csv").open()))[1:]
        for copy in range(3):
            for name, male, months in rows:
                # Another file of other bytes: the same hand, the other sex.
                cv2.imwrite(str(clinic / f"{copy}-{name}"), cv2.imread(str(clinic / name), 0)[copy + 1 :])
                csv.writer(file).writerow([f"{copy}-{name}", male == "False", months])
    status, said, problem = call(capsys, *fit, "--out", out, "--into", into)
    assert status == 0, problem
    assert "80%: holds" in said

    def predicted(*options):
        out = tmp_path / f"p{len(list(tmp_path.glob('p*')))}"
        arguments = ("assess", clinic / "00.png", "--sex", "M", "--views", 1, "--out", out, *options)
        status, said, problem = call(capsys, *arguments)
        assert status == 0, problem
        (row,) = csv.DictReader((out / "ages.csv").open())
        return row, said

    beside, said = predicted("--bundle", "phantom_only", "--intervals", out)
    inside, _ = predicted("--bundle", into)
    assert beside == inside
    ends = {name: float(beside[name]) for name in ("months", "low_80", "high_80", "low_90", "high_90")}
    assert ends["low_90"] <= ends["low_80"] < ends["months"] < ends["high_80"] <= ends["high_90"]
    assert f"[{beside['low_90']}, {beside['high_90']}]" in said
    assert "Intervals promise to hold the reading in 80% (" in said
    stored = json.loads(out.read_text())
    group = np.searchsorted(stored["male"]["edges"], float(beside["months"]), side="right")
    half = stored["male"]["factors"][1][group] * float(beside["spread"])
    assert ends["high_90"] - ends["months"] == pytest.approx(half, rel=0.02)

    # Lines change the ages: intervals of the old ones go.
    lines = tmp_path / "ages.json"
    status, said, _ = call(
        capsys, "calibrate", "ages", clinic / "labels.csv", "--bundle", into, "--views", 1, "--out", lines,
        "--into", tmp_path / "lines.safetensors",
    )  # fmt: skip
    assert status == 0
    assert "boneage calibrate intervals makes new ones" in said
    assert predicted("--bundle", tmp_path / "lines.safetensors")[0]["low_90"] == ""
    assert predicted("--bundle", into, "--age-calibration", lines)[0]["low_90"] == ""
