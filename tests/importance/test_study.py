"""`boneage importance` from a run to a page: the truth, going on where it was cut, and what is refused."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from boneage_jax import anatomy
from boneage_jax.cli import main
from boneage_jax.data.reading import view_of
from boneage_jax.errors import UserError
from boneage_jax.importance import atlas, faithfulness, page, study, truth
from boneage_jax.importance.atlas import AREAS, GROUPS
from boneage_jax.importance.study import METHODS, OCCLUSION, SHAPLEY, TRUTH, ImportanceRequest
from boneage_jax.runs import run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.train.loop import train
from boneage_jax.workflows import build
from tests.conftest import small_config
from tests.train.test_best import RISING, least


@pytest.fixture(scope="module")
def aged_run(data_dir, phantoms, tmp_path_factory):
    """Its error falls and rises again: not the newest checkpoint is the one to ask."""
    folder = tmp_path_factory.mktemp("importance") / "run"
    train(small_config(data_dir, phantoms, **RISING), folder)
    return folder


@pytest.fixture(scope="module")
def findings(aged_run, tmp_path_factory):
    return study.study(ImportanceRequest(aged_run, tmp_path_factory.mktemp("out"), images=9, batch_size=8, workers=2))


def test_every_method_says_something_of_every_image(findings):
    assert len(findings.subjects.ids) == 9
    for method in METHODS:
        assert findings.groups[method].shape == (9, len(GROUPS))
        assert np.isfinite(findings.groups[method]).all()
    assert set(findings.bones) == {*METHODS, TRUTH} - {SHAPLEY}
    for values in findings.bones.values():
        assert values.shape == (9, len(AREAS))
    # Images are spread over the ages.
    assert np.ptp(findings.subjects.reading) > 100


def test_shapley_values_sum_to_what_all_bones_together_change(findings, aged_run):
    """Efficiency, with predictions of the plain predictor on pictures that were put together here."""
    subjects = findings.subjects
    loaded = run_folder.load(aged_run)
    records = findings.records
    plain = predict_ages(loaded, records).months[findings.numbers]
    np.testing.assert_allclose(subjects.predicted, plain, atol=1e-3)
    fill = study.masking.filling(subjects.image, subjects.areas, "other", 0)
    elsewhere_alone = np.where(subjects.areas == 0, subjects.image, fill)

    class Mixed:
        """The same records with other pictures."""

        def __init__(self):
            self.ids, self.labels = records.ids, records.labels

        def __len__(self):
            return len(records)

        def __getitem__(self, n):
            example = dict(records[n])
            place = np.flatnonzero(findings.numbers == n)
            if len(place):
                example["image"] = elsewhere_alone[place[0]][..., 0]
            return example

    without = predict_ages(loaded, Mixed()).months[findings.numbers]
    np.testing.assert_allclose(findings.groups[SHAPLEY].sum(1), plain - without, atol=2e-3)


def test_the_truth_is_what_the_network_says_of_the_child_drawn_again(findings, aged_run):
    """One bone of one child, by the phantom's own drawing and the run's own function."""
    series = truth.series_of(findings.dataset)
    view = view_of(run_folder.load(aged_run).config.data)
    n, bone = 4, next(i for i, one in enumerate(anatomy.BONES) if one.name == "capitate")
    child = truth.Child.of(findings.records.row(int(findings.numbers[n])))
    pictures = truth.aged(series, [child], view, [bone], workers=1, label="")
    ages = np.full(len(anatomy.BONES), np.nan, np.float32)
    ages[bone] = child.maturity[bone] + 12
    older = series.draw(child.split, child.number, child.age, child.male, ages)
    np.testing.assert_array_equal(pictures[0, 0], truth.seen(view, older, child.male))
    changed = np.abs(pictures[0, 0].astype(int) - findings.subjects.image[n]).max(-1) > 8
    if changed.any():  # what moves lies in the capitate's own area, or at its rim
        capitate = findings.subjects.areas[n, ..., 0] == AREAS.index("capitate")
        assert (changed & capitate).sum() >= 0.5 * changed.sum()
    said = study.over_all(
        findings.loaded,
        findings.loaded.arrays,
        lambda arrays, batch: study.AgeFunction(findings.loaded.network, findings.loaded.task).months(
            arrays, batch["image"], batch["male"]
        ),
        {"image": pictures[0], "male": np.array([float(child.male)], np.float32)},
        batch_size=1,
        label="",
    )
    change = float(said[0]) - findings.subjects.predicted[n]
    np.testing.assert_allclose(findings.bones[TRUTH][n, AREAS.index("capitate")], change, atol=1e-3)
    assert not findings.bones[TRUTH][:, 0].any()


def test_the_same_command_goes_on_and_says_the_same(findings, aged_run, tmp_path, monkeypatch):
    """Cut short in the truth, in other batches: what is done is kept, and the end is that of the unbroken study."""
    request = dataclasses.replace(findings.request, out=tmp_path, batch_size=3)
    with monkeypatch.context() as cut:
        cut.setattr(study, "_aged", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            study.study(request)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("work/*/*.npz")}
    assert len(kept) >= 2 * len(METHODS)
    again = study.study(request)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("work/*/*.npz")}
    assert after.items() >= kept.items()
    for method in (*METHODS, TRUTH):
        np.testing.assert_allclose(again.groups[method], findings.groups[method], rtol=2e-3, atol=2e-4)
    # Another question has files of its own.
    other = study.study(dataclasses.replace(request, filling="mean"))
    assert len(list(tmp_path.glob("work/*"))) == 2
    assert not np.allclose(other.groups[OCCLUSION], again.groups[OCCLUSION])


def test_the_best_checkpoint_is_asked_and_named(findings, aged_run):
    best = least(aged_run)
    assert findings.loaded.step == best
    written = page.write(findings)
    chosen = f"step {best}, the best of 2 evaluated that are kept, validation MAE {findings.loaded.score:.4g} months"
    assert f"checkpoint of {chosen}" in page.as_text(written)
    assert json.loads((written.page.parent / page.FACTS).read_text())["checkpoint"] == chosen
    assert chosen in written.page.read_text()


def test_the_page_and_its_tables(findings):
    written = page.write(findings)
    html = written.page.read_text()
    assert "Not a medical device" in html or "not a medical device" in html
    assert "rendered phantoms, which say nothing about children" in html
    assert "data:image/gif" in html
    assert "http" not in html.replace("http://www.w3.org", "")
    facts = json.loads((written.page.parent / page.FACTS).read_text())
    assert facts["phantom"] is True
    for method in (*METHODS, TRUTH):
        assert sum(facts["groups"][method].values()) == pytest.approx(1, abs=1e-3)
    with (written.page.parent / "tables" / "hand.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    shares = faithfulness.shares(atlas.by_region(np.abs(findings.groups[TRUTH])))
    assert rows[TRUTH]["most important"] == atlas.REGIONS[int(shares.argmax())]
    assert rows[TRUTH]["carpals"].startswith(f"{100 * shares[atlas.REGIONS.index('carpals')]:.0f}%")
    assert findings.most_trusted in written.most_trusted
    best = max(findings.faith.values(), key=lambda one: one.by_image)
    assert findings.faith[findings.most_trusted] == best


def test_runs_that_see_other_regions_are_laid_beside(data_dir, phantoms, aged_run, tmp_path):
    """The paper's comparison: errors by stage are those of the runs' own predictions."""
    carpals = tmp_path / "carpals"
    train(small_config(data_dir, phantoms, data__regions="B", train__length="1 steps"), carpals)
    assert main(
        ["importance", str(aged_run), "--beside", str(carpals), "--images", "8", "--out", str(tmp_path / "out")]
    ) in (0, None)
    with (tmp_path / "out" / "tables" / "regions.csv").open() as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert set(rows) == {
        f"{name}, {sex}" for name in ("image (run)", "B (carpals)") for sex in ("all", "girls", "boys")
    }
    loaded = run_folder.load(carpals)
    records = phantoms.split("test", view_of(loaded.config.data))
    reading, male = records.labels()
    chosen = [anatomy.stage_of(r, m).name == "post-puberty" for r, m in zip(reading, male, strict=True)]
    error = np.abs(predict_ages(loaded, records).months - reading)[chosen].mean()
    assert rows["B (carpals), all"]["post-puberty"] == f"{error:.1f} ({sum(chosen)})"


def test_what_is_refused(data_dir, phantoms, aged_run, tmp_path, capsys):
    assert main(["importance", str(aged_run), "--images", "7", "--out", str(tmp_path / "few")]) == 2
    assert "7 images: expected at least 8" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()

    with pytest.raises(UserError, match="no-such"):
        study.study(ImportanceRequest(aged_run, tmp_path / "a", dataset="hand_phantom/no-such"))

    # Drawn by another version: the truth would be of another child.
    metadata = phantoms.path / "metadata.json"
    before = metadata.read_text()
    stored = json.loads(before)
    stored["series"]["seed"] += 1
    try:
        metadata.write_text(json.dumps(stored))
        with pytest.raises(UserError, match="built by another version: build it anew"):
            study.study(ImportanceRequest(aged_run, tmp_path / "b"))
    finally:
        metadata.write_text(before)


def test_radiographs_that_are_no_phantoms_are_registered_first(data_dir, aged_run, tmp_path):
    dataset = build.build(
        "hand_phantom/raw_tiny", tmp_path, workers=2, size=(96, 72), counts={"train": 1, "validation": 1, "test": 9}
    )
    metadata = dataset.path / "metadata.json"
    stored = json.loads(metadata.read_text())
    del stored["series"]
    metadata.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="boneage register hand_phantom/raw_tiny"):
        study.study(ImportanceRequest(aged_run, tmp_path / "out", data=tmp_path, dataset=dataset.name))
