"""Trials and workers: what is tried, taken over, given up, retried and marked; with a stand-in for training."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from boneage_jax.cli import _parse, main
from boneage_jax.config import loading
from boneage_jax.errors import UserError
from boneage_jax.sweeps import commands, report, worker
from boneage_jax.sweeps.space import Sweep, choice, integer, uniform
from boneage_jax.sweeps.study import ATTEMPTS, Folder
from boneage_jax.sweeps.worker import Worker

optuna = pytest.importorskip("optuna")

STAND_IN = '''
"""Like `boneage train`: its error is the distance of dropout from 0.2, less and less disturbed as it goes."""
import json, os, pathlib, signal, sys, time
settings = dict(a.removeprefix("--config.").split("=", 1) for a in sys.argv[2:] if a.startswith("--config."))
run = pathlib.Path(next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--run=")))
run.mkdir(parents=True, exist_ok=True)
(run / "config.json").write_text(json.dumps({"config": {"model": {"dropout": float(settings["model.dropout"])}}}))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
tries = run / "tries"
tries.write_text(str(int(tries.read_text()) + 1 if tries.exists() else 1))
seed = int(settings.get("train.seed", 0))
if seed == 1 and int(tries.read_text()) == 1:
    os.kill(os.getpid(), signal.SIGKILL)  # as when memory runs out: once
if seed == 2:
    sys.exit("boneage: it always fails")
if seed == 3:
    print("boneage: bad input", file=sys.stderr); sys.exit(2)
value = abs(float(settings["model.dropout"]) - 0.2)
for step in range(1, 6):
    with (run / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"step": step, "eval_mae": value + 1.0 / step}) + "\\n")
    time.sleep(float(os.environ.get("PAUSE", "0.01")))
'''


@pytest.fixture(autouse=True)
def stand_in(tmp_path, monkeypatch):
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    monkeypatch.setattr(worker, "BONEAGE", (sys.executable, str(path)))
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.05)
    return path


def made(tmp_path, space=None, **changes):
    space = space or {"model.dropout": uniform(0.0, 0.9)}
    sweep = Sweep("configs/tiny.py", space, **{"trials": 6, "pruner": "NopPruner", **changes})
    return Folder.make(tmp_path / "sweep", sweep, "eval_mae", "minimize", "")


def states(folder):
    return [trial.state for trial in commands.trials_of(folder)]


@pytest.fixture
def keep_handlers():
    """A worker takes this process's signals."""
    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("keep_handlers")
def test_all_trials_are_tried_and_the_best_is_the_best(tmp_path):
    folder = made(tmp_path)
    assert Worker(folder).work() == 0
    trials = commands.trials_of(folder)
    assert states(folder) == ["COMPLETE"] * 6
    for trial in trials:
        exact = float(commands.full_values(folder, trial.number)["model.dropout"])
        assert trial.value == pytest.approx(abs(exact - 0.2) + 0.2)
        config = json.loads((folder.run(trial.number) / "config.json").read_text())
        assert config["config"]["model"]["dropout"] == exact
    best = commands.best_of(folder, trials)
    assert best.value == min(trial.value for trial in trials)
    assert len({trial.values["model.dropout"] for trial in trials}) == 6
    # Nothing is left to do, and nothing is done again.
    assert Worker(folder).work() == 0
    assert (folder.run(0) / "tries").read_text() == "1"


@pytest.mark.usefixtures("keep_handlers")
def test_the_same_seed_draws_the_same_trials_whoever_draws_them(tmp_path):
    first = made(tmp_path / "a", sampler="random", seed=3)
    Worker(first).work()
    second = made(tmp_path / "b", sampler="random", seed=3)
    for _ in range(6):  # six workers, a trial each
        claim = second.claim("w")
        second.study().tell(claim.number, 1.0)
    assert [commands.full_values(first, n) for n in range(6)] == [commands.full_values(second, n) for n in range(6)]


@pytest.mark.usefixtures("keep_handlers")
def test_failures_are_tried_twice_bad_input_once(tmp_path, capsys):
    space = {"model.dropout": choice(0.2), "train.seed": integer(0, 3)}
    folder = made(tmp_path, space, sampler="grid")
    assert Worker(folder).work() == 0
    trials = {trial.values["train.seed"]: trial for trial in commands.trials_of(folder)}
    assert [trials[seed].state for seed in "0123"] == ["COMPLETE", "COMPLETE", "FAIL", "FAIL"]
    assert [trials[seed].attempts for seed in "0123"] == [1, 2, ATTEMPTS, 1]
    assert "exit status 1: boneage: it always fails" in trials["2"].error
    assert "exit status 2: boneage: bad input" in trials["3"].error
    shown = commands.status(folder)
    assert "it always fails" in shown
    assert "4 trials: 2 done, 2 failed" in shown
    assert "exit status 137" in capsys.readouterr().err


@pytest.mark.usefixtures("keep_handlers")
def test_bad_trials_are_given_up_early(tmp_path, monkeypatch):
    monkeypatch.setenv("PAUSE", "0.4")
    space = {"model.dropout": choice(0.2, 0.21, 0.9)}
    options = {"n_startup_trials": 2, "n_warmup_steps": 1}
    folder = made(tmp_path, space, sampler="grid", pruner="MedianPruner", pruner_options=options)
    Worker(folder).work()
    trials = {trial.values["model.dropout"]: trial for trial in commands.trials_of(folder)}
    assert trials["0.2"].state == trials["0.21"].state == "COMPLETE"
    assert trials["0.9"].state == "PRUNED"
    assert trials["0.9"].value is not None
    assert len(worker.evaluations(folder.run(trials["0.9"].number), "eval_mae")) < 5


def test_a_trial_whose_worker_is_gone_is_taken_over_once(tmp_path):
    folder = made(tmp_path, trials=2)
    lost = folder.claim("first", lease=0.3)
    assert folder.claim("second", lease=0.3).number == 1
    assert folder.claim("third", lease=10) == "wait"
    time.sleep(0.5)
    taken = {folder.claim("third", lease=0.3).number for _ in range(2)}
    assert taken == {0, 1}
    time.sleep(0.5)
    assert folder.claim("fourth", lease=0.3) == "done"
    assert states(folder) == ["FAIL", "FAIL"]
    assert all("its worker was lost, 2 times" in trial.error for trial in commands.trials_of(folder))
    assert lost.attempt == 1


def test_a_trial_that_comes_further_each_time_is_never_given_up(tmp_path):
    """As on a machine that is lost every night: each attempt leaves a newer checkpoint, until one leaves none."""
    folder = made(tmp_path, trials=1)
    for night in range(1, 2 * ATTEMPTS + 1):
        assert folder.claim(f"of night {night}", lease=0.1).attempt == 1
        (folder.run(0) / "checkpoints" / str(10 * night)).mkdir(parents=True)
        (folder.run(0) / "checkpoints" / f"{10 * night + 5}.orbax-checkpoint-tmp").mkdir()
        time.sleep(0.2)
    assert folder.claim("once more", lease=0.1).attempt == 1
    time.sleep(0.2)
    assert [folder.claim("in vain", lease=0.1).attempt for _ in range(2, ATTEMPTS + 1) if not time.sleep(0.2)] == [2]
    time.sleep(0.2)
    assert folder.claim("in vain", lease=0.1) == "done"
    assert states(folder) == ["FAIL"]


def test_a_claim_that_is_kept_stays(tmp_path):
    folder = made(tmp_path, trials=1)
    claim = folder.claim("first", lease=0.4)
    for _ in range(4):
        time.sleep(0.2)
        folder.keep(claim)
        assert folder.claim("second", lease=0.4) == "wait"


def test_a_worker_told_to_stop_lets_go_and_the_attempt_does_not_count(tmp_path, stand_in):
    """A real worker process."""
    folder = made(tmp_path, trials=1)
    code = (
        "import sys; from boneage_jax.sweeps import worker; from boneage_jax.sweeps.study import Folder\n"
        f"worker.BONEAGE = (sys.executable, {str(stand_in)!r})\n"
        "import pathlib; sys.exit(worker.Worker(Folder.open(pathlib.Path(sys.argv[1]))).work())"
    )
    environment = {**os.environ, "PAUSE": "5"}
    process = subprocess.Popen([sys.executable, "-c", code, str(folder.path)], env=environment)
    while not worker.evaluations(folder.run(0), "eval_mae"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=30) == 75
    assert states(folder) == ["RUNNING"]
    again = folder.claim("other", lease=60)
    assert (again.number, again.attempt) == (0, 1)


def test_two_workers_at_once_share_the_trials(tmp_path):
    """Claims under threads' contention: every trial once, none too many."""
    folder = made(tmp_path, trials=12)
    taken = []

    def work():
        while not isinstance(claim := folder.claim(str(threading.get_ident())), str):
            taken.append(claim.number)
            folder.study().tell(claim.number, float(claim.number))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(12))
    assert states(folder) == ["COMPLETE"] * 12


def test_a_study_with_another_space_is_refused(tmp_path):
    made(tmp_path)
    assert made(tmp_path).name == "sweep"
    with pytest.raises(UserError, match=r"holds another search:[\s\S]*space: found .*0\.9.* there, .*0\.5.* here"):
        made(tmp_path, {"model.dropout": uniform(0.0, 0.5)})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").touch()
    sweep = Sweep("configs/tiny.py", {"model.dropout": uniform(0, 0.5)})
    with pytest.raises(UserError, match="not empty, and not a sweep's folder"):
        Folder.make(tmp_path / "other", sweep, "eval_mae", "minimize", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "TPE"}, "sampler: found 'TPE', expected grid, random, or one of Optuna's: .*TPESampler"),
        ({"pruner": "Median"}, "pruner: found 'Median', expected one of Optuna's: .*MedianPruner"),
        ({"sampler_options": {"colour": 1}}, "sampler_options: TPESampler refuses"),
    ],
)
def test_samplers_and_pruners_are_optunas(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        made(tmp_path, **changes)


def test_a_database_that_is_not_there(tmp_path):
    sweep = Sweep("configs/tiny.py", {"model.dropout": uniform(0, 0.5)})
    with pytest.raises(UserError, match=r"cannot be opened|psycopg"):
        Folder.make(tmp_path / "s", sweep, "eval_mae", "minimize", "postgresql://nobody@localhost:1/none")


@pytest.mark.usefixtures("keep_handlers")
def test_the_page_and_what_matters(tmp_path, capsys):
    """Of two settings one decides everything."""
    space = {"model.dropout": uniform(0.0, 0.9), "train.batch_size": choice(16, 32)}
    folder = made(tmp_path, space, trials=14, sampler="random")
    Worker(folder).work()
    weights = commands.importances(folder)
    assert weights["model.dropout"] > 0.7
    assert np.isclose(sum(weights.values()), 1)
    assert main(["sweep", "report", str(folder.path)]) == 0
    html = pathlib.Path(capsys.readouterr().out.strip()).read_text()
    assert html.count("data:image/png") == 3
    assert "not a medical device" in html.lower()
    assert html.count("<tr>") == 15
    assert "http" not in html


def test_a_page_of_nothing(tmp_path):
    with pytest.raises(UserError, match="no trial has been evaluated yet"):
        report.write(made(tmp_path))
    assert main(["sweep", "best", str(tmp_path / "sweep")]) == 2
    assert main(["sweep", "status", str(tmp_path / "nothing")]) == 2


def test_a_sweep_without_its_data_tries_nothing(tmp_path, monkeypatch, capsys):
    """Every trial would fail by that, and a failed trial is not tried again."""
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "start", "configs/sweeps/tiny.py", "--out", "a sweep"]) == 2
    said = capsys.readouterr().err
    assert "Build it with: boneage data build hand_phantom/tiny --out data" in said
    assert not (tmp_path / "a sweep").exists()

    folder = made(tmp_path)
    for command in ("work", "resume"):
        assert main(["sweep", command, str(folder.path)]) == 2
        assert "nothing is built there" in capsys.readouterr().err
    assert states(folder) == []


@pytest.mark.usefixtures("keep_handlers")
def test_what_comes_next_can_be_run(tmp_path, capsys):
    folder = made(tmp_path / "it's here", trials=1)
    for expected in ("status", "report"):
        words = shlex.split(commands.next_step(folder))
        assert words == ["boneage", "sweep", expected, str(folder.path)]
        assert main(words[1:]) == 0
        Worker(folder).work()
    assert main(["sweep", "best", str(folder.path)]) == 0
    again = shlex.split(capsys.readouterr().out.splitlines()[-1])
    options, arguments = _parse(again[1:])
    assert str(options.run) == "runs/best"
    wanted = commands.full_values(folder, 0)["model.dropout"]
    assert loading.load(arguments).model.dropout == float(wanted)


def test_advice_names_the_folder_as_a_shell_reads_it(tmp_path, capsys):
    folder = made(tmp_path / "a b")
    for command in ("report", "best"):
        assert main(["sweep", command, str(folder.path)]) == 2
        words = shlex.split(capsys.readouterr().err.rpartition("see ")[2])
        assert words == ["boneage", "sweep", "status", str(folder.path)]


@pytest.mark.usefixtures("keep_handlers")
def test_a_training_that_outlives_its_worker_is_waited_for(tmp_path, stand_in, capsys):
    """Its folder is in use for a while: no failure of the trial, however often that is found."""
    stand_in.write_text(
        STAND_IN.replace(
            "value = abs(",
            'if int(tries.read_text()) <= ATTEMPTS + 1:\n    print("boneage: a training is under way"); sys.exit(77)\n'
            "value = abs(",
        ).replace("ATTEMPTS", str(ATTEMPTS))
    )
    folder = made(tmp_path, trials=1)
    assert Worker(folder, lease=0.2).work() == 0
    assert states(folder) == ["COMPLETE"]
    assert (folder.run(0) / "tries").read_text() == str(ATTEMPTS + 2)
    assert capsys.readouterr().err.count("still under way; waiting for it") == ATTEMPTS + 1


def test_a_damaged_claim_and_a_damaged_log_are_no_obstacle(tmp_path):
    folder = made(tmp_path, trials=1)
    claim = folder.claim("first", lease=60)
    (folder.path / "claims" / "0000.json").write_bytes(b"\xff")
    assert folder.attempts(0) == 1
    folder.run(claim.number).mkdir(parents=True)
    lines = [
        b'{"step": 1, "eval_mae": 3.0}',
        b'{"st\xffp": 2, "eval',
        b'{"step": 3, "eval_mae": 2.0}',
        b'{"step": 4, "e',
    ]
    (folder.run(0) / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert worker.evaluations(folder.run(0), "eval_mae") == [(1, 3.0), (3, 2.0)]
