"""Options of `boneage scaling` and `boneage learning-curve`."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.config import ExperimentConfig
from boneage_jax.options import option

RANDOM = "random"
"""Stands for random weights among the starts of a learning curve."""


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


@dataclasses.dataclass(frozen=True)
class LearningCurveRequest:
    """How many labelled images a start is worth: runs of one config from several starts.

    Attributes:
      config: the experiment; the length of its training is in epochs, see `least_steps`.
    """

    config: ExperimentConfig
    out: pathlib.Path = option(help="folder for runs, JSON and page")
    images: tuple[int, ...] = option(
        help="numbers of training images; 0 for the starts as they are; three above 0 make a law"
    )
    starts: tuple[str, ...] = option(
        help=f"what training starts from: `{RANDOM}`, or networks as train.start names them, as in phantom_only:age0"
    )
    _: dataclasses.KW_ONLY
    least_steps: int = option(
        800, "least number of steps of a run: few images are seen more often than train.length says", low=1
    )
    seeds: int = option(3, "runs of each kind, each with images of its own", low=1)
    seeds_up_to: int = option(1000, "more images than these are trained on once", low=0)
    lines: bool = option(
        True, "leave out the starts corrected by a line for each sex, fitted to the same images", negated="--no-lines"
    )
