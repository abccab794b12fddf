"""Results of two executions held against each other: a digest of every file, of what it says and not of when."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np

EXECUTION = (
    ".lock",
    "*/.lock",
    "*.lock",
    "*/damaged/*",
    "damaged/*",
    "*/_CHECKPOINT_METADATA",
    "_CHECKPOINT_METADATA",
    "*/commit_success.txt",
)
"""Files of one execution: locks, times, and copies of damaged files that were put aside."""

HALF = ("*.part", "*incomplete.*", "*orbax-checkpoint-tmp*")
"""Names that only something half-written has."""

_TIMES = ("time", "images_per_second", "waiting_for_data", "data_wait", "seconds", "since")
"""Keys of logs that differ from one execution to the next."""


def digests(root: pathlib.Path, but: Sequence[str] = ()) -> dict[str, str]:
    """Returns a digest of every result below a folder, by path. Starts JAX.

    Args:
      root: folder of the results.
      but: patterns of paths that are left out.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir() and path.name == "arrays" and path.parent.parent.name == "checkpoints":
            found[name] = _of_checkpoint(path)
        elif path.is_file() and "/arrays/" not in f"/{name}" and not _matches(name, (*EXECUTION, *but)):
            content = _content(path).replace(bytes(root.parent), b"")  # where the command ran
            found[name] = hashlib.sha256(content).hexdigest()[:16]
    return found


def half_written(root: pathlib.Path) -> list[str]:
    """Returns what is left of writing that did not end, by path."""
    return [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if _matches(path.name, HALF)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _of_checkpoint(path: pathlib.Path) -> str:
    """Of a checkpoint's arrays to the last bit, whatever files they lie in."""
    import jax
    import orbax.checkpoint as ocp

    made = hashlib.sha256()
    tree = ocp.StandardCheckpointer().restore(path.resolve())
    for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        made.update(f"{jax.tree_util.keystr(key)} {array.dtype} {array.shape}".encode())
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()[:16]


def _content(path: pathlib.Path) -> bytes:
    """What a file says, without when it was written and how long that took."""
    data = path.read_bytes()
    if path.suffix == ".npz":
        with np.load(io.BytesIO(data)) as arrays:
            return b"".join(name.encode() + repr(arrays[name].tolist()).encode() for name in sorted(arrays.files))
    if path.suffix == ".jsonl":
        return json.dumps([_timeless(json.loads(line)) for line in data.splitlines()]).encode()
    if path.name in ("config.json", "metadata"):
        # Masks and points count by the times of their files, which are those of this execution.
        return re.sub(rb"(:[a-z]+):[0-9a-f]{16}", rb"\1", data)
    if path.name == "manifest.json":
        return json.dumps(_timeless(json.loads(data))).encode()
    return data


def _timeless(line: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in line.items() if key not in _TIMES}
