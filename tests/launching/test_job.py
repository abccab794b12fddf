"""What a job may say, and what it is told when it says something else."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from boneage_jax.errors import UserError
from boneage_jax.launching import job, local

ROOT = pathlib.Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "launch" / "jobs").glob("*.toml"))


def written(tmp_path, text):
    path = tmp_path / "job.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("engine", ["local", "slurm", "gke", "tpu_vm"])
def test_shipped_jobs_are_shown_and_nothing_is_run(path, engine, tmp_path):
    """With nothing on the way to any engine's own commands: a dry run needs none."""
    (tmp_path / "bash").symlink_to(shutil.which("bash"))
    done = subprocess.run(
        [sys.executable, "-m", f"launch.{engine}", str(path), "--dry-run"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if engine in ("gke", "tpu_vm") and path.stem != "m46":
        assert done.returncode == 2
        assert f"{engine}." in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert f"boneage {job.read(path).command[0]}" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'a'\ncommand = ['train']\nnode = 2", r"node: no such key \(did you mean 'nodes'\?\)"),
        ("name = 'a'\ncommand = ['train']\n[slurm]\ngpu = 2", r"slurm.gpu: no such key \(did you mean 'slurm.gpus'"),
        ("name = 'A b'\ncommand = ['train']", "name: found 'A b', expected at most 48 small letters"),
        ("name = 'a'\ncommand = ['trian']", "command: found 'trian' first, expected one of train"),
        ("name = 'a'", "command: found 'nothing' first"),
        ("name = 'a'\ncommand = ['sweep', 'work', 's']\nprocesses = 2", "found 2 processes, expected 1 for boneage"),
        ("name = 'a'\ncommand = ['train']\nnodes = 2\narray = 3", "array: found 3, expected 0"),
        ("name = 'a'\ncommand = 'train'", "command: found 'train', expected a non-empty tuple of texts"),
        ("name = 'a'\ncommand = ['train']\nenvironment = [\"A=\\u0000\"]", r"environment: found 'A=\\x00'"),
        ("name = 'a'\ncommand = ['train']\nnodes = '2'", "nodes: found '2', expected a whole number"),
        ("name = 'a'\ncommand = ['train']\nenvironment = ['A']", "environment: found 'A', expected NAME=VALUE"),
        ("name = ", "cannot be read as a job"),
        ("name = 'a'\ncommand = ['train', '--run=gs://b/r']", r"command: found '--run=gs://b/r', an address"),
        ("name = 'a'\ncommand = ['train', '--run', 'GS://b/r']", r"command: found 'GS://b/r', an address"),
        ("name = 'a'\ncommand = ['train']\nfolder = \"a\\nb\"", r"folder: found 'a\\nb', expected text without"),
        ("name = 'a'\ncommand = ['train']\n[slurm]\noutput = 'a\\b'", r"slurm\.output: found 'a\\\\b', expected text"),
        ("name = 'a'\ncommand = ['train']\n[slurm]\noptions = [\"a\\nb\"]", r"slurm\.options: found 'a\\nb'"),
    ],
)  # fmt: skip
def test_bad_jobs(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        job.read(written(tmp_path, text))
    assert "job.toml" in str(caught.value)


def test_a_job_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.toml: cannot be read"):
        job.read(tmp_path / "nothing.toml")


def test_a_database_is_no_path(tmp_path):
    text = "name = 'a'\ncommand = ['sweep', 'start', 's.py', '--out=o', '--storage', 'postgresql://u@h/d']"
    assert job.read(written(tmp_path, text)).command[-1] == "postgresql://u@h/d"


def test_what_a_dry_run_of_this_machine_shows_runs_as_it_stands(tmp_path):
    stand_in = tmp_path / "bone age"
    stand_in.write_text(f'#!/bin/bash\nprintf "%s|" "$GREETING" "$READY" "$PWD" "$@" >> {tmp_path}/said.$BASHPID\n')
    stand_in.chmod(0o755)
    folder = tmp_path / "it's here"
    folder.mkdir()
    nested = {
        "name": "a",
        "command": ["train", "--run=runs/a b"],
        "processes": 2,
        "boneage": str(stand_in),
        "folder": str(folder),
        "environment": ["GREETING=hello $you"],
        "setup": ['export READY="$GREETING!"'],
    }
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in nested.items())
    path = written(tmp_path, text)
    command = [sys.executable, "-m", "launch.local", str(path), "--dry-run"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    subprocess.run(["bash"], input=shown, text=True, check=True)
    said = [file.read_text().split("|")[:-1] for file in tmp_path.glob("said.*")]
    assert len(said) == 2
    assert {tuple(words[:5]) for words in said} == {
        ("hello $you", "hello $you!", str(folder), "train", "--run=runs/a b")
    }
    assert {words[-1] for words in said} == {"0", "1"}
    (port,) = {words[words.index("--coordinator") + 1].rpartition(":")[2] for words in said}
    assert 0 < int(port) < 65536


def test_processes_of_this_machine(tmp_path, capfd):
    """Real ones, of a stand-in for the command: each gets its number, its lines carry it, the first to fail counts."""
    stand_in = tmp_path / "boneage"
    stand_in.write_text(
        '#!/bin/bash\necho "$GREETING: $*"\ncase "$*" in *"--process 1") exit 3;; *"--process 2") exit 76;; esac\n'
    )
    stand_in.chmod(0o755)
    text = f"name = 'a'\ncommand = ['train', '--run=r']\nprocesses = 3\nboneage = '{stand_in}'\nfolder = '{tmp_path}'\n"
    described = job.read(written(tmp_path, text + "environment = ['GREETING=hello you']\nsetup = ['echo ready']"))
    assert local.run(described) == 3
    lines = sorted(capfd.readouterr().out.splitlines())
    assert lines[0] == "[0] hello you: train --run=r --coordinator " + lines[0].split("--coordinator ")[1]
    assert [line[:4] for line in lines] == ["[0] ", "[0] ", "[1] ", "[1] ", "[2] ", "[2] "]
    ports = {line.split("localhost:")[1].split()[0] for line in lines if "localhost" in line}
    assert len(ports) == 1
    assert sum("--processes 3" in line for line in lines) == 3


def test_copies_of_this_machine(tmp_path, capfd):
    stand_in = tmp_path / "boneage"
    stand_in.write_text('#!/bin/bash\necho "$*"\n')
    stand_in.chmod(0o755)
    text = f"name = 'a'\ncommand = ['sweep', 'work', 's']\narray = 3\nboneage = '{stand_in}'\nfolder = '{tmp_path}'\n"
    assert local.run(job.read(written(tmp_path, text))) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == [f"[{n}] sweep work s" for n in range(3)]


def test_a_folder_that_is_not_there(tmp_path, capfd):
    text = f"name = 'a'\ncommand = ['train']\nfolder = '{tmp_path}/none'\n"
    assert local.run(job.read(written(tmp_path, text))) == 2
    assert "the job cannot be started" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("statuses", "ends"), [([0, 0], 0), ([76, 3], 3), ([76, 76], 76), ([0, -9, 76], 137), ([75, 75], 75)]
)
def test_the_status_is_that_of_who_failed_first(statuses, ends):
    assert local.status_of(statuses) == ends
