"""A run: resumed bit for bit, moved between devices, defended against damage and against other experiments."""

import errno
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from orbax.checkpoint._src.path import async_path

from boneage_jax.cli import main
from boneage_jax.config import CheckpointConfig
from boneage_jax.distributed.signals import EXIT_SAVED
from boneage_jax.errors import UserError
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.checkpoint import Checkpoints
from boneage_jax.train import loop
from boneage_jax.train.loop import NonFiniteLoss, train
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest
from tests import rsna_layouts
from tests.conftest import LESS_OPTIMISED, small_config

FULL = {
    "train__length": "12 steps",
    "eval__every": "6 steps",
    "checkpoint__every": "3 steps",
    "checkpoint__keep_last": 3,
}


def weights(folder: pathlib.Path, step: int) -> list[np.ndarray]:
    """All stored arrays of a checkpoint, in order."""
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointer().restore(folder.resolve() / "checkpoints" / str(step) / "arrays")
    return jax.tree.leaves(tree)


def lines(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(data_dir, phantoms, tmp_path_factory):
    """An unbroken run of 12 steps on 8 devices."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(small_config(data_dir, phantoms, **FULL), folder)
    return folder


class Stop(Exception):
    """The end of a run, as a kill would have it: nothing more is done."""


def broken_off(config, folder, monkeypatch, *, at):
    """Trains until `at` steps are done, and leaves without a word."""
    finite = loop._finite

    def stops(step, *rest):
        if step == at:
            raise Stop
        return finite(step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_finite", stops)
        with pytest.raises(Stop):
            train(config, folder)


def test_a_run_writes_what_it_promises(whole):
    about = json.loads((whole / "config.json").read_text())
    assert about["config"]["train"]["length"] == "12 steps"
    assert about["versions"]["jax"] == jax.__version__
    training = [line for line in lines(whole) if "loss" in line]
    assert [line["step"] for line in training] == list(range(1, 13))
    assert {"loss", "mae", "learning_rate", "gradient_norm", "images_per_second", "waiting_for_data"} <= training[
        0
    ].keys()
    assert [line["step"] for line in lines(whole) if "eval_mae" in line] == [6, 12]
    assert Checkpoints(whole / "checkpoints").about(12)["config"] == about["config"]


@pytest.mark.parametrize("at", [2, 5, 8, 11])
def test_resuming_is_exact_to_the_bit(whole, data_dir, phantoms, tmp_path, monkeypatch, at):
    config = small_config(data_dir, phantoms, **FULL)
    broken_off(config, tmp_path / "run", monkeypatch, at=at)
    train(config, tmp_path / "run")
    for a, b in zip(weights(whole, 12), weights(tmp_path / "run", 12), strict=True):
        np.testing.assert_array_equal(a, b)
    before, after = lines(whole), lines(tmp_path / "run")
    assert [(x["step"], x.get("loss"), x.get("eval_mae")) for x in before] == [
        (x["step"], x.get("loss"), x.get("eval_mae")) for x in after
    ]


def test_a_damaged_log_loses_its_damaged_lines_alone(whole, data_dir, phantoms, tmp_path, monkeypatch):
    config = small_config(data_dir, phantoms, **FULL)
    broken_off(config, tmp_path / "run", monkeypatch, at=8)
    path = tmp_path / "run" / "metrics.jsonl"
    damaged = path.read_bytes().split(b"\n")
    assert json.loads(damaged[1])["step"] == 2
    damaged[1] = damaged[1].replace(b"loss", b"l\xc9ss").replace(b":", b"\xff")
    path.write_bytes(b"\n".join(damaged))
    train(config, tmp_path / "run")
    expected = [(x["step"], x.get("loss")) for x in lines(whole) if x["step"] != 2]
    assert [(x["step"], x.get("loss")) for x in lines(tmp_path / "run")] == expected


def test_eight_devices_become_two(whole, data_dir, phantoms, tmp_path, monkeypatch):
    broken_off(small_config(data_dir, phantoms, **FULL), tmp_path / "run", monkeypatch, at=8)
    train(small_config(data_dir, phantoms, **FULL, train__devices=2), tmp_path / "run")
    losses = [[x["loss"] for x in lines(folder) if "loss" in x] for folder in (whole, tmp_path / "run")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_finished_run_has_nothing_left_to_do(whole, data_dir, phantoms, capsys):
    before = (whole / "metrics.jsonl").read_bytes()
    train(small_config(data_dir, phantoms, **FULL), whole)
    assert "nothing left to do, step 12 of 12" in capsys.readouterr().err
    assert (whole / "metrics.jsonl").read_bytes() == before


@pytest.mark.integration
def test_best_and_last_are_kept(data_dir, phantoms, tmp_path):
    config = small_config(
        data_dir,
        phantoms,
        train__length="10 steps",
        eval__every="1 steps",
        checkpoint__keep_last=2,
        checkpoint__keep_best=1,
    )
    train(config, tmp_path / "run")
    scores = {x["step"]: x["eval_mae"] for x in lines(tmp_path / "run") if "eval_mae" in x}
    best = min(scores, key=lambda step: (scores[step], step))
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", CheckpointConfig(keep_last=2, keep_best=1))
    assert set(checkpoints.steps()) == {9, 10, best}
    assert checkpoints.best().step == best
    assert run_folder.load(tmp_path / "run").step == best


def test_a_truncated_checkpoint_is_set_aside(whole, data_dir, phantoms, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "run")
    _cut_in_half(folder, 12)
    train(small_config(data_dir, phantoms, **FULL), folder)
    message = capsys.readouterr().err
    assert "checkpoint of step 12 is damaged" in message
    assert (folder / "damaged" / "12").is_dir()
    for a, b in zip(weights(whole, 12), weights(folder, 12), strict=True):
        np.testing.assert_array_equal(a, b)


def _cut_in_half(folder: pathlib.Path, step: int) -> None:
    """Damages a checkpoint's largest file."""
    files = (p for p in (folder / "checkpoints" / str(step) / "arrays").rglob("*") if p.is_file())
    largest = max(files, key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def test_where_no_checkpoint_can_be_read_all_stay(whole, data_dir, phantoms, tmp_path):
    """It may be this machine, not they: nothing is moved on a suspicion."""
    folder = shutil.copytree(whole, tmp_path / "run")
    kept = Checkpoints(folder / "checkpoints").steps()
    for step in kept:
        _cut_in_half(folder, step)
    with pytest.raises(UserError, match=r"none of the 3 checkpoints can be read; the newest, of step 12: .*left where"):
        train(small_config(data_dir, phantoms, **FULL), folder)
    assert Checkpoints(folder / "checkpoints").steps() == kept
    assert not (folder / "damaged").exists()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EIO, "Input/output error"), (errno.EMFILE, "Too many open files")]
)
def test_a_machine_that_cannot_read_moves_nothing(whole, data_dir, phantoms, tmp_path, monkeypatch, number, words):
    folder = shutil.copytree(whole, tmp_path / "run")

    def fails(self, step, like, sharding):
        raise RuntimeError("restoring") from OSError(number, os.strerror(number))

    monkeypatch.setattr(Checkpoints, "restore", fails)
    with pytest.raises(UserError, match=f"cannot be read here .{os.strerror(number)}.; nothing was changed"):
        train(small_config(data_dir, phantoms, **FULL), folder)
    assert Checkpoints(folder / "checkpoints").steps() == [6, 9, 12]
    assert not (folder / "damaged").exists()


def test_what_could_not_be_read_a_moment_ago_stays(whole, data_dir, phantoms, tmp_path, monkeypatch, capsys):
    folder, restore, asked = shutil.copytree(whole, tmp_path / "run"), Checkpoints.restore, []

    def fails_once(self, step, like, sharding):
        asked.append(step)
        if len(asked) == 1:
            raise ValueError("a bit fell over on the way")
        return restore(self, step, like, sharding)

    monkeypatch.setattr(Checkpoints, "restore", fails_once)
    train(small_config(data_dir, phantoms, **FULL), folder)
    assert asked == [12, 9, 12]
    assert "step 12 of 12 is reached" in capsys.readouterr().err
    assert not (folder / "damaged").exists()


@pytest.mark.integration
@pytest.mark.parametrize(
    "name", ["a[1]*?{x}", "b\\c'd\"e $f", "gs:", "ftp: h\u00f6he e\u0301", os.fsdecode(b"no\xffutf8")], ids=ascii
)
def test_a_folder_of_any_name(data_dir, phantoms, tmp_path, monkeypatch, name):
    """What a file system allows trains, resumes and is loaded; nothing lands beside it."""
    changes = {**FULL, "train__length": "4 steps", "eval__every": "2 steps", "checkpoint__every": "2 steps"}
    config = small_config(data_dir, phantoms, **changes)
    folder = tmp_path / "runs" / name / "run"
    broken_off(config, folder, monkeypatch, at=3)
    result = train(config, folder)
    assert Checkpoints(folder / "checkpoints").steps() == [2, 4]
    assert not (folder / "damaged").exists()
    loaded = run_folder.load(folder, step=4)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(loaded.arrays))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [name]
    line = result.summary().splitlines()[-1].removeprefix("next: ")
    said = subprocess.run(
        ["bash", "-c", f"boneage() {{ printf '%s\\0' \"$@\"; }}; {line}"], capture_output=True, check=True
    )
    assert said.stdout.split(b"\0")[:-1] == [b"evaluate", os.fsencode(folder), b"--split", b"test"]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["gs:x", "s3:y"])
def test_a_folder_that_begins_like_an_address(data_dir, phantoms, tmp_path, monkeypatch, name):
    """As it is typed, from the folder that holds it: TensorBoard's writer looks at the first letters too."""
    monkeypatch.chdir(tmp_path)
    train(small_config(data_dir, phantoms, log__tensorboard=True, train__length="2 steps"), pathlib.Path(name))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert len(list((tmp_path / name / "tensorboard").iterdir())) == 1


@pytest.mark.integration
def test_the_split_that_is_named_next_can_be_scored(tmp_path):
    """The Kaggle mirror: test images without ages, and no validation split but the one that was dealt."""
    source = rsna_layouts.kaggle(tmp_path / "kaggle", rsna_layouts.children(40, 1377), rsna_layouts.children(4, 4360))
    dataset = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=source, workers=1))
    assert set(dataset.splits) == {"train", "validation", "test"}
    changes = {"train__length": "2 steps", "train__batch_size": 8, "eval__batch_size": 8}
    result = train(small_config(tmp_path / "data", dataset, **changes), tmp_path / "run")
    words = shlex.split(result.summary().splitlines()[-1].removeprefix("next: "))
    assert words[-2:] == ["--split", "validation"]
    assert main(words[1:]) == 0


def test_the_second_training_in_a_folder_is_told(data_dir, phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "_LOCK_SECONDS", 0.1)
    config = small_config(data_dir, phantoms)
    with (
        run_folder.locked(tmp_path / "run"),
        pytest.raises(run_folder.FolderInUse, match=f"process {os.getpid()} on .*under way|under"),
    ):
        train(config, tmp_path / "run")
    assert run_folder.FolderInUse.exit_status == 77
    assert not (tmp_path / "run" / "config.json").exists()
    assert train(config, tmp_path / "run").steps == 6, "let go of, it is free"


@pytest.mark.integration
def test_a_finished_run_is_lengthened_from_its_weights(whole, data_dir, phantoms, tmp_path, capsys):
    """The message's own words do it."""
    changes = {**FULL, "train__length": "20 steps"}
    with pytest.raises(UserError, match=r"train\.length: found '12 steps' there, '20 steps' here") as error:
        train(small_config(data_dir, phantoms, **changes), whole)
    words = shlex.split(str(error.value).rpartition("with a schedule of its own: ")[2])
    start, folder = (word.partition("=")[2] for word in words)
    assert words == [f"--config.train.start={whole}", f"--run={whole}-longer"]
    longer = train(small_config(data_dir, phantoms, **changes, train__start=start), tmp_path / "longer")
    assert longer.steps == 20
    assert pathlib.Path(folder).parent == whole.parent


def test_another_config_is_refused_with_its_keys(whole, data_dir, phantoms):
    other = small_config(data_dir, phantoms, **{**FULL, "train__seed": 1, "optimizer__learning_rate": 0.5})
    with pytest.raises(UserError) as error:
        train(other, whole)
    message = str(error.value)
    assert "holds a run of another config (2)" in message
    assert "train.seed: found 0 there, 1 here" in message
    assert "optimizer.learning_rate: found 0.001 there, 0.5 here" in message


def test_where_and_how_fast_may_change(whole, data_dir, phantoms):
    train(small_config(data_dir, phantoms, **FULL, data__threads=1, train__devices=4, log__tensorboard=True), whole)


def test_other_data_are_refused(whole, data_dir, phantoms, tmp_path):
    about = json.loads((whole / "config.json").read_text())
    about["data_fingerprint"] = "something else"
    with pytest.raises(UserError, match="the data: found fingerprint"):
        run_folder.claim(whole, about)


def test_a_disk_that_fills_while_a_checkpoint_is_finished(data_dir, phantoms, tmp_path, monkeypatch, capfd):
    """Orbax's threads raise, and log, what the run says once."""
    real = async_path.rename

    async def full(source, target, *rest):
        if pathlib.Path(target).name == "6":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await real(source, target, *rest)

    monkeypatch.setattr(async_path, "rename", full)
    with pytest.raises(UserError, match=r"could not be written \(No space left on device\); older ones are kept"):
        train(small_config(data_dir, phantoms, **FULL), tmp_path / "run")
    assert "Traceback" not in capfd.readouterr().err
    monkeypatch.undo()
    train(small_config(data_dir, phantoms, **FULL), tmp_path / "run")
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [6, 9, 12]


def test_a_folder_of_something_else_is_refused(data_dir, phantoms, tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(UserError, match="not empty, and not a run's folder"):
        train(small_config(data_dir, phantoms), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.integration
def test_a_checkpoint_of_another_model_is_refused(whole, data_dir, phantoms, tmp_path):
    """As when checkpoints are copied between runs: config.json fits, the arrays do not."""
    other = small_config(data_dir, phantoms, **{**FULL, "model__widths": (4, 10)})
    train(other, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.copytree(whole / "checkpoints", tmp_path / "run" / "checkpoints")
    with pytest.raises(UserError) as error:
        train(other, tmp_path / "run")
    message = str(error.value)
    assert "a checkpoint of another model" in message
    assert (
        "params/backbones/0/blocks/1/first/conv/kernel: found float32[3, 3, 4, 8], expected float32[3, 3, 4, 10]"
        in message
    )
    assert (tmp_path / "run" / "checkpoints" / "12").is_dir(), "nothing is set aside: it is not damaged"


@pytest.mark.integration
def test_a_run_starts_from_another_and_from_a_bundle(whole, data_dir, phantoms, tmp_path):
    """After one step too small to see, all weights are those that it started from."""
    source = run_folder.load(whole)
    bundle.write({"age0": source}, {}, tmp_path / "b.safetensors")
    still = {"train__length": "1 steps", "optimizer__learning_rate": 1e-9, "optimizer__final_learning_rate": 1e-9}
    starts = {"run": (str(whole), 1e-7), "bundle": (f"{tmp_path / 'b.safetensors'}:age0", 1e-3)}
    for kind, (named, tolerance) in starts.items():
        train(small_config(data_dir, phantoms, **still, train__start=named, train__seed=5), tmp_path / kind)
        begun = run_folder.load(tmp_path / kind)
        for a, b in zip(*(jax.tree.leaves(one.arrays["params"]) for one in (source, begun)), strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.integration
def test_a_run_starts_from_backbones_alone(whole, data_dir, phantoms, tmp_path):
    """Each region gets the one backbone of the run; the head, of another shape, is fresh."""
    still = {"train__length": "1 steps", "optimizer__learning_rate": 1e-9, "optimizer__final_learning_rate": 1e-9}
    three = {"data__regions": "A+B+C", "model__sex": "heads", "train__start_parts": "backbones"}
    train(small_config(data_dir, phantoms, **still, **three, train__start=str(whole)), tmp_path / "run")
    source, begun = (run_folder.load(folder).arrays["params"] for folder in (whole, tmp_path / "run"))
    assert sorted(begun["backbones"]) == ["0", "1", "2"]
    for number in begun["backbones"]:
        for a, b in zip(*map(jax.tree.leaves, (source["backbones"]["0"], begun["backbones"][number])), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)
    assert source["head"]["last"]["kernel"].shape != begun["head"]["last"]["kernel"].shape
    wider = small_config(data_dir, phantoms, **three, train__start=str(whole), model__widths=(4, 10))
    with pytest.raises(UserError, match="other backbones"):
        train(wider, tmp_path / "wider")


@pytest.mark.integration
def test_phantoms_mixed_in_are_resumed_to_the_bit(data_dir, phantoms, tmp_path, monkeypatch):
    settings = {**FULL, "data__mix": phantoms.name, "data__mix_share": 0.25, "data__train_split": "train[:24]"}
    config = small_config(data_dir, phantoms, **settings)
    train(config, tmp_path / "unbroken")
    broken_off(config, tmp_path / "run", monkeypatch, at=5)
    train(config, tmp_path / "run")
    for a, b in zip(weights(tmp_path / "unbroken", 12), weights(tmp_path / "run", 12), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = small_config(data_dir, phantoms, **{**settings, "data__mix": ""})
    with pytest.raises(UserError, match=r"data\.mix"):
        train(alone, tmp_path / "run")


def test_an_epoch_is_each_image_of_the_dataset_once_with_the_mix_between(data_dir, phantoms, tmp_path):
    config = small_config(
        data_dir, phantoms, train__length="1 epochs", data__mix=phantoms.name, data__mix_share=0.5,
        data__train_split="train[:32]",
    )  # fmt: skip
    assert train(config, tmp_path / "run").steps == 4


def test_a_mix_that_is_not_there_is_refused(data_dir, phantoms, tmp_path):
    with pytest.raises(UserError, match="hand_phantom/nowhere: no such dataset"):
        train(small_config(data_dir, phantoms, data__mix="hand_phantom/nowhere"), tmp_path / "run")
    with pytest.raises(UserError, match=r"data\.mix: found"):
        small_config(data_dir, phantoms, data__mix=phantoms.name, data__fresh="registered@104x80")


def test_a_start_that_fits_not_is_refused(whole, data_dir, phantoms, tmp_path):
    def refused(match, start, **settings):
        with pytest.raises(UserError, match=match):
            train(small_config(data_dir, phantoms, train__start=start, **settings), tmp_path / match)

    refused("another network", str(whole), model__widths=(4, 10))
    refused("first/conv/kernel: found .3, 3, 4, 8., expected .3, 3, 4, 10.", str(whole), model__widths=(4, 10))
    refused("no such file|not a run's folder", str(tmp_path / "nowhere"))
    bundle.write({"age0": run_folder.load(whole)}, {}, tmp_path / "b.safetensors")
    refused("holds age0; name one, as in b.safetensors:age0", str(tmp_path / "b.safetensors"))
    refused("holds no 'age1' but age0", f"{tmp_path / 'b.safetensors'}:age1")


def test_the_first_loss_that_is_not_finite_stops_the_run(data_dir, phantoms, tmp_path):
    config = small_config(
        data_dir, phantoms, **FULL, optimizer__name="sgd", optimizer__learning_rate=1e30, optimizer__clip_norm=0.0,
        optimizer__warmup="6 steps",
    )  # fmt: skip
    with pytest.raises(NonFiniteLoss) as error:
        train(config, tmp_path / "run")
    step = int(str(error.value).split("at step ")[1].split()[0])
    losses = {x["step"]: x["loss"] for x in lines(tmp_path / "run") if "loss" in x}
    assert max(losses) < step
    assert all(np.isfinite(list(losses.values())))
    for kept in Checkpoints(tmp_path / "run" / "checkpoints").steps():
        assert kept < step
        assert all(np.isfinite(x).all() for x in weights(tmp_path / "run", kept))
    assert NonFiniteLoss.exit_status == 3


def test_a_batch_that_devices_do_not_divide(data_dir, phantoms, tmp_path):
    with pytest.raises(
        UserError, match=r"train.batch_size: found 12, which 8 devices do not divide; .*such as 8 or 16"
    ):
        train(small_config(data_dir, phantoms, train__batch_size=12), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_holds_the_same_numbers(data_dir, phantoms, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    train(small_config(data_dir, phantoms, log__tensorboard=True), tmp_path / "run")
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    data, place, losses = events.read_bytes(), 0, {}
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        event = Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length
        for value in event.summary.value:
            if value.tag == "train/loss":
                losses[event.step] = value.simple_value
    expected = {x["step"]: x["loss"] for x in lines(tmp_path / "run") if "loss" in x}
    assert losses == pytest.approx(expected)


# ---- real processes and real signals --------------------------------------------------------------------------------


def command(data_dir, phantoms, folder, steps=240):
    config = pathlib.Path(folder).with_suffix(".py")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        "from boneage_jax.config import default_config\n"
        "def get_config():\n    c = default_config()\n"
        f"    c.data.dir, c.data.name = {str(data_dir)!r}, {phantoms.name!r}\n"
        "    c.data.height, c.data.width = 48, 36\n    c.model.widths, c.model.dense = (4, 8), (8,)\n"
        "    c.train.batch_size = c.eval.batch_size = 8\n    c.log.every = '1 steps'\n    c.log.tensorboard = False\n"
        f"    c.train.length = c.eval.every = '{steps} steps'\n    c.checkpoint.every = '20 steps'\n    return c\n"
    )
    return [str(pathlib.Path(sys.executable).parent / "boneage"), "train", f"--config={config}", f"--run={folder}"]


def start(arguments):
    # Two devices: enough for collectives, and quick to start.
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {LESS_OPTIMISED}"}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_steps(folder, count, process, seconds=120):
    """Returns once the log has `count` lines."""
    end = time.monotonic() + seconds
    log = pathlib.Path(folder) / "metrics.jsonl"
    while time.monotonic() < end:
        if log.exists() and log.read_text().count("\n") >= count:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("the run did not get going")


@pytest.mark.integration
def test_killed_at_a_random_step_and_started_again(data_dir, phantoms, tmp_path):
    arguments = command(data_dir, phantoms, tmp_path / "run")
    unbroken = start(command(data_dir, phantoms, tmp_path / "unbroken"))
    _, err = unbroken.communicate(timeout=300)
    assert unbroken.returncode == 0, err
    at = int(np.random.default_rng(21).integers(5, 200))
    print(f"killed after {at} lines")
    victim = start(arguments)
    wait_for_steps(tmp_path / "run", at, victim)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) < 241
    again = start(arguments)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    for a, b in zip(weights(tmp_path / "unbroken", 240), weights(tmp_path / "run", 240), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_told_to_stop_it_saves_and_says_so(data_dir, phantoms, tmp_path, number):
    arguments = command(data_dir, phantoms, tmp_path / "run", steps=100_000)
    process = start(arguments)
    wait_for_steps(tmp_path / "run", 30, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_SAVED == 75, err
    saved = int(err.split("saved at step ")[1].split()[0])
    assert f"{number.name} received" in err
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps()[-1] == saved
