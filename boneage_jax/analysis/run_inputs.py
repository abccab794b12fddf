"""What a run may be scored on: images like those that it was trained on, and which of them it has seen."""

from __future__ import annotations

import pathlib
from typing import Any

from boneage_jax.canvas import Canvas
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.network_ref import NetworkRef
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.checkpoint import Checkpoints
from boneage_jax.runs.run_folder import LoadedRun


def load(network: NetworkRef, *, step: int | None = None) -> LoadedRun:
    """Opens a network of bone age.

    Args:
      network: a run's folder, or a member of a bundle.
      step: of a folder's checkpoint; None for the best by evaluation score.

    Raises:
      UserError: for what is neither, and for networks of other tasks.
    """
    return of_bone_age(bundle.load(network, "", step=step))


def of_bone_age(loaded: LoadedRun) -> LoadedRun:
    """Returns a network of bone age. Raises `UserError` for networks of other tasks."""
    if not loaded.task.needs_age:
        found = loaded.config.task.name
        raise UserError(f"{loaded.folder}: found a network of the task {found!r}, expected 'bone_age'")
    return loaded


def last_step(loaded: LoadedRun) -> int:
    """Returns the step of a run's newest checkpoint; that which is there for a member of a bundle."""
    folder = loaded.folder / "checkpoints"
    if not folder.is_dir():
        return loaded.step
    checkpoints = Checkpoints(folder, read_only=True)
    try:
        return checkpoints.steps()[-1]
    finally:
        checkpoints.close()


def at_last_step(loaded: LoadedRun) -> LoadedRun:
    """Returns a run at its newest checkpoint.

    The best checkpoint of a run of a cross-validation was chosen on the fold that it leaves out, which would make a
    score on that fold too good: only the last checkpoint was not.
    """
    last = last_step(loaded)
    return loaded if last == loaded.step else run_folder.load(loaded.folder, step=last)


def data_dir_of(loaded: LoadedRun, given: pathlib.Path | None) -> pathlib.Path:
    """Returns the folder of built datasets: the given one, or that of the run's config."""
    return (given or pathlib.Path(loaded.config.data.dir)).expanduser()


def input_problem(loaded: LoadedRun, dataset: Dataset) -> str:
    """Returns why a dataset's images are not of the kind that a run was trained on; empty where they are.

    A network of registered hands can make nothing of radiographs as they were taken, nor of another canvas or region.
    """
    learnt: dict[str, Any] = loaded.about.get("data", {})
    given = dataset.facts
    kinds = {True: "registered hands", False: "whole radiographs"}
    if "registered" in learnt and bool(learnt["registered"]) != given["registered"]:
        return f"trained on {kinds[bool(learnt['registered'])]}, {dataset.name} holds {kinds[given['registered']]}"
    if "canvas" in learnt and "canvas" in given and _canvas(learnt["canvas"]) != _canvas(given["canvas"]):
        return f"trained on hands on another canvas than that of {dataset.name}"
    before, now = _regions(learnt), _regions(given)
    for feature in loaded.config.data.feature.split("+"):
        name = feature.removeprefix("region_")
        if name in before and name in now and before[name] != now[name]:
            return f"trained on another region {name!r} of the canvas than that of {dataset.name}"
    return ""


def _canvas(stored: dict[str, Any]) -> Canvas:
    return Canvas(stored["height"], stored["width"], tuple(stored["fingertip"]), tuple(stored["capitate"]))


def _regions(facts: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {region["name"]: (tuple(region["rows"]), tuple(region["columns"])) for region in facts.get("regions", ())}


def training_ids(loaded: LoadedRun, dataset: Dataset, data_dir: pathlib.Path) -> frozenset[str] | None:
    """Returns the ids of those images of a dataset that a run may have been trained on.

    Args:
      loaded: the run.
      dataset: that is scored on.
      data_dir: folder of built datasets, where that of the run is looked for.

    Returns:
      Ids of the run's training split, where that is made of the same radiographs; empty where it is made of others.
      None where it is not known: the run's dataset is not there, or has been built again since.
    """
    data = loaded.config.data
    if data.fresh:
        return frozenset()
    try:
        own = Dataset.open(data_dir, data.name)
        if _radiographs(own) != _radiographs(dataset):
            return frozenset()
        if not str(loaded.about.get("data_fingerprint", "")).startswith(own.fingerprint):
            return None
        return frozenset(own.split(data.train_split, view_of(data, split=data.train_split)).ids())
    except UserError:
        return None


def _radiographs(dataset: Dataset) -> str:
    """Where a dataset's radiographs come from: ids of the same builder are those of the same children.

    Phantoms of one builder's config are drawn anew for every config.
    """
    return dataset.origin if dataset.is_phantom else dataset.origin.partition("/")[0]
