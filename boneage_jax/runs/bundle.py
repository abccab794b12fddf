"""Several runs' networks in one file, small enough to be shipped: weights in 16 or 8 bits, configs beside them.

The file is safetensors: arrays named MEMBER/KIND/PATH, and JSON in its header. It runs no code when it is read. Weights
in 8 bits are whole numbers from -127 to 127, with a scale for each output channel beside them (NAME.scale).
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
from boneage_jax.runs import kept, run_folder
from boneage_jax.runs.network import Arrays, Network
from boneage_jax.runs.run_folder import LoadedRun

FORMAT = "boneage-jax bundle 1"

FORMAT_8 = "boneage-jax bundle 2"
"""Of files with weights in 8 bits: versions that do not know them must refuse them."""

BITS = "weight_bits"
"""Where the notes of a network say in how many bits its weights are stored."""

_LARGEST = 127
_FEWEST_ROWS = 8
"""Weights of an output channel from which 8 bits pay; smaller arrays, as biases, stay in 16."""


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

    Weights are rounded to float16 where they fit into it, or to 8 bits where a network's notes say so (`in_bits`);
    batch statistics stay float32.

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
            place, array = f"{name}/{jax.tree_util.keystr(key, simple=True, separator='/')}", np.asarray(leaf)
            if key[0].key == "params" and loaded.about.get(BITS) == 8 and _takes_8_bits(array):
                array, tensors[f"{place}.scale"] = _in_8_bits(array)
            elif key[0].key == "params":
                with np.errstate(over="ignore"):
                    half = array.astype(np.float16)
                array = half if np.isfinite(half).all() else array
            tensors[place] = np.ascontiguousarray(array)
        config, left_out = _anywhere(to_dict(loaded.config))
        members[name] = {
            "config": config,
            "left_out": sorted({*left_out, *loaded.about.get("left_out", ())}),
            "step": loaded.step,
            "score": None if math.isnan(loaded.score) else loaded.score,
            "chosen": loaded.chosen,
            "data": loaded.about.get("data", {}),
            "versions": loaded.about.get("versions", {}),
            BITS: loaded.about.get(BITS, 16),
        }
    any_8 = any(member[BITS] == 8 for member in members.values())
    header = {"format": FORMAT_8 if any_8 else FORMAT, "members": json.dumps(members), "about": json.dumps(dict(about))}
    with replacing(path) as scratch:
        safetensors.numpy.save_file(tensors, str(scratch), metadata=header)
    return path.stat().st_size


def in_bits(loaded: LoadedRun, bits: int) -> LoadedRun:
    """Returns a run as a bundle will hold it: its weights rounded, with a note for `write`.

    Args:
      loaded: the run.
      bits: 16, or 8: whole numbers times a scale for each output channel, the channel's largest weight over 127.
    """

    def rounded(leaf: Any) -> Any:
        array = np.asarray(leaf)
        if bits == 8 and _takes_8_bits(array):
            whole, scale = _in_8_bits(array)
            return jax.device_put(whole.astype(array.dtype) * scale, leaf.sharding)
        return leaf

    arrays = {**loaded.arrays, "params": jax.tree.map(rounded, loaded.arrays["params"])}
    return dataclasses.replace(loaded, arrays=arrays, about={**loaded.about, BITS: bits})


def _takes_8_bits(array: np.ndarray) -> bool:
    return array.ndim >= 2 and array.size >= _FEWEST_ROWS * array.shape[-1] and bool(np.isfinite(array).all())


def _in_8_bits(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights as whole numbers, and the scale of each output channel, the last axis.

    Scales are rounded up to 15 bits, so that 127 scales are a float32 exactly: what is read and written again is the
    same to the bit.
    """
    fraction, exponent = np.frexp(np.abs(array).max(axis=tuple(range(array.ndim - 1))).astype(np.float64) / _LARGEST)
    scale = np.ldexp(np.ceil(fraction * 2**15) / 2**15, exponent).astype(np.float32)
    return np.rint(array / np.where(scale > 0, scale, 1)).astype(np.int8), scale


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
            if header.get("format") not in (FORMAT, FORMAT_8):
                raise UserError(f"{path}: found format {header.get('format')!r}, expected {FORMAT!r} or {FORMAT_8!r}")
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
    config = validate(member["config"], origin=f"the config of {name} in {path}", was_built=kept.was_built)
    network = Network.of(config)

    def stored(key: tuple[Any, ...], leaf: Any) -> np.ndarray:
        place = f"{name}/{jax.tree_util.keystr(key, simple=True, separator='/')}"
        array: np.ndarray = file.get_tensor(place)
        if array.dtype == np.int8:
            array = array.astype(leaf.dtype) * file.get_tensor(f"{place}.scale")
        if array.shape != leaf.shape:
            raise ValueError(f"{name}/{jax.tree_util.keystr(key)}: found {array.shape}, expected {leaf.shape}")
        return array.astype(leaf.dtype)

    read_in = jax.tree_util.tree_map_with_path(stored, kept.shapes_of(config))
    arrays: Arrays = jax.device_put(read_in, replicated(mesh))
    score = math.nan if member["score"] is None else float(member["score"])
    about = {"data": member["data"], "versions": member["versions"], "left_out": member.get("left_out", [])}
    about[BITS] = member.get(BITS, 16)
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
