"""Two real processes: the same losses as one, one log, an end together, and a way on with another number of them."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from boneage_jax.distributed.processes import World
from boneage_jax.errors import EXIT_PEER_LOST, EXIT_SAVED, UserError
from boneage_jax.runs import run_folder
from tests.conftest import LESS_OPTIMISED, small_arguments
from tests.runs.test_best import RISING

BONEAGE = str(pathlib.Path(sys.executable).parent / "boneage")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


DEEP = {
    "data__height": 64, "data__width": 48, "model__widths": "(4, 8, 8, 8)", "model__kernels": "cpu",
    "train__length": "6 steps",
}  # fmt: skip
"""More collectives: two processes must take them in the same order."""


class Job:
    """Some processes of one run, on two virtual devices each."""

    def __init__(self, folder, arguments, *, count=2, devices=2, each=()):
        world = ["--coordinator", f"localhost:{free_port()}", "--processes", str(count), "--wait", "60"]
        self.processes = []
        for n in range(count):
            own = [*world, "--process", str(n)] if count > 1 else []
            own += list(each[n]) if each else []
            self.processes.append(
                subprocess.Popen(
                    [BONEAGE, "train", *arguments, "--run", str(folder), *own],
                    env={
                        **os.environ,
                        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {LESS_OPTIMISED}",
                    },
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def ended(self, timeout=180) -> list[subprocess.CompletedProcess]:
        """Waits for all."""
        end = time.monotonic() + timeout
        done = []
        for process in self.processes:
            try:
                out, err = process.communicate(timeout=max(0.1, end - time.monotonic()))
            finally:
                process.kill()
            done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        return done

    def wait_for_steps(self, folder, count, timeout=120):
        """Waits until the job has come so many steps on."""
        start, end = len(losses(folder)), time.monotonic() + timeout
        while time.monotonic() < end:
            assert all(process.poll() is None for process in self.processes), self.ended()
            # A resumed run drops the lines after its checkpoint first.
            start = min(start, len(losses(folder)))
            if len(losses(folder)) >= start + count:
                return
            time.sleep(0.05)
        raise AssertionError(f"the job has not come {count} steps on")


def lines(folder):
    path = folder / "metrics.jsonl"
    whole = [line for line in path.read_text().split("\n")[:-1] if line] if path.exists() else []
    return [json.loads(line) for line in whole]


def losses(folder):
    return [line["loss"] for line in lines(folder) if "loss" in line]


@pytest.fixture(scope="module")
def alone(data_dir, phantoms, tmp_path_factory):
    """The same experiment by one process."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    (done,) = Job(folder, small_arguments(data_dir, phantoms, **DEEP), count=1, devices=4).ended()
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.engine
def test_two_processes_say_what_one_says_and_one_writes_it_down(alone, data_dir, phantoms, tmp_path):
    first, second = Job(tmp_path / "run", small_arguments(data_dir, phantoms, **DEEP)).ended()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "4 cpu devices of 2 processes" in first.stderr
    assert "next: boneage evaluate" in first.stdout
    assert "next:" not in second.stdout
    assert "training" not in second.stderr
    assert [line["step"] for line in lines(tmp_path / "run") if "loss" in line] == list(range(1, 7))
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(alone), rtol=1e-5)
    both = (tmp_path / "run", alone)
    evaluations = [[line["eval_mae"] for line in lines(folder) if "eval_mae" in line] for folder in both]
    np.testing.assert_allclose(*evaluations, rtol=1e-5)


@pytest.mark.engine
def test_a_killed_process_ends_the_others_and_fewer_go_on(data_dir, phantoms, tmp_path):
    arguments, folder = small_arguments(data_dir, phantoms, train__length="2000 steps"), tmp_path / "run"
    job = Job(folder, arguments)
    job.wait_for_steps(folder, 8)
    job.processes[1].kill()
    start = time.monotonic()
    first, _ = job.ended(timeout=90)
    assert time.monotonic() - start < 20
    assert first.returncode == EXIT_PEER_LOST, first.stderr
    assert re.search(
        r"process 0 of 2: (another process|process 1) has ended.* start the same command again", first.stderr
    )
    assert "Traceback" not in first.stderr
    # The same command with one process: from the last checkpoint, to the end of a shorter way.
    kept = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    again = Job(folder, arguments, count=1, devices=4)
    again.wait_for_steps(folder, 4)
    again.processes[0].send_signal(signal.SIGTERM)
    (last,) = again.ended()
    assert last.returncode == EXIT_SAVED
    assert f"from step {kept} to step 2000" in last.stderr
    steps = [line["step"] for line in lines(folder) if "loss" in line]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.engine
def test_two_processes_keep_the_best_of_both_sessions(data_dir, phantoms, tmp_path):
    """In a folder whose name Orbax would take for a pattern; the second session's checkpoints are worse."""
    folder = tmp_path / "best [of] two"
    job = Job(folder, small_arguments(data_dir, phantoms, **{**RISING, "train__devices": 0}))
    job.wait_for_steps(folder, 14)
    job.processes[1].send_signal(signal.SIGUSR1)
    job.ended()
    ended = Job(folder, small_arguments(data_dir, phantoms, **{**RISING, "train__devices": 0})).ended()
    assert [done.returncode for done in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    evaluated = {line["step"]: line["eval_mae"] for line in lines(folder) if "eval_mae" in line}
    best = min(evaluated, key=lambda step: (evaluated[step], step))
    assert best < 24
    assert run_folder.load(folder).step == best
    assert sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit()) == [best, 24]


@pytest.mark.engine
def test_a_signal_to_one_stops_all_at_the_same_step(alone, data_dir, phantoms, tmp_path):
    folder = tmp_path / "run"
    job = Job(folder, small_arguments(data_dir, phantoms, train__length="2000 steps"))
    job.wait_for_steps(folder, 5)
    job.processes[1].send_signal(signal.SIGUSR1)
    first, second = job.ended()
    assert (first.returncode, second.returncode) == (EXIT_SAVED, EXIT_SAVED), first.stderr + second.stderr
    said = re.search(r"a signal in another process received; saved at step (\d+) of 2000", first.stderr)
    assert (folder / "checkpoints" / said[1]).is_dir()
    assert "received" not in second.stderr


@pytest.mark.engine
def test_what_does_not_fit_together_is_refused_by_one_message(data_dir, phantoms, tmp_path):
    arguments = small_arguments(data_dir, phantoms)
    other = [[], ["--config.train.seed=1"]]
    first, second = Job(tmp_path / "other", arguments, each=other).ended()
    assert (first.returncode, second.returncode) == (2, 2)
    assert "train.seed: found 0 in process 0, 1 in process 1" in first.stderr
    assert "found" not in second.stderr
    assert not (tmp_path / "other").exists()

    first, second = Job(tmp_path / "odd", small_arguments(data_dir, phantoms, train__batch_size=18)).ended()
    assert (first.returncode, second.returncode) == (2, 2)
    assert "train.batch_size: found 18, which 4 devices do not divide" in first.stderr
    assert "found" not in second.stderr


@pytest.mark.engine
def test_a_coordinator_that_is_not_there(data_dir, phantoms, tmp_path):
    start = time.monotonic()
    done = subprocess.run(
        [
            *(BONEAGE, "train", *small_arguments(data_dir, phantoms), "--run", str(tmp_path / "run")),
            *("--coordinator", f"localhost:{free_port()}", "--processes", "2", "--process", "1", "--wait", "2"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert time.monotonic() - start < 30
    assert "cannot be reached for 2 s" in done.stderr
    assert "firewall" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1", 0, 0), "--processes: missing"),
        (("", 2, -1), "--coordinator, --process: missing"),
        (("host", 2, 0), "--coordinator: found 'host', expected HOST:PORT"),
        (("host:1", 2, 2), "--process: found 2, expected 0 to 1"),
    ],
)
def test_numbers_that_do_not_go_together(given, message):
    with pytest.raises(UserError, match=re.escape(message)):
        World.of("auto", *given, 300, {})


def test_who_looks_for_others():
    """Slurm's variables stand in every shell of an allocation: only a step of several tasks is one of several."""
    assert World.of("auto", "", 0, -1, 300, {}) is None
    assert World.of("auto", "", 0, -1, 300, {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}) is None
    step = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}
    assert World.of("auto", "", 0, -1, 9, step) == World(wait=9)
    assert World.of("off", "", 0, -1, 300, step) is None
    assert World.of("auto", "", 0, -1, 300, {**step, "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert World.of("auto", "", 0, -1, 300, {"TPU_WORKER_HOSTNAMES": "a,b"}) == World()
    assert World.of("auto", "", 0, -1, 300, {"TPU_WORKER_HOSTNAMES": "localhost"}) is None
    assert World.of("on", "", 0, -1, 300, {}) == World()
    assert World.of("auto", "h:1", 1, 0, 300, step) is None
