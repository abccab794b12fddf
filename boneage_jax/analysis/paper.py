"""The paper's table from one command: which networks it takes, which are there, and what the rest costs."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Collection, Sequence

import numpy as np

from boneage_jax import experiment, shown
from boneage_jax.analysis.cells import Cell, matching
from boneage_jax.config import DataConfig, Duration, ExperimentConfig
from boneage_jax.data.examples import View
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.train import logs, run


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
      folds: parts for cross-validation: each cell is trained so many times, and what is reported are the images of the
        training split, each read by the network that has not seen its child. 0 for none.
      patients: CSV of image and child, for folds; None where each image is another child's.
      beside: runs of other age models for both sexes, trained already, which are scored and join the ensembles.
    """

    out: pathlib.Path
    data: pathlib.Path
    dataset: str = "hand_phantom/registered"
    cells: tuple[str, ...] = ()
    tiny: bool = False
    overrides: tuple[str, ...] = ()
    validation: str = "validation"
    test: str = "test"
    folds: int = 0
    patients: pathlib.Path | None = None
    beside: tuple[pathlib.Path, ...] = ()


@dataclasses.dataclass(frozen=True)
class Planned:
    """A network that is to be trained, or has been.

    Attributes:
      cell: of the table.
      fold: that it does without; None without folds.
      config: that it is trained with.
      folder: of its run.
      done: steps of its newest checkpoint.
      total: steps of the whole run.
      seconds: that the rest takes; NaN where no cell of its kind has been timed yet.
    """

    cell: Cell
    fold: int | None
    config: ExperimentConfig
    folder: pathlib.Path
    done: int
    total: int
    seconds: float

    @property
    def name(self) -> str:
        """As in `m46-regression-A-all`, or `m46-regression-A-all/fold-0`."""
        return _name(self.cell, self.fold)


def plan(request: PaperRequest) -> list[Planned]:
    """Returns every network with what is done and what the rest costs.

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

    for cell, fold in itertools.product(cells, _folds(request)):
        config = _config(request, dataset.features, cell, fold)
        total = Duration.parse(config.train.length).in_steps(
            batch_size=config.train.batch_size,
            examples_per_epoch=children(_who(config.data)),
        )
        one = Planned(cell, fold, config, request.out / "runs", 0, total, float("nan"))
        folder = one.folder / one.name
        planned.append(dataclasses.replace(one, folder=folder, done=_steps_done(folder)))
    rates = {(p.cell.model, p.cell.region): rate for p in planned if (rate := _seconds_a_step(p.folder))}
    return [
        dataclasses.replace(p, seconds=(p.total - p.done) * rates.get((p.cell.model, p.cell.region), float("nan")))
        for p in planned
    ]


def dry_run(request: PaperRequest) -> str:
    """Returns what there is to do, for people: with the data its cost too, without them the command that makes them.

    Raises:
      UserError: see `plan`.
    """
    is_built = any((request.data / request.dataset).glob("*/dataset_info.json"))
    if is_built or request.dataset.partition("/")[0] not in ("hand_phantom", "registered_hands"):
        return as_text(plan(request))
    networks = list(itertools.product(matching(request.cells), _folds(request)))
    names = [_name(cell, fold) for cell, fold in networks]
    width = max(36, *(len(name) + 2 for name in names))
    lines = [f"{'cell':<{width}}{'length':<16}batch size"]
    for name, (cell, fold) in zip(names, networks, strict=True):
        train = _config(request, (), cell, fold).train
        lines.append(f"{name:<{width}}{train.length:<16}{train.batch_size}")
    return "\n".join(
        [
            *lines,
            f"{len(names)} to train; what they cost is said once {request.dataset} is built in {request.data}",
            f"next: {shown.to_build(request.dataset, request.data)}",
        ]
    )


def _folds(request: PaperRequest) -> Sequence[int | None]:
    return range(request.folds) if request.folds else (None,)


def _name(cell: Cell, fold: int | None) -> str:
    return cell.name if fold is None else f"{cell.name}/fold-{fold}"


def _who(data: DataConfig) -> DataConfig:
    """What of a config says which children are trained on, so that each sort of them is counted once."""
    return DataConfig(
        train_split=data.train_split, sex=data.sex, folds=data.folds, fold=data.fold, patients=data.patients
    )


def _config(request: PaperRequest, features: Collection[str], cell: Cell, fold: int | None) -> ExperimentConfig:
    arguments = [
        f"--config=configs/paper/cell.py:{cell.name}{'-tiny' if request.tiny else ''}",
        f"--config.data.dir={request.data}",
        f"--config.data.name={request.dataset}",
    ]
    if f"region_{cell.region}" in features:
        arguments += [f"--config.data.feature=region_{cell.region}", "--config.data.regions="]
    if fold is not None:
        arguments += [f"--config.data.folds={request.folds}", f"--config.data.fold={fold}"]
        arguments += [f"--config.data.patients={request.patients}"] if request.patients else []
    return experiment.load([*arguments, *request.overrides])


def _steps_done(folder: pathlib.Path) -> int:
    steps = [int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    return max(steps, default=0)


def _seconds_a_step(folder: pathlib.Path) -> float | None:
    """Median time of a step of a run, from its log; None where there is none yet."""
    speeds = [line["images_per_second"] for line in logs.scalars_of(folder) if "images_per_second" in line]
    if not speeds:
        return None
    config = json.loads((folder / run.ABOUT).read_text())["config"]
    return float(config["train"]["batch_size"] / np.median(speeds))


def as_text(planned: Sequence[Planned]) -> str:
    """Returns the plan for people."""
    width = max(36, *(len(p.name) + 2 for p in planned))
    lines = [f"{'cell':<{width}}{'steps':>15}{'images':>12}  to do"]
    for p in planned:
        left = (p.total - p.done) * p.config.train.batch_size
        todo = "done" if p.done >= p.total else f"{left:,} images"
        todo += f", about {p.seconds / 3600:.1f} h" if p.seconds > 0 else ""
        lines.append(f"{p.name:<{width}}{p.done:>7,}/{p.total:<7,}{p.total * p.config.train.batch_size:>12,}  {todo}")
    known = [p.seconds for p in planned if np.isfinite(p.seconds)]
    what = "cells" if all(p.fold is None for p in planned) else "cells without a fold"
    lines.append(
        f"{len(planned)} {what}, {sum(p.done >= p.total for p in planned)} done; "
        + (f"about {sum(known) / 3600:.1f} h left for those timed" if known else "no cell has been timed here yet")
    )
    return "\n".join(lines)
