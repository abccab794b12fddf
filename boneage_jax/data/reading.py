"""From a config to the way its dataset is read."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.data import annotations as drawn
from boneage_jax.data.examples import Labels, Layer, View
from boneage_jax.data.folds import Fold, read_patients
from boneage_jax.data.pipeline import Mixed
from boneage_jax.data.sources import Dataset, Interleaved, Repeated, Source
from boneage_jax.errors import UserError
from boneage_jax.region_spec import RegionNames
from boneage_jax.schema import DataConfig

MIX_SPLIT = "train"
"""Split of `data.mix` that is mixed into the training, whatever part of its own dataset a run learns from."""


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
        height=config.height,
        width=config.width,
        input_layout=config.input_layouts[0],
        local_contrast=config.contrast == "local",
        features=tuple(config.feature.split("+")),
        regions=RegionNames.parse(config.regions).names,
        sex=config.sex,
        layers=layers,
        labels=labels,
        fold=_fold_of(config, split, evaluation=evaluation),
    )


def _fold_of(config: DataConfig, split: str, *, evaluation: bool) -> Fold | None:
    if not config.folds or split.split("[")[0] != config.train_split.split("[")[0]:
        return None
    patients = read_patients(pathlib.Path(config.patients).expanduser()) if config.patients else {}
    return Fold(config.folds, config.fold, evaluation, patients)


def mixed_of(config: DataConfig, layers: tuple[Layer, ...] = ()) -> Mixed | None:
    """Returns what `data.mix` mixes into the training; None for nothing.

    Its images keep their own masks and key points, and are in no fold.

    Args:
      config: of the data.
      layers: see `View`.

    Raises:
      UserError: for a dataset that has not been built or lacks what the training reads.
    """
    if not config.mix:
        return None
    own = dataclasses.replace(config, name=config.mix, masks="", oversampled_masks="", key_points="", folds=0)
    return Mixed(source_of(Dataset.of(own), MIX_SPLIT, own, view_of(own, layers)), config.mix_share)


def epoch_of(images: int, config: DataConfig) -> int:
    """Returns the examples of an epoch: so many images of the dataset, with those of `data.mix` between them."""
    return round(images / (1.0 - config.mix_share)) if config.mix else images


def source_of(dataset: Dataset, split: str, config: DataConfig, view: View) -> Source:
    """Returns what training reads: the records of a split, once for each stage that the network learns.

    Images of `data.oversampled_masks` are drawn as often as all together.

    Raises:
      UserError: for annotation files that cannot be used, or that name no image of the split.
    """
    views = [dataclasses.replace(view, input_layout=layout) for layout in config.input_layouts]
    sources: list[Source] = [dataset.split(split, one) for one in views]
    if config.oversampled_masks:
        labels = drawn.AnnotatedLabels(tuple(drawn.read(pathlib.Path(config.oversampled_masks).expanduser())))
        few = [dataset.split(split, dataclasses.replace(one, labels=labels)) for one in views]
        if not len(few[0]):
            raise UserError(f"{config.oversampled_masks}: names no image of the split {split!r} of {dataset.path}")
        sources += [Repeated(one, len(sources[0])) for one in few]
    return sources[0] if len(sources) == 1 else Interleaved(sources)
