"""The paper's table from one command: every cell trained and evaluated, ensembles, errors by stage, comparisons."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import experiment
from boneage_jax.analysis import evaluate
from boneage_jax.analysis.cells import Cell, matching
from boneage_jax.analysis.ensemble import Debias, average, fitted_weights
from boneage_jax.config import DataConfig, Duration, ExperimentConfig
from boneage_jax.data.examples import View
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable
from boneage_jax.train import run
from boneage_jax.train.loop import train


@dataclasses.dataclass(frozen=True)
class PaperRequest:
    """Which part of the table, from which data, to where.

    Attributes:
      out: folder of the runs and of the tables.
      data: folder of built datasets.
      dataset: of registered hands: with the regions as features, or with images of the whole canvas.
      cells: patterns of names; empty for all.
      tiny: train the cells' tiny twins.
      overrides: further `--config.key=value` for every cell.
      validation: split that weights and corrections are fitted on.
      test: split that is reported.
    """

    out: pathlib.Path
    data: pathlib.Path
    dataset: str = "hand_phantom/registered"
    cells: tuple[str, ...] = ()
    tiny: bool = False
    overrides: tuple[str, ...] = ()
    validation: str = "validation"
    test: str = "test"


@dataclasses.dataclass(frozen=True)
class Planned:
    """A cell that is to be trained, or has been.

    Attributes:
      cell: of the table.
      config: that it is trained with.
      folder: of its run.
      done: steps of its newest checkpoint.
      total: steps of the whole run.
      seconds: that the rest takes; NaN where no cell of its kind has been timed yet.
    """

    cell: Cell
    config: ExperimentConfig
    folder: pathlib.Path
    done: int
    total: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What one model, or several together, say of a split.

    Attributes:
      name: for people.
      months: by image; NaN for children that the model is not asked about.
    """

    name: str
    months: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything that the tables are made of.

    Attributes:
      dataset: that was evaluated on.
      split: of it.
      ids: of its images.
      reading: in months.
      male: whether each child is a boy.
      cells: predictions of every cell, in order.
      members: predictions of models, or pairs of models by sex, that answer for every child.
      ensembles: the same of ensembles.
      weights: of the fitted ensemble, by member.
    """

    dataset: Dataset
    split: str
    ids: list[str]
    reading: Float[np.ndarray, " n"]
    male: Bool[np.ndarray, " n"]
    cells: dict[Cell, Predictions]
    members: list[Predictions]
    ensembles: list[Predictions]
    weights: dict[str, float]


def plan(request: PaperRequest) -> list[Planned]:
    """Returns every cell with what is done and what the rest costs.

    Raises:
      UserError: for unknown cells, datasets without the regions, or settings that cannot be used.
    """
    cells = matching(request.cells)
    dataset = Dataset.open(request.data, request.dataset)
    planned = []

    @functools.cache
    def children(data: DataConfig) -> int:
        fold = view_of(data, split=data.train_split).fold
        return len(dataset.split(data.train_split, View(sex=data.sex, fold=fold)))

    for cell in cells:
        config = _config(request, dataset, cell)
        folder = request.out / "runs" / cell.name
        total = Duration.parse(config.train.length).in_steps(
            batch_size=config.train.batch_size,
            examples_per_epoch=children(_who(config.data)),
        )
        planned.append(Planned(cell, config, folder, _steps_done(folder), total, float("nan")))
    rates = {(p.cell.model, p.cell.region): rate for p in planned if (rate := _seconds_a_step(p.folder))}
    return [
        dataclasses.replace(p, seconds=(p.total - p.done) * rates.get((p.cell.model, p.cell.region), float("nan")))
        for p in planned
    ]


def _who(data: DataConfig) -> DataConfig:
    """What of a config says which children are trained on, so that each sort of them is counted once."""
    return DataConfig(
        train_split=data.train_split, sex=data.sex, folds=data.folds, fold=data.fold, patients=data.patients
    )


def _config(request: PaperRequest, dataset: Dataset, cell: Cell) -> ExperimentConfig:
    arguments = [
        f"--config=configs/paper/cell.py:{cell.name}{'-tiny' if request.tiny else ''}",
        f"--config.data.dir={request.data}",
        f"--config.data.name={request.dataset}",
    ]
    if f"region_{cell.region}" in dataset.features:
        arguments += [f"--config.data.feature=region_{cell.region}", "--config.data.regions="]
    return experiment.load([*arguments, *request.overrides])


def _steps_done(folder: pathlib.Path) -> int:
    steps = [int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    return max(steps, default=0)


def _seconds_a_step(folder: pathlib.Path) -> float | None:
    """Median time of a step of a run, from its log; None where there is none yet."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return None
    config = json.loads((folder / run.ABOUT).read_text())["config"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    speeds = [line["images_per_second"] for line in lines if "images_per_second" in line]
    return config["train"]["batch_size"] / float(np.median(speeds)) if speeds else None


def as_text(planned: Sequence[Planned]) -> str:
    """Returns the plan for people."""
    lines = [f"{'cell':<36}{'steps':>15}{'images':>12}  to do"]
    for p in planned:
        left = (p.total - p.done) * p.config.train.batch_size
        todo = "done" if p.done >= p.total else f"{left:,} images"
        todo += f", about {p.seconds / 3600:.1f} h" if p.seconds > 0 else ""
        lines.append(f"{p.cell.name:<36}{p.done:>7,}/{p.total:<7,}{p.total * p.config.train.batch_size:>12,}  {todo}")
    known = [p.seconds for p in planned if np.isfinite(p.seconds)]
    lines.append(
        f"{len(planned)} cells, {sum(p.done >= p.total for p in planned)} done; "
        + (f"about {sum(known) / 3600:.1f} h left for those timed" if known else "no cell has been timed here yet")
    )
    return "\n".join(lines)


def results(request: PaperRequest) -> Results:
    """Trains what is missing, evaluates what is not, and puts the predictions together.

    Raises:
      UserError: for anything the user can mend.
      StoppedEarly: after SIGTERM or SIGUSR1; the same command goes on.
    """
    check_writable(request.out)
    planned = plan(request)
    dataset = Dataset.open(request.data, request.dataset)
    for number, p in enumerate(planned, 1):
        if p.done < p.total:
            print(f"cell {number} of {len(planned)}: {p.cell.name}", file=sys.stderr)
            train(p.config, p.folder)
    of = {split: _Split(dataset, split) for split in (request.validation, request.test)}
    said = {split: {p.cell: one.predictions(request, p) for p in planned} for split, one in of.items()}
    test, validation = of[request.test], of[request.validation]
    members = _members(said[request.test], test.male)
    fitting = _members(said[request.validation], validation.male)
    weights: dict[str, float] = {}
    ensembles: list[Predictions] = []
    if len(members) > 1:
        ensembles, weights = _ensembles(members, fitting, validation.reading)
    return Results(
        dataset, request.test, test.ids, test.reading, test.male, said[request.test], members, ensembles, weights
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
        self.ids = [image_id for image_id, keep in zip(records.ids(), known, strict=True) if keep]
        self.reading, self.male = np.asarray(reading[known], np.float64), male[known]

    def predictions(self, request: PaperRequest, planned: Planned) -> Predictions:
        """A cell's predictions; evaluated only where its newest run has not been yet."""
        folder = evaluate.folder_of(planned.folder, self._dataset.name, self.split)
        summary = folder / "scores.json"
        loaded = run.load(planned.folder)
        if not summary.exists() or json.loads(summary.read_text())["checkpoint_step"] != loaded.step:
            evaluate.evaluate(loaded, split=self.split, data_dir=request.data, dataset=self._dataset.name)
        with (folder / "predictions.csv").open(newline="") as file:
            months = {row["id"]: float(row["months"]) for row in csv.DictReader(file)}
        return Predictions(planned.cell.name, np.array([months.get(image_id, np.nan) for image_id in self.ids]))


def _members(said: dict[Cell, Predictions], male: Bool[np.ndarray, " n"]) -> list[Predictions]:
    """Models for both sexes, and pairs of a boys' and a girls' model as one."""
    members = [Predictions(cell.name, one.months) for cell, one in said.items() if cell.sex == "all"]
    for cell, one in said.items():
        other = said.get(dataclasses.replace(cell, sex="female"))
        if cell.sex == "male" and other is not None:
            months = np.where(male, one.months, other.months)
            members.append(Predictions(dataclasses.replace(cell, sex="by sex").name, months))
    return members


def _ensembles(
    members: list[Predictions], fitting: list[Predictions], reading: Float[np.ndarray, " n"]
) -> tuple[list[Predictions], dict[str, float]]:
    """Averages by region and over all; fitted weights; the same with linear bias corrected on validation."""
    test, validation = np.stack([m.months for m in members]), np.stack([m.months for m in fitting])
    found = []
    regions = sorted({m.name.split("-")[2] for m in members})
    for region in regions:
        rows = [n for n, m in enumerate(members) if m.name.split("-")[2] == region]
        if len(rows) > 1 and len(regions) > 1:
            found.append(Predictions(f"average of region {region}", average(test[rows])))
    found.append(Predictions("average of all", average(test)))
    weights = fitted_weights(validation, reading)
    found.append(Predictions("weights fitted on validation", weights @ test))
    corrected = average(np.stack([Debias.fit(v, reading)(t) for v, t in zip(validation, test, strict=True)]))
    found.append(Predictions("average of all, each corrected on validation", corrected))
    return found, {m.name: float(w) for m, w in zip(members, weights, strict=True)}
