"""`boneage importance` from a run to a page: the truth, going on where it was cut, and what is refused."""

import csv
import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy
from boneage_jax.cli import main
from boneage_jax.data.reading import view_of
from boneage_jax.errors import UserError
from boneage_jax.hand import atlas
from boneage_jax.hand.atlas import AREAS, GROUPS
from boneage_jax.importance import faithfulness, fillings, function, methods, page, study, truth
from boneage_jax.importance.function import AgeFunction
from boneage_jax.importance.methods import METHODS
from boneage_jax.importance.request import ImportanceRequest
from boneage_jax.importance.truth import TRUTH
from boneage_jax.runs import run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.train.loop import train
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest
from tests.conftest import small_config
from tests.importance import gradient_times_input
from tests.runs.test_best import RISING, least

pytestmark = pytest.mark.integration

OCCLUSION, SHAPLEY = "occlusion", "Shapley values"


@pytest.fixture(scope="module")
def aged_run(data_dir, phantoms, tmp_path_factory):
    """Its error falls and rises again: not the newest checkpoint is the one to ask."""
    folder = tmp_path_factory.mktemp("importance") / "run"
    train(small_config(data_dir, phantoms, **RISING), folder)
    return folder


@pytest.fixture(scope="module")
def findings(aged_run, tmp_path_factory):
    return study.study(ImportanceRequest(aged_run, tmp_path_factory.mktemp("out"), images=9, batch_size=8, workers=2))


def test_every_method_answers_for_every_image(findings):
    assert len(findings.subjects.ids) == 9
    for method in METHODS:
        assert findings.groups[method].shape == (9, len(GROUPS))
        assert np.isfinite(findings.groups[method]).all()
    assert set(findings.areas) == {*METHODS, TRUTH} - {SHAPLEY}
    for values in findings.areas.values():
        assert values.shape == (9, len(AREAS))
    # Images are spread over the ages.
    assert np.ptp(findings.subjects.reading) > 100


def test_shapley_values_sum_to_what_all_bones_together_change(findings, aged_run):
    """Efficiency, with predictions of the plain predictor on pictures that were put together here."""
    subjects = findings.subjects
    loaded = run_folder.load(aged_run)
    records = findings.selection.records
    plain = predict_ages(loaded, records).months[findings.selection.numbers]
    np.testing.assert_allclose(subjects.predicted, plain, atol=1e-3)
    fill = fillings.fill(subjects.image, subjects.areas, "other", seed=0)
    elsewhere_alone = np.where(subjects.areas == 0, subjects.image, fill)

    class Mixed:
        """The same records with other pictures."""

        def __init__(self):
            self.ids, self.labels = records.ids, records.labels

        def __len__(self):
            return len(records)

        def __getitem__(self, n):
            example = dict(records[n])
            place = np.flatnonzero(findings.selection.numbers == n)
            if len(place):
                example["image"] = elsewhere_alone[place[0]][..., 0]
            return example

    without = predict_ages(loaded, Mixed()).months[findings.selection.numbers]
    np.testing.assert_allclose(findings.groups[SHAPLEY].sum(1), plain - without, atol=2e-3)


def test_the_truth_is_the_prediction_for_the_child_drawn_again(findings, aged_run):
    """One bone of one child, by the phantom's own drawing and the run's own function."""
    series = truth.series_of(findings.selection.dataset)
    view = view_of(run_folder.load(aged_run).config.data)
    n, bone = 4, next(i for i, one in enumerate(anatomy.BONES) if one.name == "capitate")
    child = truth.Child.of(findings.selection.records.row(int(findings.selection.numbers[n])))
    images = truth.aged(series, [child], view=view, bones=[bone], workers=1, label="")
    ages = np.full(len(anatomy.BONES), np.nan, np.float32)
    ages[bone] = child.maturity[bone] + 12
    older = series.draw(child.split, child.number, child.age, child.male, ages)
    np.testing.assert_array_equal(images[0, 0], truth.network_input(view, older, male=child.male))
    changed = np.abs(images[0, 0].astype(int) - findings.subjects.image[n]).max(-1) > 8
    # The child is two years old, whose capitate grows fast: what changes lies in the bone's own area, or at its rim.
    assert changed.any()
    capitate = findings.subjects.areas[n, ..., 0] == AREAS.index("capitate")
    assert (changed & capitate).sum() >= 0.5 * changed.sum()
    said = function.over_all(
        findings.loaded,
        findings.loaded.arrays,
        lambda arrays, batch: AgeFunction.of(findings.loaded).months(arrays, batch["image"], batch["male"]),
        {"image": images[0], "male": np.array([float(child.male)], np.float32)},
        batch_size=1,
        label="",
    )
    change = float(said[0]) - findings.subjects.predicted[n]
    np.testing.assert_allclose(findings.areas[TRUTH][n, AREAS.index("capitate")], change, atol=1e-3)
    assert not findings.areas[TRUTH][:, 0].any()


def test_the_same_command_goes_on_and_gives_the_same(findings, aged_run, tmp_path, monkeypatch):
    """Cut short in the truth, in other batches: what is done is kept, and the end is that of the unbroken study."""
    request = dataclasses.replace(findings.request, out=tmp_path, batch_size=3)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(truth, "importance", interrupted)
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
    other = study.study(dataclasses.replace(request, filling="mean", methods=(OCCLUSION,)))
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
    assert NOT_A_MEDICAL_DEVICE in html
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
    assert findings.most_faithful in written.conclusion
    best = max(findings.faithfulness.values(), key=lambda one: one.by_image)
    assert findings.faithfulness[findings.most_faithful] == best
    # Captions are text, not letters in pictures; nothing tells where the files of this machine lie.
    assert str(written.page.parents[1]) not in html
    assert {f"{kind}-1-{word}.jpg" for kind, word in (("stage", "truth"), ("image", "grad-cam"))} <= {
        path.name for path in (written.page.parent / page.PICTURES).iterdir()
    }


def test_a_method_of_ones_own_stands_in_tables_and_page(findings, tmp_path, monkeypatch):
    """One file, `gradient_times_input`, and one line: as docs/how-to/extend.md shows it."""
    monkeypatch.setattr(methods, "METHODS", dict(METHODS))
    methods.register(gradient_times_input.METHOD)
    name = gradient_times_input.METHOD.name
    assert name in {method.name for method in methods.chosen()}

    asked = ("gradient-times-input", "occlusion")
    own = study.study(dataclasses.replace(findings.request, out=tmp_path, images=8, methods=asked))
    assert [method.name for method in own.methods] == ["occlusion", name]
    written = page.write(own)
    html = written.page.read_text()
    assert gradient_times_input.METHOD.sentence in html
    assert SHAPLEY not in html
    for table in ("faithfulness", "hand", "bones"):
        assert name in (tmp_path / "tables" / f"{table}.csv").read_text()
    assert (tmp_path / page.PICTURES / "image-1-gradient-times-input.jpg").exists()
    assert 0 < json.loads((tmp_path / page.FACTS).read_text())["regions"][name]["phalanges"] < 1

    # By finite differences: the age's change with the contrast of an image is the sum over its pixels, signs kept.
    rows = np.array([2, 5])
    pixels = own.explainer.pixels(gradient_times_input.METHOD, rows)
    loaded, subjects = own.loaded, own.subjects
    image = jnp.asarray(subjects.image[rows] / np.float32(255))
    male = jnp.asarray(subjects.male[rows].astype(np.float32))
    more, less = (AgeFunction.of(loaded).months(loaded.arrays, image * factor, male) for factor in (1.01, 0.99))
    np.testing.assert_allclose(pixels.sum((1, 2, 3)), (more - less) / 0.02, rtol=0.02, atol=0.05)
    # Sizes count where values do not add up to a difference of predictions.
    size = np.abs(pixels[0])
    expected = np.bincount(subjects.areas[2].ravel(), size.ravel(), minlength=len(AREAS))
    np.testing.assert_allclose(own.areas[name][2], expected, rtol=1e-3, atol=1e-4)


def test_unknown_and_taken_names_of_methods(aged_run, tmp_path, capsys):
    assert main(["importance", str(aged_run), "--methods", "occlusion,grad-kam", "--out", str(tmp_path / "out")]) == 2
    expected = "found 'grad-kam', expected one of occlusion, shapley-values, integrated-gradients, smoothgrad, grad-cam"
    assert f"{expected} (did you mean 'grad-cam'?)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert methods.named("shapley values") is methods.named("Shapley-Values") is METHODS[SHAPLEY]
    for name in ("Occlusion", "grad cam", TRUTH, "?"):
        with pytest.raises(ValueError, match="found the name"):
            methods.register(dataclasses.replace(gradient_times_input.METHOD, name=name))


def test_finished_work_of_another_version_of_a_method_is_not_used(findings, tmp_path, monkeypatch):
    """The arrays of the raised version are made anew; those of the other method are read."""
    request = dataclasses.replace(findings.request, out=tmp_path, images=8, methods=("occlusion", "grad-cam"))
    first = study.study(request)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("work/*/*.npz")}
    changed = dataclasses.replace(METHODS["Grad-CAM"], version=2, pixels=gradient_times_input.gradient_times_input)
    monkeypatch.setattr(methods, "METHODS", {**METHODS, "Grad-CAM": changed})
    again = study.study(request)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("work/*/*.npz")}
    assert after.items() >= files.items()
    assert {name for name in after if name not in files} == {
        f"grad-cam-2-{what}.npz" for what in ("trained-areas", "untrained-8-areas", "curves")
    }
    np.testing.assert_array_equal(again.groups[OCCLUSION], first.groups[OCCLUSION])
    assert not np.allclose(again.groups["Grad-CAM"], first.groups["Grad-CAM"])


def test_runs_that_see_other_regions_are_laid_beside(data_dir, phantoms, aged_run, tmp_path):
    """The paper's comparison: errors by stage are those of the runs' own predictions."""
    carpals = tmp_path / "carpals"
    train(small_config(data_dir, phantoms, data__regions="B", train__length="1 steps"), carpals)
    asked = ["importance", str(aged_run), "--beside", str(carpals), "--images", "8", "--methods", "grad-cam"]
    assert main([*asked, "--out", str(tmp_path / "out")]) in (0, None)
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


def test_images_without_a_truth(data_dir, phantoms, aged_run, tmp_path):
    """Areas come from the atlas of each child's stage, and methods are ordered by deletion and insertion."""
    copied = tmp_path / "data" / phantoms.path.relative_to(data_dir)
    shutil.copytree(phantoms.path, copied)
    metadata = json.loads((copied / "metadata.json").read_text())
    del metadata["series"]
    (copied / "metadata.json").write_text(json.dumps(metadata))
    asked = ("occlusion", "grad-cam")
    found = study.study(
        ImportanceRequest(aged_run, tmp_path / "out", data=tmp_path / "data", images=8, batch_size=8, methods=asked)
    )
    assert found.truth is None
    assert set(found.importance) == {"occlusion", "Grad-CAM"}
    subjects = found.subjects
    for n in (0, 7):
        area_map = atlas.of_stage(int(subjects.stage[n]), bool(subjects.male[n]))
        np.testing.assert_array_equal(subjects.area_maps[n].areas, area_map.areas)
        # The network sees the canvas smaller: most pixels keep the area of their place.
        height, width = subjects.areas.shape[1:3]
        rows = (np.arange(height) + 0.5) * area_map.areas.shape[0] / height
        columns = (np.arange(width) + 0.5) * area_map.areas.shape[1] / width
        there = area_map.areas[np.ix_(rows.astype(int), columns.astype(int))]
        assert (subjects.areas[n, ..., 0] == there).mean() > 0.95
    best = max(found.faithfulness.values(), key=lambda one: one.deletion + one.insertion)
    assert found.faithfulness[found.most_faithful] == best
    assert (best.bones, best.groups) == (None, None)
    written = page.write(found)
    assert "The truth about these images is not known." in written.page.read_text()
    assert not (tmp_path / "out" / "tables" / "stages_truth.csv").exists()
    with (tmp_path / "out" / "tables" / "hand.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["occlusion", "Grad-CAM"]


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
        BuildRequest(
            "hand_phantom/raw_tiny",
            out=tmp_path,
            workers=2,
            size=(96, 72),
            counts={"train": 1, "validation": 1, "test": 9},
        )
    )
    metadata = dataset.path / "metadata.json"
    stored = json.loads(metadata.read_text())
    del stored["series"]
    metadata.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="boneage register hand_phantom/raw_tiny"):
        study.study(ImportanceRequest(aged_run, tmp_path / "out", data=tmp_path, dataset=dataset.name))
