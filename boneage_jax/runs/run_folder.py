"""A run's folder: what it holds, how it is opened again, and when a config may go on in it.

config.json      the validated config, the data's fingerprint and the library versions
checkpoints/     the last and the best, by step
metrics.jsonl    one line an interval; TensorBoard files in tensorboard/
damaged/         checkpoints that could not be read
.lock            held by the training that is under way; says which
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from boneage_jax import renamed, shown, tasks
from boneage_jax.config import MAY_DIFFER_ON_RESUME, ExperimentConfig, to_dict, validate
from boneage_jax.distributed.mesh import make_mesh, replicated
from boneage_jax.errors import EXIT_IN_USE, UserError, fail_if_any, reason
from boneage_jax.files import check_writable, held_alone, write_text
from boneage_jax.runs.network import Arrays, Network
from boneage_jax.settings import flatten

if TYPE_CHECKING:
    from boneage_jax.runs.checkpoint import Checkpoints, Choice
    from boneage_jax.runs.state import TrainState
else:  # imported where they are used: a bundle needs neither Orbax nor Optax
    Checkpoints = Choice = TrainState = Any

ABOUT = "config.json"

_LOCK = ".lock"
_LOCK_SECONDS = 10.0
"""Longest wait for a run's lock: a training that was told to stop may still be saving. Chosen by eye."""


class FolderInUse(UserError):
    """Another training is under way in this run's folder."""

    exit_status = EXIT_IN_USE


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other trainings out of a run's folder; what the kernel holds ends with this process, however it ends.

    Raises:
      FolderInUse: where another one is under way; says which.
      UserError: for a folder that cannot be written.
    """
    _refuse_foreign(folder)
    check_writable(folder)
    path = folder / _LOCK

    def in_use() -> FolderInUse:
        return FolderInUse(
            f"{folder}: a training is under way in this folder ({_text_of(path) or 'by another process'}); expected "
            "none. Wait for it, stop it, or choose another folder with --run"
        )

    with held_alone(path, seconds=_LOCK_SECONDS, otherwise=in_use) as held:
        if held:
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield


def _text_of(path: pathlib.Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def claim(folder: pathlib.Path, about: dict[str, Any]) -> None:
    """Makes the folder this experiment's, or checks that it already is.

    Raises:
      UserError: for a folder that cannot be written, or that holds another experiment; lists the differing keys.
    """
    path = folder / ABOUT
    if not path.exists():
        _refuse_foreign(folder)
        write_text(path, json.dumps(about, indent=2) + "\n")
        return
    try:
        old = json.loads(path.read_text())
        # Settings that did not exist when the run began have their defaults, which do as before.
        before = {**flatten(to_dict(ExperimentConfig())), **flatten(renamed.config(old["config"]))}
        now = flatten(about["config"])
        fingerprint = old["data_fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a run's config ({error!r}); restore the file or use another folder") from error
    differing = [
        f"{key}: found {before.get(key)!r} there, {now.get(key)!r} here"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in MAY_DIFFER_ON_RESUME
    ]
    advice = "Go on with the config of that run, or choose another folder with --run."
    if before.get("train.length") != now.get("train.length"):
        advice += f" {_LENGTHEN} {way_to_lengthen(folder)}"
    if fingerprint != about["data_fingerprint"]:
        differing.append(f"the data: found fingerprint {fingerprint} there, {about['data_fingerprint']} here")
    fail_if_any(differing, f"{folder}: holds a run of another config", advice)


_LENGTHEN = (
    "The learning rate follows the whole length, so a run keeps the length that it began with. To train for longer, "
    "start another run from its weights, with a schedule of its own:"
)


def way_to_lengthen(folder: pathlib.Path) -> str:
    """Returns the options of `boneage train` that go on from a run's weights in a folder beside it."""
    options = (f"--config.train.start={folder}", f"--run={folder.with_name(f'{folder.name}-longer')}")
    return " ".join(map(shown.quoted, options))


def _refuse_foreign(folder: pathlib.Path) -> None:
    """Raises `UserError` for a folder that holds something else than a run."""
    if not folder.exists() or (folder / ABOUT).exists() or (folder / "checkpoints").exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: found a file, expected a folder for the run; choose another with --run")
    if any(path.name != _LOCK for path in folder.iterdir()):
        raise UserError(f"{folder}: not empty, and not a run's folder; choose another with --run")


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to predict.

    Attributes:
      folder: where it lies.
      config: what it was trained with.
      step: of the checkpoint that was loaded.
      score: of its evaluation, as the task has it; NaN where there was none.
      about: what lies beside the arrays.
      network: the network.
      arrays: weights and batch statistics, on the devices of `mesh`.
      task: what was learnt.
      mesh: the devices.
      chosen: which checkpoint it is and why, for people, as in `step 16, the best of 3 evaluated, validation MAE 24.38
        months`.
    """

    folder: pathlib.Path
    config: ExperimentConfig
    step: int
    score: float
    about: dict[str, Any]
    network: Network
    arrays: Arrays
    task: tasks.Task
    mesh: Mesh
    chosen: str


def _checkpoints_of(folder: pathlib.Path) -> contextlib.closing[Checkpoints]:
    from boneage_jax.runs import checkpoint

    return contextlib.closing(checkpoint.Checkpoints(folder / "checkpoints", read_only=True))


def load(folder: pathlib.Path, *, devices: int = 0, step: int | None = None) -> LoadedRun:
    """Loads the best checkpoint of a run, or that of `step`.

    Args:
      folder: of the run.
      devices: to load onto; 0 for all.
      step: of the checkpoint; None for the best by evaluation score.

    Raises:
      UserError: for a folder without checkpoints, a checkpoint that is not there, of another model, or damaged.
    """
    if not (folder / "checkpoints").is_dir():
        raise UserError(
            f"{folder}: not a run's folder (no checkpoints/ in it); name the folder given to boneage train --run"
        )
    with _checkpoints_of(folder) as checkpoints:
        choice = checkpoints.best() if step is None else checkpoints.named(step)
        if choice is None:
            raise UserError(
                f"{folder}: no checkpoint{'' if step is None else f' of step {step}'}; found those of steps "
                f"{', '.join(map(str, checkpoints.steps())) or 'none'}"
            )
        mesh = make_mesh(devices)
        try:
            about = checkpoints.about(choice.step)
            config = validate(about["config"], origin=f"the config of {folder}")
            network, like = shapes_of(config)
            state = checkpoints.restore(choice.step, like, replicated(mesh))
        except UserError:
            raise
        except Exception as error:
            others = ", ".join(str(other) for other in checkpoints.steps() if other != choice.step)
            raise UserError(
                f"{folder / 'checkpoints' / str(choice.step)}: the checkpoint is damaged ({reason(error)}); "
                + (f"choose another with --step from {others}" if others else "there is no other")
            ) from error
    task = tasks.build(config.task)
    chosen = _why(choice, config, task)
    score = math.nan if choice.evaluation is None else choice.evaluation.score
    return LoadedRun(
        folder=folder,
        config=config,
        step=choice.step,
        score=score,
        about=about,
        network=network,
        arrays=state.evaluated,
        task=task,
        mesh=mesh,
        chosen=chosen,
    )


def _why(choice: Choice, config: ExperimentConfig, task: tasks.Task) -> str:
    if choice.evaluation is None:
        return choice.why("")
    split = "the fold left out" if config.data.folds else config.data.eval_split
    return choice.why(f"{split} {task.score.shown(choice.evaluation.score)}")


def chosen(folder: pathlib.Path) -> str:
    """Returns which checkpoint `load` takes of a run and why, for people, without its arrays.

    Args:
      folder: of a run that has been trained.
    """
    with _checkpoints_of(folder) as checkpoints:
        best = checkpoints.best()
        if best is None:
            return "none"
        config = validate(checkpoints.about(best.step)["config"], origin=f"the config of {folder}")
        return _why(best, config, tasks.build(config.task))


def best_score(folder: pathlib.Path) -> float:
    """Returns the evaluation of a run's best checkpoint, without its arrays; NaN where there was none.

    Args:
      folder: of a run that has been trained.
    """
    with _checkpoints_of(folder) as checkpoints:
        best = checkpoints.best()
        return math.nan if best is None or best.evaluation is None else best.evaluation.score


def shapes_of(config: ExperimentConfig) -> tuple[Network, TrainState]:
    """Returns a config's network and the shapes of its state; schedules have none, so that any length will do."""
    from boneage_jax.runs.optimizer import make_optimizer, make_schedule
    from boneage_jax.runs.state import abstract_state

    optimizer = make_optimizer(config.optimizer, make_schedule(config.optimizer, total_steps=1, warmup_steps=0))
    return abstract_state(config, optimizer)


def digest(loaded: LoadedRun) -> str:
    """Returns a digest of a run's weights and statistics: the same for the same network, wherever it lies."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(loaded.arrays):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return total.hexdigest()[:16]
