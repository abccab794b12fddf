"""From a config to the way its dataset is read."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.config import DataConfig
from boneage_jax.data import annotations as drawn
from boneage_jax.data import frames
from boneage_jax.data.examples import Labels, Layer, View
from boneage_jax.data.folds import Fold, read_patients
from boneage_jax.data.sources import Dataset, Interleaved, Repeated, Source
from boneage_jax.errors import UserError


def view_of(config: DataConfig, layers: tuple[Layer, ...] = (), *, split: str = "", evaluation: bool = False) -> View:
    """Returns the view of a config, with the layers that a task learns from.

    Args:
      config: of the data.
      layers: see `View`.
      split: that is read; the one that is trained on is dealt into folds where the config wants them.
      evaluation: whether it is read to evaluate: masks may be others, and the fold is the one that training left out.

    Raises:
      UserError: for annotation files that cannot be used.
    """
    labels: Labels | None = None
    named = (config.eval_masks or config.masks) if evaluation else config.masks
    if layers and (named or config.key_points):
        masks = tuple(drawn.read(pathlib.Path(named).expanduser())) if named else None
        points = tuple(drawn.read(pathlib.Path(config.key_points).expanduser())) if config.key_points else None
        labels = drawn.AnnotatedLabels(masks, points)
    return View(
        config.height,
        config.width,
        looks_of(config, layers)[0],
        config.contrast == "local",
        tuple(config.feature.split("+")),
        tuple(filter(None, config.regions.split("+"))),
        config.sex,
        layers,
        labels,
        _fold_of(config, split, evaluation=evaluation),
    )


def _fold_of(config: DataConfig, split: str, *, evaluation: bool) -> Fold | None:
    if not config.folds or split.split("[")[0] != config.train_split.split("[")[0]:
        return None
    patients = read_patients(pathlib.Path(config.patients).expanduser()) if config.patients else {}
    return Fold(config.folds, config.fold, evaluation, patients)


def looks_of(config: DataConfig, layers: tuple[Layer, ...]) -> tuple[frames.Frame, ...]:
    """Returns the frames that a network learns from, in the order in which it looks at a picture.

    Args:
      config: of the data.
      layers: that its task learns from: masks are looked for in the whole picture first, key points in the hand's box.
    """
    if config.frame == "looks":
        return ("box", "open") if "key_points" in layers else ("image", "box")
    return ("image", "upright") if config.frame == "upright" else (config.frame,)


def source_of(dataset: Dataset, split: str, config: DataConfig, view: View) -> Source:
    """Returns what training reads: the records of a split, once for each of the looks that the network learns.

    Images of `data.emphasis` come as often as all together.

    Raises:
      UserError: for annotation files that cannot be used, or that name no image of the split.
    """
    views = [dataclasses.replace(view, frame=frame) for frame in looks_of(config, view.layers)]
    sources: list[Source] = [dataset.split(split, one) for one in views]
    if config.emphasis:
        labels = drawn.AnnotatedLabels(tuple(drawn.read(pathlib.Path(config.emphasis).expanduser())))
        few = [dataset.split(split, dataclasses.replace(one, labels=labels)) for one in views]
        if not len(few[0]):
            raise UserError(f"{config.emphasis}: names no image of the split {split!r} of {dataset.path}")
        sources += [Repeated(one, len(sources[0])) for one in few]
    return sources[0] if len(sources) == 1 else Interleaved(sources)
