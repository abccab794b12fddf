"""What `boneage bundle` does: trained networks of the whole chain into one file."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis.ensemble import Blend
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable
from boneage_jax.hand.age_ensemble import learnt_from_phantoms, of_known_sex
from boneage_jax.hand.network import expect_task
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.workflows import calibrate
from boneage_jax.workflows.assess import PHANTOMS_ONLY


@dataclasses.dataclass(frozen=True)
class BundleRequest:
    """What goes into a bundle.

    Attributes:
      segmentation: folder of a run.
      landmarks: folder of a run.
      ages: folders of runs.
      out: file to write.
      weights: whether the age networks get weights; else their mean counts.
      debias: whether the linear bias of what they say together is corrected.
      split: that both are fitted on, of the first age run's dataset.
      data: folder of built datasets; None for the first age run's.
      thresholds: file of `boneage calibrate` for the first two networks; None for the default quality thresholds.
    """

    segmentation: pathlib.Path
    landmarks: pathlib.Path
    ages: tuple[pathlib.Path, ...]
    out: pathlib.Path
    weights: bool = False
    debias: bool = False
    split: str = "validation"
    data: pathlib.Path | None = None
    thresholds: pathlib.Path | None = None


def make(request: BundleRequest) -> str:
    """Writes a bundle; returns what it holds, for people.

    Raises:
      UserError: for runs of other tasks, data that are not there, and files that cannot be written.
    """
    if request.out.is_dir():
        raise UserError(f"{request.out}: this is a folder, expected the name of a file to write")
    check_writable(request.out.absolute().parent)
    runs = {name: bundle.load(getattr(request, name), name) for name in ("segmentation", "landmarks")}
    for name, loaded in runs.items():
        expect_task(loaded, name)
    ages = {f"age{n}": bundle.load(folder, "age0") for n, folder in enumerate(request.ages)}
    for loaded in ages.values():
        expect_task(loaded, "bone_age")
    about: dict[str, object] = {"notice": NOT_A_MEDICAL_DEVICE}
    runs |= ages
    if any(map(learnt_from_phantoms, runs.values())):
        about["notice"] = f"{PHANTOMS_ONLY} {NOT_A_MEDICAL_DEVICE}"
    if request.weights or request.debias:
        about["blend"] = dataclasses.asdict(_fitted(request, list(ages.values())))
    if request.thresholds:
        pair = calibrate.networks(runs["segmentation"], runs["landmarks"])
        about["thresholds"] = dataclasses.asdict(
            calibrate.read(request.thresholds).for_networks(pair, request.thresholds)
        )
    size = bundle.write(runs, about, request.out)
    lines = []
    for name, loaded in runs.items():
        model, data = loaded.config.model, loaded.config.data
        weights = sum(x.size for x in jax.tree.leaves(loaded.arrays["params"]))
        lines.append(
            f"  {name:<14}{weights:>10,} weights   {model.name}, {data.height} x {data.width}, evaluation "
            f"{loaded.task.score.shown(loaded.score)} (checkpoint of {loaded.chosen})"
        )
    return "\n".join([f"{request.out}: {size / 1e6:.2f} MB", *lines, str(about["notice"])])


def _fitted(request: BundleRequest, ages: list[run_folder.LoadedRun]) -> Blend:
    """The blend that fits a split best, hands laid by their true masks and key points."""
    first = ages[0].config.data
    opened = Dataset.open((request.data or pathlib.Path(first.dir)).expanduser(), first.name)
    readings, male = opened.split(request.split).labels()
    read = np.isfinite(readings)
    said = []
    for loaded in ages:
        view = dataclasses.replace(view_of(loaded.config.data), sex="all")
        own = of_known_sex(loaded, predict_ages(loaded, opened.split(request.split, view)), male).months
        if not np.isfinite(own[read]).any():
            raise UserError(
                f"{loaded.folder}: knows no child of {request.split!r} of {opened.path}; choose another --split"
            )
        said.append(own)
    return Blend.fit(np.stack(said)[:, read], readings[read], weighted=request.weights, corrected=request.debias)
