"""The experiments of the paper's table: model x head x region x sex."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
from collections.abc import Sequence

from boneage_jax import anatomy
from boneage_jax.errors import UserError

MODELS = {"m46": "VGG-style", "resnet50": "ResNet-50"}
HEADS = {"regression": "regression", "classification": "240 classes"}
REGIONS = {region.name: region.content for region in anatomy.CANVAS_REGIONS}
SEXES = {"all": "both sexes", "male": "boys", "female": "girls"}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A trained model of the table.

    Attributes:
      model: of `MODELS`.
      head: of `HEADS`.
      region: of `REGIONS`.
      sex: of `SEXES`: the children that it is trained on and evaluated on.
    """

    model: str
    head: str
    region: str
    sex: str

    @property
    def name(self) -> str:
        """As in `m46-regression-A-all`."""
        return f"{self.model}-{self.head}-{self.region}-{self.sex}"


EXPERIMENTS = tuple(Experiment(*parts) for parts in itertools.product(MODELS, HEADS, REGIONS, SEXES))
"""All of them: 36 with the three regions of the paper."""


def matching(patterns: Sequence[str]) -> list[Experiment]:
    """Returns the experiments whose names match any of the patterns, in order; all for none.

    Args:
      patterns: names, or with `*` as in `m46-*-A-*`.

    Raises:
      UserError: for a pattern that no experiment matches.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(experiment.name, pattern) for experiment in EXPERIMENTS):
            raise UserError(
                f"experiment {pattern!r}: expected MODEL-HEAD-REGION-SEX, as in {EXPERIMENTS[0].name}; "
                f"of {', '.join(MODELS)}; "
                f"{', '.join(HEADS)}; {', '.join(REGIONS)}; {', '.join(SEXES)}; * stands for any"
            )
    return [
        experiment
        for experiment in EXPERIMENTS
        if not patterns or any(fnmatch.fnmatchcase(experiment.name, p) for p in patterns)
    ]
