"""A fresh state whose backbones start from somebody's weights."""

from __future__ import annotations

import copy
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from boneage_jax.config import ExperimentConfig
from boneage_jax.errors import fail_if_any
from boneage_jax.models import pretrained
from boneage_jax.train.mesh import replicated
from boneage_jax.train.state import Arrays, TrainState


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
    params, batch_stats = jax.device_put((params, batch_stats), replicated(mesh))
    # A copy: what is donated to the step must not be the same buffer twice.
    average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if state.average else {}
    return dataclasses.replace(state, params=params, batch_stats=batch_stats, average=average)


def _grafted(arrays: Arrays, backbone: Arrays, origin: str) -> Arrays:
    """The arrays with every backbone replaced."""
    problems = []
    changed = copy.copy(arrays)
    for number, old in arrays["backbones"].items():
        wanted, found = (
            {jax.tree_util.keystr(key, simple=True, separator="/"): x for key, x in jax.tree.leaves_with_path(tree)}
            for tree in (old, backbone)
        )
        problems += [
            f"{name}: found {np.shape(found[name]) if name in found else 'nothing'}, expected {np.shape(x)}"
            for name, x in wanted.items()
            if name not in found or np.shape(found[name]) != np.shape(x)
        ]
        changed["backbones"] = {**changed["backbones"], number: backbone}
    fail_if_any(problems, f"{origin}: weights of another network", "Set model.depth and model.widths to theirs.")
    return changed
