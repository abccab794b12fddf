"""From a config to the way its dataset is read."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.config import DataConfig
from boneage_jax.data import annotations as drawn
from boneage_jax.data import frames
from boneage_jax.data.examples import Labels, Layer, View
from boneage_jax.data.sources import Dataset, Interleaved, Source


def view_of(config: DataConfig, layers: tuple[Layer, ...] = (), *, evaluation: bool = False) -> View:
    """Returns the view of a config, with the layers that a task learns from.

    Args:
      config: of the data.
      layers: see `View`.
      evaluation: whether the evaluation split is read, which may have masks of its own.

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
        first_look(config),
        config.contrast == "local",
        tuple(config.feature.split("+")),
        tuple(filter(None, config.regions.split("+"))),
        config.sex,
        layers,
        labels,
    )


def first_look(config: DataConfig) -> frames.Frame:
    """Returns the frame of the first look of a network that looks twice, or its only one."""
    return "image" if config.frame == "looks" else config.frame


def source_of(dataset: Dataset, split: str, config: DataConfig, view: View) -> Source:
    """Returns what training reads: the records of a split, each twice where the network is to look twice."""
    records = dataset.split(split, view)
    if config.frame != "looks":
        return records
    return Interleaved([records, dataset.split(split, dataclasses.replace(view, frame="box"))])
