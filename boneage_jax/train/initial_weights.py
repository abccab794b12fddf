"""A fresh state that starts from a trained network: another run, or PyTorch's weights of a backbone."""

from __future__ import annotations

import copy
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from boneage_jax.config import ExperimentConfig
from boneage_jax.distributed.mesh import replicated
from boneage_jax.errors import fail_if_any
from boneage_jax.models import pretrained
from boneage_jax.runs import bundle
from boneage_jax.runs.checkpoint import differing
from boneage_jax.runs.state import Arrays, TrainState
from boneage_jax.train.widening import widened


def start_from_weights(state: TrainState, config: ExperimentConfig, mesh: Mesh) -> TrainState:
    """Returns a fresh state with the backbones of `model.weights`; the head keeps its random start.

    Args:
      state: from `initial_state`.
      config: the experiment.
      mesh: devices that the state lies on.

    Raises:
      UserError: for a file that cannot be read, or weights of another network; names those that differ.
    """
    path = pathlib.Path(config.model.weights).expanduser()
    weights, statistics = pretrained.backbone_of(pretrained.read(path), config.model, origin=str(path))
    params = _grafted(state.params, weights, str(path))
    batch_stats = _grafted(state.batch_stats, statistics, str(path))
    return _starting(state, params, batch_stats, mesh)


def start_from_run(state: TrainState, config: ExperimentConfig, mesh: Mesh) -> TrainState:
    """Returns a fresh state with the weights of `train.start`: the averaged ones, where it averaged.

    `train.start_parts` says whether its head is taken too, and whether it is a narrower network. Step, optimiser and
    seed are the new run's own.

    Args:
      state: from `initial_state`.
      config: the experiment.
      mesh: devices that the state lies on.

    Raises:
      UserError: for what is no run and no member of a bundle, and for another network; names what differs.
    """
    named = config.train.start
    start = bundle.load(pathlib.Path(named), "")
    own = {"params": state.params, "batch_stats": state.batch_stats}
    if config.train.start_parts == "widened":
        wide = widened(start.arrays, own, seed=config.train.seed, origin=named)
        return _starting(state, wide["params"], wide["batch_stats"], mesh)
    if config.train.start_parts == "backbones":
        grafted = {kind: _with_backbones(arrays, start.arrays[kind]["backbones"]) for kind, arrays in own.items()}
        fail_if_any(
            differing(_shapes(grafted), _shapes(own)),
            f"train.start: {named} has other backbones",
            "Set model.name, model.depth and model.widths to those of its config.",
        )
        return _starting(state, grafted["params"], grafted["batch_stats"], mesh)
    fail_if_any(
        differing(_shapes(start.arrays), _shapes(own)),
        f"train.start: {named} is another network",
        "Set the keys of model, data.regions and task.age to those of its config.",
    )
    return _starting(state, start.arrays["params"], start.arrays["batch_stats"], mesh)


def _starting(state: TrainState, params: Arrays, batch_stats: Arrays, mesh: Mesh) -> TrainState:
    """The state with these arrays in the place of its own."""
    # Copies: what is donated to the step must not be the same buffer twice, as that of a backbone that several have.
    params, batch_stats = jax.tree.map(jnp.copy, jax.device_put((params, batch_stats), replicated(mesh)))
    average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if state.average else {}
    return dataclasses.replace(state, params=params, batch_stats=batch_stats, average=average)


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    """Shape of each array by its path; types are made the state's own."""
    leaves = jax.tree.leaves_with_path(arrays)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(x) for path, x in leaves}


def _with_backbones(arrays: Arrays, backbones: Arrays) -> Arrays:
    """The arrays with every backbone replaced by that of its number, by the first where there is none."""
    changed = copy.copy(arrays)
    changed["backbones"] = {number: backbones.get(number, backbones["0"]) for number in arrays["backbones"]}
    return changed


def _grafted(arrays: Arrays, backbone: Arrays, origin: str) -> Arrays:
    """The arrays with every backbone replaced."""
    changed = _with_backbones(arrays, {"0": backbone})
    fail_if_any(
        differing(_shapes(changed["backbones"]), _shapes(arrays["backbones"])),
        f"{origin}: weights of another network",
        "Set model.depth and model.widths to theirs.",
    )
    return changed
