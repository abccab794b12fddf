"""Programs and shapes of networks, kept in the user's cache so that the next process need not trace them again.

Importing Flax, building a network and tracing it take longer than running it on one radiograph. A program is kept as
`jax.export` writes it, in front of XLA; what XLA makes of it is kept by JAX (see `environment.keep_programs`).

Whatever a program depends on is part of its name: the source of this package, the versions of JAX and Flax, the
platform, the network and its task, the shapes of weights and inputs. So a kept program is never stale.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import export
from jax.sharding import Mesh

import boneage_jax
from boneage_jax import user_cache
from boneage_jax.data.augment import Move
from boneage_jax.runs.network import Arrays, Network
from boneage_jax.runs.predict_step import EvalStep, compile_predict_step
from boneage_jax.schema import ExperimentConfig
from boneage_jax.tasks import Task

_OPENED = 64
"""Programs that one process holds. Chosen by eye: an ensemble has few networks, each with few sizes of batch."""

_SETTINGS = ("jax_default_matmul_precision", "jax_enable_x64", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion")
"""Those of JAX's settings that change what is traced."""

Described = tuple[tuple[str, tuple[int, ...], str], ...]
"""Path, shape and type of each array of a tree."""


def predict_program(
    mesh: Mesh,
    arrays: Arrays,
    batch: Mapping[str, Any],
    *,
    network: Network,
    task: Task,
    moves: Sequence[Move] = (Move(),),
) -> EvalStep:
    """Returns `compile_predict_step`'s program for one shape of batch: the kept one where there is one.

    Nothing is kept for several devices, whose places in a mesh would be part of the program.

    Args:
      mesh: devices.
      arrays: weights and statistics, or their shapes.
      batch: of images and sexes, or their shapes.
      network: to predict with.
      task: that it has learnt.
      moves: see `compile_predict_step`.
    """
    return _program(mesh, network, task, tuple(moves), described(arrays), described(batch))


@functools.lru_cache(maxsize=_OPENED)
def _program(
    mesh: Mesh, network: Network, task: Task, moves: tuple[Move, ...], arrays: Described, batch: Described
) -> EvalStep:
    step = compile_predict_step(mesh, network=network, task=task, moves=moves)
    if mesh.size > 1 or jax.process_count() > 1 or user_cache.folder() is None:
        return step
    platform = mesh.devices.flat[0].platform
    settings = tuple(str(getattr(jax.config, name)) for name in _SETTINGS)
    name = f"{key_of(network, task.config, moves, arrays, batch, platform, settings)}.program"
    kept = user_cache.read(name)
    program = _opened(kept) if kept is not None else None
    if program is None:
        traced = export.export(jax.jit(step))(_network_of(arrays), tree_of(batch))
        content = bytes(traced.serialize())
        user_cache.write(name, content)
        # Through the same way as from now on, so that XLA meets the same program and gives the same numbers.
        program = _opened(content) or traced
    return jax.jit(program.call)


def _opened(content: bytes) -> export.Exported | None:
    """A program; None for what this JAX cannot read."""
    try:
        return export.deserialize(bytearray(content))
    except Exception:  # whatever a foreign file makes of it: it is made again
        return None


def was_built(config: ExperimentConfig) -> bool:
    """Returns whether the shapes of a config's network are kept: then it can be built."""
    return user_cache.read(_shapes_name(config)) is not None


def shapes_of(config: ExperimentConfig) -> Arrays:
    """Returns shapes and types of a network's arrays, `params` and `batch_stats`, as `jax.ShapeDtypeStruct`."""
    name, network = _shapes_name(config), Network.of(config)
    kept = user_cache.read(name)
    if kept is not None:
        found = tuple((path, tuple(shape), dtype) for path, shape, dtype in json.loads(kept))
    else:
        params, batch_stats = jax.eval_shape(lambda: network.fresh(0))
        found = described({"params": params, "batch_stats": batch_stats})
        user_cache.write(name, json.dumps(found).encode())
    return _network_of(found)


def _network_of(arrays: Described) -> Arrays:
    """A network's parts. One without batch norm has no statistics, and an empty part has no path."""
    return {"params": {}, "batch_stats": {}} | tree_of(arrays)


def _shapes_name(config: ExperimentConfig) -> str:
    return f"{key_of(Network.of(config), config.task)}.shapes"


def described(tree: Any) -> Described:
    """Returns path, shape and type of each array in nested dictionaries keyed by text without `/`."""
    return tuple(
        (jax.tree_util.keystr(path, simple=True, separator="/"), tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    )


def tree_of(arrays: Described) -> Arrays:
    """Returns the nested dictionaries that `described` has described, of `jax.ShapeDtypeStruct`."""
    tree: Arrays = {}
    for path, shape, dtype in arrays:
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = jax.ShapeDtypeStruct(shape, dtype)
    return tree


def key_of(*parts: object) -> str:
    """Returns a name that differs wherever one of the parts, the source or a version differs.

    Args:
      *parts: whose `repr` says all of them: dataclasses, tuples, texts, numbers.
    """
    return hashlib.sha256(repr((_origin(), parts)).encode()).hexdigest()[:32]


@functools.lru_cache
def _origin() -> tuple[str, ...]:
    """What every program depends on: this package's source, and the libraries that trace it."""
    source = hashlib.sha256()
    root = pathlib.Path(boneage_jax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        source.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "flax")]
    return (boneage_jax.__version__, source.hexdigest(), *versions)
