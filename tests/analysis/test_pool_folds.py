"""`boneage pool-folds`: every image by the run that was not trained on it, and runs that are no cross-validation."""

import csv
import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis import pool_folds, pool_report
from boneage_jax.analysis.pool_folds import ScoredFold, pooled
from boneage_jax.analysis.predictions import SplitPredictions
from boneage_jax.analysis.request import PoolFoldsRequest
from boneage_jax.analysis.scores import Score
from boneage_jax.data.examples import View
from boneage_jax.data.folds import Fold, read_patients
from boneage_jax.data.reading import view_of
from boneage_jax.errors import UserError
from boneage_jax.runs import run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.train.loop import train
from tests.conftest import small_config

# A rate at which a later checkpoint is worse than the one before.
OFTEN = {
    "train__length": "3 steps",
    "eval__every": "1 steps",
    "checkpoint__every": "1 steps",
    "train__devices": 1,
    "optimizer__learning_rate": 0.5,
}


@pytest.fixture(scope="module")
def patients(phantoms, tmp_path_factory) -> pathlib.Path:
    """Two images of each child."""
    path = tmp_path_factory.mktemp("patients") / "patients.csv"
    path.write_text(
        "id,patient\n" + "".join(f"{image_id},{n // 2}\n" for n, image_id in enumerate(phantoms.split("train").ids()))
    )
    return path


@pytest.fixture(scope="module")
def folds(data_dir, phantoms, patients, tmp_path_factory) -> list[pathlib.Path]:
    """A cross-validation in two folds; seeds differ."""
    folder = tmp_path_factory.mktemp("folds")
    for fold in (0, 1):
        config = small_config(
            data_dir,
            phantoms,
            data__folds=2,
            data__fold=fold,
            data__patients=str(patients),
            train__seed=fold,
            **OFTEN,
        )
        train(config, folder / f"fold-{fold}")
    return [folder / "fold-0", folder / "fold-1"]


def pool(runs, tmp_path, **options):
    return pool_folds.pool_folds(PoolFoldsRequest(tuple(runs), tmp_path / "out", **options))


@pytest.mark.integration
def test_every_image_is_predicted_by_the_run_that_was_not_trained_on_it(folds, phantoms, patients, tmp_path):
    found = pool(reversed(folds), tmp_path)
    everyone = phantoms.split("train").ids()
    assert sorted(found.predictions.ids) == sorted(everyone)
    by_id = dict(zip(found.predictions.ids, zip(found.fold, found.predictions.months, strict=True), strict=True))
    table = read_patients(patients)
    for fold, folder in enumerate(folds):
        loaded = run_folder.load(folder, step=3)
        records = phantoms.split("train", view_of(loaded.config.data, split="train", evaluation=True))
        for image_id, months in zip(records.ids(), predict_ages(loaded, records).months, strict=True):
            assert by_id[image_id] == (fold, pytest.approx(months))
            assert Fold(2, fold, True, table).keeps(image_id)
        assert found.folds[fold].chosen.startswith("step 3"), "the last, not the one that did best on the fold"
    assert {run_folder.load(folder).step for folder in folds} != {3}, "the best is the last: nothing would be tested"
    reading, male = phantoms.split("train").labels()
    at = dict(zip(everyone, zip(reading, male, strict=True), strict=True))
    np.testing.assert_array_equal([at[image_id][0] for image_id in found.predictions.ids], found.predictions.reading)
    error = found.predictions.months - found.predictions.reading
    assert found.mae.value == pytest.approx(np.abs(error).mean())
    means = [found.predictions.reading[found.fold != fold].mean(dtype=np.float64) for fold in (0, 1)]
    expected = np.mean(
        [abs(months - means[fold]) for months, fold in zip(found.predictions.reading, found.fold, strict=True)]
    )
    assert found.baseline_mae == pytest.approx(expected)
    of_folds = [np.abs(error[found.fold == fold]).mean() for fold in (0, 1)]
    assert [one.mae.value for one in found.folds] == pytest.approx(of_folds)
    assert found.mae_over_folds == (pytest.approx(np.mean(of_folds)), pytest.approx(np.std(of_folds, ddof=1)))


@pytest.mark.integration
def test_what_is_written(folds, tmp_path):
    found = pool(folds, tmp_path)
    out = tmp_path / "out"
    pool_report.write(found, out)
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == found.predictions.ids
    assert [int(row["fold"]) for row in rows] == found.fold.tolist()
    np.testing.assert_allclose([float(row["error"]) for row in rows], found.predictions.error, atol=0.006)
    facts = json.loads((out / "scores.json").read_text())
    assert facts["images"] == 72
    assert facts["scores"]["all"]["MAE"] == dataclasses.asdict(found.mae)
    assert [one["images"] for one in facts["folds"]] == [len(one.predictions) for one in found.folds]
    text, page = (out / "scores.txt").read_text(), (out / pool_report.PAGE).read_text()
    assert f"{found.mae.value:.2f}" in text
    assert f"{found.mae.value:,.2f}" in page
    for shown in (text, page):
        assert NOT_A_MEDICAL_DEVICE in shown
        assert "Intervals resample images, not patients" in shown
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert str(tmp_path) not in page


def test_pooled_scores_are_over_all_images():
    """Folds of different sizes: the pooled error weighs images alike, the mean of folds weighs folds alike."""

    def fold(number, error):
        size = len(error)
        found = SplitPredictions(
            [f"{number}-{n}" for n in range(size)],
            np.full(size, 100.0),
            np.ones(size, bool),
            100.0 + np.array(error),
            np.full(size, np.nan),
        )
        return ScoredFold(
            number, pathlib.Path("run"), "step 1", found, Score(np.abs(error).mean(), 0, 0), Score(0, 0, 0)
        )

    found = pooled("x train", [fold(0, [1.0, 1.0, 1.0]), fold(1, [9.0])], is_phantom=False, has_patients=False)
    assert found.mae.value == pytest.approx(3.0)
    assert found.mae_over_folds == (pytest.approx(5.0), pytest.approx(np.sqrt(32.0)))
    assert found.fold.tolist() == [0, 0, 0, 1]
    assert "Intervals resample" not in pool_report.as_text(found)


@pytest.mark.integration
def test_runs_that_are_no_cross_validation(folds, trained, tmp_path):
    with pytest.raises(UserError, match="no run of fold 1, expected all 2"):
        pool(folds[:1], tmp_path)
    with pytest.raises(UserError, match="fold 0: found 2 runs, expected one"):
        pool([folds[0], folds[0]], tmp_path)
    with pytest.raises(UserError, match=r"trained: was trained on its whole split \(data.folds is 0\)") as caught:
        pool([folds[0], folds[1], trained], tmp_path)
    assert "boneage train --config.data.folds=5 --config.data.fold=0" in str(caught.value)
    with pytest.raises(UserError, match="not a run's folder"):
        pool([tmp_path], tmp_path)


def copied(run, folder, change):
    """A run with something changed in what lies beside its checkpoints."""
    shutil.copytree(run, folder)
    for path in folder.glob("checkpoints/*/about/metadata"):
        about = json.loads(path.read_text())
        change(about)
        path.write_text(json.dumps(about))
    return folder


@pytest.mark.integration
def test_runs_of_other_settings_or_other_folds(folds, phantoms, tmp_path):
    """A second fold with another setting; one of another deal; one that has not ended."""
    other = copied(folds[1], tmp_path / "other", lambda about: about["config"]["model"].update(dropout=0.1))
    with pytest.raises(UserError, match=r"other: model.dropout is 0.1, that of \S+fold-0 is 0.3"):
        pool([folds[0], other], tmp_path)

    def without_patients(about):
        about["config"]["data"]["patients"] = ""
        about["data_fingerprint"] = phantoms.split("train", View(fold=Fold(2, 1, True))).fingerprint

    alone = copied(folds[1], tmp_path / "alone", without_patients)
    with pytest.raises(UserError, match=r"that are not in exactly one fold.*\n\s+\S+: in [02] folds"):
        pool([folds[0], alone], tmp_path)
    shutil.copytree(folds[1], tmp_path / "short")
    shutil.rmtree(tmp_path / "short" / "checkpoints" / "3")
    with pytest.raises(UserError, match="short: step 2 of 3"):
        pool([folds[0], tmp_path / "short"], tmp_path)


@pytest.mark.integration
def test_a_table_of_patients_that_has_changed(folds, patients, phantoms, tmp_path):
    """Some images that a run was trained on would be in its fold."""
    before = patients.read_text()
    patients.write_text(before.replace(",0\n", ",another\n"))
    try:
        with pytest.raises(UserError, match=r"(?s)some may be known to them.*fold-0: fold 0.*table of patients"):
            pool(folds, tmp_path)
    finally:
        patients.write_text(before)
    assert pool(folds, tmp_path).has_patients
