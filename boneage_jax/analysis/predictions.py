"""Predicted bone ages of a split's images, beside their readings."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data.augment import TEST_TIME
from boneage_jax.data.examples import View
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.files import replacing
from boneage_jax.runs.inference import predict_ages
from boneage_jax.runs.run_folder import LoadedRun


@dataclasses.dataclass(frozen=True)
class SplitPredictions:
    """Readings and predictions of those images of a split that have a reading, in the split's order.

    Attributes:
      ids: of the images.
      reading: bone ages as labelled, in months.
      male: whether each child is a boy.
      months: bone ages as predicted, in months.
      spread: standard deviation of each prediction by the network itself, in months; NaN where it is not known.
    """

    ids: list[str]
    reading: Float[np.ndarray, " n"]
    male: Bool[np.ndarray, " n"]
    months: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def error(self) -> Float[np.ndarray, " n"]:
        """Prediction minus reading, in months."""
        return np.asarray(self.months, np.float64) - np.asarray(self.reading, np.float64)


def open_labelled(dataset: Dataset, split: str, view: View) -> Records:
    """Opens a split to predict it.

    Raises:
      UserError: for data that is not there, and where no image of it has a reading.
    """
    records = dataset.split(split, view)
    if not np.isfinite(records.labels()[0]).any():
        raise UserError(f"{dataset.path}: no image of the split {split!r} has a bone age; use boneage assess instead")
    return records


def split_label(dataset: str, split: str, *, test_time: bool) -> str:
    """Returns what was predicted, for people, as in `hand_phantom/tiny test`."""
    how = ", averaged over test-time augmentation" if test_time else ""
    return f"{dataset} {split}{how}"


def predict_split(loaded: LoadedRun, records: Records, *, test_time: bool = False) -> SplitPredictions:
    """Returns the bone ages that a run of the task `bone_age` predicts.

    Args:
      loaded: the run.
      records: as the run reads them, from `open_labelled`.
      test_time: whether predictions are averaged over `augment.TEST_TIME`.

    Raises:
      UserError: for a batch size that the devices do not divide.
    """
    reading, male = records.labels()
    known = np.isfinite(reading)
    ages = predict_ages(loaded, records, moves=TEST_TIME if test_time else TEST_TIME[:1])
    ids = [image_id for image_id, keep in zip(records.ids(), known, strict=True) if keep]
    return SplitPredictions(ids, reading[known], male[known], ages.months[known], ages.spread[known])


def write_csv(
    found: SplitPredictions, path: pathlib.Path, columns: Mapping[str, Sequence[object]] | None = None
) -> None:
    """Writes `id,months,spread,reading,error,sex`, a row an image, whole or not at all.

    Args:
      found: the predictions.
      path: of the file.
      columns: further columns by name, after those.

    Raises:
      UserError: where that is impossible.
    """
    columns = columns or {}
    with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "months", "spread", "reading", "error", "sex", *columns])
        numbers = zip(found.months, found.spread, found.reading, found.error, strict=True)
        for image_id, values, male, *more in zip(found.ids, numbers, found.male, *columns.values(), strict=True):
            writer.writerow([image_id, *(f"{value:.2f}" for value in values), "M" if male else "F", *more])


def read_csv(path: pathlib.Path) -> SplitPredictions:
    """Reads a file of `write_csv`, numbers rounded as it wrote them."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    months, spread, reading = (np.array([float(row[key]) for row in rows]) for key in ("months", "spread", "reading"))
    male = np.array([row["sex"] == "M" for row in rows], bool)
    return SplitPredictions([row["id"] for row in rows], reading, male, months, spread)
