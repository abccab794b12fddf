"""Finished work of a study in files, so that the same command goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from boneage_jax.errors import UserError
from boneage_jax.files import replacing
from boneage_jax.hand import atlas

_FORMAT = 2
"""Raised when names or contents of the files change: files of another format lie in other folders and are not read."""

_FILLING = "histogram specification"
"""How grey levels of a filling are matched, see `fillings.exposed_like`."""


class Cache:
    """Arrays in files, in a folder whose name is a digest of all that they depend on.

    Args:
      folder: of the study; a folder in `work/` below it is used.
      question: what the arrays depend on, as JSON can hold it.
    """

    def __init__(self, folder: pathlib.Path, question: Mapping[str, Any]):
        whole = {
            **question,
            "format": _FORMAT,
            "areas": [*atlas.AREAS, *atlas.GROUPS, atlas.MARGIN],
            "grey levels": _FILLING,
        }
        key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = folder / "work" / key

    def __call__(self, name: str, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns the arrays of a name from their file, or makes and writes them.

        Args:
          name: of the file, without its ending.
          make: returns arrays by name.

        Raises:
          UserError: for a folder that cannot be written, or a disk that gives back something else.
        """
        path = self._folder / f"{name}.npz"
        stored = _stored(path)
        if stored is None:
            arrays: dict[str, Any] = dict(make())
            with replacing(path) as scratch, scratch.open("wb") as file:
                np.savez_compressed(file, **arrays)
            stored = _stored(path)
        if stored is None:
            raise UserError(f"{path}: what was just written there cannot be read; choose another disk with --out")
        return stored


def _stored(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """A file's arrays; None where there is none or it is damaged, by its archive's checksums."""
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}
    except (EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        print(f"{path}: damaged; made again", file=sys.stderr)
        return None
