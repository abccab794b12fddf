"""What the paper's table needs: its runs, which of them are trained already, and what the rest costs."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Collection, Sequence

import numpy as np

from boneage_jax import shown
from boneage_jax.config import DataConfig, Duration, ExperimentConfig, loading
from boneage_jax.data.examples import View
from boneage_jax.data.reading import epoch_of, view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.paper.grid import Experiment, matching
from boneage_jax.paper.request import PaperRequest
from boneage_jax.runs import run_folder
from boneage_jax.train import logs


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run of the table, trained or to be trained.

    Attributes:
      experiment: of the table.
      fold: that is left out of training; None without cross-validation.
      config: of the run.
      folder: of the run.
      done: steps of its newest checkpoint.
      total: steps of the whole run.
      seconds: that the rest takes; NaN where no experiment of its kind has been timed yet.
    """

    experiment: Experiment
    fold: int | None
    config: ExperimentConfig
    folder: pathlib.Path
    done: int
    total: int
    seconds: float

    @property
    def name(self) -> str:
        """As in `m46-regression-A-all`, or `m46-regression-A-all/fold-0`."""
        return _name(self.experiment, self.fold)


def plan(request: PaperRequest) -> list[PlannedRun]:
    """Returns every run with the steps that are done and what the rest costs.

    Raises:
      UserError: for unknown experiments, datasets without the regions, or settings that cannot be used.
    """
    experiments = matching(request.experiments)
    dataset = Dataset.open(request.data, request.dataset)
    planned = []

    @functools.cache
    def children(data: DataConfig) -> int:
        fold = view_of(data, split=data.train_split).fold
        return len(dataset.split(data.train_split, View(sex=data.sex, fold=fold)))

    for experiment, fold in itertools.product(experiments, _folds(request)):
        config = _config(request, dataset.features, experiment, fold)
        total = Duration.parse(config.train.length).in_steps(
            batch_size=config.train.batch_size,
            examples_per_epoch=epoch_of(children(_children_of(config.data)), config.data),
        )
        one = PlannedRun(
            experiment=experiment,
            fold=fold,
            config=config,
            folder=request.out / "runs",
            done=0,
            total=total,
            seconds=float("nan"),
        )
        folder = one.folder / one.name
        planned.append(dataclasses.replace(one, folder=folder, done=_steps_done(folder)))
    rates = {(p.experiment.model, p.experiment.region): rate for p in planned if (rate := _seconds_a_step(p.folder))}
    return [
        dataclasses.replace(
            p, seconds=(p.total - p.done) * rates.get((p.experiment.model, p.experiment.region), float("nan"))
        )
        for p in planned
    ]


def dry_run(request: PaperRequest) -> str:
    """Returns what there is to train, for people: with its cost, or with the command that builds the data first.

    Raises:
      UserError: see `plan`.
    """
    is_built = any((request.data / request.dataset).glob("*/dataset_info.json"))
    if is_built or request.dataset.partition("/")[0] not in ("hand_phantom", "registered_hands"):
        return as_text(plan(request))
    networks = list(itertools.product(matching(request.experiments), _folds(request)))
    names = [_name(experiment, fold) for experiment, fold in networks]
    width = max(36, *(len(name) + 2 for name in names))
    lines = [f"{'experiment':<{width}}{'length':<16}batch size"]
    for name, (experiment, fold) in zip(names, networks, strict=True):
        train = _config(request, (), experiment, fold).train
        lines.append(f"{name:<{width}}{train.length:<16}{train.batch_size}")
    return "\n".join(
        [
            *lines,
            f"{len(names)} to train; their cost is known once {request.dataset} is built in {request.data}",
            f"next: {shown.to_build(request.dataset, request.data)}",
        ]
    )


def _folds(request: PaperRequest) -> Sequence[int | None]:
    return range(request.folds) if request.folds else (None,)


def _name(experiment: Experiment, fold: int | None) -> str:
    return experiment.name if fold is None else f"{experiment.name}/fold-{fold}"


def _children_of(data: DataConfig) -> DataConfig:
    """The settings that choose the children that are trained on, so that each group is counted once."""
    return DataConfig(
        train_split=data.train_split, sex=data.sex, folds=data.folds, fold=data.fold, patients=data.patients
    )


def _config(
    request: PaperRequest, features: Collection[str], experiment: Experiment, fold: int | None
) -> ExperimentConfig:
    arguments = [
        f"--config=configs/paper/experiment.py:{experiment.name}{request.suffix}",
        f"--config.data.dir={request.data}",
        f"--config.data.name={request.dataset}",
    ]
    if f"region_{experiment.region}" in features:
        arguments += [f"--config.data.feature=region_{experiment.region}", "--config.data.regions="]
    if fold is not None:
        arguments += [f"--config.data.folds={request.folds}", f"--config.data.fold={fold}"]
        arguments += [f"--config.data.patients={request.patients}"] if request.patients else []
    return loading.load([*arguments, *request.overrides])


def _steps_done(folder: pathlib.Path) -> int:
    steps = [int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    return max(steps, default=0)


def _seconds_a_step(folder: pathlib.Path) -> float | None:
    """Median time of a step of a run, from its log; None where there is none yet."""
    speeds = [line["images_per_second"] for line in logs.scalars_of(folder) if "images_per_second" in line]
    if not speeds:
        return None
    config = json.loads((folder / run_folder.ABOUT).read_text())["config"]
    return float(config["train"]["batch_size"] / np.median(speeds))


def as_text(planned: Sequence[PlannedRun]) -> str:
    """Returns the plan for people."""
    width = max(36, *(len(p.name) + 2 for p in planned))
    lines = [f"{'experiment':<{width}}{'steps':>15}{'images':>12}  to do"]
    for p in planned:
        left = (p.total - p.done) * p.config.train.batch_size
        todo = "done" if p.done >= p.total else f"{left:,} images"
        todo += f", about {p.seconds / 3600:.1f} h" if p.seconds > 0 else ""
        lines.append(f"{p.name:<{width}}{p.done:>7,}/{p.total:<7,}{p.total * p.config.train.batch_size:>12,}  {todo}")
    known = [p.seconds for p in planned if np.isfinite(p.seconds)]
    kind = "experiments" if all(p.fold is None for p in planned) else "experiments without a fold"
    lines.append(
        f"{len(planned)} {kind}, {sum(p.done >= p.total for p in planned)} done; "
        + (
            f"about {sum(known) / 3600:.1f} h left for those timed"
            if known
            else "no experiment has been timed here yet"
        )
    )
    return "\n".join(lines)
