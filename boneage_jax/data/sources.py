"""Random access to the records of a built dataset."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, SupportsIndex, TypedDict

import numpy as np
from jaxtyping import Bool, Float32

from boneage_jax.data import images
from boneage_jax.errors import UserError
from boneage_jax.files import write_text

INDEX = "labels.json"
"""Beside a dataset's records: ids, ages and sexes by split. Datasets that TFDS itself has built do without."""


class Example(TypedDict):
    """One image as it enters a batch.

    Attributes:
      image: uint8 of shape (height, width).
      male: 1 for male, 0 for female.
      bone_age: months; NaN where unknown.
    """

    image: np.ndarray
    male: np.float32
    bone_age: np.float32


class Source(Protocol):
    """What the input pipeline reads from: anything with a length, examples by number and a fingerprint."""

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> Example: ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A built dataset.

    Attributes:
      name: as in `hand_phantom/tiny`.
      path: folder of its newest version.
      splits: name and number of images of each split.
      features: names of the stored features.
      fingerprint: changes whenever the stored records do.
    """

    name: str
    path: pathlib.Path
    splits: dict[str, int]
    features: list[str]
    fingerprint: str

    @classmethod
    def open(cls, data_dir: pathlib.Path, name: str) -> Dataset:
        """Opens `name`, as in `hand_phantom/tiny`, in its newest version.

        Raises:
          UserError: where it has not been built; lists what has.
        """
        versions = sorted((data_dir / name).glob("*/dataset_info.json"), key=lambda p: _version(p.parent.name))
        if not versions:
            built = sorted(
                {p.parent.parent.relative_to(data_dir).as_posix() for p in data_dir.glob("*/*/*/dataset_info.json")}
            )
            here = f"built there: {', '.join(built)}" if built else "nothing is built there"
            raise UserError(
                f"{data_dir / name}: no such dataset ({here}). "
                f"Build it with: boneage data build {name} --out {data_dir}"
            )
        path = versions[-1].parent
        info = json.loads(versions[-1].read_text())
        splits = {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]}
        features = sorted(json.loads((path / "features.json").read_text())["featuresDict"]["features"])
        return cls(name, path, splits, features, _fingerprint(path))

    def split(self, split: str, *, height: int = 0, width: int = 0) -> Records:
        """Opens a split, or a part of one in TFDS's notation, as in `train[:90%]`.

        Args:
          split: what to read.
          height: pixels that images are fitted into when read; 0 to keep their size.
          width: likewise.

        Raises:
          UserError: for a split that is not there.
        """
        if split.split("[")[0] not in self.splits:
            raise UserError(f"{self.path}: no split {split!r}; expected one of {', '.join(self.splits)}")
        return Records(self, split, height, width)

    def write_index(self) -> None:
        """Writes ids, ages and sexes beside the records, so that nobody reads gigabytes of images for them."""
        index = {}
        for name in self.splits:
            records = self.split(name)
            ages, male = records.labels()
            known = [age if np.isfinite(age) else None for age in ages.tolist()]
            index[name] = {"id": records.ids(), "bone_age": known, "male": male.tolist()}
        write_text(self.path / INDEX, json.dumps(index) + "\n")


class Records:
    """The examples of a split, by number, decoded when asked for. Threads may share it."""

    def __init__(self, dataset: Dataset, split: str, height: int, width: int):
        import tensorflow_datasets as tfds

        self._height, self._width = height, width
        builder = tfds.builder_from_directory(str(dataset.path))
        # The images are decoded here, not by TFDS: to grey, and only where an image is asked for.
        encoded = {f: tfds.decode.SkipDecoding() for f in ("image", "mask", "instances") if f in dataset.features}
        try:
            self._rows: Sequence[dict[str, Any]] = builder.as_data_source(split=split, decoders=encoded)
        except (ValueError, AssertionError) as error:
            raise UserError(f"{dataset.path}: cannot read the split {split!r} ({error})") from error
        self._decode: Callable[[Any], images.Grey] = images.decode
        if isinstance(builder.info.features["image"], tfds.features.Tensor):
            shape = builder.info.features["image"].shape[:2]
            self._decode = functools.partial(_decode_raw, shape=shape)
        self.fingerprint = f"{dataset.fingerprint}:{split}"
        self._index_path, self._split = dataset.path / INDEX, split

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> dict[str, Any]:
        """Returns all stored features of a record, images still encoded."""
        return self._rows[index]

    def __getitem__(self, index: SupportsIndex) -> Example:
        row = self._rows[int(index)]
        image = self._decode(row["image"])
        if self._height:
            image = images.fit(image, self._height, self._width)
        return {"image": image, "male": np.float32(row["male"]), "bone_age": np.float32(row["bone_age"])}

    def labels(self) -> tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Returns all ages in months and whether each child is male, without decoding images."""
        return np.array(self._columns["bone_age"], np.float32), np.array(self._columns["male"], bool)

    def ids(self) -> list[str]:
        """Returns all ids, in order."""
        return list(self._columns["id"])

    @functools.cached_property
    def _columns(self) -> dict[str, list[Any]]:
        """Ids, ages and sexes: from the index for a whole split that has one, else from the records."""
        if self._index_path.exists():
            index = json.loads(self._index_path.read_text()).get(self._split, {})
            if len(index.get("id", ())) == len(self):
                return {**index, "bone_age": [np.nan if age is None else age for age in index["bone_age"]]}
        columns: dict[str, list[Any]] = {"id": [], "bone_age": [], "male": []}
        for n in range(len(self)):
            row = self._rows[n]
            for name, values in columns.items():
                values.append(_text(row[name]) if name == "id" else row[name])
        return columns


def _decode_raw(data: Any, *, shape: tuple[int, int]) -> images.Grey:
    flat = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data, np.uint8)
    return flat.reshape(shape)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def _fingerprint(path: pathlib.Path) -> str:
    """A digest of the stored features and of each shard's name, size, and first and last bytes."""
    digest = hashlib.sha256((path / "features.json").read_bytes())
    for shard in sorted(path.glob("*.array_record*")):
        size = shard.stat().st_size
        digest.update(f"{shard.name}:{size}".encode())
        with shard.open("rb") as file:
            digest.update(file.read(65536))
            file.seek(-min(size, 65536), os.SEEK_END)
            digest.update(file.read(65536))
    return digest.hexdigest()[:16]
