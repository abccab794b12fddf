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

from boneage_jax import parallel
from boneage_jax.data import dicom_header, images, layouts, sources
from boneage_jax.data.labels import SEX_LETTERS
from boneage_jax.data.storage import StorageConfig, image_feature
from boneage_jax.errors import UserError, fail_if_any

MANUAL = "Put the RSNA zips, their unpacked folders, or images with one CSV of id,boneage,male into the manual folder."


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One image as it will be stored, or the reason why it cannot be.

    Attributes:
      data: encoded bytes, or empty.
      height: of the original, upright, in pixels.
      width: likewise.
      male: whether the child is a boy.
      problem: empty, or what is wrong with the file.
    """

    data: bytes = b""
    height: int = 0
    width: int = 0
    male: bool = False
    problem: str = ""


def encode(record: layouts.Record, storage: StorageConfig) -> Encoded:
    """Reads and checks one image; runs in worker processes.

    The file's own bytes are kept where nothing changes and every reader of PNG and JPEG sees the same upright picture;
    others (DICOM, TIFF, BMP, WebP, pictures that EXIF turns) become PNG.
    """
    try:
        data = record.image.read()
        male = sex_of(record, data)
        grey = images.decode(data)
    except (UserError, ValueError) as error:
        return Encoded(problem=f"{record.image.shown}: {error}")
    if not storage.height and not images.is_stored_as_is(data):
        data = images.encode(grey, "png")
    return Encoded(storage.store(data, grey), grey.shape[0], grey.shape[1], male)


def sex_of(record: layouts.Record, data: bytes) -> bool:
    """Returns whether the child is a boy, by the table and by the header of a DICOM file.

    Raises:
      ValueError: where they contradict each other, or neither says.
    """
    said, stated = record.label.male, dicom_header.stated(data).male
    if said is None and stated is None:
        raise ValueError(f"no sex, neither in {record.where} nor in a DICOM header; expected M or F")
    if said is not None and stated is not None and said != stated:
        raise ValueError(
            f"the sexes contradict each other: {SEX_LETTERS[stated]} in the DICOM header, {SEX_LETTERS[said]} in "
            f"{record.where}; correct the one that is wrong"
        )
    return bool(stated if said is None else said)


class Builder(tfds.core.GeneratorBasedBuilder):
    """RSNA Pediatric Bone Age Challenge 2017.

    Args:
      workers: processes that read and check images; does not change what is written.
      missing: `error` to refuse rows without an image and images without a row, `skip` to leave them out.
      source: folder or zip of the images and tables; None for TFDS's manual folder.
      validation: see `layouts.search`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = MANUAL
    BUILDER_CONFIGS = [
        StorageConfig(name="full", description="The files' own bytes; what is not an upright PNG or JPEG, as PNG."),
        StorageConfig(name="small", description="Fitted into 500 x 375 pixels, PNG.", height=500, width=375),
    ]

    def __init__(
        self,
        *,
        workers: int = 1,
        missing: layouts.Missing = "error",
        source: pathlib.Path | None = None,
        validation: float = layouts.VALIDATION_SHARE,
        **kwargs: Any,
    ):
        self._workers = workers
        self._missing: layouts.Missing = missing
        self._source, self._validation = source, validation
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": image_feature(self.builder_config),
                    "id": tfds.features.Text(
                        doc="the image file's name without its ending, with folders if it repeats"
                    ),
                    "bone_age": tfds.features.Scalar(np.float32, doc="months; NaN where no reading is published"),
                    "male": tfds.features.Scalar(np.bool_),
                    "height": tfds.features.Scalar(np.int32, doc="of the original image, in pixels"),
                    "width": tfds.features.Scalar(np.int32, doc="of the original image, in pixels"),
                    "source": tfds.features.Text(doc="path inside the downloaded folder"),
                }
            ),
            # Filled in when the splits are known.
            metadata=tfds.core.MetadataDict(),
            homepage="https://www.rsna.org/rsnai/ai-image-challenge/rsna-pediatric-bone-age-challenge-2017",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        # Searched once and kept open until the last split is written: zips within zips are unpacked meanwhile.
        source = self._source or pathlib.Path(dl_manager.manual_dir)
        self._search = layouts.search(source, missing=self._missing, validation=self._validation)
        found = self._search.__enter__()
        print(found.summary, file=sys.stderr)
        self.info.metadata[layouts.VALIDATION_NOTE] = (
            {"named": True}
            if found.named
            else {"share": self._validation, "by": "hash of the patient, or of the image's id where none is named"}
        )
        self.info.metadata[sources.SOURCE_NOTE] = found.note
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
                    "male": image.male,
                    "height": image.height,
                    "width": image.width,
                    "source": record.image.shown,
                },
            )
        fail_if_any(
            problems, "Images that cannot be used", "Replace these files, or remove them and use --missing=skip."
        )

    def close(self) -> None:
        """Removes what was unpacked for the build."""
        if search := getattr(self, "_search", None):
            search.__exit__(None, None, None)
