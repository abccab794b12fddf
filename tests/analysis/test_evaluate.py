"""What `boneage evaluate` writes, and where."""

import json
import subprocess
import sys

import pytest

from boneage_jax.analysis import evaluate, per_image, predictions
from boneage_jax.errors import UserError
from boneage_jax.runs import run_folder
from tests.test_cli import call

FILES = {"predictions.csv", "scores.json", "scores.txt", "report.html", "figures"}


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.integration
def test_to_a_folder_of_ones_own(trained, phantoms, data_dir, tmp_path, capsys):
    """The same as in the run's folder, which stays as it is; which checkpoint was taken and why is said everywhere."""
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    out = tmp_path / "some where"
    status, said, _ = call(capsys, "evaluate", trained, "--out", out, "--report")
    assert status == 0
    assert names(out) == FILES
    assert f"table, JSON and predictions lie in {out}" in said
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
    chosen = run_folder.load(trained).chosen
    assert chosen
    assert said.startswith(f"checkpoint of {chosen}\n")
    assert f"the checkpoint of {chosen}." in (out / "report.html").read_text()
    facts = json.loads((out / "scores.json").read_text())
    assert (facts["checkpoint_step"], facts["checkpoint_chosen"]) == (run_folder.load(trained).step, chosen)

    assert call(capsys, "evaluate", trained, "--report")[0] == 0
    inside = evaluate.folder_of(trained, phantoms.name, "test")
    assert names(inside) == FILES
    for name in ("predictions.csv", "scores.json", "scores.txt"):
        assert (inside / name).read_bytes() == (out / name).read_bytes()


def test_a_destination_is_looked_at_before_work_begins(trained, phantoms, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise AssertionError("work has begun")

    monkeypatch.setattr(predictions, "predict_ages", fails)
    monkeypatch.setattr(per_image, "predict_with", fails)
    (tmp_path / "file").touch()
    loaded = run_folder.load(trained)
    for one in (evaluate.evaluate, per_image.score):
        with pytest.raises(UserError, match=r"file/x: cannot be written \(Not a directory\).* as in --out results"):
            one(loaded, out=tmp_path / "file" / "x")


@pytest.mark.integration
def test_a_run_that_may_not_be_written_to(trained, phantoms, tmp_path):
    """A real one: mounted read-only, in a name space of mounts of its own."""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99; shift; exec "$@"'
    alone = ["unshare", "-m", "bash", "-c", script, "_", str(trained)]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    command = [*alone, sys.executable, "-m", "boneage_jax.cli", "evaluate", str(trained), "--split", "validation"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be written (Read-only file system)" in done.stderr
    assert "--out" in done.stderr
    out = tmp_path / "results"
    done = subprocess.run([*command, "--out", str(out), "--report"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert names(out) == FILES
