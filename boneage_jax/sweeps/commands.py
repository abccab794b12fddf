"""What `boneage sweep start|resume|status|best|report` do."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from types import FrameType
from typing import Any

from boneage_jax import shown, tasks
from boneage_jax.config import ExperimentConfig
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.runs import run_folder
from boneage_jax.sweeps.space import Sweep, Values, read
from boneage_jax.sweeps.study import Direction, Folder, as_values, optuna_here
from boneage_jax.sweeps.worker import Worker

STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
_SHOWN = {"COMPLETE": "done", "PRUNED": "given up", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """The state of a trial.

    Attributes:
      number: from 0.
      state: one of `STATES`.
      value: best evaluation; None where there is none.
      values: of its settings.
      attempts: how often it was tried.
      error: why it failed, or empty.
      seconds: from its beginning to its end; None where it has not ended.
    """

    number: int
    state: str
    value: float | None
    values: Values
    attempts: int
    error: str
    seconds: float | None


def make(config: str, out: pathlib.Path, storage: str) -> Folder:
    """Checks a sweep's file and makes its folder and study.

    Raises:
      UserError: for a sweep that cannot be used, data that are not there, and a folder or study of another one.
    """
    sweep = read(config)
    task = tasks.build(_check_ready(sweep).task)
    direction: Direction = "maximize" if task.score.higher_is_better else "minimize"
    return Folder.make(out, sweep, f"eval_{task.score.name}", direction, storage)


def _check_ready(sweep: Sweep) -> ExperimentConfig:
    """Returns the config at one point of a sweep.

    Raises:
      UserError: where its config's file or its data are not found from here: every trial would fail by that.
    """
    config = sweep.check()
    dataset = Dataset.of(config.data)
    dataset.split(config.data.eval_split)
    return config


def work(folder: Folder, lease: float) -> int:
    """Works as one worker until all trials have ended; returns the exit status: 0, or 75 where a signal has stopped it.

    Raises:
      UserError: where no trial could be trained from here.
    """
    _check_ready(folder.sweep)
    return Worker(folder, lease=lease).work()


def run_workers(folder: Folder, workers: int, gpus: int, lease: float) -> int:
    """Runs workers on this machine until all trials have ended; signals go to all of them.

    Args:
      folder: of the sweep.
      workers: how many; each trains one trial at a time.
      gpus: of this machine, dealt to the workers in turn; 0 leaves the choice to JAX.
      lease: see `Folder.claim`.

    Returns:
      The exit status: 0, or 75 where they were told to stop.

    Raises:
      UserError: where no trial could be trained from here.
    """
    _check_ready(folder.sweep)
    started = []
    for n in range(workers):
        environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": str(n % gpus)} if gpus else {})}
        command = [sys.executable, "-m", "boneage_jax.cli", "sweep", "work", str(folder.path), f"--lease={lease}"]
        started.append(subprocess.Popen(command, env=environment))

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for one in started:
            if one.poll() is None:
                one.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, pass_on)
    statuses = [one.wait() for one in started]
    return next((status if status > 0 else 1 for status in statuses if status), 0)


def trials_of(folder: Folder) -> list[Trial]:
    """Returns the state of all trials, by number."""
    found = []
    for one in folder.study().get_trials(deepcopy=False):
        value = one.value
        if value is None and one.intermediate_values:
            best = min if folder.direction == "minimize" else max
            value = best(one.intermediate_values.values())
        params = one.params or one.system_attrs.get("fixed_params", {})
        values = {key: params[key] if isinstance(params[key], str) else f"{params[key]:.5g}" for key in params}
        seconds = one.duration.total_seconds() if one.duration else None
        error = str(one.user_attrs.get("error", ""))
        found.append(
            Trial(
                number=one.number,
                state=one.state.name,
                value=value,
                values=values,
                attempts=folder.attempts(one.number),
                error=error,
                seconds=seconds,
            )
        )
    return found


def best_of(folder: Folder, trials: list[Trial]) -> Trial:
    """Returns the best trial that has finished. Raises `UserError` where there is none."""
    done = [trial for trial in trials if trial.state == "COMPLETE" and trial.value is not None]
    if not done:
        raise UserError(
            f"{folder.path}: no trial has finished yet; see {shown.command('sweep', 'status', folder.path)}"
        )
    sign = 1 if folder.direction == "minimize" else -1
    return min(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def counts(folder: Folder, trials: list[Trial]) -> dict[str, int]:
    """Returns the number of trials in each state; those still to begin count as waiting."""
    found = {state: sum(trial.state == state for trial in trials) for state in STATES}
    found["WAITING"] += max(0, folder.sweep.count - len(trials))
    return found


def status(folder: Folder) -> str:
    """Returns the state of a sweep, for people: a line a trial, best first, and counts."""
    trials = trials_of(folder)
    sign = 1 if folder.direction == "minimize" else -1
    order = sorted(trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))
    keys = list(folder.sweep.space)
    widths = {key: max([len(key), *(len(t.values.get(key, "")) for t in trials)]) for key in keys}
    lines = [
        f"{'trial':>5}  {'state':<9}{folder.metric:>12}  tries  " + "  ".join(f"{key:<{widths[key]}}" for key in keys)
    ]
    for trial in order:
        value = "-" if trial.value is None else f"{trial.value:.4g}"
        settings = "  ".join(f"{trial.values.get(key, ''):<{widths[key]}}" for key in keys)
        lines.append(
            f"{trial.number:>5}  {_SHOWN[trial.state]:<9}{value:>12}  {trial.attempts:>5}  {settings}".rstrip()
        )
        if trial.error:
            lines.append(f"       {trial.error}")
    numbers = ", ".join(f"{count} {_SHOWN[state]}" for state, count in counts(folder, trials).items() if count)
    return "\n".join([*lines, f"{folder.sweep.count} trials: {numbers}"])


def next_step(folder: Folder) -> str:
    """Returns the next command: the page, or where nothing has been evaluated yet, the state of all trials."""
    measured = any(trial.value is not None for trial in trials_of(folder))
    return shown.command("sweep", "report" if measured else "status", folder.path)


def best(folder: Folder) -> str:
    """Returns the best trial and how to train it again, for people."""
    trial = best_of(folder, trials_of(folder))
    config = json.loads((folder.run(trial.number) / "config.json").read_text())["config"]
    place = folder.run(trial.number)
    again = shown.command("train", *folder.sweep.arguments(full_values(folder, trial.number)), "--run=runs/best")
    return "\n".join(
        [
            f"trial {trial.number}: {folder.metric} {trial.value:.6g}",
            *(f"  {key} = {_at(config, key)}" for key in folder.sweep.space),
            *([f"  checkpoint of {run_folder.chosen(place)}"] if (place / "checkpoints").is_dir() else []),
            f"its run lies in {folder.run(trial.number)}; the same again:",
            f"  {again}",
        ]
    )


def full_values(folder: Folder, number: int) -> Values:
    """Returns a trial's settings to their last digit, as they were given to `boneage train`."""
    return as_values(folder.study().get_trials(deepcopy=False)[number].params)


def importances(folder: Folder) -> dict[str, float]:
    """Returns each setting's part in what trials differ by (PED-ANOVA, Watanabe et al. 2023); empty for too few.

    Of all that ended or were given up, by their best evaluation.
    """
    optuna = optuna_here()
    study = folder.study()
    usable = [trial for trial in trials_of(folder) if trial.state == "COMPLETE"]
    varied = [key for key in folder.sweep.space if len({trial.values.get(key) for trial in usable}) > 1]
    if len(usable) < 4 or not varied:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied))
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}


def _at(config: dict[str, Any], key: str) -> Any:
    section, name = key.split(".", 1)
    return config[section][name]
