"""TFDS builder of the RSNA bone age images, from whatever layout they were downloaded in."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from boneage_jax.data import images, layouts, parallel
from boneage_jax.data.storage import StorageConfig, image_feature
from boneage_jax.errors import fail_if_any

MANUAL = "Put the RSNA zips, their unpacked folders, or images with one CSV of id,boneage,male into the manual folder."


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One image as it will be stored, or the reason why it cannot be.

    Attributes:
      data: encoded bytes, or empty.
      height: of the original, in pixels.
      width: of the original, in pixels.
      problem: empty, or what is wrong with the file.
    """

    data: bytes
    height: int
    width: int
    problem: str


def encode(record: layouts.Record, storage: StorageConfig) -> Encoded:
    """Reads and checks one image; runs in worker processes. The file's own bytes are kept where nothing changes."""
    try:
        data = record.image.read()
        grey = images.decode(data)
    except (OSError, ValueError) as error:
        return Encoded(b"", 0, 0, f"{record.image.shown}: {error}")
    return Encoded(storage.store(data, grey), grey.shape[0], grey.shape[1], "")


class Builder(tfds.core.GeneratorBasedBuilder):
    """RSNA Pediatric Bone Age Challenge 2017.

    Args:
      workers: processes that read and check images; does not change what is written.
      missing: `error` to refuse rows without an image and images without a row, `skip` to leave them out.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = MANUAL
    BUILDER_CONFIGS = [
        StorageConfig(name="full", description="The files' own bytes, unchanged."),
        StorageConfig(name="small", description="Fitted into 500 x 375 pixels, PNG.", height=500, width=375),
    ]

    def __init__(self, *, workers: int = 1, missing: layouts.Missing = "error", **kwargs: Any):
        self._workers = workers
        self._missing: layouts.Missing = missing
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": image_feature(self.builder_config),
                    "id": tfds.features.Text(doc="the image file's name without its ending"),
                    "bone_age": tfds.features.Scalar(np.float32, doc="months; NaN where no reading is published"),
                    "male": tfds.features.Scalar(np.bool_),
                    "height": tfds.features.Scalar(np.int32, doc="of the original image, in pixels"),
                    "width": tfds.features.Scalar(np.int32, doc="of the original image, in pixels"),
                    "source": tfds.features.Text(doc="path inside the downloaded folder"),
                }
            ),
            homepage="https://www.rsna.org/rsnai/ai-image-challenge/rsna-pediatric-bone-age-challenge-2017",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        # Searched once and kept open until the last split is written: zips within zips are unpacked meanwhile.
        self._search = layouts.search(pathlib.Path(dl_manager.manual_dir), missing=self._missing)
        found = self._search.__enter__()
        for lines, what in ((found.missing, "rows without an image"), (found.unlabelled, "images without a row")):
            if lines:
                print(f"Left out: {len(lines)} {what}, such as {lines[0]}", file=sys.stderr)
        return {split: self._generate_examples(split, records) for split, records in found.records.items() if records}

    def _generate_examples(self, split: str, records: list[layouts.Record]) -> Iterator[tuple[str, dict[str, Any]]]:
        encoded = parallel.ordered_map(
            functools.partial(encode, storage=self.builder_config), records, workers=self._workers
        )
        problems = []
        pairs = zip(records, encoded, strict=True)
        for record, image in parallel.progress(pairs, total=len(records), label=f"{split}: reading images"):
            if image.problem:
                problems.append(image.problem)
                continue
            yield (
                record.label.id,
                {
                    "image": self.builder_config.feature_value(image.data),
                    "id": record.label.id,
                    "bone_age": record.label.months,
                    "male": record.label.male,
                    "height": image.height,
                    "width": image.width,
                    "source": record.image.shown,
                },
            )
        fail_if_any(
            problems, "Images that cannot be read", "Replace these files, or remove them and use --missing=skip."
        )

    def close(self) -> None:
        """Removes what was unpacked for the build."""
        if search := getattr(self, "_search", None):
            search.__exit__(None, None, None)
