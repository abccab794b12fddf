"""Options of `boneage scaling`."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.config import ExperimentConfig
from boneage_jax.options import option


@dataclasses.dataclass(frozen=True)
class ScalingRequest:
    """What is varied about a config. Images and widths form a grid; the other axes are each varied alone.

    Attributes:
      config: the experiment; its training length must be in epochs, so that each run sees its images equally often.
    """

    config: ExperimentConfig
    out: pathlib.Path = option(help="folder for runs, tables and page")
    images: tuple[int, ...] = option(help="numbers of training images, three or more")
    _: dataclasses.KW_ONLY
    widths: tuple[float, ...] = option((0.5, 1.0, 2.0), "factors of the widths, three or more")
    depths: tuple[int, ...] = option((), "blocks (vgg), levels (unet) or layers (resnet)")
    scales: tuple[float, ...] = option((), "factors of the input's height and width")
    batches: tuple[int, ...] = option((), "batch sizes")
    seeds: int = option(1, "runs of each kind, whose errors are averaged", low=1)
    hold_out: int = option(1, "number of the largest runs to test the law on, without fitting it to them", low=0)
