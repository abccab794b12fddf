"""Registered hands on their way into a dataset: the finished images of a split, in files that the builder reads."""

from __future__ import annotations

import dataclasses
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from boneage_jax.files import replacing

_TEXTS = ("id", "source", "flags", "measures")
"""Features that are texts."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """The finished images of a split.

    Attributes:
      files: that `write_part` wrote, in order.
      drop_flagged: whether images with flags are left out.
    """

    files: tuple[pathlib.Path, ...]
    drop_flagged: bool = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the features of every image, as the builder takes them."""
        for file in self.files:
            with np.load(file) as stored:
                for n in range(int(stored["count"])):
                    prefix = f"{n}/"
                    names = [key.removeprefix(prefix) for key in stored.files if key.startswith(prefix)]
                    yield {name: _decoded(name, stored[f"{n}/{name}"]) for name in names}

    def examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields id and features of the images that are kept."""
        for row in self.rows():
            if row["good"] or not self.drop_flagged:
                yield row["id"], row


def write_part(rows: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes images of a split, whole or not at all.

    Args:
      rows: features by image; texts, encoded images, numbers and arrays.
      path: of the file, `.npz`.
    """
    arrays: dict[str, Any] = {"count": np.int64(len(rows))}
    for n, row in enumerate(rows):
        for name, value in row.items():
            data = value.encode() if isinstance(value, str) else value
            arrays[f"{n}/{name}"] = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data)
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez(file, **arrays)


def is_whole(path: pathlib.Path) -> bool:
    """Returns whether a part is there and as it was written, by the checksums of its archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _decoded(name: str, value: np.ndarray) -> Any:
    if name in _TEXTS:
        return value.tobytes().decode()
    return value.tobytes() if name in ("mask", "image") or name.startswith("region_") else value[()]
