"""A dataset of registered hands from a dataset of radiographs: several images in flight, restartable.

Finished images are kept in parts beside the dataset until all are there; a second start takes up what it finds.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from boneage_jax import parallel, resources
from boneage_jax.data import images
from boneage_jax.data.images import Grey
from boneage_jax.data.sources import REGISTERED, Dataset, Records, as_str
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable, replacing, write_text
from boneage_jax.hand.pipeline import HandPipeline, Registered
from boneage_jax.hand.quality import MEASURES
from boneage_jax.workflows import build

FLAGS = "flags.csv"
_PART = 64
"""Images in a part: what is lost at most when the work is cut short."""

_TEXTS = ("id", "source", "flags", "measures")


@dataclasses.dataclass(frozen=True)
class Parts:
    """The finished images of a split, in files of at most `_PART`.

    Attributes:
      files: in order.
      drop_flagged: whether images with flags are left out.
    """

    files: tuple[pathlib.Path, ...]
    drop_flagged: bool = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields each image's features as the builder takes them."""
        for file in self.files:
            with np.load(file) as stored:
                for n in range(int(stored["count"])):
                    names = [key for key in stored.files if key.startswith(f"{n}/")]
                    yield {key.split("/", 1)[1]: _loaded(key.split("/", 1)[1], stored[key]) for key in names}

    def examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields id and features of the images that are kept."""
        for row in self.rows():
            if row["good"] or not self.drop_flagged:
                yield row["id"], row


def _loaded(name: str, value: np.ndarray) -> Any:
    if name in _TEXTS:
        return value.tobytes().decode()
    return value.tobytes() if name == "mask" or name == "image" or name.startswith("region_") else value[()]


@dataclasses.dataclass(frozen=True)
class Derived:
    """What `derive` has made.

    Attributes:
      dataset: the registered hands.
      flags: images by flag, and how many there are, by split.
      images: number of images by split.
    """

    dataset: Dataset
    flags: dict[str, dict[str, int]]
    images: dict[str, int]


def derive(
    source: Dataset,
    chain: HandPipeline,
    runs: dict[str, str],
    out: pathlib.Path,
    *,
    name: str = "",
    splits: Sequence[str] = (),
    drop_flagged: bool = False,
) -> Derived:
    """Registers all images of a dataset and writes them as the dataset `registered_hands/NAME`.

    Args:
      source: radiographs.
      chain: the hand pipeline.
      runs: what the pipeline's networks are, for the record; other runs make another dataset.
      out: folder of all built datasets.
      name: of the new dataset; empty for one after the source.
      splits: of the source; empty for all.
      drop_flagged: leave images with flags out of the dataset; they stand in the table of flags all the same.

    Raises:
      UserError: for splits that are not there, a dataset of that name made otherwise, or a disk that is full.
    """
    build.check_path(out)
    name = name or source.name.replace("/", "-")
    splits = tuple(splits) or tuple(source.splits)
    about = {
        "source": source.name,
        "source_fingerprint": source.fingerprint,
        "splits": list(splits),
        "regions": [dataclasses.asdict(region) for region in chain.settings.regions],
        "thresholds": dataclasses.asdict(chain.settings.thresholds),
        "canvas": dataclasses.asdict(chain.settings.canvas),
        "views": chain.settings.views,
        "fine_stage": chain.settings.fine_stage,
        "drop_flagged": drop_flagged,
        **runs,
    }
    about = json.loads(json.dumps(about))
    full_name = f"registered_hands/{name}"
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    work = out / "registered_hands" / f".{name}-{key}"
    built = None
    with contextlib.suppress(UserError):
        built = Dataset.open(out, full_name)
    # Cut short after the records and before their table: the parts are still there, and the rest is written anew.
    if built is not None and ((built.path / REGISTERED).exists() or not work.exists()):
        return _as_built(built, about)
    check_writable(out)
    parts = {}
    for split in splits:
        records = source.split(split)
        files = _register_split(records, chain, work, split)
        parts[split] = Parts(tuple(files), drop_flagged)
    dataset = built or _write(name, parts, chain, out, work)
    _write_flags(parts, dataset.path / FLAGS)
    write_text(dataset.path / REGISTERED, json.dumps(about, indent=2) + "\n")
    shutil.rmtree(work, ignore_errors=True)
    return _as_built(dataset, about)


def _as_built(dataset: Dataset, about: dict[str, Any]) -> Derived:
    """What is built already, if it was made in the same way."""
    path = dataset.path / REGISTERED
    before = json.loads(path.read_text()) if path.exists() else {}
    differing = [key for key in about if before.get(key) != about[key]]
    if differing:
        raise UserError(
            f"{dataset.path}: already holds hands registered otherwise ({', '.join(differing)} differ); "
            "choose another --name, or remove that folder"
        )
    flags: dict[str, dict[str, int]] = {}
    count: dict[str, int] = {}
    for row in read_flags(dataset):
        of_split = flags.setdefault(row.split, {})
        count[row.split] = count.get(row.split, 0) + 1
        for flag in row.flags:
            of_split[flag] = of_split.get(flag, 0) + 1
    return Derived(dataset, flags, count)


@dataclasses.dataclass(frozen=True)
class Flagged:
    """A row of the table of flags.

    Attributes:
      split: that the image is in.
      id: of the image.
      flags: what speaks against it; empty for a good one.
    """

    split: str
    id: str
    flags: tuple[str, ...]


def read_flags(dataset: Dataset) -> list[Flagged]:
    """Returns the table of flags of a dataset of registered hands, also of images that were left out of it."""
    with (dataset.path / FLAGS).open(newline="") as file:
        return [
            Flagged(row["split"], row["id"], tuple(filter(None, row["flags"].split(", "))))
            for row in csv.DictReader(file)
        ]


def _register_split(records: Records, chain: HandPipeline, work: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Registers what is not there yet; returns the files of all parts."""
    starts = range(0, len(records), _PART)
    files = [work / f"{split.replace('/', '-')}-{start:06d}.npz" for start in starts]
    missing = [(file, start) for file, start in zip(files, starts, strict=True) if not file.exists()]
    batch_size = chain.settings.batch_size
    batches = [
        list(range(first, min(first + batch_size, start + _PART, len(records))))
        for _, start in missing
        for first in range(start, min(start + _PART, len(records)), batch_size)
    ]
    done = parallel.progress_of(total=len(records), label=f"{split}: registering")
    with done as bar:
        bar.update(len(records) - sum(map(len, batches)))
        rows: list[dict[str, Any]] = []
        waiting = iter(missing)
        for numbers, decoded in parallel.read_ahead(records.image, batches):
            registered = chain.register(decoded)
            rows += [
                _row(records, n, picture, hand) for n, picture, hand in zip(numbers, decoded, registered, strict=True)
            ]
            bar.update(len(numbers))
            if len(rows) == _PART or numbers[-1] == len(records) - 1 or (numbers[-1] + 1) % _PART == 0:
                _store(rows, next(waiting)[0])
                rows = []
    return files


def _row(records: Records, n: int, picture: Grey, hand: Registered) -> dict[str, Any]:
    """One image's features, encoded."""
    row = records.row(n)
    placed = hand.placed
    pictures = {f"region_{name}": images.encode(region, "png") for name, region in hand.regions.items()}
    return {
        "image": next(iter(pictures.values())),
        **pictures,
        "mask": images.encode(images.of_mask(hand.mask.inside), "png"),
        "id": as_str(row["id"]),
        "bone_age": np.float32(row["bone_age"]),
        "male": np.bool_(row["male"]),
        "height": np.int32(picture.shape[0]),
        "width": np.int32(picture.shape[1]),
        "source": as_str(row["source"]),
        "key_points": (placed.key_points if placed else np.full((3, 2), np.nan)).astype(np.float32),
        "to_canvas": placed.to_canvas.matrix if placed else np.full((2, 3), np.nan),
        "inverted": np.bool_(placed.inverted if placed else False),
        "good": np.bool_(hand.quality.good),
        "flags": ", ".join(hand.quality.flags),
        "measures": json.dumps({key: round(value, 5) for key, value in hand.quality.measures.items()}),
    }


def _store(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes a part whole or not at all."""
    arrays: dict[str, Any] = {"count": np.int64(len(rows))}
    for n, row in enumerate(rows):
        for name, value in row.items():
            data = value.encode() if isinstance(value, str) else value
            arrays[f"{n}/{name}"] = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data)
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez(file, **arrays)


def _write(name: str, parts: dict[str, Parts], chain: HandPipeline, out: pathlib.Path, work: pathlib.Path) -> Dataset:
    """Has TFDS write the dataset; what was made ready for it in `work` stays where that fails."""
    module = resources.builder_module("registered_hands")
    config = module.RegisteredConfig(
        name=name, description="Registered hands.", regions=tuple(region.name for region in chain.settings.regions)
    )
    builder = module.Builder(config=config, data_dir=str(out), parts=parts)
    try:
        build.write_records(builder)
    except Exception as error:
        said = build.readable(error, out)
        if isinstance(said, UserError):
            raise UserError(
                f"{said}. All hands are registered, and kept in {work}: once that is mended, the same command writes "
                "the dataset from them"
            ) from error
        raise
    dataset = Dataset.open(out, f"registered_hands/{name}")
    dataset.write_index()
    return dataset


def _write_flags(parts: dict[str, Parts], path: pathlib.Path) -> None:
    """Writes the table of flags: a row an image, with all that was measured."""
    with replacing(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["split", "id", "flags", *MEASURES], restval="")
        writer.writeheader()
        for split, of_split in parts.items():
            for row in of_split.rows():
                writer.writerow({"split": split, "id": row["id"], "flags": row["flags"], **json.loads(row["measures"])})
