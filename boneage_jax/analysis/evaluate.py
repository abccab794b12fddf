"""Evaluates a run on a split: predictions as CSV, scores as table and JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis import groups, predictions, scores
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable, write_text
from boneage_jax.runs.run_folder import LoadedRun


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Predictions of a run on a split, and their scores.

    Attributes:
      folder: where predictions.csv, scores.json and scores.txt lie.
      dataset: name and split, as in `hand_phantom/tiny test`.
      records: of the split, those without a reading included.
      ids: of the images.
      reading: bone ages as labelled, in months.
      predicted: bone ages as predicted, in months.
      spread: standard deviation of each prediction by the model itself, in months.
      male: whether each child is a boy.
      table: see `scores.score_all`.
      baseline_mae: MAE of always predicting the training split's mean, in months.
      is_phantom: whether the images are rendered, so that no figure may be read as one on children.
      groups: errors by the columns that were asked for.
    """

    folder: pathlib.Path
    dataset: str
    records: Records
    ids: list[str]
    reading: np.ndarray
    predicted: np.ndarray
    spread: np.ndarray
    male: np.ndarray
    table: dict[str, dict[str, scores.Score | int]]
    baseline_mae: float
    is_phantom: bool
    groups: tuple[groups.Grouped, ...] = ()


def evaluate(
    loaded: LoadedRun,
    *,
    split: str = "test",
    data_dir: pathlib.Path | None = None,
    dataset: str = "",
    test_time: bool = False,
    out: pathlib.Path | None = None,
    by: Sequence[str] = (),
    table: pathlib.Path | None = None,
) -> Evaluation:
    """Evaluates a run and writes table, JSON and predictions.

    Args:
      loaded: the run.
      split: of the dataset.
      data_dir: folder of the built datasets; None for the one trained from.
      dataset: name; empty for the one trained on.
      test_time: whether predictions are averaged over `augment.TEST_TIME`; their folder is `SPLIT-test-time`.
      out: folder to write to; None for `evaluation/DATASET/SPLIT/` in the run's.
      by: columns that errors are grouped by; see `groups.by_columns`.
      table: that has them.

    Raises:
      UserError: for data that is not there or has no ages, a folder that cannot be written to, and a table or columns
        that cannot be used.
    """
    config = loaded.config
    name = dataset or config.data.name
    opened = Dataset.open((data_dir or pathlib.Path(config.data.dir)).expanduser(), name)
    records = predictions.open_labelled(opened, split, view_of(config.data, split=split, evaluation=True))
    folder = out or folder_of(loaded.folder, name, f"{split}-test-time" if test_time else split)
    check_destination(folder)
    values = groups.read_columns(table, by, records.images_of_split()) if by else {}
    found = predictions.predict_split(loaded, records, test_time=test_time)
    result = Evaluation(
        folder=folder,
        dataset=predictions.split_label(name, split, test_time=test_time),
        records=records,
        ids=found.ids,
        reading=found.reading,
        predicted=found.months,
        spread=found.spread,
        male=found.male,
        table=scores.score_all(found.months, found.reading, found.male),
        baseline_mae=_baseline(opened, config.data.train_split, found.reading),
        is_phantom=opened.is_phantom,
        groups=groups.by_columns(found, by, values),
    )
    _write(result, found, loaded)
    return result


def check_destination(folder: pathlib.Path) -> None:
    """Makes an evaluation's folder before the work begins. Raises `UserError` where it cannot be written to."""
    try:
        check_writable(folder)
    except UserError as error:
        raise UserError(f"{error}, as in --out results") from error


def folder_of(run: pathlib.Path, dataset: str, split: str) -> pathlib.Path:
    """Returns the folder of an evaluation's files in a run's folder."""
    return run / "evaluation" / dataset.replace("/", "-") / split.replace("/", "-")


def _baseline(dataset: Dataset, train_split: str, reading: np.ndarray) -> float:
    """MAE of the training mean; of the split's own mean where the dataset has no such training split."""
    mean = reading.mean()
    if train_split.split("[")[0] in dataset.splits:
        ages, _ = dataset.split(train_split).labels()
        mean = np.nanmean(ages)
    return float(np.mean(np.abs(reading - mean)))


def as_text(result: Evaluation) -> str:
    """Returns the scores for people, with a notice of what they do not say."""
    images = "rendered phantoms: says nothing about children" if result.is_phantom else "radiographs"
    by_group = "".join(f"\n{groups.as_text(one)}\n" for one in result.groups)
    return (
        f"{result.dataset} ({images})\n{scores.as_text(result.table)}\n{by_group}"
        f"always predicting the training mean: MAE {result.baseline_mae:.2f}\n{NOT_A_MEDICAL_DEVICE}"
    )


def _write(result: Evaluation, found: predictions.SplitPredictions, loaded: LoadedRun) -> None:
    predictions.write_csv(found, result.folder / "predictions.csv")
    summary = {
        "dataset": result.dataset,
        "phantom": result.is_phantom,
        "checkpoint_step": loaded.step,
        "checkpoint_chosen": loaded.chosen,
        "images_without_age": len(result.records) - len(found),
        "baseline_mae": result.baseline_mae,
        "scores": scores.as_dict(result.table),
        "groups": {one.column: groups.as_dict(one) for one in result.groups},
        "notice": NOT_A_MEDICAL_DEVICE,
    }
    write_text(result.folder / "scores.txt", as_text(result) + "\n")
    # Last: where it is, all of it is.
    write_text(result.folder / "scores.json", json.dumps(summary, indent=2) + "\n")
