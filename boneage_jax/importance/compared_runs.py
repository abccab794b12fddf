"""Predictions of runs that see different regions of the hand, to lay their errors beside each other."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.runs import run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.runs.run_folder import LoadedRun


@dataclasses.dataclass(frozen=True)
class RunPredictions:
    """A run's predictions for the labelled images of a split.

    Attributes:
      predicted: bone age in months; NaN where there is none.
      reading: bone age as labelled, in months.
      male: whether each child is a boy.
    """

    predicted: Float[np.ndarray, " n"]
    reading: Float[np.ndarray, " n"]
    male: Bool[np.ndarray, " n"]


def predictions(
    loaded: LoadedRun, others: Sequence[pathlib.Path], dataset: Dataset, *, split: str
) -> dict[str, RunPredictions]:
    """Returns the predictions of a run and of others, by the region that each sees and its folder's name.

    Args:
      loaded: the run that a study is about.
      others: folders of the runs beside it; without any, nothing is predicted.
      dataset: whose images are predicted.
      split: of the dataset.

    Raises:
      UserError: for folders without a run, and runs of another task.
    """
    found = {}
    for one in (loaded, *map(run_folder.load, others)) if others else ():
        if not one.task.needs_age:
            raise UserError(f"{one.folder}: a run of the task {one.config.task.name!r}, expected 'bone_age'")
        records = dataset.split(split, view_of(one.config.data))
        reading, male = records.labels()
        known = np.isfinite(reading)
        months = predict_ages(one, records).months
        name = one.config.data.regions or one.config.data.feature
        found[f"{name} ({one.folder.name})"] = RunPredictions(months[known], reading[known], male[known])
    return found
