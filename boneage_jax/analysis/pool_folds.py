"""The runs of a cross-validation scored together: each image by the run that was not trained on it."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from boneage_jax.analysis import predictions, run_inputs, scores, stages
from boneage_jax.analysis.predictions import SplitPredictions
from boneage_jax.analysis.request import PoolFoldsRequest
from boneage_jax.analysis.scores import Score
from boneage_jax.config import MAY_DIFFER_ON_RESUME, to_dict
from boneage_jax.data.examples import View
from boneage_jax.data.reading import epoch_of, source_of, view_of
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import fail_if_any
from boneage_jax.files import check_writable
from boneage_jax.runs import run_folder
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.settings import flatten
from boneage_jax.train.loop import Plan

_MAY_DIFFER = MAY_DIFFER_ON_RESUME | {"data.fold", "train.seed"}
"""Settings in which the runs of one cross-validation may differ."""


@dataclasses.dataclass(frozen=True)
class ScoredFold:
    """One run on the fold that it was not trained on.

    Attributes:
      fold: its number, from 0.
      folder: of the run.
      chosen: which checkpoint was taken and why.
      predictions: of the fold's images.
      mae: in months.
      bias: mean of prediction minus reading, in months.
    """

    fold: int
    folder: pathlib.Path
    chosen: str
    predictions: SplitPredictions
    mae: Score
    bias: Score


@dataclasses.dataclass(frozen=True)
class PooledFolds:
    """A cross-validation: every image of a split, predicted by the one run that was not trained on it.

    Attributes:
      dataset: name and split.
      is_phantom: whether the images are rendered, so that no figure may be read as one on children.
      folds: in order.
      predictions: of all images, fold by fold.
      fold: of each of these images.
      table: scores of all images, and of boys and girls apart; see `scores.score_all`.
      mae_by_stage: number of images and MAE, in months, of each stage of skeletal development that occurs.
      baseline_mae: MAE of predicting for each image the mean reading of the other folds, in months.
      has_patients: whether folds were dealt by a table of patients, some of whom may have several images.
    """

    dataset: str
    is_phantom: bool
    folds: tuple[ScoredFold, ...]
    predictions: SplitPredictions
    fold: Int[np.ndarray, " n"]
    table: dict[str, dict[str, Score | int]]
    mae_by_stage: dict[str, tuple[int, Score]]
    baseline_mae: float
    has_patients: bool

    @property
    def mae(self) -> Score:
        """MAE of all images, in months."""
        found = self.table["all"]["MAE"]
        assert isinstance(found, Score)
        return found

    @property
    def mae_over_folds(self) -> tuple[float, float]:
        """Mean of the folds' MAEs and their sample standard deviation, in months."""
        values = [one.mae.value for one in self.folds]
        return float(np.mean(values)), float(np.std(values, ddof=1))


def pool_folds(request: PoolFoldsRequest) -> PooledFolds:
    """Predicts each fold with the run that was not trained on it, and scores all together.

    The last checkpoint of each run is taken: the best was chosen on the very images that are scored.

    Raises:
      UserError: for runs that cannot be read, that are not the runs of one cross-validation or not all of them, or
        whose data have changed since; for a folder that cannot be written to.
    """
    # Not of a bundle: that does not say which data its networks were trained on.
    loaded = [run_inputs.at_last_step(run_inputs.of_bone_age(run_folder.load(folder))) for folder in request.runs]
    _check_one_experiment(request.runs, loaded)
    loaded.sort(key=lambda run: run.config.data.fold)
    data = loaded[0].config.data
    dataset = Dataset.open(run_inputs.data_dir_of(loaded[0], request.data), data.name)
    split = data.train_split
    views = [view_of(run.config.data, split=split, evaluation=True) for run in loaded]
    held_out = [predictions.open_labelled(dataset, split, view) for view in views]
    _check_same_data(loaded, dataset, held_out)
    _check_complete(loaded, dataset, held_out)
    check_writable(request.out)
    folds = []
    for run, records in zip(loaded, held_out, strict=True):
        found = predictions.predict_split(run, records, test_time=request.test_time)
        mae, bias = scores.mae(found.error), scores.bootstrapped(found.error, np.mean)
        folds.append(ScoredFold(run.config.data.fold, run.folder, run.chosen, found, mae, bias))
    label = predictions.split_label(dataset.name, split, test_time=request.test_time)
    return pooled(label, folds, is_phantom=dataset.is_phantom, has_patients=bool(data.patients))


def pooled(label: str, folds: Sequence[ScoredFold], *, is_phantom: bool, has_patients: bool) -> PooledFolds:
    """Returns folds scored together.

    Args:
      label: name of dataset and split.
      folds: two or more, in order, with no image in common.
      is_phantom: whether the images are rendered.
      has_patients: whether some images may be of the same child.
    """
    parts = [one.predictions for one in folds]
    found = SplitPredictions(
        [image_id for part in parts for image_id in part.ids],
        np.concatenate([part.reading for part in parts]),
        np.concatenate([part.male for part in parts]),
        np.concatenate([part.months for part in parts]),
        np.concatenate([part.spread for part in parts]),
    )
    fold = np.repeat([one.fold for one in folds], [len(part) for part in parts])
    reading = np.asarray(found.reading, np.float64)
    others = np.array([reading[fold != number].mean() for number in fold])
    return PooledFolds(
        dataset=label,
        is_phantom=is_phantom,
        folds=tuple(folds),
        predictions=found,
        fold=fold,
        table=scores.score_all(found.months, found.reading, found.male),
        mae_by_stage=stages.mae_by_stage(found.months, found.reading, found.male),
        baseline_mae=float(np.abs(reading - others).mean()),
        has_patients=has_patients,
    )


def _check_one_experiment(folders: Sequence[pathlib.Path], loaded: Sequence[LoadedRun]) -> None:
    """Raises `UserError` for runs that are not each the same experiment but for the fold, one run a fold."""
    settings = [flatten(to_dict(run.config)) for run in loaded]
    problems = []
    for folder, run, own in zip(folders, loaded, settings, strict=True):
        if not run.config.data.folds:
            problems.append(f"{folder}: was trained on its whole split (data.folds is 0), expected a run of one fold")
        elif run.config.data.fresh:
            problems.append(f"{folder}: was trained on phantoms rendered anew (data.fresh), not on the other folds")
        else:
            problems += [
                f"{folder}: {key} is {own[key]!r}, that of {folders[0]} is {settings[0][key]!r}"
                for key in own
                if own[key] != settings[0][key] and key not in _MAY_DIFFER
            ]
    folds = collections.Counter(run.config.data.fold for run in loaded)
    problems += [f"fold {fold}: found {count} runs, expected one" for fold, count in folds.items() if count > 1]
    count = loaded[0].config.data.folds
    missing = [str(fold) for fold in range(count) if fold not in folds]
    if missing and not problems:
        problems.append(f"no run of fold {', '.join(missing)}, expected all {count}")
    fail_if_any(
        problems,
        "not the runs of one cross-validation",
        "Train one run a fold: boneage train --config.data.folds=5 --config.data.fold=0 and so on, and name them all.",
    )


def _check_same_data(loaded: Sequence[LoadedRun], dataset: Dataset, held_out: Sequence[Records]) -> None:
    """Raises `UserError` where runs left out other images than are there now, or folds do not make up the split."""
    changed = [
        f"{run.folder}: fold {run.config.data.fold}"
        for run, records in zip(loaded, held_out, strict=True)
        if records.fingerprint not in run.about["data_fingerprint"]
    ]
    fail_if_any(
        changed,
        f"{dataset.path}: not the images that these runs were trained without, so that some may be known to them",
        "Build the dataset as it was, with the table of patients of then, or train the runs again.",
    )
    data = loaded[0].config.data
    everyone = dataset.split(data.train_split, View(sex=data.sex)).ids()
    counts = collections.Counter(image_id for records in held_out for image_id in records.ids())
    wrong = [f"{image_id}: in {counts[image_id]} folds" for image_id in everyone if counts[image_id] != 1]
    fail_if_any(
        wrong,
        f"{dataset.name}: images of the split {data.train_split!r} that are not in exactly one fold",
        "Train all runs with the same table of patients (data.patients).",
    )


def _check_complete(loaded: Sequence[LoadedRun], dataset: Dataset, held_out: Sequence[Records]) -> None:
    """Raises `UserError` for runs that have not been trained to their end."""
    unfinished = []
    for run in loaded:
        data = run.config.data
        view = view_of(data, split=data.train_split)
        total = Plan.of(run.config, epoch_of(len(source_of(dataset, data.train_split, data, view)), data)).total
        if run.step < total:
            unfinished.append(f"{run.folder}: step {run.step} of {total}")
    fail_if_any(unfinished, "runs that have not been trained to their end", "Start their trainings again; they go on.")
