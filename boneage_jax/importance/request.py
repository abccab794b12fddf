"""Options of `boneage importance`."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

from boneage_jax.options import option

Filling = Literal["other", "mean", "blur", "black"]
"""What a part of an image is replaced by: see `fillings`."""


@dataclasses.dataclass(frozen=True)
class ImportanceRequest:
    """What to ask of which run.

    Attributes:
      workers: threads that draw phantoms.
    """

    run: pathlib.Path = option(help="folder of an age network's run", positional=True)
    out: pathlib.Path = option(help="folder for tables, pictures and page")
    _: dataclasses.KW_ONLY
    data: pathlib.Path | None = option(None, "folder of built datasets", default_text="the run's")
    dataset: str = option("", "phantoms or registered hands", default_text="the run's")
    split: str = option("test", "split, in TFDS's notation")
    images: int = option(200, "most images, spread over the ages", low=1)
    filling: Filling = option(
        "other", "what a part is replaced by: another child's (other), the mean of all images, the image blurred, black"
    )
    methods: tuple[str, ...] = option((), "attribution methods, as in occlusion,shapley-values", default_text="all")
    beside: tuple[pathlib.Path, ...] = option(
        (), "run that sees another region, whose errors by stage stand beside this one's; repeatable", repeat=True
    )
    batch_size: int = option(32, "images at once", low=1)
    workers: int = 1
    seed: int = option(0, "seed of fillings, noise and the network without training", low=0)
