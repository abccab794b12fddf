"""`boneage compare`: differences against NumPy and SciPy, sexes, and runs whose errors cannot be paired."""

import csv
import dataclasses
import json
import pathlib
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis import compare_page, compare_report, compare_runs, run_inputs
from boneage_jax.analysis.paired import RunComparison, paired_differences, scored
from boneage_jax.analysis.predictions import SplitPredictions
from boneage_jax.analysis.request import CompareRequest
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.network_ref import NetworkRef
from boneage_jax.runs import run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.train.loop import train
from tests.conftest import small_config


def predictions(seed, reading, sd, *, rows=slice(None)):
    """A network whose errors are normal."""
    rng = np.random.default_rng(seed)
    months = (reading + rng.normal(0, sd, len(reading)))[rows]
    ids = [f"image {n}" for n in range(len(reading))][rows]
    male = (np.arange(len(reading)) % 2 == 0)[rows]
    return SplitPredictions(ids, reading[rows], male, months, np.full(len(months), float(sd)))


@pytest.fixture
def three():
    """Two networks for all children, and one for boys; the first errs least."""
    reading = np.random.default_rng(9).uniform(20, 220, 200)
    boys = np.flatnonzero(np.arange(200) % 2 == 0)
    return {
        "good": predictions(0, reading, 5),
        "bad": predictions(1, reading, 12),
        "boys": SplitPredictions(
            [f"image {n}" for n in boys],
            reading[boys],
            np.ones(100, bool),
            predictions(2, reading, 5).months[boys],
            np.full(100, np.nan),
        ),
    }


def test_differences_are_those_of_numpy_and_scipy(three):
    found = {(pair.first, pair.second): pair for pair in paired_differences(three)}
    assert {names: pair.images for names, pair in found.items()} == {
        ("good", "bad"): 200,
        ("good", "boys"): 100,
        ("bad", "boys"): 100,
    }
    p_values = {}
    for (first, second), pair in found.items():
        one, other = (dict(zip(three[name].ids, three[name].error, strict=True)) for name in (first, second))
        common = sorted(one.keys() & other.keys())
        gap = np.abs([one[image_id] for image_id in common]) - np.abs([other[image_id] for image_id in common])
        assert pair.difference.value == pytest.approx(gap.mean())
        draws = np.random.default_rng(5).integers(0, len(gap), (4000, len(gap)))
        low, high = np.percentile(gap[draws].mean(1), [2.5, 97.5])
        width = high - low
        assert pair.difference.low == pytest.approx(low, abs=0.1 * width)
        assert pair.difference.high == pytest.approx(high, abs=0.1 * width)
        p_values[first, second] = scipy.stats.wilcoxon(gap).pvalue
        assert pair.p == pytest.approx(p_values[first, second])
        assert sum(n for n, _ in pair.by_stage.values()) == len(common)
        total = sum(n * score.value for n, score in pair.by_stage.values()) / len(common)
        assert total == pytest.approx(gap.mean()), "the stages' differences make up the whole one"
    running = 0.0
    for rank, names in enumerate(sorted(p_values, key=p_values.__getitem__)):
        running = max(running, min(1.0, (3 - rank) * p_values[names]))
        assert found[names].p_holm == pytest.approx(running)
    assert (found["good", "bad"].better, found["good", "bad"].worse) == ("good", "bad")
    assert (found["good", "boys"].better, found["good", "boys"].worse) == ("", "")
    assert found["bad", "boys"].better == "boys"


def test_each_run_with_the_first_alone(three):
    """The same differences, fewer of them: p is corrected for two pairs, not three, and nothing is said of others."""
    every = {(pair.first, pair.second): pair for pair in paired_differences(three)}
    found = paired_differences(three, with_first=True)
    assert [(pair.first, pair.second) for pair in found] == [("good", "bad"), ("good", "boys")]
    assert all(pair.difference == every[pair.first, pair.second].difference for pair in found)
    smaller, larger = sorted(pair.p for pair in found)
    assert sorted(pair.p_holm for pair in found) == pytest.approx([2 * smaller, max(2 * smaller, larger)])
    network = NetworkRef(pathlib.Path("run"))
    same = {"bad": three["bad"], "good": three["good"], "twin": three["good"]}
    runs = tuple(scored(name, network, "step 1", "all", one) for name, one in same.items())
    text = compare_report.as_text(RunComparison("x test", False, runs, paired_differences(same, with_first=True)))
    assert "good has the smallest error, smaller than that of bad by more than chance (p < 0.05).\n" in text


def test_a_difference_needs_the_test_and_the_interval(three):
    (pair, *_) = paired_differences(three)
    assert pair.better == "good"
    assert dataclasses.replace(pair, p_holm=0.05).better == ""
    beyond = dataclasses.replace(pair.difference, high=0.1)
    assert dataclasses.replace(pair, difference=beyond).better == ""


def test_names_are_as_short_as_they_can_be(tmp_path):
    refs = [NetworkRef(pathlib.Path(path)) for path in ("/a/x/fold-0", "/a/y/fold-0", "/a/y/other")]
    assert compare_runs.short_names([*refs, NetworkRef(None, "age0")]) == [
        "x/fold-0",
        "y/fold-0",
        "other",
        "shipped:age0",
    ]
    with pytest.raises(UserError, match=r"/a/x/fold-0: found the same run 2 times, expected runs that differ"):
        compare_runs.short_names([refs[0], refs[1], NetworkRef(pathlib.Path("/a/y/../x/fold-0"))])


# One program for all of them; a rate at which a later checkpoint is worse than the one before.
OFTEN = {
    "train__length": "3 steps",
    "eval__every": "1 steps",
    "checkpoint__every": "1 steps",
    "train__devices": 1,
    "optimizer__learning_rate": 0.5,
}


@pytest.fixture(scope="module")
def runs(data_dir, phantoms, trained, tmp_path_factory):
    """Runs by name: one that has learnt a little, one that has not, one of boys, two folds of the training split."""
    folder = tmp_path_factory.mktemp("compared")
    found = {"trained": trained}
    for name, changes in {
        "beginner": {},
        "boys": {"data__sex": "male"},
        "fold-0": {"data__folds": 2, "data__fold": 0},
        "fold-1": {"data__folds": 2, "data__fold": 1},
    }.items():
        train(small_config(data_dir, phantoms, **OFTEN, **changes), folder / name)
        found[name] = folder / name
    return found


def compared(runs, tmp_path, **options):
    return compare_runs.compare_runs(CompareRequest(tuple(runs), tmp_path / "out", **options))


@pytest.mark.integration
def test_runs_on_their_own_images(runs, phantoms, tmp_path):
    """Each run's error is that of its own predictions; boys are compared on boys; all files say the same."""
    found = compared([runs[name] for name in ("trained", "beginner", "boys")], tmp_path)
    assert [run.name for run in found.runs] == ["trained", "beginner", "boys"]
    _, male = phantoms.split("test").labels()
    assert {run.name: len(run.predictions) for run in found.runs} == {
        "trained": 21,
        "beginner": 21,
        "boys": male.sum(),
    }
    for run in found.runs:
        loaded = run_folder.load(runs[run.name])
        records = phantoms.split("test", view_of(loaded.config.data))
        error = predict_ages(loaded, records).months - records.labels()[0]
        assert run.mae.value == pytest.approx(np.abs(error).mean())
        assert run.bias.value == pytest.approx(error.mean())
        assert run.chosen == loaded.chosen
    assert {(pair.first, pair.second): pair.images for pair in found.pairs} == {
        ("trained", "beginner"): 21,
        ("trained", "boys"): male.sum(),
        ("beginner", "boys"): male.sum(),
    }
    assert found.notes == ()
    out = tmp_path / "out"
    compare_report.write(found, out)
    compare_page.write(found, out / compare_page.PAGE)
    facts = json.loads((out / "comparison.json").read_text())
    with (out / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for pair, row, stored in zip(found.pairs, rows, facts["pairs"], strict=True):
        assert (row["first"], row["second"], int(row["images"])) == (pair.first, pair.second, pair.images)
        assert float(row["difference"]) == pytest.approx(pair.difference.value, abs=1e-4)
        assert stored["difference"]["low"] == pair.difference.low
    with (out / "predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == phantoms.split("test").ids()
    assert [row["boys"] != "" for row in table] == male.tolist()
    text, page = compare_report.as_text(found), (out / compare_page.PAGE).read_text()
    assert "The runs answer for different images" in text
    for shown in (text, page):
        assert NOT_A_MEDICAL_DEVICE in shown
        assert f"{found.runs[0].mae.value:.2f}" in shown
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert str(tmp_path) not in page


def test_the_finding_is_said(three):
    """The best run, which others are shown to be worse, and which are not."""
    network = NetworkRef(pathlib.Path("run"))
    three = {"good": three["good"], "bad": three["bad"], "twin": three["good"]}
    runs = tuple(scored(name, network, "step 1", "all", found) for name, found in three.items())
    found = RunComparison("x test", False, runs, paired_differences(three))
    assert found.same_images
    assert found.best.name == "good"
    expected = (
        "good has the smallest error, smaller than that of bad by more than chance (p < 0.05); no difference from twin "
        "is shown."
    )
    assert expected in compare_report.as_text(found)
    pairs = tuple(dataclasses.replace(pair, p_holm=0.2) for pair in found.pairs)
    text = compare_report.as_text(dataclasses.replace(found, pairs=pairs))
    assert "good has the smallest error; no difference from bad, twin is shown." in text


@pytest.mark.integration
def test_folds_have_no_image_in_common(runs, tmp_path):
    with pytest.raises(
        UserError, match=r"no two of these runs answer for the same image.*fold-0: \d+ images \(boys and"
    ):
        compared([runs["fold-0"], runs["fold-1"]], tmp_path, split="train")


@pytest.mark.integration
def test_a_run_that_has_seen_the_images_is_not_compared_with_one_that_has_not(runs, tmp_path):
    with pytest.raises(
        UserError, match=r"trained: trained on (\d+) of the \1 images .* fold-0; fold-0: on 0"
    ) as caught:
        compared([runs["trained"], runs["fold-0"]], tmp_path, split="train")
    assert "--split" in str(caught.value)
    # Both have been trained on all: their errors may be paired, and say nothing about new images.
    found = compared([runs["trained"], runs["beginner"]], tmp_path, split="train")
    assert found.notes == tuple(
        f"{name}: trained on 72 of these images, so its error says nothing about new ones."
        for name in ("trained", "beginner")
    )
    found = compared([runs["trained"], runs["beginner"]], tmp_path, split="validation")
    assert all("chosen on these images" in note for note in found.notes)
    assert len(found.notes) == 2


@pytest.mark.integration
def test_a_fold_is_compared_at_the_last_checkpoint(runs, tmp_path):
    """With its own copy: the same predictions, of the checkpoint that has not been chosen on this fold."""
    shutil.copytree(runs["fold-0"], tmp_path / "copy")
    assert run_folder.load(runs["fold-0"]).step != 3, "the best is the last: nothing would be tested"
    found = compared([runs["fold-0"], tmp_path / "copy"], tmp_path, split="train")
    assert [run.chosen.split(",")[0] for run in found.runs] == ["step 3", "step 3"]
    assert 0 < len(found.runs[0].predictions) < 72
    (pair,) = found.pairs
    assert (pair.difference.value, pair.p, pair.better) == (0.0, 1.0, "")


@pytest.mark.integration
def test_runs_of_other_images_are_refused(runs, phantoms, tmp_path, monkeypatch):
    """A network of registered hands can make nothing of radiographs as they were taken."""
    with pytest.raises(UserError, match="found 1 run, expected two or more"):
        compared([runs["trained"]], tmp_path)
    with pytest.raises(UserError, match="found a network of the task 'segmentation', expected 'bone_age'"):
        run_inputs.load(NetworkRef(None, "segmentation"))
    assert phantoms.facts["registered"]
    monkeypatch.setattr(Dataset, "facts", property(lambda _: {"registered": False}))
    with pytest.raises(UserError, match=r"(?s)cannot read its images \(2\).*trained: trained on registered hands, "):
        compared([runs["trained"], runs["beginner"]], tmp_path)


@pytest.mark.parametrize(
    ("learnt", "given", "why"),
    [
        ({"registered": True}, {"registered": True}, ""),
        ({}, {"registered": True}, ""),
        ({"registered": False}, {"registered": True}, "trained on whole radiographs, d holds registered hands"),
        (
            {"registered": True, "canvas": {"height": 9, "width": 8, "fingertip": [1.0, 2.0], "capitate": [1.0, 5.0]}},
            {"registered": True, "canvas": {"height": 9, "width": 8, "fingertip": (1.0, 2.0), "capitate": (1.0, 5.0)}},
            "",
        ),
        (
            {"registered": True, "canvas": {"height": 9, "width": 8, "fingertip": [1.0, 2.0], "capitate": [1.0, 5.0]}},
            {"registered": True, "canvas": {"height": 9, "width": 8, "fingertip": [1.0, 2.0], "capitate": [1.0, 6.0]}},
            "trained on hands on another canvas than that of d",
        ),
        (
            {"registered": True, "regions": [{"name": "wrist", "rows": [1, 5], "columns": [1, 5]}]},
            {"registered": True, "regions": [{"name": "wrist", "rows": [1, 5], "columns": [1, 6]}]},
            "trained on another region 'wrist' of the canvas than that of d",
        ),
        (
            {"registered": True, "regions": [{"name": "A", "rows": [1, 5], "columns": [1, 5]}]},
            {"registered": True, "regions": [{"name": "A", "rows": [1, 5], "columns": [1, 6]}]},
            "",
        ),
    ],
)
def test_images_of_the_kind_that_a_run_was_trained_on(learnt, given, why):
    """Of regions, only those that the run reads need be the same: it reads the wrist."""
    config = SimpleNamespace(data=SimpleNamespace(feature="region_wrist"))
    run, dataset = SimpleNamespace(about={"data": learnt}, config=config), SimpleNamespace(name="d", facts=given)
    assert run_inputs.input_problem(run, dataset) == why


@pytest.mark.integration
def test_data_that_were_built_again_are_noted(runs, phantoms, tmp_path, monkeypatch):
    rebuilt = dataclasses.replace(phantoms, fingerprint="another")
    assert run_inputs.training_ids(run_folder.load(runs["trained"]), phantoms, phantoms.path.parents[2]) is not None
    monkeypatch.setattr(run_inputs.Dataset, "open", lambda *_: rebuilt)
    assert run_inputs.training_ids(run_folder.load(runs["trained"]), phantoms, tmp_path) is None
    found = compared([runs["trained"], runs["beginner"]], tmp_path)
    assert [note.partition(":")[0] for note in found.notes] == ["trained", "beginner"]
    assert all("not known whether it was trained on any of these images" in note for note in found.notes)


@pytest.mark.integration
def test_labels_that_differ_are_refused(runs, phantoms, tmp_path, monkeypatch):
    """A dataset whose readings another run's dataset does not have: what a table corrected in between comes to."""
    first = phantoms.split("test").ids()[0]
    before, calls = Records.labels, []

    def labels(self):
        reading, male = before(self)
        calls.append(self)
        return reading + (np.array(self.ids()) == first) * (len({*map(id, calls)}) - 1), male

    monkeypatch.setattr(Records, "labels", labels)
    with pytest.raises(UserError, match=rf"{first}: found .* months, [FM] for trained, .* months, [FM] for beginner"):
        compared([runs["trained"], runs["beginner"]], tmp_path)
