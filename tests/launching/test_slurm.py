"""Jobs on a real Slurm: trained by two tasks, preempted, requeued, and ended with the right losses."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from boneage_jax.errors import UserError
from boneage_jax.launching import job, slurm
from boneage_jax.sweeps import commands
from boneage_jax.sweeps.study import Folder
from tests.conftest import LESS_OPTIMISED, small_arguments
from tests.distributed.test_processes import Job, losses
from tests.launching.slurm_cluster import IS_HERE, cluster

needs_slurm = pytest.mark.skipif(not IS_HERE, reason="Slurm is not here: apt-get install slurm-wlm munge")
BIN = pathlib.Path(sys.executable).parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def described(folder, **changes):
    """A job's file."""
    values = {"name": "tiny", "boneage": str(BIN / "boneage"), "folder": str(folder), **changes}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for key, section in values.items():
        if isinstance(section, dict):
            lines += [f"[{key}]", *(f"{name} = {json.dumps(value)}" for name, value in section.items())]
    path = folder / "job.toml"
    path.write_text("\n".join(lines))
    return path


def submit(path, environment):
    """Submits as a user does; returns the job's number."""
    done = subprocess.run(
        [sys.executable, "-m", "launch.slurm", str(path)],
        env=environment,
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return re.match(r"submitted as job (\d+)", done.stdout)[1]


def state(number, environment):
    shown = subprocess.run(
        ["scontrol", "show", "job", number], env=environment, capture_output=True, text=True, check=True
    ).stdout
    return dict(re.findall(r"(\w+)=(\S+)", shown))


def wait_until(condition, what, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.3)


@needs_slurm
@pytest.mark.engine
def test_preempted_it_saves_goes_back_to_the_queue_and_ends_with_the_right_losses(
    environment, data_dir, phantoms, tmp_path
):
    """A job of a higher partition takes the node away: Slurm's own preemption, with its time to save in."""
    arguments = small_arguments(data_dir, phantoms, train__length="150 steps", checkpoint__every="150 steps")
    (alone,) = Job(tmp_path / "alone", arguments, count=1, devices=2).ended()
    assert alone.returncode == 0, alone.stderr
    path = described(
        tmp_path,
        command=["train", *arguments, "--run", str(tmp_path / "run")],
        processes=2,
        environment=[f"XLA_FLAGS=--xla_force_host_platform_device_count=1 {LESS_OPTIMISED}"],
        slurm={"partition": "low", "cpus": 1, "output": str(tmp_path / "out.txt"), "time": "00:10:00"},
    )
    number = submit(path, environment)

    def said():
        out = tmp_path / "out.txt"
        return f"{state(number, environment)}\n{out.read_text() if out.exists() else 'nothing printed'}"

    wait_until(lambda: len(losses(tmp_path / "run")) >= 10, said)
    subprocess.run(
        ["sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    wait_until(lambda: int(state(number, environment)["Restarts"]) >= 1, said)
    wait_until(lambda: state(number, environment)["JobState"] in ("COMPLETED", "FAILED"), said)
    assert state(number, environment)["JobState"] == "COMPLETED", said()
    out = (tmp_path / "out.txt").read_text()
    saved = int(re.search(r"received; saved at step (\d+) of 150", out)[1])
    assert f"from step {saved} to step 150" in out
    assert "2 cpu devices of 2 processes" in out
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "alone"), rtol=1e-5)


@needs_slurm
@pytest.mark.engine
def test_a_sweep_survives_the_loss_of_a_worker(environment, data_dir, phantoms, tmp_path):
    """Twenty trials by two workers of an array, one of them killed half-way; the best can be trained again."""
    fixed = dict(part.removeprefix("--config.").split("=", 1) for part in small_arguments(data_dir, phantoms)[1:])
    fixed |= {"train.length": "4 steps", "eval.every": "2 steps", "checkpoint.every": "4 steps"}
    (tmp_path / "sweep.py").write_text(
        "from boneage_jax.sweeps.space import *\n"
        "def get_sweep():\n"
        f"    return Sweep('configs/tiny.py', {{'optimizer.learning_rate': loguniform(1e-4, 1e-1)}}, fixed={fixed!r},\n"
        "                 sampler='random', trials=20, pruner='NopPruner')\n"
    )
    folder = tmp_path / "sweep"
    start = ["sweep", "start", str(tmp_path / "sweep.py"), "--out", str(folder), "--workers", "0"]
    subprocess.run([BIN / "boneage", *start], env=environment, check=True, capture_output=True)
    path = described(
        tmp_path,
        command=["sweep", "work", str(folder), "--lease", "8"],
        array=2,
        environment=[f"XLA_FLAGS=--xla_force_host_platform_device_count=1 {LESS_OPTIMISED}"],
        slurm={"partition": "low", "cpus": 1, "output": str(tmp_path / "out-%a.txt"), "time": "00:20:00"},
    )
    number = submit(path, environment)
    opened = Folder.open(folder)

    def said():
        return commands.status(opened) + "".join(out.read_text() for out in tmp_path.glob("out-*.txt"))

    def ended():
        return [trial for trial in commands.trials_of(opened) if trial.state == "COMPLETE"]

    wait_until(lambda: len(ended()) >= 8, said, seconds=400)
    # The worker of the trial that is under way, and its training: a machine that is gone.
    trial = next(trial for trial in commands.trials_of(opened) if trial.state == "RUNNING")
    claim = json.loads((folder / "claims" / f"{trial.number:04d}.json").read_text())
    worker = int(claim["worker"].rpartition(":")[2])
    trainings = subprocess.run(["pgrep", "-P", str(worker)], capture_output=True, text=True, check=False).stdout.split()
    for process in (worker, *map(int, trainings)):
        os.kill(process, signal.SIGKILL)
    queue = ["squeue", "-h", "-j", number]
    wait_until(
        lambda: not subprocess.run(queue, env=environment, capture_output=True, text=True, check=False).stdout.strip(),
        said,
        seconds=400,
    )
    trials = commands.trials_of(opened)
    assert len(trials) == 20
    assert [trial.state for trial in trials] == ["COMPLETE"] * 20, said()
    assert [other.attempts for other in trials if other.number == trial.number] == [2]
    best = commands.best_of(opened, trials)
    about = json.loads((opened.run(best.number) / "config.json").read_text())
    (again,) = Job(
        tmp_path / "again", opened.sweep.arguments(commands.full_values(opened, best.number)), count=1, devices=1
    ).ended()
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "again" / "config.json").read_text())["config"] == about["config"]
    assert losses(tmp_path / "again") == losses(opened.run(best.number))


def test_the_script_says_what_the_job_says(tmp_path):
    path = described(
        tmp_path,
        command=["train", "--config=configs/m46.py", "--run=runs/a b"],
        nodes=2,
        processes=4,
        setup=["module load cuda"],
        environment=["DATA=/scratch/it's"],
        slurm={"gpus": 1, "time": "01:00:00", "container": "image.sqsh", "options": ["--constraint=a100"]},
    )
    script = slurm.script(job.read(path))
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    for option in ("nodes=2", "ntasks-per-node=4", "gres=gpu:4", "time=01:00:00", "constraint=a100", "requeue"):
        assert f"#SBATCH --{option}" in lines
    assert "module load cuda" in lines
    assert "export DATA='/scratch/it'\"'\"'s'" in lines
    assert "--container-image=image.sqsh" in script
    assert "'--run=runs/a b'" in script
    assert "array" not in script.split("set -eu")[0]
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0


def test_what_a_dry_run_shows_submits_the_script_as_it_stands(tmp_path):
    """Run by a shell, with a stand-in for sbatch that keeps what it gets."""
    stand_in = tmp_path / "sbatch"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words; cat > {tmp_path}/got\n')
    stand_in.chmod(0o755)
    path = described(tmp_path, command=["train", "--run=runs/a $HOME 'b'"], setup=["cat <<END", "$x", "END", "END_"])
    shown = slurm.show(job.read(path))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", shown], env=environment, check=True)
    assert (tmp_path / "got").read_text() == slurm.script(job.read(path))
    assert (tmp_path / "words").read_text() == "--parsable\n"


@pytest.mark.parametrize("output", ["logs/my job-%j.out", "it's-%j.out", 'a"b.out', "a#b.out", "plain-%x.out"])
def test_options_of_sbatch_are_one_word_each(tmp_path, output):
    """Taken apart as sbatch does: as a shell would, quotes and all."""
    script = slurm.script(job.read(described(tmp_path, command=["train"], slurm={"output": output})))
    options = [shlex.split(line.removeprefix("#SBATCH ")) for line in script.splitlines() if line.startswith("#SBATCH")]
    assert all(len(words) == 1 for words in options)
    assert [f"--output={output}"] in options


def test_without_slurm_it_says_so(tmp_path, monkeypatch):
    path = described(tmp_path, command=["train", "--run=r"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="expected Slurm's commands on this machine"):
        slurm.run(job.read(path))


@pytest.mark.parametrize(("statuses", "ends"), [([75], 75), ([0], 0), ([2], 2)])
def test_only_a_saved_job_goes_back_to_the_queue(tmp_path, statuses, ends):
    """The script itself, with stand-ins for Slurm's two commands."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("srun", f"exit {statuses[0]}"), ("scontrol", f'echo "$@" >> {tmp_path}/scontrol.txt')):
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    script = slurm.script(job.read(described(tmp_path, command=["train", "--run=r"], restarts=3)))
    for restarts in (0, 3):
        environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_RESTART_COUNT": str(restarts),
        }
        done = subprocess.run(["bash", "-c", script], env=environment, check=False)
        assert done.returncode == ends
    asked = tmp_path / "scontrol.txt"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 7\n" if ends == 75 else "")
