"""Random access to the records of a built dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float32

from boneage_jax.data import images, pairing
from boneage_jax.data.examples import Example, Layer, View, lay_out, needed_for
from boneage_jax.errors import UserError, reason
from boneage_jax.files import write_text
from boneage_jax.schema import DataConfig
from boneage_jax.shown import to_build

REGISTERED = "registered.json"
"""Beside the records of registered hands: what they were made of, and how."""

_METADATA = "metadata.json"
"""Beside the records, written by TFDS: the metadata of the dataset's builder."""

INDEX = "labels.json"
"""Beside a dataset's records: ids, ages, sexes and paths by split. Datasets that TFDS itself has built do without."""

UNFINISHED = "incomplete."
"""How the names of folders begin that TFDS still writes to, or that it was killed at."""

SOURCE_NOTE = "source"
"""In a built dataset's metadata: the folder or zip that it was built from, as `name` and `digest`."""


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

    @property
    def origin(self) -> str:
        """The dataset that its images come from: that of the radiographs, where hands were registered."""
        path = self.path / REGISTERED
        return str(json.loads(path.read_text())["source"]) if path.exists() else self.name

    @property
    def is_phantom(self) -> bool:
        """Whether its images are rendered, so that no figure may be read as one on children."""
        return self.origin.startswith("hand_phantom")

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the dataset that a network trained on it keeps, as JSON has them.

        `phantom`; `registered`: whether images show hands on a canvas; and where that is known `canvas` and the
        `regions` that were cut, the one called `image` first.
        """
        noted, made = self.metadata, _json_of(self.path / REGISTERED)
        registered = bool(made) or bool(noted.get("registered", False))
        facts: dict[str, Any] = {"phantom": self.is_phantom, "registered": registered}
        return facts | {key: made[key] for key in ("canvas", "regions") if key in made}

    @classmethod
    def open(cls, data_dir: pathlib.Path, name: str) -> Dataset:
        """Opens `name`, as in `hand_phantom/tiny`, in its newest version.

        Raises:
          UserError: where it has not been built, and lists what has; where what lies beside the records is damaged.
        """
        versions = sorted(_infos(data_dir / name, "*"), key=lambda p: _version(p.parent.name))
        if not versions:
            built = sorted({p.parent.parent.relative_to(data_dir).as_posix() for p in _infos(data_dir, "*/*/*")})
            here = f"built there: {', '.join(built)}" if built else "nothing is built there"
            raise UserError(f"{data_dir / name}: no such dataset ({here}). Build it with: {to_build(name, data_dir)}")
        path = versions[-1].parent
        with _undamaged(versions[-1]):
            info = json.loads(versions[-1].read_text())
            splits = {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]}
        with _undamaged(path / "features.json"):
            features = sorted(json.loads((path / "features.json").read_text())["featuresDict"]["features"])
        return cls(name, path, splits, features, _fingerprint(path))

    @classmethod
    def of(cls, config: DataConfig) -> Dataset:
        """Opens the dataset of a config. Raises `UserError` as `open` does."""
        return cls.open(pathlib.Path(config.dir).expanduser(), config.name)

    def split(self, split: str, view: View = View()) -> Records:
        """Opens a split, or a part of one in TFDS's notation, as in `train[:90%]`.

        Args:
          split: what to read.
          view: how.

        Raises:
          UserError: for a split, a feature or a layer that is not there.
        """
        if split.split("[")[0] not in self.splits:
            dealt = (
                ". To deal one out of the training images, which lie in no order: "
                "--config.data.train_split='train[:92%]' --config.data.eval_split='train[92%:]'"
            )
            raise UserError(
                f"{self.path}: no split {split!r}; expected one of {', '.join(self.splits)}"
                + (dealt if split == "validation" and "train" in self.splits else "")
            )
        return Records(self, split, view)

    @property
    def metadata(self) -> dict[str, Any]:
        """The builder's metadata, by `SOURCE_NOTE` and other keys; empty for none."""
        return _json_of(self.path / _METADATA)

    def write_index(self) -> None:
        """Writes ids, ages, sexes and paths beside the records, so that they are read without gigabytes of images."""
        index: dict[str, dict[str, list[Any]]] = {}
        for name in self.splits:
            records = self.split(name)
            ages, male = records.labels()
            known = [age if np.isfinite(age) else None for age in ages.tolist()]
            index[name] = {"id": records.ids(), "bone_age": known, "male": male.tolist()}
            if paths := records.paths():
                index[name]["source"] = list(paths)
        write_text(self.path / INDEX, json.dumps(index) + "\n")


class Interleaved:
    """Several sources of the same length as one: the first example of each, then the second of each, and so on."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = sources
        self.fingerprint = " ".join(source.fingerprint for source in sources)

    def __len__(self) -> int:
        return sum(len(source) for source in self._sources)

    def __getitem__(self, index: SupportsIndex) -> Example:
        number, which = divmod(int(index), len(self._sources))
        return self._sources[which][number]


class Repeated:
    """A source over and over again, up to a length."""

    def __init__(self, source: Source, length: int):
        self._source, self._length = source, length
        self.fingerprint = f"{source.fingerprint} x {length}"

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: SupportsIndex) -> Example:
        return self._source[int(index) % len(self._source)]


class Records:
    """The examples of a split, by number, decoded when asked for. Threads may share it."""

    def __init__(self, dataset: Dataset, split: str, view: View):
        import tensorflow_datasets as tfds

        self._view = view
        builder = tfds.builder_from_directory(str(dataset.path))
        stored = builder.info.features
        # The images are decoded here, not by TFDS: to grey, and only where an image is asked for.
        pictures = [name for name, feature in stored.items() if isinstance(feature, tfds.features.Image)]
        for feature in view.features:
            if feature not in pictures and feature != "image":
                raise UserError(
                    f"{dataset.path}: no image feature {feature!r}; expected one of {', '.join(pictures) or 'image'}"
                )
        encoded = {name: tfds.decode.SkipDecoding() for name in (*pictures, "image")}
        try:
            self._rows: Sequence[dict[str, Any]] = builder.as_data_source(split=split, decoders=encoded)
        except (ValueError, AssertionError) as error:
            raise UserError(f"{dataset.path}: cannot read the split {split!r} ({error})") from error
        except RuntimeError as error:  # array_record's
            raise _damaged_records(dataset.path, split, error) from error
        self._decoders: dict[str, Callable[[Any], images.Grey]] = {
            feature: functools.partial(_decode_raw, shape=stored[feature].shape[:2])
            if isinstance(stored[feature], tfds.features.Tensor)
            else images.decode
            for feature in view.features
        }
        self.fingerprint = f"{dataset.fingerprint}:{split}"
        self._dataset, self._path, self._split = dataset, dataset.path, split
        self._key = (str(dataset.path), dataset.fingerprint, split)
        self._has_paths = "source" in dataset.features and not dataset.is_phantom
        self._places = self._labelled(dataset)

    def _labelled(self, dataset: Dataset) -> np.ndarray | None:
        """Numbers of the rows that have every layer; None for all."""
        if self._view.labels is not None:
            self._view = dataclasses.replace(self._view, labels=self._view.labels.among(self.images_of_split()))
        labels = self._view.labels
        kept: frozenset[str] | None = None
        for layer in needed_for(self._view):
            ids = labels.ids(layer) if labels else None
            if ids is None:
                if _STORED_AS[layer] not in dataset.features:
                    raise UserError(
                        f"{dataset.path}: holds no {_STORED_AS[layer]!r}; name a file or folder of them with "
                        f"--config.data.{'masks' if layer == 'hand' else 'key_points'}=PATH"
                    )
                continue
            kept = ids if kept is None else kept & ids
        wanted = np.ones(len(self._rows), bool)
        if kept is not None:
            assert labels is not None
            self.fingerprint += f":{labels.fingerprint}"
            wanted &= np.array([image_id in kept for image_id in self._columns["id"]], bool)
        if self._view.sex != "all":
            self.fingerprint += f":{self._view.sex}"
            wanted &= np.array(self._columns["male"], bool) == (self._view.sex == "male")
        if self._view.fold is not None:
            self.fingerprint += f":{self._view.fold.fingerprint}"
            # Without a table of children each image is a child of its own, wherever it lies.
            fold = self._view.fold
            fold = fold.among(self.images_of_split()) if fold.patients else fold
            wanted &= np.array([fold.keeps(image_id) for image_id in self._columns["id"]], bool)
        return None if wanted.all() else np.flatnonzero(wanted)

    def __len__(self) -> int:
        return len(self._rows) if self._places is None else len(self._places)

    def row(self, index: int) -> dict[str, Any]:
        """Returns all stored features of a record, images still encoded."""
        return self._stored_row(index if self._places is None else int(self._places[index]))

    def _stored_row(self, number: int) -> dict[str, Any]:
        """A record of the whole split. Raises `UserError` for a damaged one, which array_record knows by its hash."""
        try:
            return self._rows[number]
        except RuntimeError as error:
            raise _damaged_records(self._path, self._split, error) from error

    def image(self, index: int) -> images.Grey:
        """Returns a record's image, the first of those that are read, at its own size."""
        return self._stored(self.row(index), self._view.features[0])

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the images that are read."""
        return self._view.features

    def _stored(self, row: dict[str, Any], feature: str) -> images.Grey:
        return self._decoders[feature](row[feature])

    def mask(self, index: int) -> Bool[np.ndarray, "h w"]:
        """Returns a record's mask at its image's size."""
        row = self.row(index)
        labels, image_id = self._view.labels, as_str(row["id"])
        if labels is not None and labels.ids("hand") is not None:
            return labels.mask(image_id, (int(row["height"]), int(row["width"])))
        return images.decode(row["mask"]) > 127

    def key_points(self, index: int) -> Float32[np.ndarray, "3 2"]:
        """Returns a record's key points in its image's pixels."""
        row = self.row(index)
        labels, image_id = self._view.labels, as_str(row["id"])
        if labels is not None and labels.ids("key_points") is not None:
            return labels.key_points(image_id, (int(row["height"]), int(row["width"]))).astype(np.float32)
        return np.asarray(row["key_points"], np.float32)

    def __getitem__(self, index: SupportsIndex) -> Example:
        n = int(index)
        row, view = self.row(n), self._view
        needed = needed_for(view)
        return lay_out(
            view,
            [self._stored(row, feature) for feature in view.features],
            male=row["male"],
            bone_age=row["bone_age"],
            mask=self.mask(n) if "hand" in needed else None,
            key_points=self.key_points(n) if "key_points" in needed else None,
        )

    def paths(self) -> tuple[str, ...]:
        """Returns the path of each record of the whole split below the folder that the dataset was built from.

        It is empty for an image whose record states none that its id could come from; all of it is empty for datasets
        that do not come from files.
        """
        if not self._has_paths:
            return ()
        paths = self._index.get("source")
        if paths is None:
            paths = _PATHS_READ.get(self._key)
        if paths is None:
            rows = map(self._stored_row, range(len(self._rows)))
            paths = [_path_of(as_str(row["id"]), as_str(row["source"])) for row in rows]
            _PATHS_READ[self._key] = paths
        return tuple(paths)

    def images_of_split(self) -> pairing.Images:
        """Returns the split's images, and what other splits hold, for annotations and patients to be paired with."""
        ids, own, dataset = self._columns["id"], self.paths(), self._dataset
        known = set(own)
        others = [path for name in dataset.splits for path in Records(dataset, name, View()).paths()] if own else []
        others = [path for path in others if path and path not in known]
        return pairing.Images(tuple(ids), own, tuple(others))

    def numbers(self) -> dict[str, int]:
        """Returns each id's number."""
        return {image_id: n for n, image_id in enumerate(self.ids())}

    def labels(self) -> tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Returns all ages in months and whether each child is male, without decoding images."""
        return np.array(self._of_kept("bone_age"), np.float32), np.array(self._of_kept("male"), bool)

    def ids(self) -> list[str]:
        """Returns all ids, in order."""
        return list(self._of_kept("id"))

    def _of_kept(self, column: str) -> list[Any]:
        values = self._columns[column]
        return values if self._places is None else [values[n] for n in self._places]

    @functools.cached_property
    def _index(self) -> dict[str, list[Any]]:
        """What the index says of the split; empty for a part of one, and where there is none."""
        index = _json_of(self._path / INDEX).get(self._split, {})
        return dict(index) if len(index.get("id", ())) == len(self._rows) else {}

    @functools.cached_property
    def _columns(self) -> dict[str, list[Any]]:
        """Ids, ages and sexes: from the index for a whole split that has one, else from the records."""
        if index := self._index:
            return {**index, "bone_age": [np.nan if age is None else age for age in index["bone_age"]]}
        columns: dict[str, list[Any]] = {"id": [], "bone_age": [], "male": []}
        for n in range(len(self._rows)):
            row = self._stored_row(n)
            for name, values in columns.items():
                values.append(as_str(row[name]) if name == "id" else row[name])
        return columns


_PATHS_READ: dict[tuple[str, str, str], list[str]] = {}
"""Paths that were read out of records, by folder, fingerprint and split: older datasets have none in the index."""


_STORED_AS: dict[Layer, str] = {"hand": "mask", "key_points": "key_points"}


def _decode_raw(data: Any, *, shape: tuple[int, int]) -> images.Grey:
    flat = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data, np.uint8)
    return flat.reshape(shape)


def as_str(value: Any) -> str:
    """Returns a text feature, which TFDS gives as bytes, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _path_of(image_id: str, source: str) -> str:
    """A record's path; empty where its id could not come from it, so that it says something else."""
    path = unicodedata.normalize("NFC", source)
    stem = pairing.stem_of(path)
    folder = path.rpartition("/")[0]
    return source if image_id in (stem, f"{folder}/{stem}", path) else ""


def _json_of(path: pathlib.Path) -> dict[str, Any]:
    """A file's content; nothing where there is no such file. Raises `UserError` for a damaged one."""
    with _undamaged(path):
        return dict(json.loads(path.read_text())) if path.exists() else {}


@contextlib.contextmanager
def _undamaged(path: pathlib.Path) -> Iterator[None]:
    """Raises `UserError` where what is read of a file beside the records makes no sense."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged, not what was written there ({reason(error)}); restore the file from a copy, or remove "
            f"{path.parent} and build the dataset again"
        ) from error


def _damaged_records(path: pathlib.Path, split: str, error: RuntimeError) -> UserError:
    return UserError(
        f"{path}: the records of the split {split!r} are damaged ({reason(error)}); restore the files named after it "
        "from a copy, or remove the folder and build the dataset again"
    )


def _infos(folder: pathlib.Path, versions: str) -> list[pathlib.Path]:
    """Files that every finished version of a dataset has; not those of versions that are still written."""
    return [p for p in folder.glob(f"{versions}/dataset_info.json") if not p.parent.name.startswith(UNFINISHED)]


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
