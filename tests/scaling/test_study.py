"""A small study from the command to its page; going on; what is refused."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from boneage_jax.cli import main
from boneage_jax.errors import UserError
from boneage_jax.runs.run_folder import shapes_of
from boneage_jax.scaling import law, page, study
from boneage_jax.scaling.kinds import Kind
from boneage_jax.scaling.request import ScalingRequest
from tests.conftest import small_config


def request(data_dir, phantoms, out, **changes):
    config = small_config(data_dir, phantoms, train__length="1 epochs", eval__every="1 epochs", train__batch_size=8)
    values = {"images": (16, 24, 32), "widths": (0.5, 1.0, 2.0), "hold_out": 1, **changes}
    return ScalingRequest(config, out, **values)


def weights(kind, base):
    _, state = shapes_of(kind.config(base, 0))
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def test_kinds_differ_in_what_they_say(data_dir, phantoms):
    base = small_config(data_dir, phantoms)
    kind = Kind(24, 2.0, 3, 0.5, 16)
    config = kind.config(base, 5)
    assert config.data.train_split == "train[:24]"
    assert config.model.widths == (8, 16, 16)
    assert config.model.dense == (16,)
    assert (config.data.height, config.data.width) == (24, 18)
    assert (config.train.batch_size, config.train.seed) == (16, 5)
    assert weights(Kind(24, 0.5), base) < weights(Kind(24), base) < weights(Kind(24, 2.0), base)
    assert Kind(24).name == "images24-width1"
    resnet = dataclasses.replace(base, model=dataclasses.replace(base.model, name="resnet", widths=(4, 4, 4, 4)))
    assert Kind(24, depth=18).config(resnet, 0).model.depth == 18


@pytest.mark.integration
def test_a_study_whose_runs_are_there(data_dir, phantoms, tmp_path, monkeypatch, capsys):
    """Training is replaced by a law: what comes out is that law; the same command trains nothing twice."""
    asked = request(data_dir, phantoms, tmp_path / "study", batches=(16,), scales=(0.5,), seeds=2)
    planted, trained = law.Law(5.0, 40.0, 0.5, 60.0, 0.6), []

    def learnt(config, folder):
        trained.append(folder.name)
        _, state = shapes_of(config)
        n = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        d = int(re.search(r"\[:(\d+)\]", config.data.train_split)[1])
        folder.mkdir(parents=True)

        class Result:
            score = float(planted(n, d)) * (1 + 0.001 * config.train.seed)

        return Result()

    monkeypatch.setattr(study, "train", learnt)
    found = study.study(asked)
    assert len(trained) == len(set(trained)) == 2 * (9 + 2)
    study.study(asked)
    assert len(trained) == 22
    for one in found.grid:
        assert one.error == pytest.approx(float(planted(one.weights, one.kind.images)), rel=1e-2)
        assert one.operations > 6 * one.weights * one.kind.images  # every weight works at least once on an image
    assert found.held_out[0].outcome.kind == Kind(32, 2.0)
    assert found.held_out[0].low <= found.held_out[0].outcome.error * 1.01
    assert found.held_out[0].expected == pytest.approx(found.held_out[0].outcome.error, rel=0.05)

    written = page.write(found)
    html = written.read_text()
    assert html.count("data:image/png") == 3
    assert "which say nothing about children" in html
    assert "not a medical device" in html.lower()
    stored = json.loads((written.parent / page.FACTS).read_text())
    low, high = stored["fitted"]["law"]["images_exponent"]["interval"]
    assert low <= stored["fitted"]["law"]["images_exponent"]["value"] <= high
    for name in ("runs", "law", "held_out", "frontier"):
        assert (written.parent / "tables" / f"{name}.csv").exists()
    assert "held out: images32-width2" in page.as_text(found)

    capsys.readouterr()
    planned = study.as_text(asked, study.plan(asked))
    assert planned.count("2 of 2") == 11


@pytest.mark.integration
def test_real_runs_go_on_where_they_were_cut(data_dir, phantoms, tmp_path, monkeypatch):
    """Runs of one width are trained; the others, whose programs would only be compiled, are not."""
    asked = request(data_dir, phantoms, tmp_path / "study")
    train, done = study.train, []

    class Other:
        score = 30.0

    def trained(config, folder):
        if len(done) == 2:
            raise KeyboardInterrupt
        if config.model.widths != asked.config.model.widths:
            return Other()
        done.append(folder)
        return train(config, folder)

    monkeypatch.setattr(study, "train", trained)
    with pytest.raises(KeyboardInterrupt):
        study.study(asked)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("study/runs/*/score.json")}
    assert sum("width1-" in str(path) for path in kept) == 2
    done.clear()
    found = study.study(asked)
    assert len(done) == 1
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    assert all(np.isfinite(one.error) for one in found.grid)
    # A run that had ended, but whose score was not written down, is read from its log.
    score = next(path for path in kept if "width1-" in str(path))
    before = json.loads(score.read_text())
    score.unlink()
    study.study(asked)
    assert json.loads(score.read_text())["error"] == pytest.approx(before["error"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": (16, 32)}, "--images: found 2 values, expected at least 3"),
        ({"widths": (1.0,)}, "--widths: found 1 values"),
        ({"images": (16, 32, 9999)}, "--images: found 9999, expected at most the 72"),
        ({"widths": (0.0, 1.0, 2.0)}, "expected numbers above 0"),
        ({"hold_out": 5}, "--hold-out: found 5, expected 0 to 2"),
        ({"depths": (2, 9)}, "the run images32-width1-depth9 of this study cannot .*\n.*9 blocks leave nothing"),
        ({"scales": (0.1,)}, "the run images32-width1-scale0.1 of this study cannot be used"),
    ],
)
def test_what_no_study_can_be_made_of(data_dir, phantoms, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        study.check(request(data_dir, phantoms, tmp_path, **changes))


@pytest.mark.parametrize(
    ("network", "depths", "message"),
    [
        ({"name": "resnet", "widths": (4, 4, 4, 4)}, (18, 20), "model.depth: found 20, expected one of 10, 18"),
        ({"name": "oracle"}, (), "model.name: found 'oracle', expected one of 'vgg', 'resnet'"),
    ],
)
def test_depths_and_networks_that_there_are_not_are_refused(data_dir, phantoms, tmp_path, network, depths, message):
    asked = request(data_dir, phantoms, tmp_path, depths=depths)
    model = dataclasses.replace(asked.config.model, **network)
    with pytest.raises(UserError, match=message):
        study.check(dataclasses.replace(asked, config=dataclasses.replace(asked.config, model=model)))


def test_a_length_in_steps_is_refused(data_dir, phantoms, tmp_path, capsys):
    arguments = [
        "scaling",
        "--config=configs/tiny.py",
        f"--config.data.dir={data_dir}",
        "--config.train.length=5 steps",
    ]
    arguments += [f"--config.data.name={phantoms.name}", "--images", "16,24,32", "--out", str(tmp_path), "--dry-run"]
    assert main(arguments) == 2
    assert "train.length: found '5 steps', expected epochs" in capsys.readouterr().err
