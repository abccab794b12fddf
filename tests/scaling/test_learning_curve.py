"""The law of starts against planted ones, and a small study from end to end."""

import csv
import dataclasses
import json
import pathlib

import numpy as np
import pytest

from boneage_jax.errors import UserError
from boneage_jax.runs import bundle, run_folder
from boneage_jax.scaling import curve_law, learning_curve, learning_curve_page
from boneage_jax.scaling.curve_law import CurveLaw
from boneage_jax.scaling.request import LearningCurveRequest
from boneage_jax.train.loop import train
from tests.conftest import small_config

SIZES = np.array([50.0, 100, 300, 1000, 3000, 12000])


@pytest.mark.parametrize(("factor", "exponent"), [(60.0, 0.4), (30.0, 0.25), (300.0, 0.7)])
def test_planted_laws_are_found_with_their_common_floor(factor, exponent):
    planted = {"random": CurveLaw(5.0, factor, exponent), "phantoms": CurveLaw(5.0, factor / 4, exponent)}
    found = curve_law.fit({name: (SIZES, law(SIZES)) for name, law in planted.items()})
    for name, law in planted.items():
        np.testing.assert_allclose(found[name](SIZES), law(SIZES), rtol=1e-3)
        assert found[name].floor == pytest.approx(5.0, rel=0.05)
        assert found[name].exponent == pytest.approx(exponent, rel=0.05)


def test_images_for_an_error_inverts_the_law():
    law = CurveLaw(5.0, 40.0, 0.5)
    for images in (10.0, 100.0, 5000.0):
        assert law.images_for(float(law(images))) == pytest.approx(images)
    assert law.images_for(5.0) == float("inf")
    assert law.images_for(4.0) == float("inf")


def test_two_numbers_of_images_make_no_law():
    with pytest.raises(ValueError, match="expected at least 3"):
        curve_law.fit({"random": (np.array([10.0, 10.0, 100.0]), np.array([9.0, 9.1, 7.0]))})


def request_of(data_dir, dataset, out, start, **changes):
    config = small_config(data_dir, dataset, train__length="1 epochs")
    return LearningCurveRequest(
        config, out, (0, 16, 32, 64), ("random", start), least_steps=2, seeds=2, seeds_up_to=20, **changes
    )


@pytest.fixture(scope="module")
def start(data_dir, phantoms, tmp_path_factory):
    """A bundle of one network, as starts are named."""
    folder = tmp_path_factory.mktemp("start")
    train(small_config(data_dir, phantoms, train__length="12 steps", eval__every="12 steps"), folder / "run")
    bundle.write({"age0": run_folder.load(folder / "run")}, {}, folder / "b.safetensors")
    return f"{folder / 'b.safetensors'}:age0"


@pytest.mark.integration
def test_a_study_from_end_to_end(data_dir, phantoms, tmp_path, start, capsys):
    request = request_of(data_dir, phantoms, tmp_path / "curve", start)
    runs = learning_curve.plan(request)
    assert len(runs) == 2 * (2 + 1 + 1), "two starts; two seeds up to 20 images, one above"
    parts = {run.config.data.train_split for run in runs if run.images == 16}
    assert parts == {"train[0:16]", "train[16:32]"}, "each seed has images of its own"
    assert {run.config.train.length for run in runs if run.images == 16} == {"2 steps"}, (
        "few images are seen more often"
    )
    assert {run.config.train.length for run in runs if run.images == 64} == {"4 steps"}

    found = learning_curve.learning_curve(request)
    text = learning_curve_page.write(found)
    by_name = {(point.start, point.images): point for point in found.points}
    loaded = bundle.load(pathlib.Path(start), "")
    alone = learning_curve.predictions_of(loaded, request, "validation")
    assert by_name[start, 0].mae.value == pytest.approx(np.abs(alone.error).mean(), abs=0.01)
    point = by_name["random", 16]
    folders = [run.folder for run in runs if (run.start, run.images) == ("random", 16)]
    maes = []
    for folder in folders:
        rows = list(csv.DictReader((folder / "errors.csv").open()))
        maes.append(np.mean([abs(float(row["months"]) - float(row["reading"])) for row in rows]))
    assert point.mae.value == pytest.approx(np.mean(maes), abs=0.01)
    assert (point.lowest, point.highest) == (pytest.approx(min(maes), abs=0.01), pytest.approx(max(maes), abs=0.01))
    assert (f"{start} {learning_curve.LINES}", 64) in by_name
    assert set(found.laws) == {"random", start}
    assert {one.other for one in found.equivalents} == {"random"}
    facts = json.loads((tmp_path / "curve" / "learning_curve.json").read_text())
    assert facts["phantom"]
    assert "What a start is worth" in (tmp_path / "curve" / "learning_curve.html").read_text()
    assert "error = " in text

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("errors.csv")}
    learning_curve.learning_curve(request)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("errors.csv")} == before, "nothing is redone"
    assert "random-images16-seed0" in learning_curve.plan_as_text(runs)


@pytest.mark.integration
def test_what_makes_no_curve_is_refused(data_dir, phantoms, tmp_path, start):
    request = request_of(data_dir, phantoms, tmp_path / "curve", start)
    for match, changes in (
        ("expected epochs", {"config": small_config(data_dir, phantoms)}),
        ("expected at most the", {"images": (0, 100_000)}),
        ("expected different ones", {"starts": ("random", "random")}),
        ("no such file|not a run", {"starts": ("random", "nowhere")}),
        ("found -1", {"images": (-1, 5)}),
    ):
        with pytest.raises(UserError, match=match):
            learning_curve.plan(dataclasses.replace(request, **changes))
