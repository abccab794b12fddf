"""Checkpoints that describe themselves: arrays by path, and beside them config, data and versions.

Orbax writes them asynchronously and renames a finished one into place, so a killed run leaves whole checkpoints only.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import absl.logging
import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from boneage_jax.config import CheckpointConfig, ExperimentConfig, to_dict
from boneage_jax.errors import UserError, listed, reason
from boneage_jax.train import processes
from boneage_jax.train.state import Arrays, TrainState

_BADNESS = "badness"
"""Beside a checkpoint's metrics: what the best has least of, whatever the task's score is."""

_RECORDED_VERSIONS = ("boneage-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")

# Orbax reports every save at several levels of detail; a run's own log says what a user needs.
absl.logging.set_verbosity(absl.logging.ERROR)


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


class Checkpoints:
    """The checkpoints of a run: the last few, and the best by evaluation."""

    def __init__(self, folder: pathlib.Path, config: CheckpointConfig = CheckpointConfig(), *, read_only: bool = False):
        self.folder = folder.resolve()
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(config.keep_last),
                preservation_policy.BestN(
                    get_metric_fn=lambda metrics: metrics[_BADNESS],
                    reverse=True,
                    n=config.keep_best,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(preservation_policy=policy, create=not read_only, read_only=read_only),
            item_names=("arrays", "about"),
            item_handlers={"arrays": ocp.StandardCheckpointHandler(), "about": ocp.JsonCheckpointHandler()},
        )

    def steps(self) -> list[int]:
        """Returns the steps of all finished checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Returns the step of the best evaluation, or the newest where none was evaluated."""
        scored = {}
        for step in self.steps():
            metrics = self._manager.metrics(step)
            if metrics:
                scored[step] = metrics[_BADNESS]
        return min(scored, key=lambda step: (scored[step], step)) if scored else max(self.steps(), default=None)

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
        metrics = None if score is None else {"score": score, _BADNESS: badness}
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
            arrays=ocp.args.StandardSave(tree), about=ocp.args.JsonSave({**about, "metrics": metrics or {}})
        )
        with self._disk_errors():
            self._manager.save(step, args=items, metrics=metrics)

    def wait(self) -> None:
        """Returns once everything is on disk. Raises `UserError` on a full disk."""
        with self._disk_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and lets go of the folder. Raises `UserError` on a full disk."""
        with self._disk_errors():
            self._manager.close()

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
        """Returns the newest whole checkpoint's state, or None where there is none.

        A damaged checkpoint is reported, moved aside into `damaged/`, and the one before is used.

        Raises:
          UserError: for checkpoints of another model, or where all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            state, why = None, ""
            try:
                state = self.restore(step, like, sharding)
            except UserError:
                raise
            except Exception as error:
                why = reason(error)
            # What one process cannot read, none uses.
            why = next(filter(None, processes.gathered(why)), "")
            if not why:
                return state
            processes.led(functools.partial(self._set_aside, step, why))
            self._manager.reload()
        if steps:
            raise UserError(
                f"{self.folder}: all {len(steps)} checkpoints are damaged; they lie in "
                f"{self.folder.parent / 'damaged'}. Start again in another folder"
            )
        return None

    def _set_aside(self, step: int, why: str) -> None:
        aside = self.folder.parent / "damaged" / str(step)
        number = 1
        while aside.exists():
            number += 1
            aside = aside.with_name(f"{step}-{number}")
        aside.parent.mkdir(exist_ok=True)
        (self.folder / str(step)).rename(aside)
        print(
            f"checkpoint of step {step} is damaged ({why}); moved to {aside}, going on from the one before",
            file=sys.stderr,
        )


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
