"""Options of `boneage plan`."""

from __future__ import annotations

import dataclasses

from boneage_jax.config import ExperimentConfig
from boneage_jax.options import option


@dataclasses.dataclass(frozen=True)
class PlanRequest:
    """What is planned.

    Attributes:
      config: the experiment.
    """

    config: ExperimentConfig
    _: dataclasses.KW_ONLY
    topology: str = option("", "slice of TPUs, as in v5e:16x16", default_text="the devices here")
    batch_a_chip: int = option(0, "images a chip", low=1, default_text="the config's batch")
    images: int = option(
        0, "images of the training split", low=1, default_text="the dataset's, or RSNA's where it is not there"
    )
    largest: bool = option(True, "do not look for the largest batch that fits", negated="--no-largest")
    scaling: bool = option(True, "do not compile for a single chip to compare with", negated="--no-scaling")
