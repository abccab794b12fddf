"""The paper's table from a small grid: trained, evaluated, put together, taken up again."""

import csv
import dataclasses
import json
import re
import shlex
import types

import numpy as np
import pytest
import scipy.optimize

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy, cli
from boneage_jax.analysis import ceiling, evaluate
from boneage_jax.canvas import Canvas
from boneage_jax.config import loading
from boneage_jax.data import images
from boneage_jax.data.examples import View
from boneage_jax.data.reading import view_of
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity
from boneage_jax.hand import regions
from boneage_jax.paper import grid
from boneage_jax.paper import page as paper_page
from boneage_jax.paper import plan as paper
from boneage_jax.paper import results as paper_results
from boneage_jax.paper.grid import Experiment
from boneage_jax.paper.request import PaperRequest
from boneage_jax.runs import run_folder
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest
from tests.test_cli import call

EXPERIMENTS = ("m46-regression-A-male", "m46-regression-A-female", "m46-classification-B-all")
SETTINGS = (
    "train.devices=1",
    "train.length=3 steps",
    "train.batch_size=16",
    "eval.batch_size=16",
    "log.tensorboard=False",
    # Tested is which run learns from which images: two blocks compile in less than half the time of m46's five.
    "model.widths=(4, 6)",
    "model.dense=(8,)",
)


@pytest.fixture(scope="module")
def hands(data_dir):
    return build.build(
        BuildRequest(
            "hand_phantom/registered",
            out=data_dir,
            workers=2,
            size=(104, 80),
            counts={"train": 48, "validation": 24, "test": 30},
        )
    )


@pytest.fixture(scope="module")
def request_(hands, data_dir, tmp_path_factory):
    overrides = tuple(f"--config.{setting}" for setting in SETTINGS)
    return paper.PaperRequest(
        tmp_path_factory.mktemp("paper") / "out", data_dir, hands.name, EXPERIMENTS, tiny=True, overrides=overrides
    )


@pytest.fixture(scope="module")
def results(request_):
    return paper_results.results(request_)


def test_a_dry_run_lists_what_there_is_to_do(hands, data_dir, tmp_path, capsys):
    arguments = ["paper", "--out", tmp_path / "p", "--data", data_dir, "--dataset", hands.name, "--tiny", "--dry-run"]
    status, out, _ = call(capsys, *arguments, "--experiments", "m46-*-A-*", "--set", "train.length=3 steps")
    assert status == 0
    assert "6 experiments, 0 done" in out
    assert re.search(r"m46-classification-A-female +0/3 +96", out)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("folds", [0, 2])
def test_a_dry_run_before_any_data_is_built(tmp_path, capsys, folds):
    """Names all there is to do, and the command that makes the data, to be run as it stands."""
    data, name = tmp_path / "my data", "hand_phantom/registered_104x80_png_48-24-30"
    arguments = ["--out", tmp_path / "p", "--data", data, "--dataset", name, "--tiny", "--experiments", "m46-*-A-*"]
    status, out, err = call(capsys, "paper", *arguments, "--folds", folds, "--set", "train.length=3 steps", "--dry-run")
    assert (status, err) == (0, "")
    networks = 6 * (folds or 1)
    assert len(re.findall(r"^m46-\S+ +3 steps +32$", out, re.M)) == networks
    assert f"{networks} to train" in out
    assert not list(tmp_path.iterdir())
    (line,) = re.findall(r"^next: (boneage .*)$", out, re.M)
    options, _ = cli._parse(shlex.split(line)[1:])
    assert (options.name, options.out) == ("data build", data)
    # Run as it stands, but for the name of the program: the same dry run then knows what it costs.
    assert call(capsys, *shlex.split(line)[1:], "--workers", 2)[0] == 0
    status, out, _ = call(capsys, "paper", *arguments, "--folds", folds, "--set", "train.length=3 steps", "--dry-run")
    assert status == 0
    assert re.search(r"0/3 +96 +96 images", out)


def test_a_dry_run_still_refuses_what_cannot_be_used(tmp_path, capsys):
    arguments = ["paper", "--out", tmp_path / "p", "--data", tmp_path, "--dry-run"]
    assert "experiment 'm47-*': expected MODEL" in call(capsys, *arguments, "--experiments", "m47-*")[2]
    assert "nonsense: no such dataset" in call(capsys, *arguments, "--dataset", "nonsense")[2]
    status, _, err = call(capsys, *arguments, "--set", "train.lenght=3 steps")
    assert status == 2
    assert "did you mean 'train.length'" in err


def test_a_log_that_a_kill_cut_short_is_no_obstacle(tmp_path):
    run_path = tmp_path / "run"
    run_path.mkdir()
    (run_path / "config.json").write_text(json.dumps({"config": {"train": {"batch_size": 16}}}))
    assert paper._seconds_a_step(run_path) is None
    (run_path / "metrics.jsonl").write_text('{"step": 1, "images_per_second": 32}\n{"step": 2, "images_per_sec')
    assert paper._seconds_a_step(run_path) == 0.5


@pytest.mark.integration
def test_every_experiment_answers_for_its_children_alone(results):
    boys, girls = (results.experiments[Experiment("m46", "regression", "A", sex)].months for sex in ("male", "female"))
    assert 0 < results.male.sum() < len(results.male)
    np.testing.assert_array_equal(np.isfinite(boys), results.male)
    np.testing.assert_array_equal(np.isfinite(girls), ~results.male)
    both = next(one for one in results.members if one.name == "m46-regression-A-by sex")
    np.testing.assert_array_equal(both.months, np.where(results.male, boys, girls))
    assert [one.name for one in results.members] == ["m46-classification-B-all", "m46-regression-A-by sex"]


@pytest.mark.integration
def test_ensembles_are_what_their_names_say(results):
    by_name = {one.name: one.months for one in results.ensembles}
    members = np.stack([one.months for one in results.members])
    np.testing.assert_allclose(by_name["average of all"], members.mean(0))
    weights = np.array([results.weights[one.name] for one in results.members])
    np.testing.assert_allclose(by_name["weights fitted on validation"], weights @ members)


@pytest.mark.integration
def test_the_same_command_trains_and_evaluates_nothing_again(request_, results, monkeypatch):
    def fails(*_, **__):
        raise AssertionError("done already")

    monkeypatch.setattr(paper_results, "train", fails)
    monkeypatch.setattr(paper_results.evaluate, "evaluate", fails)
    again = paper_results.results(request_)
    np.testing.assert_array_equal(again.members[0].months, results.members[0].months)
    assert "3 experiments, 3 done" in paper.as_text(paper.plan(request_))


@pytest.mark.integration
@pytest.mark.parametrize("name", ["scores.json", "predictions.csv"])
@pytest.mark.parametrize("damage", [b"", b"id,mo\n[1", b"\xff", b"id,months,spread,reading,error,sex\r\n"])
def test_a_damaged_evaluation_is_made_again(request_, results, name, damage):
    (path, *_) = sorted((request_.out / "runs").glob(f"*/evaluation/*/*/{name}"))
    whole = path.read_bytes()
    path.write_bytes(damage)
    again = paper_results.results(request_)
    assert path.read_bytes() == whole
    for before, after in zip(results.experiments.values(), again.experiments.values(), strict=True):
        np.testing.assert_array_equal(before.months, after.months)


@pytest.mark.integration
def test_other_models_join_the_table(request_, results, trained, tmp_path):
    """Scored like the experiments, and part of every ensemble but those of a region."""
    experiments = ("m46-regression-A-male", "m46-regression-A-female")
    request = dataclasses.replace(request_, experiments=experiments, beside=(trained,))
    found = paper_results.results(request)
    assert [one.name for one in found.members] == ["m46-regression-A-by sex", "trained"]
    alone = {row["id"]: float(row["months"]) for row in _rows(trained, found.dataset.name, "test")}
    np.testing.assert_allclose(found.members[1].months, [alone[image_id] for image_id in found.ids])
    by_name = {one.name: one.months for one in found.ensembles}
    np.testing.assert_allclose(by_name["average of all"], np.mean([one.months for one in found.members], 0))
    assert set(found.weights) == {"m46-regression-A-by sex", "trained"}
    tables = {table.name: table for table in paper_page.write(found, tmp_path).tables}
    for name in ("stages", "ensembles"):
        assert "trained" in {row[0] for row in tables[name].rows}


@pytest.mark.integration
def test_models_that_cannot_join_the_table(request_, results, trained):
    boys = request_.out / "runs" / EXPERIMENTS[0]
    with pytest.raises(UserError, match="found a model of male children") as caught:
        paper_results.results(dataclasses.replace(request_, beside=(trained, trained, boys), folds=2))
    for expected in ("cannot join the table (4)", "folds report images", "found another model named 'trained'"):
        assert expected in str(caught.value)
    with pytest.raises(UserError, match="not a run's folder"):
        paper_results.results(dataclasses.replace(request_, beside=(request_.out,)))


@pytest.mark.integration
def test_folds_leave_every_child_to_a_network_that_has_not_seen_it(request_, tmp_path):
    experiments = ("m46-regression-A-all", "m46-regression-B-all")
    # Learns too fast: the best of the three checkpoints is not the last.
    often = ("eval.every=1 steps", "checkpoint.every=1 steps", "optimizer.learning_rate=0.5")
    overrides = (*request_.overrides, *(f"--config.{setting}" for setting in often))
    request = dataclasses.replace(request_, out=tmp_path, experiments=experiments, folds=2, overrides=overrides)
    assert re.search(r"m46-regression-B-all/fold-1 +0/3 ", paper.as_text(paper.plan(request)))
    found = paper_results.results(request)
    assert (found.split, found.folds, len(found.ids)) == ("train", 2, 48)
    dealt = np.full(48, -1)
    for fold in (0, 1):
        place = tmp_path / "runs" / experiments[0] / f"fold-{fold}"
        scores = json.loads((evaluate.folder_of(place, found.dataset.name, "train") / "scores.json").read_text())
        assert scores["checkpoint_step"] == 3, "the last, not the one that did best on the fold"
        data = run_folder.load(place).config.data
        assert (data.folds, data.fold, data.eval_split) == (2, fold, "validation")
        seen = {row["id"]: float(row["months"]) for row in _rows(place, found.dataset.name)}
        inside = np.array([image_id in seen for image_id in found.ids])
        learnt = found.dataset.split("train", view_of(data, split="train")).ids()
        assert sorted([*learnt, *seen]) == sorted(found.ids)
        dealt[inside] = fold
        np.testing.assert_allclose(
            found.experiments[Experiment("m46", "regression", "A", "all")].months[inside],
            [seen[image_id] for image_id in np.array(found.ids)[inside]],
        )
    assert set(dealt) == {0, 1}
    months = np.stack([one.months for one in found.members])
    weighted = next(one for one in found.ensembles if one.name == "weights fitted on the other folds").months
    for fold in (0, 1):
        # Least squares with weights of 0 or more, by SciPy's other solver.
        rest = dealt != fold
        solved = scipy.optimize.lsq_linear(months[:, rest].T, found.reading[rest], bounds=(0, np.inf)).x
        np.testing.assert_allclose(weighted[~rest], solved @ months[:, ~rest], rtol=1e-3)
    text = paper_page.write(found, tmp_path).page.read_text()
    assert "each read by the network of 2 that has not seen the child" in text


def _rows(place, dataset, split="train"):
    with (evaluate.folder_of(place, dataset, split) / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.integration
def test_tables_and_page(results, tmp_path):
    written = paper_page.write(results, tmp_path)
    for name in ("experiments", "stages", "ensembles", "comparisons"):
        for ending in ("csv", "md", "tex"):
            assert (tmp_path / "tables" / f"{name}.{ending}").stat().st_size
    experiments_csv = (tmp_path / "tables" / "experiments.csv").read_text()
    mae = np.nanmean(np.abs(results.experiments[Experiment("m46", "regression", "A", "male")].months - results.reading))
    assert f"{mae:.2f} [" in next(
        line for line in experiments_csv.splitlines() if line.startswith('"VGG-style, regression, boys')
    )
    text = written.page.read_text()
    assert NOT_A_MEDICAL_DEVICE in text
    assert "say nothing about children" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    summary = json.loads((tmp_path / "paper.json").read_text())
    assert summary["phantom"] is True
    assert summary["irreducible_mae"] == pytest.approx(ceiling.irreducible_mae(results.dataset), rel=1e-6)


def test_bad_requests_are_refused(request_, data_dir, capsys):
    status, _, err = call(capsys, "paper", "--out", "x", "--data", data_dir, "--experiments", "m46-guess-A-all")
    assert status == 2
    assert "m46-guess-A-all" in err
    with pytest.raises(UserError, match="no such dataset"):
        paper.plan(paper.PaperRequest(request_.out, data_dir, "hand_phantom/nowhere"))


def test_regions_seen_together_are_those_of_the_canvas(hands):
    """A, B and C of one hand as channels, cut by the same transform as the hand pipeline's regions."""
    records = hands.split("test", View(60, 50, regions=("A", "B", "C")))
    example = records[3]
    assert example["image"].shape == (60, 50, 3)
    whole = hands.split("test").image(3)
    to_canvas = Similarity.scaling(Canvas().height / whole.shape[0])
    for n, region in enumerate(regions.named(["A@60x50", "B@60x50", "C@60x50"])):
        expected = images.warp(whole, to_canvas.then(region.transform), 60, 50)
        np.testing.assert_array_equal(example["image"][..., n], expected)
    assert [region.name for region in anatomy.CANVAS_REGIONS] == ["A", "B", "C"]


def test_boys_and_girls_are_all_children(hands):
    everybody, boys, girls = (hands.split("train", View(sex=sex)) for sex in ("all", "male", "female"))
    assert sorted(boys.ids() + girls.ids()) == sorted(everybody.ids())
    assert boys.labels()[1].all()
    assert not girls.labels()[1].any()
    assert boys[0]["male"] == 1.0
    assert len({everybody.fingerprint, boys.fingerprint, girls.fingerprint}) == 3


def test_the_irreducible_error_lies_between_noise_and_a_year(hands):
    """Infants included: their scatter is smaller. The truth's own error is the noise alone, and so less."""
    rows = [hands.split("test").row(n) for n in range(30)]
    noise = np.mean([abs(float(row["bone_age"]) - float(row["true_bone_age"])) for row in rows])
    floor = ceiling.irreducible_mae(hands)
    assert 0.5 * noise < floor < 12


def test_what_a_region_shows_is_less_than_all(hands):
    """By least squares of NumPy's on the training split, which no part of the bones can fit better than all of them."""
    rows = [hands.split("train").row(n) for n in range(48)]
    reading = np.array([row["bone_age"] for row in rows], np.float64)
    male = np.array([row["male"] for row in rows], bool)
    maturity = np.stack([row["bone_maturity"] for row in rows]).astype(np.float64)
    left, best = {}, ceiling.best_readings(hands, test="train").by_region
    for region, bones in ((region.name, region.bones) for region in anatomy.CANVAS_REGIONS):
        left[region] = np.square(best[region] - reading).sum()
        known = np.concatenate([maturity[:, anatomy.select(bones)], np.full((48, 1), 100.0)], 1)
        exact = 0.0
        for sex in (False, True):
            one = known[male == sex]
            fitted = one @ np.linalg.lstsq(one, reading[male == sex], rcond=None)[0]
            exact += np.square(fitted - reading[male == sex]).sum()
        assert exact <= left[region] * (1 + 1e-9), "least squares is the least"
    assert left["A"] <= min(left["B"], left["C"])


def test_half_of_the_papers_sizes():
    """A 250 x 188, B 188 x 188, C 150 x 350, whatever the network and the head; all else is the full experiment's."""
    sizes = {"A": (250, 188), "B": (188, 188), "C": (150, 350)}
    for experiment in grid.EXPERIMENTS:
        half, full = (
            loading.load([f"--config=configs/paper/experiment.py:{experiment.name}{suffix}"])
            for suffix in ("-half", "")
        )
        assert (half.data.height, half.data.width) == sizes[experiment.region]
        data = dataclasses.replace(half.data, height=full.data.height, width=full.data.width)
        assert dataclasses.replace(half, data=data) == full


def test_slim_experiments_are_narrow_and_of_half_the_papers_sizes():
    """Apart from widths and length all is the half experiment's, so that regions and heads compare as in the paper."""
    for experiment in grid.EXPERIMENTS:
        slim, half = (
            loading.load([f"--config=configs/paper/experiment.py:{experiment.name}{suffix}"])
            for suffix in ("-slim", "-half")
        )
        part = 2 if experiment.model == "m46" else 4
        assert slim.model.widths == tuple(width // part for width in half.model.widths)
        model = dataclasses.replace(slim.model, widths=half.model.widths, dense=half.model.dense)
        train = dataclasses.replace(slim.train, length=half.train.length, batch_size=half.train.batch_size)
        assert dataclasses.replace(slim, model=model, train=train) == half


def test_one_size_at_a_time(tmp_path):
    with pytest.raises(UserError, match="--tiny and --slim: expected at most one"):
        _ = PaperRequest(out=tmp_path, tiny=True, slim=True).suffix


def test_ensembles_reported_where_they_are_fitted_have_not_seen_the_fifth_they_report(tmp_path):
    """A member that knows every reading but is useless in one fifth: there, weights of the others are what counts."""
    draws = np.random.default_rng(0)
    count = 400
    ids = [str(n) for n in range(count)]
    reading = draws.uniform(20, 220, count)
    split = types.SimpleNamespace(ids=ids, reading=reading)
    members = [
        paper_results.Predictions("a", reading + draws.normal(0, 6, count)),
        paper_results.Predictions("b", reading + draws.normal(0, 18, count)),
    ]
    fits = paper_results._within(split, members)
    covered = np.sum([fit.where for fit in fits], axis=0)
    np.testing.assert_array_equal(covered, 1)
    ensembles, weights = paper_results._ensembles(members, fits, "the other fifths of validation")
    weighted = next(one for one in ensembles if one.name == "weights fitted on the other fifths of validation")
    for fit in fits:
        assert fit.months.shape[1] == count - fit.where.sum()
        expected, _ = scipy.optimize.nnls(np.stack([m.months[~fit.where] for m in members]).T, reading[~fit.where])
        own = expected @ np.stack([m.months[fit.where] for m in members])
        np.testing.assert_allclose(weighted.months[fit.where], own)
    assert weights["a"] > weights["b"]
