"""A dataset of registered hands from a dataset of radiographs, which can be interrupted and resumed.

Finished images are kept in parts beside the dataset until all are there; a second start continues after them.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from boneage_jax import parallel, renamed, resources
from boneage_jax.data import images
from boneage_jax.data.images import Grey
from boneage_jax.data.registered import Parts, is_whole, write_part
from boneage_jax.data.sources import INDEX, REGISTERED, Dataset, Records, as_str
from boneage_jax.errors import UserError
from boneage_jax.files import replacing, write_text
from boneage_jax.hand.pipeline import HandPipeline, Registered
from boneage_jax.hand.quality import MEASURES
from boneage_jax.workflows import build

FLAGS = "flags.csv"
"""File of the table of flags, beside the records."""

_PART = 64
"""Images in a part: most images that are registered again after an interruption."""


@dataclasses.dataclass(frozen=True)
class Derived:
    """A dataset of registered hands.

    Attributes:
      dataset: the registered hands.
      flags: number of images with each flag, by split.
      images: number of images by split.
      calibrated: whether the quality thresholds behind the flags were chosen for the networks.
    """

    dataset: Dataset
    flags: dict[str, dict[str, int]]
    images: dict[str, int]
    calibrated: bool = False


def derive(
    source: Dataset,
    pipeline: HandPipeline,
    networks: dict[str, str],
    out: pathlib.Path,
    *,
    name: str = "",
    splits: Sequence[str] = (),
    drop_flagged: bool = False,
) -> Derived:
    """Registers all images of a dataset and writes them as the dataset `registered_hands/NAME`.

    Args:
      source: radiographs.
      pipeline: that registers.
      networks: identities of its networks, which are stored; other networks make another dataset.
      out: folder of all built datasets.
      name: of the new dataset; empty for one after the source.
      splits: of the source; empty for all.
      drop_flagged: leave images with flags out of the dataset, not out of the table of flags.

    Raises:
      UserError: for splits that are not there, a dataset of that name with other settings, a full disk, or where
        another command writes the same dataset.
    """
    build.check_path(out)
    name = name or source.name.replace("/", "-")
    splits = tuple(splits) or tuple(source.splits)
    about = {
        "source": source.name,
        "source_fingerprint": source.fingerprint,
        "splits": list(splits),
        "regions": [dataclasses.asdict(region) for region in pipeline.settings.regions],
        "thresholds": dataclasses.asdict(pipeline.settings.thresholds),
        "canvas": dataclasses.asdict(pipeline.settings.canvas),
        "views": pipeline.settings.views,
        "fine_stage": pipeline.settings.fine_stage,
        "drop_flagged": drop_flagged,
        **networks,
    }
    about = json.loads(json.dumps(about))
    full_name = f"registered_hands/{name}"
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    work = out / "registered_hands" / f".{name}-{key}"
    if not work.exists() and (built := _built(out, full_name)) is not None:
        return _as_built(built, about)
    with build.alone(out / full_name):
        built = _built(out, full_name)
        if built is None or (work.exists() and not (built.path / REGISTERED).exists()):
            parts = {}
            for split in splits:
                files = _register_split(source.split(split), pipeline, work, split)
                parts[split] = Parts(tuple(files), drop_flagged)
            # Interrupted after the records and before their table: the parts are there, the rest is written anew.
            built = built or _write(name, parts, pipeline, out, work)
            if not (built.path / INDEX).exists():
                built.write_index()
            _write_flags(parts, built.path / FLAGS)
            stored = {**about, "calibrated": pipeline.settings.calibrated}
            write_text(built.path / REGISTERED, json.dumps(stored, indent=2) + "\n")
        found = _as_built(built, about)
        shutil.rmtree(work, ignore_errors=True)
        return found


def _built(out: pathlib.Path, full_name: str) -> Dataset | None:
    """The dataset of that name; None where it is not there. Raises `UserError` where it is damaged."""
    return Dataset.open(out, full_name) if any((out / full_name).glob("[0-9]*/dataset_info.json")) else None


def _as_built(dataset: Dataset, about: dict[str, Any]) -> Derived:
    """A dataset that is built already. Raises `UserError` where it was made with other settings."""
    path = dataset.path / REGISTERED
    before = renamed.stored(json.loads(path.read_text())) if path.exists() else {}
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
    return Derived(dataset, flags, count, bool(before.get("calibrated", False)))


@dataclasses.dataclass(frozen=True)
class Flagged:
    """A row of the table of flags.

    Attributes:
      split: that the image is in.
      id: of the image.
      flags: of the image; empty for a good one.
    """

    split: str
    id: str
    flags: tuple[str, ...]


def read_flags(dataset: Dataset) -> list[Flagged]:
    """Returns the table of flags of a dataset of registered hands; it holds images left out of the dataset too."""
    with (dataset.path / FLAGS).open(newline="") as file:
        return [
            Flagged(row["split"], row["id"], tuple(filter(None, row["flags"].split(", "))))
            for row in csv.DictReader(file)
        ]


def _register_split(records: Records, pipeline: HandPipeline, work: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Registers the images of missing parts; returns the files of all parts."""
    starts = range(0, len(records), _PART)
    files = [work / f"{split.replace('/', '-')}-{start:06d}.npz" for start in starts]
    missing = [(file, start) for file, start in zip(files, starts, strict=True) if not is_whole(file)]
    batch_size = pipeline.settings.batch_size
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
            registered = pipeline.register(decoded)
            rows += [_row(records, n, image, hand) for n, image, hand in zip(numbers, decoded, registered, strict=True)]
            bar.update(len(numbers))
            if len(rows) == _PART or numbers[-1] == len(records) - 1 or (numbers[-1] + 1) % _PART == 0:
                write_part(rows, next(waiting)[0])
                rows = []
    return files


def _row(records: Records, n: int, image: Grey, hand: Registered) -> dict[str, Any]:
    """One image's features, encoded."""
    row = records.row(n)
    registration = hand.registration
    regions = {f"region_{name}": images.encode(region, "png") for name, region in hand.regions.items()}
    return {
        "image": next(iter(regions.values())),
        **regions,
        "mask": images.encode(images.of_mask(hand.mask.inside), "png"),
        "id": as_str(row["id"]),
        "bone_age": np.float32(row["bone_age"]),
        "male": np.bool_(row["male"]),
        "height": np.int32(image.shape[0]),
        "width": np.int32(image.shape[1]),
        "source": as_str(row["source"]),
        "key_points": (registration.key_points if registration else np.full((3, 2), np.nan)).astype(np.float32),
        "to_canvas": registration.to_canvas.matrix if registration else np.full((2, 3), np.nan),
        "inverted": np.bool_(registration.inverted if registration else False),
        "good": np.bool_(hand.quality.good),
        "flags": ", ".join(hand.quality.flags),
        "measures": json.dumps({key: round(value, 5) for key, value in hand.quality.measures.items()}),
    }


def _write(
    name: str, parts: dict[str, Parts], pipeline: HandPipeline, out: pathlib.Path, work: pathlib.Path
) -> Dataset:
    """Has TFDS write the dataset; the parts in `work` stay where that fails."""
    module = resources.builder_module("registered_hands")
    config = module.RegisteredConfig(
        name=name, description="Registered hands.", regions=tuple(region.name for region in pipeline.settings.regions)
    )
    builder = module.Builder(config=config, data_dir=str(out), parts=parts)
    try:
        build.write_records(builder)
    except Exception as error:
        message = build.readable(error, out)
        if isinstance(message, UserError):
            raise UserError(
                f"{message}. All hands are registered, and kept in {work}: once that is mended, the same command "
                "writes the dataset from them"
            ) from error
        raise
    return Dataset.open(out, f"registered_hands/{name}")


def _write_flags(parts: dict[str, Parts], path: pathlib.Path) -> None:
    """Writes the table of flags: one row an image, with all measures."""
    with replacing(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["split", "id", "flags", *MEASURES], restval="")
        writer.writeheader()
        for split, of_split in parts.items():
            for row in of_split.rows():
                writer.writerow({"split": split, "id": row["id"], "flags": row["flags"], **json.loads(row["measures"])})
