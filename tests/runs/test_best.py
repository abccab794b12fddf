"""The best checkpoint is the best: of a run whose error falls and rises again, killed and gone on with between."""

import errno
import json
import os
import pathlib
import shutil
import signal
import sys

import jax
import numpy as np
import pytest

from boneage_jax.analysis.evaluate import folder_of
from boneage_jax.cli import main
from boneage_jax.config import CheckpointConfig
from boneage_jax.data import images
from boneage_jax.errors import UserError
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.checkpoint import Checkpoints
from boneage_jax.sweeps import commands as sweep_commands
from boneage_jax.sweeps.space import Sweep, choice
from boneage_jax.sweeps.study import Folder
from boneage_jax.sweeps.worker import Worker
from boneage_jax.train.loop import train
from tests.conftest import boneage, small_arguments, small_config
from tests.train.test_run import broken_off, lines, start, wait_for_steps

# The learning rate grows until the weights run away: the error has its least early, but not at the first evaluation.
# Later steps amplify rounding, so that the least must lie before.
RISING = {
    "train__length": "24 steps",
    "train__devices": 1,
    "eval__every": "3 steps",
    "checkpoint__every": "3 steps",
    "checkpoint__keep_last": 1,
    "checkpoint__keep_best": 1,
    "optimizer__name": "sgd",
    "optimizer__learning_rate": 0.2,
    "optimizer__warmup": "24 steps",
    "optimizer__clip_norm": 0.0,
    "train__seed": 3,
}


def scores(folder: pathlib.Path) -> dict[int, float]:
    """What every evaluation of a run came to, by step, from its log."""
    return {line["step"]: line["eval_mae"] for line in lines(folder) if "eval_mae" in line}


def least(folder: pathlib.Path) -> int:
    """The step of the least error; neither the first nor the last, or the test would show nothing."""
    found = scores(folder)
    best = min(found, key=lambda step: (found[step], step))
    assert min(found) < best < max(found) - 3, found
    return best


@pytest.fixture(scope="module")
def risen(data_dir, phantoms, tmp_path_factory):
    """Broken off after its least error, and gone on with."""
    folder = tmp_path_factory.mktemp("risen") / "run"
    config = small_config(data_dir, phantoms, **RISING)
    with pytest.MonkeyPatch.context() as patch:
        broken_off(config, folder, patch, at=20)
    train(config, folder)
    return folder


@pytest.fixture
def cli():
    """The command, in this process."""
    return lambda *words: main([str(word) for word in words])


def test_the_best_outlives_the_session_that_trained_it(risen):
    best = least(risen)
    checkpoints = Checkpoints(risen / "checkpoints", CheckpointConfig(keep_last=1, keep_best=1))
    assert checkpoints.steps() == [best, 24], "the best of the first session, and the last"
    loaded = run_folder.load(risen)
    assert (loaded.step, loaded.score) == (best, pytest.approx(scores(risen)[best]))
    of_it = f"validation MAE {loaded.score:.4g} months"
    assert loaded.chosen == f"step {best}, the best of 2 evaluated that are kept, {of_it}"
    assert run_folder.load(risen, step=24).chosen.startswith("step 24, as asked for, validation MAE")
    assert run_folder.best_score(risen) == loaded.score


def test_evaluate_takes_it_and_says_so(risen, phantoms, capsys, cli):
    assert cli("evaluate", risen, "--split", "validation") == 0
    assert run_folder.load(risen).chosen in capsys.readouterr().out
    written = json.loads((folder_of(risen, phantoms.name, "validation") / "scores.json").read_text())
    assert written["checkpoint_step"] == least(risen)
    # An independent second look at the same split: the evaluation of the training loop.
    assert written["scores"]["all"]["MAE"]["value"] == pytest.approx(scores(risen)[least(risen)], rel=1e-4)


def test_predict_takes_it_and_says_so(risen, tmp_path, capsys, cli):
    (tmp_path / "hand.png").write_bytes(images.encode(np.zeros((48, 36), np.uint8), "png"))
    asked = ["assess", tmp_path / "hand.png", "--as-is", "--sex", "F", "--run", risen]
    assert cli(*asked, "--out", tmp_path / "best") == 0
    assert run_folder.load(risen).chosen in capsys.readouterr().out
    assert cli(*asked, "--step", least(risen), "--out", tmp_path / "named") == 0
    assert (tmp_path / "best" / "ages.csv").read_text() == (tmp_path / "named" / "ages.csv").read_text()


def test_bundle_takes_it_and_says_so(risen, tmp_path, capsys, cli):
    out = tmp_path / "b.safetensors"
    assert cli("bundle", "--segmentation", "shipped", "--landmarks", "shipped", "--run", risen, "--out", out) == 0
    assert run_folder.load(risen).chosen in capsys.readouterr().out
    assert bundle.load(out, "age0").step == least(risen)
    assert bundle.load(out, "age0").chosen == run_folder.load(risen).chosen


@pytest.mark.integration
def test_paper_takes_it_and_says_so(risen, data_dir, phantoms, tmp_path, capsys, cli):
    arguments = ["--dataset", phantoms.name, "--data", data_dir, "--experiments", "m46-regression-A-all", "--tiny"]
    settings = ["train.length=3 steps", "eval.every=3 steps", "train.batch_size=8", "train.devices=1"]
    changes = [word for setting in settings for word in ("--set", setting)]
    assert cli("paper", "--out", tmp_path / "paper", *arguments, *changes, "--beside", risen) == 0
    assert run_folder.load(risen).chosen in capsys.readouterr().out
    for split in ("validation", "test"):
        written = folder_of(risen, phantoms.name, split) / "scores.json"
        assert json.loads(written.read_text())["checkpoint_step"] == least(risen)


@pytest.mark.integration
def test_a_sweep_counts_the_best_evaluation_and_names_its_checkpoint(risen, data_dir, phantoms, tmp_path):
    pytest.importorskip("optuna")
    words = (word.removeprefix("--config.").split("=", 1) for word in small_arguments(data_dir, phantoms, **RISING)[1:])
    sweep = Sweep("configs/tiny.py", {"train.seed": choice(3)}, dict(words), sampler="grid", pruner="NopPruner")
    folder = Folder.make(tmp_path / "sweep", sweep, "eval_mae", "minimize", "")
    assert Worker(folder).work() == 0
    trial = folder.run(0)
    assert sweep_commands.best_of(folder, sweep_commands.trials_of(folder)).value == min(scores(trial).values())
    assert run_folder.load(trial).step == least(trial)
    assert run_folder.load(trial).chosen in sweep_commands.best(folder)


def test_the_first_of_equals_and_none_that_is_no_number(risen, tmp_path):
    """Evaluations are read from beside the arrays: what stands there counts, whoever wrote it."""
    folder = shutil.copytree(risen, tmp_path / "run")
    best = least(risen)

    def rewrite(step, **metrics):
        path = folder / "checkpoints" / str(step) / "about" / "metadata"
        about = json.loads(path.read_text())
        path.write_text(json.dumps({**about, "metrics": metrics}))

    rewrite(24, score=scores(risen)[best], badness=scores(risen)[best])
    assert run_folder.load(folder).step == best
    rewrite(best, score=float("nan"), badness=float("nan"))
    assert run_folder.load(folder).step == 24
    rewrite(24)
    rewrite(best)
    loaded = run_folder.load(folder)
    assert (loaded.step, loaded.chosen) == (24, "step 24, the newest: none was evaluated")
    assert np.isnan(loaded.score)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"{}[", b'{"metrics": {"score": 1}}', b"[]"])
def test_a_checkpoint_whose_evaluation_cannot_be_read_is_kept_and_named(data_dir, phantoms, risen, tmp_path, damage):
    folder = shutil.copytree(risen, tmp_path / "run")
    best = least(risen)
    path = folder / "checkpoints" / str(best) / "about" / "metadata"
    whole = path.read_bytes()
    path.write_bytes(damage)
    loaded = run_folder.load(folder)
    assert loaded.step == 24
    assert f"(that of step {best} cannot be read and may be better)" in loaded.chosen
    # As a training that opened it at a bad moment has it: the next save must not drop it.
    checkpoints = Checkpoints(folder / "checkpoints", CheckpointConfig(keep_last=1, keep_best=1))
    _, state = run_folder.shapes_of(loaded.config)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    checkpoints.save(state, loaded.about, step=30, score=1.0, badness=1.0)
    checkpoints.close()
    path.write_bytes(whole)
    assert Checkpoints(folder / "checkpoints").steps() == [best, 30]


def test_a_machine_that_cannot_read_evaluations_says_so(risen, monkeypatch):
    def fails(self, *_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(pathlib.Path, "read_text", fails)
    with pytest.raises(UserError, match=r"metadata: cannot be read here \(Input/output error\); nothing was changed"):
        Checkpoints(risen / "checkpoints", read_only=True)


@pytest.mark.engine
def test_killed_and_stopped_by_real_signals(data_dir, phantoms, tmp_path):
    """New processes each time: SIGKILL after the least error, SIGTERM soon after, and to the end."""
    folder = tmp_path / "run"
    slow = {"data__threads": 1, "log__every": "1 steps"}
    arguments = small_arguments(data_dir, phantoms, **{**RISING, **slow})
    command = [str(pathlib.Path(sys.executable).parent / "boneage"), "train", *arguments, f"--run={folder}"]
    for number, at in ((signal.SIGKILL, 24), (signal.SIGTERM, 28)):
        process = start(command)
        wait_for_steps(folder, at, process)
        process.send_signal(number)
        process.communicate(timeout=60)
    process = start(command)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    done = boneage("evaluate", folder, "--split", "validation")
    assert done.returncode == 0, done.stderr
    assert f"step {least(folder)}, the best of 2 evaluated" in done.stdout
    assert jax.process_count() == 1
