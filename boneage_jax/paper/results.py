"""Predictions of the table's models: trained where they are missing, evaluated, and combined to ensembles."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.analysis import evaluate
from boneage_jax.analysis.ensemble import Debias, average, fitted_weights
from boneage_jax.analysis.predictions import SplitPredictions, read_csv
from boneage_jax.data.folds import Fold
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import check_writable
from boneage_jax.paper.grid import Experiment
from boneage_jax.paper.plan import PlannedRun, plan
from boneage_jax.paper.request import PaperRequest
from boneage_jax.runs import run_folder
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.train.loop import train


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of a split by one model, or by several together.

    Attributes:
      name: for people.
      months: bone ages, by image; NaN for children that the model does not answer for.
      region: of the canvas that a member takes; empty for ensembles and other models.
    """

    name: str
    months: Float[np.ndarray, " n"]
    region: str = ""


@dataclasses.dataclass(frozen=True)
class Results:
    """Readings and predictions that the tables are made from.

    Attributes:
      dataset: that the models are evaluated on.
      split: of the dataset.
      ids: of its images with a reading.
      reading: bone ages as labelled, in months.
      male: whether each child is a boy.
      experiments: predictions of every experiment, in order.
      members: predictions of models, or pairs of models by sex, that answer for every child.
      ensembles: predictions of ensembles of the members.
      weights: of the fitted ensemble, by member; the mean over folds.
      folds: that the images were dealt into; 0 without cross-validation.
      checkpoints: by run, which of its steps was taken and why.
    """

    dataset: Dataset
    split: str
    ids: list[str]
    reading: Float[np.ndarray, " n"]
    male: Bool[np.ndarray, " n"]
    experiments: dict[Experiment, Predictions]
    members: list[Predictions]
    ensembles: list[Predictions]
    weights: dict[str, float]
    folds: int = 0
    checkpoints: Mapping[str, str] = dataclasses.field(default_factory=dict)


def results(request: PaperRequest) -> Results:
    """Trains the runs that are missing, evaluates those that have not been, and combines their predictions.

    Raises:
      UserError: for anything the user can mend.
      StoppedEarly: after SIGTERM or SIGUSR1; the same command goes on.
    """
    planned = plan(request)
    _check_other_models(request, [p.name for p in planned])
    check_writable(request.out)
    dataset = Dataset.open(request.data, request.dataset)
    for number, p in enumerate(planned, 1):
        if p.done < p.total:
            print(f"{number} of {len(planned)}: {p.name}", file=sys.stderr)
            train(p.config, p.folder)
    shown = _Split(dataset, planned[0].config.data.train_split if request.folds else request.test)
    predictions = shown.predictions(request, planned)
    members = _members(predictions, shown.male) + shown.other_models(request)
    weights: dict[str, float] = {}
    ensembles: list[Predictions] = []
    if len(members) > 1:
        fitted_on = request.validation
        if request.folds:
            fits, fitted_on = _across_folds(planned, shown, members), "the other folds"
        elif request.validation == request.test:
            fits, fitted_on = _within(shown, members), f"the other fifths of {request.test}"
        else:
            validation = _Split(dataset, request.validation)
            fitting = _members(validation.predictions(request, planned), validation.male) + validation.other_models(
                request
            )
            fits = [_Fit(_stacked(fitting), validation.reading, np.ones(len(shown.ids), bool))]
        ensembles, weights = _ensembles(members, fits, fitted_on)
    return Results(
        dataset=dataset,
        split=shown.split,
        ids=shown.ids,
        reading=shown.reading,
        male=shown.male,
        experiments=predictions,
        members=members,
        ensembles=ensembles,
        weights=weights,
        folds=request.folds,
        checkpoints=shown.checkpoints,
    )


def _check_other_models(request: PaperRequest, experiments: Sequence[str]) -> None:
    """Checks the models of `PaperRequest.beside` before hours of training.

    Raises:
      UserError: for those that cannot, all at once.
    """
    problems = ["folds report images that these have learnt from"] if request.beside and request.folds else []
    names = [*experiments, *(folder.name for folder in request.beside)]
    for folder in request.beside:
        config = run_folder.load(folder).config
        if names.count(folder.name) > 1:
            problems.append(f"{folder}: found another model named {folder.name!r}; give its folder a name of its own")
        if config.task.name != "bone_age":
            problems.append(f"{folder}: found the task {config.task.name!r}, expected 'bone_age'")
        elif config.data.sex != "all":
            problems.append(f"{folder}: found a model of {config.data.sex} children, expected one of all")
    fail_if_any(
        problems,
        "--beside: models that cannot join the table",
        "Name runs of age models for both sexes, without --folds.",
    )


class _Split:
    """Ids, readings and sexes of the images of a split that have a reading."""

    def __init__(self, dataset: Dataset, split: str):
        records = dataset.split(split)
        reading, male = records.labels()
        known = np.isfinite(reading)
        if not known.any():
            raise UserError(f"{dataset.path}: no image of the split {split!r} has a bone age")
        self.split, self._dataset = split, dataset
        self.checkpoints: dict[str, str] = {}
        self.ids = [image_id for image_id, keep in zip(records.ids(), known, strict=True) if keep]
        self.reading, self.male = np.asarray(reading[known], np.float64), male[known]

    def predictions(self, request: PaperRequest, planned: Sequence[PlannedRun]) -> dict[Experiment, Predictions]:
        """Predictions by every experiment; with folds, each image by the run that was not trained on it."""
        found: dict[Experiment, Predictions] = {}
        for p in planned:
            months = self._months(request, _loaded(p))
            if p.experiment in found:
                before = found[p.experiment].months
                months = np.where(np.isfinite(before), before, months)
            found[p.experiment] = Predictions(p.experiment.name, months)
        return found

    def other_models(self, request: PaperRequest) -> list[Predictions]:
        """Predictions by the models of `PaperRequest.beside`."""
        return [Predictions(folder.name, self._months(request, run_folder.load(folder))) for folder in request.beside]

    def _months(self, request: PaperRequest, loaded: LoadedRun) -> Float[np.ndarray, " n"]:
        """A run's ages, NaN where it does not answer; evaluated only where this checkpoint has not been yet."""
        there = evaluate.folder_of(loaded.folder, self._dataset.name, self.split)
        self.checkpoints[loaded.folder.name] = loaded.chosen
        stored = _stored(there, loaded.step)
        if stored is None:
            evaluate.evaluate(loaded, split=self.split, data_dir=request.data, dataset=self._dataset.name)
            stored = read_csv(there / "predictions.csv")
        months = dict(zip(stored.ids, stored.months.tolist(), strict=True))
        return np.array([months.get(image_id, np.nan) for image_id in self.ids])


def _loaded(planned: PlannedRun) -> LoadedRun:
    """A trained run; where its checkpoint is damaged, trained again from the one before. Raises `UserError`."""
    # The best checkpoint was chosen on the fold that is left out; only the last one is independent of it.
    step = None if planned.fold is None else planned.total
    try:
        return run_folder.load(planned.folder, step=step)
    except UserError:
        train(planned.config, planned.folder)
        return run_folder.load(planned.folder, step=step)


def _stored(folder: pathlib.Path, step: int) -> SplitPredictions | None:
    """An evaluation's ages; None where it is not there, is of another checkpoint, or is damaged."""
    try:
        scores = json.loads((folder / "scores.json").read_text())
        found = read_csv(folder / "predictions.csv")
        whole = len(found.ids) == scores["scores"]["all"]["images"]
        return found if whole and scores["checkpoint_step"] == step else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _members(predictions: dict[Experiment, Predictions], male: Bool[np.ndarray, " n"]) -> list[Predictions]:
    """Models for both sexes, and pairs of a boys' and a girls' model as one."""
    members = [
        Predictions(experiment.name, one.months, experiment.region)
        for experiment, one in predictions.items()
        if experiment.sex == "all"
    ]
    for experiment, one in predictions.items():
        other = predictions.get(dataclasses.replace(experiment, sex="female"))
        if experiment.sex == "male" and other is not None:
            months = np.where(male, one.months, other.months)
            members.append(Predictions(dataclasses.replace(experiment, sex="by sex").name, months, experiment.region))
    return members


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Images that weights and corrections are fitted on, and those that they are applied to.

    Attributes:
      months: of the members, on the images that are fitted on.
      reading: of the same images, in months.
      where: images of the table that the fit is applied to.
    """

    months: Float[np.ndarray, "models m"]
    reading: Float[np.ndarray, " m"]
    where: Bool[np.ndarray, " n"]


def _stacked(members: Sequence[Predictions]) -> Float[np.ndarray, "models n"]:
    return np.stack([one.months for one in members])


def _across_folds(planned: Sequence[PlannedRun], shown: _Split, members: Sequence[Predictions]) -> list[_Fit]:
    """For each fold, the members' predictions of all other folds: by runs that were not trained on those images."""
    folds = []
    for data in {p.fold: p.config.data for p in planned}.values():
        fold = view_of(data, split=data.train_split, evaluation=True).fold
        assert fold is not None
        folds.append(fold)
    return _fits(shown, members, folds)


FIFTHS = 5
"""Parts of a split that ensembles are both fitted and reported on: each is reported by what the other four say."""


def _within(shown: _Split, members: Sequence[Predictions]) -> list[_Fit]:
    """For each fifth of the split, the members' predictions of the other four."""
    return _fits(shown, members, [Fold(FIFTHS, number, held_out=True) for number in range(FIFTHS)])


def _fits(shown: _Split, members: Sequence[Predictions], folds: Sequence[Fold]) -> list[_Fit]:
    """For each fold, the members' predictions of all images outside it."""
    months, fits = _stacked(members), []
    for fold in folds:
        inside = np.array([fold.keeps(image_id) for image_id in shown.ids])
        fits.append(_Fit(months[:, ~inside], shown.reading[~inside], inside))
    return fits


def _ensembles(
    members: list[Predictions], fits: Sequence[_Fit], fitted_on: str
) -> tuple[list[Predictions], dict[str, float]]:
    """Averages by region and over all; fitted weights; the average of members whose linear bias is corrected."""
    test = _stacked(members)
    found = []
    regions = sorted({m.region for m in members if m.region})
    for region in regions:
        rows = [n for n, m in enumerate(members) if m.region == region]
        if len(rows) > 1 and len(regions) > 1:
            found.append(Predictions(f"average of region {region}", average(test[rows])))
    found.append(Predictions("average of all", average(test)))
    weighted, corrected = np.full(test.shape[1], np.nan), np.full(test.shape, np.nan)
    weights = [fitted_weights(fit.months, fit.reading) for fit in fits]
    for fit, weight in zip(fits, weights, strict=True):
        weighted[fit.where] = weight @ test[:, fit.where]
        for n, months in enumerate(fit.months):
            corrected[n, fit.where] = Debias.fit(months, fit.reading)(test[n, fit.where])
    found.append(Predictions(f"weights fitted on {fitted_on}", weighted))
    found.append(Predictions(f"average of all, each corrected on {fitted_on}", average(corrected)))
    return found, {m.name: float(w) for m, w in zip(members, np.mean(weights, 0), strict=True)}
