"""Checkpoints that describe themselves: arrays by path, and beside them config, data, versions and the evaluation.

Orbax writes them asynchronously and renames a finished one into place, so a killed run leaves whole checkpoints only.
Which is the best, and so which are kept, is read from the evaluations that lie beside the arrays: what Orbax itself
remembers of them ends with the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib.metadata
import json
import logging
import math
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import absl.logging
import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from boneage_jax.config import CheckpointConfig, ExperimentConfig, to_dict
from boneage_jax.distributed import processes
from boneage_jax.errors import UserError, causes, listed, printable, reason
from boneage_jax.runs.state import Arrays, TrainState

_SCORE, _BADNESS = "score", "badness"
"""Beside the arrays, under `metrics`: the task's score, and what the best has least of, whatever the score is."""

_SAFE_PATH = re.compile(r"[\w./ +=@,-]*", re.ASCII)
"""Paths that Orbax, TensorStore and etils take as they are: they look for patterns, URLs and UTF-8 in others."""

_NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
"""Errors of the machine, not of what lies on its disk."""

_RECORDED_VERSIONS = ("boneage-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def _is_not_raised_too(record: logging.LogRecord) -> bool:
    """Whether a message says what no exception will: Orbax's threads log a traceback of all that `wait` raises."""
    return not (record.exc_info and "orbax" in pathlib.PurePath(record.pathname).parts)


# Orbax reports every save at several levels of detail; a run's own log says what a user needs.
absl.logging.set_verbosity(absl.logging.ERROR)
absl.logging.get_absl_logger().addFilter(_is_not_raised_too)


def describe(config: ExperimentConfig, data_fingerprint: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what lies beside the arrays: config, data (see `Dataset.facts`) and library versions."""
    return {
        "config": to_dict(config),
        "data": dict(data),
        "data_fingerprint": data_fingerprint,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Returns the versions of the libraries that a run's numbers depend on, by name."""
    return {name: _version(name) for name in _RECORDED_VERSIONS}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def to_arrays(state: TrainState) -> Arrays:
    """Returns the state as nested dictionaries keyed by text, readable without Optax or NNX."""
    tree: Arrays = {"step": state.step, "params": state.params, "batch_stats": state.batch_stats}
    tree["opt_state"] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state):
        *parents, name = _names(path)
        node = tree["opt_state"]
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    if state.average:
        tree["average"] = state.average
    return tree


def from_arrays(arrays: Arrays, like: TrainState) -> TrainState:
    """Returns the state of `to_arrays`' result, in the structure of `like`."""
    paths, structure = jax.tree_util.tree_flatten_with_path(like.opt_state)
    leaves = []
    for path, _ in paths:
        node: Any = arrays["opt_state"]
        for name in _names(path):
            node = node[name]
        leaves.append(node)
    opt_state = jax.tree_util.tree_unflatten(structure, leaves)
    return TrainState(arrays["step"], arrays["params"], arrays["batch_stats"], opt_state, arrays.get("average", {}))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a checkpoint's evaluation came to.

    Attributes:
      score: of the task.
      badness: what orders scores, less being better.
    """

    score: float
    badness: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """A checkpoint that was chosen among those of a run.

    Attributes:
      step: of it.
      evaluation: of it; None where it was not evaluated.
      evaluated: number of checkpoints with an evaluation that were there to choose from.
      named: whether the caller named the step.
      unreadable: steps whose evaluations could not be read, so that one of them may be the best.
    """

    step: int
    evaluation: Evaluation | None
    evaluated: int
    named: bool = False
    unreadable: tuple[int, ...] = ()

    def why(self, shown: str) -> str:
        """Returns the choice for people.

        Args:
          shown: the evaluation for people, as in `validation MAE 24.38 months`; empty where there is none.
        """
        of_it = f", {shown}" if shown else ""
        if self.named:
            return f"step {self.step}, as asked for{of_it or ', not evaluated'}"
        if self.evaluation is None:
            none = "no evaluation can be read" if self.unreadable else "none was evaluated"
            return f"step {self.step}, the newest: {none}"
        of_how_many = "only one" if self.evaluated == 1 else f"best of {self.evaluated}"
        unread = ", ".join(map(str, self.unreadable))
        but = f" (that of step {unread} cannot be read and may be better)" if unread else ""
        return f"step {self.step}, the {of_how_many} evaluated that are kept{of_it}{but}"


class Checkpoints:
    """The checkpoints of a run: the last few, and the best by evaluation."""

    def __init__(self, folder: pathlib.Path, config: CheckpointConfig = CheckpointConfig(), *, read_only: bool = False):
        self.folder = folder.resolve()
        self._stack = contextlib.ExitStack()
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._evaluations: dict[int, Evaluation] = {}
        self._unreadable: set[int] = set()
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(config.keep_last),
                _KeepBest(self._evaluations, self._unreadable, config.keep_best),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self._stack.enter_context(_plain_path(self.folder)),
            options=ocp.CheckpointManagerOptions(preservation_policy=policy, create=not read_only, read_only=read_only),
            item_names=("arrays", "about"),
            item_handlers={"arrays": ocp.StandardCheckpointHandler(), "about": ocp.JsonCheckpointHandler()},
        )
        self._read_evaluations()

    def _read_evaluations(self) -> None:
        """Reads what lies beside the arrays: it outlives the process that wrote it."""
        self._evaluations.clear()
        self._unreadable.clear()
        for step in self.steps():
            try:
                evaluation = _evaluation_in(self.folder / str(step) / "about" / "metadata")
            except UserError:
                raise
            except Exception:  # whatever damage makes of it; that nobody knows how good it is, is no reason to drop it
                self._unreadable.add(step)
                continue
            if evaluation is not None:
                self._evaluations[step] = evaluation

    def steps(self) -> list[int]:
        """Returns the steps of all finished checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def best(self) -> Choice | None:
        """Returns the checkpoint of the best evaluation, the first of equals; the newest where none was evaluated."""
        scored = {step: self._evaluations[step] for step in self.steps() if step in self._evaluations}
        if not scored:
            newest = max(self.steps(), default=None)
            return None if newest is None else Choice(newest, None, 0, unreadable=tuple(sorted(self._unreadable)))
        step = min(scored, key=lambda step: (scored[step].badness, step))
        return Choice(step, scored[step], len(scored), unreadable=tuple(sorted(self._unreadable)))

    def named(self, step: int) -> Choice | None:
        """Returns the checkpoint of a step; None where there is none."""
        if step not in self.steps():
            return None
        return Choice(step, self._evaluations.get(step), len(self._evaluations), named=True)

    def save(
        self, state: TrainState, about: dict[str, Any], *, step: int, score: float | None = None, badness: float = 0.0
    ) -> None:
        """Starts saving; returns once the arrays are copied off the devices.

        Args:
          state: what is saved.
          about: from `describe`.
          step: of the state.
          score: of its evaluation; None where there was none.
          badness: what orders scores, less being better.

        Raises:
          UserError: on a full disk.
        """
        metrics = {} if score is None else {_SCORE: score, _BADNESS: badness}
        tree = to_arrays(state)
        self.wait()
        # Asked before Orbax is: what it says of a full disk half-way comes from several threads at once.
        needed, free = sum(x.nbytes for x in jax.tree.leaves(tree)), shutil.disk_usage(self.folder).free
        if free < needed:
            raise UserError(
                f"{self.folder}: No space left on device for the checkpoint of step {step}: found {free / 1e6:.1f} MB, "
                f"expected {needed / 1e6:.1f} MB; older ones are kept. Free space and start the same command again"
            )
        items = ocp.args.Composite(
            arrays=ocp.args.StandardSave(tree), about=ocp.args.JsonSave({**about, "metrics": metrics})
        )
        if score is not None:
            # Before the save: once it has ended, Orbax asks which older ones are kept.
            self._evaluations[step] = Evaluation(score, math.inf if math.isnan(badness) else badness)
        with self._disk_errors():
            self._manager.save(step, args=items)

    def wait(self) -> None:
        """Returns once everything is on disk. Raises `UserError` on a full disk."""
        with self._disk_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and lets go of the folder. Raises `UserError` on a full disk."""
        with self._disk_errors():
            self._manager.close()
        self._stack.close()

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turns what a full or unwritable disk makes Orbax raise into a message; TensorStore's is a ValueError."""
        try:
            yield
        except Exception as error:
            text = str(error)
            if not isinstance(error, OSError) and not re.search(
                "No space left|RESOURCE_EXHAUSTED|disk quota", text, re.I
            ):
                raise
            why = "No space left on device" if "No space left" in text else reason(error)
            raise UserError(
                f"{self.folder}: the checkpoint could not be written ({why}); older ones are kept. "
                "Free space and start the same command again"
            ) from error

    def about(self, step: int) -> dict[str, Any]:
        """Returns what lies beside the arrays of a checkpoint."""
        return self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]

    def restore(self, step: int, like: TrainState, sharding: Sharding) -> TrainState:
        """Returns a checkpoint's state on the devices, whatever devices it was saved from.

        Args:
          step: of the checkpoint.
          like: shapes of the state that is expected.
          sharding: where its arrays go.

        Raises:
          UserError: for a checkpoint of another model.
          Exception: whatever Orbax raises for a damaged one.
        """
        expected = to_arrays(like)
        self._check_same_model(step, expected)
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), expected)
        arrays = self._manager.restore(step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(target)))["arrays"]
        return from_arrays(arrays, like)

    def _check_same_model(self, step: int, expected: Arrays) -> None:
        stored = _shapes(self._manager.item_metadata(step)["arrays"])
        wanted = _shapes(expected)
        problems = differing(stored, wanted)
        if problems:
            raise UserError(
                f"{self.folder / str(step)}: a checkpoint of another model ({len(problems)} arrays differ):\n"
                f"{listed(problems)}\nUse the config it was trained with, or another folder."
            )

    def restore_newest(self, like: TrainState, sharding: Sharding) -> TrainState | None:
        """Returns the newest whole checkpoint's state, or None where there is no checkpoint.

        A damaged checkpoint is reported, moved aside into `damaged/`, and the one before is used. It is moved only once
        an older one could be read and it itself could not be read again: then it is not this machine that cannot read.

        Raises:
          UserError: for checkpoints of another model, where this machine cannot read, or where none can be read;
            nothing is moved then.
        """
        damaged: dict[int, str] = {}
        for step in reversed(self.steps()):
            state, why = self._tried(step, like, sharding)
            if state is None:
                damaged[step] = why
                continue
            for one in list(damaged):
                state_of_one, why = self._tried(one, like, sharding)
                if state_of_one is not None:
                    return state_of_one  # it could not be read a moment ago, and is the newest
                processes.on_process_zero(functools.partial(self._set_aside, one, why, step))
            if damaged:
                self._manager.reload()
                self._read_evaluations()
            return state
        if damaged:
            newest, why = next(iter(damaged.items()))
            raise UserError(
                f"{self.folder}: none of the {len(damaged)} checkpoints can be read; the newest, of step {newest}: "
                f"{why}. All are left where they are. If they are damaged, start again in another folder"
            )
        return None

    def _tried(self, step: int, like: TrainState, sharding: Sharding) -> tuple[TrainState | None, str]:
        """A checkpoint's state, or why no process or another one cannot read it."""
        state, why = None, ""
        try:
            state = self.restore(step, like, sharding)
        except UserError:
            raise
        except Exception as error:
            why = reason(error)
            cause = next((e for e in causes(error) if isinstance(e, OSError) and e.errno in _NOT_DAMAGE), None)
            if cause is not None:
                raise _cannot_read(self.folder / str(step), cause) from error
        # What one process cannot read, none uses.
        why = next(filter(None, processes.gathered(why)), "")
        return (None, why) if why else (state, "")

    def _set_aside(self, step: int, why: str, instead: int) -> None:
        aside = self.folder.parent / "damaged" / str(step)
        number = 1
        while aside.exists():
            number += 1
            aside = aside.with_name(f"{step}-{number}")
        aside.parent.mkdir(exist_ok=True)
        (self.folder / str(step)).rename(aside)
        print(
            f"checkpoint of step {step} is damaged ({why}); moved to {printable(str(aside))}, going on from that of "
            f"step {instead}",
            file=sys.stderr,
        )


@dataclasses.dataclass(frozen=True)
class _KeepBest:
    """Orbax's policy that keeps the best, of this process's checkpoints and of those that it found.

    Attributes:
      evaluations: by step; grows meanwhile.
      unreadable: steps whose evaluations could not be read: all are kept.
      number: of the best that are kept.
    """

    evaluations: Mapping[int, Evaluation]
    unreadable: Set[int]
    number: int

    def should_preserve(
        self,
        checkpoints: Sequence[Any],
        *,
        context: preservation_policy.PreservationContext,
    ) -> Sequence[bool]:
        """Returns whether each checkpoint is kept."""
        del context
        scored = [info.step for info in checkpoints if info.step in self.evaluations]
        best = sorted(scored, key=lambda step: (self.evaluations[step].badness, step))[: self.number]
        return [info.step in best or info.step in self.unreadable for info in checkpoints]


def _evaluation_in(path: pathlib.Path) -> Evaluation | None:
    """The evaluation beside a checkpoint's arrays; None where it was not evaluated.

    Raises:
      UserError: where this machine cannot read.
      Exception: whatever a damaged file makes of it.
    """
    try:
        metrics = json.loads(path.read_text()).get("metrics")
    except OSError as error:
        if error.errno in _NOT_DAMAGE:
            raise _cannot_read(path, error) from error
        raise
    if not metrics:
        return None
    score, badness = float(metrics[_SCORE]), float(metrics[_BADNESS])
    return Evaluation(score, math.inf if math.isnan(badness) else badness)


def _cannot_read(path: pathlib.Path, error: OSError) -> UserError:
    return UserError(
        f"{printable(str(path))}: cannot be read here ({error.strerror}); nothing was changed. Mend that and start the "
        "same command again"
    )


@contextlib.contextmanager
def _plain_path(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path to a folder that Orbax and TensorStore cannot misread: its own, or that of a link to it."""
    if _SAFE_PATH.fullmatch(str(folder)):
        yield folder
        return
    try:
        place = tempfile.TemporaryDirectory(prefix="boneage-checkpoints-")
    except OSError as error:
        raise UserError(
            f"{printable(str(folder))}: its name holds characters that Orbax cannot take, and a link cannot be made "
            f"among the temporary files ({error.strerror or reason(error)}); choose a name of letters, digits and - . _"
        ) from error
    with place as scratch:
        link = pathlib.Path(scratch) / "checkpoints"
        link.symlink_to(folder, target_is_directory=True)
        yield link


def differing(found: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """Returns a line for each array that is not in both in one form.

    Args:
      found: form of each array by its path, as text or otherwise.
      wanted: likewise.
    """
    return [
        f"{path}: found {found.get(path, 'nothing')}, expected {wanted.get(path, 'nothing')}"
        # Weights first: what the optimiser keeps of them differs wherever they do.
        for path in sorted(found.keys() | wanted.keys(), key=lambda path: (not path.startswith("params"), path))
        if found.get(path) != wanted.get(path)
    ]


def _names(path: jax.tree_util.KeyPath) -> list[str]:
    """The keys on the way to a leaf, as text."""
    return jax.tree_util.keystr(path, simple=True, separator="/").split("/")


def _shapes(tree: Any) -> dict[str, str]:
    """Returns each array's path, shape and type as text."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(_names(path)): f"{x.dtype}{json.dumps(list(x.shape))}" for path, x in leaves}
