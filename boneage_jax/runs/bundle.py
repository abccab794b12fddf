"""Several runs' networks in one file, small enough to be shipped: weights as float16, configs beside them.

The file is safetensors: arrays named MEMBER/KIND/PATH, and JSON in its header. It runs no code when it is read.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from jax.sharding import Mesh

from boneage_jax import resources, tasks
from boneage_jax.config import PATHS, ExperimentConfig, to_dict, validate
from boneage_jax.distributed.mesh import make_mesh, replicated
from boneage_jax.errors import UserError, reason
from boneage_jax.files import replacing
from boneage_jax.network_ref import NetworkRef
from boneage_jax.runs import run_folder
from boneage_jax.runs.run_folder import LoadedRun, shapes_of
from boneage_jax.runs.state import Arrays

FORMAT = "boneage-jax bundle 1"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What a file of `write` holds.

    Attributes:
      runs: networks by name.
      about: notes on all of them: `notice`, `blend`, `thresholds`, `calibration` and `canvas`, as `boneage bundle`
        writes them.
    """

    runs: dict[str, LoadedRun]
    about: dict[str, Any]


def write(runs: Mapping[str, LoadedRun], about: Mapping[str, Any], path: pathlib.Path) -> int:
    """Writes runs, whole or not at all; returns the file's size in bytes.

    Weights are rounded to float16 where they fit into it; batch statistics stay float32.

    Args:
      runs: by names without `/`.
      about: notes on all of them, as JSON has it; see `Bundle`.
      path: of the file.

    Raises:
      UserError: for a path that cannot be written.
    """
    tensors: dict[str, np.ndarray] = {}
    members = {}
    for name, loaded in runs.items():
        for key, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(loaded.arrays)):
            array = np.asarray(leaf)
            if key[0].key == "params":
                with np.errstate(over="ignore"):
                    half = array.astype(np.float16)
                array = half if np.isfinite(half).all() else array
            tensors[f"{name}/{jax.tree_util.keystr(key, simple=True, separator='/')}"] = np.ascontiguousarray(array)
        config, left_out = _anywhere(to_dict(loaded.config))
        members[name] = {
            "config": config,
            "left_out": sorted({*left_out, *loaded.about.get("left_out", ())}),
            "step": loaded.step,
            "score": None if math.isnan(loaded.score) else loaded.score,
            "chosen": loaded.chosen,
            "data": loaded.about.get("data", {}),
            "versions": loaded.about.get("versions", {}),
        }
    header = {"format": FORMAT, "members": json.dumps(members), "about": json.dumps(dict(about))}
    with replacing(path) as scratch:
        safetensors.numpy.save_file(tensors, str(scratch), metadata=header)
    return path.stat().st_size


def _anywhere(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns a config without files and folders of the machine that it was trained on, and the keys left out.

    The keys are those that had a value and now have their default, `data.dir` aside.
    """
    default, scrubbed, left_out = to_dict(ExperimentConfig()), copy.deepcopy(config), []
    for key in sorted(PATHS):
        section, name = key.split(".")
        value = config[section][name]
        if value == default[section][name] or resources.is_shipped(value.partition(":")[0]):
            continue
        scrubbed[section][name] = default[section][name]
        left_out += [key] if key != "data.dir" else []
    return scrubbed, left_out


def read(path: pathlib.Path, *, devices: int = 0) -> Bundle:
    """Opens a bundle's networks.

    Args:
      path: of the file.
      devices: to load onto; 0 for all.

    Raises:
      UserError: for a file that is not there, no bundle, or one of networks that this version does not know.
    """
    mesh = make_mesh(devices)
    with _opened(path) as (file, members, about):
        runs = {name: _run(path, name, member, file, mesh) for name, member in members.items()}
    return Bundle(runs, about)


def notes(path: pathlib.Path) -> dict[str, Any]:
    """Returns `Bundle.about` of a bundle without reading its networks. Raises `UserError` as `read` does."""
    with _opened(path) as (_, _, about):
        return about


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """The open file, and what its header holds: members and notes. Whatever fails within is a `UserError`."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a bundle, as boneage bundle writes them")
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise UserError(f"{path}: found format {header.get('format')!r}, expected {FORMAT!r}")
            yield file, json.loads(header["members"]), json.loads(header["about"])
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: not a bundle ({reason(error)}); expected a file of boneage bundle") from error


def load(network: NetworkRef | str | os.PathLike[str], name: str, *, step: int | None = None) -> LoadedRun:
    """Opens a run's folder, or a network of a bundle's file.

    Args:
      network: of either, or a path or text as `NetworkRef.parse` reads it.
      name: of the bundle's network where `network` names none.
      step: of a folder's checkpoint; None for the best by evaluation score. A bundle keeps one of each network.

    Raises:
      UserError: for what is neither, bundles without it, and steps that are not there.
    """
    ref = NetworkRef.of(network)
    file, member = ref.place, ref.member or name
    if not file.is_file():
        return run_folder.load(file, step=step)
    with _opened(file) as (opened, members, _):
        if member not in members:
            holds = f"holds no {member!r} but" if member else "holds"
            raise UserError(f"{file}: {holds} {', '.join(members)}; name one, as in {file.name}:{next(iter(members))}")
        found = _run(file, member, members[member], opened, make_mesh())
    if step not in (None, found.step):
        raise UserError(f"{file}:{member}: found step {found.step}, expected {step}; a bundle keeps no other")
    return found


def _run(path: pathlib.Path, name: str, member: dict[str, Any], file: safetensors.safe_open, mesh: Mesh) -> LoadedRun:
    """A network of an open file, by its name and what the header holds of it."""
    config = validate(member["config"], origin=f"the config of {name} in {path}")
    network, like = shapes_of(config)

    def stored(key: tuple[Any, ...], leaf: Any) -> np.ndarray:
        array: np.ndarray = file.get_tensor(f"{name}/{jax.tree_util.keystr(key, simple=True, separator='/')}")
        if array.shape != leaf.shape:
            raise ValueError(f"{name}/{jax.tree_util.keystr(key)}: found {array.shape}, expected {leaf.shape}")
        return array.astype(leaf.dtype)

    shapes = {"params": like.params, "batch_stats": like.batch_stats}
    arrays: Arrays = jax.device_put(jax.tree_util.tree_map_with_path(stored, shapes), replicated(mesh))
    score = math.nan if member["score"] is None else float(member["score"])
    about = {"data": member["data"], "versions": member["versions"], "left_out": member.get("left_out", [])}
    step = int(member["step"])
    chosen = member.get("chosen", f"step {step}, as it was bundled")
    return LoadedRun(
        folder=path,
        config=config,
        step=step,
        score=score,
        about=about,
        network=network,
        arrays=arrays,
        task=tasks.build(config.task),
        mesh=mesh,
        chosen=chosen,
    )
