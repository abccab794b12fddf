"""What a scaling study varies: each kind of run, and the config of it."""

from __future__ import annotations

import dataclasses
import itertools

from boneage_jax.config import ExperimentConfig
from boneage_jax.models import registry
from boneage_jax.scaling.request import ScalingRequest


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of run: what differs from the config of the study.

    Attributes:
      images: number of training images.
      width: factor of the widths.
      depth: see `Architecture.resized`; 0 for the config's.
      scale: factor of height and width.
      batch: batch size; 0 for the config's.
    """

    images: int
    width: float = 1.0
    depth: int = 0
    scale: float = 1.0
    batch: int = 0

    @property
    def name(self) -> str:
        """Part of the names of its folders."""
        parts = [f"images{self.images}", f"width{self.width:g}"]
        parts += [f"depth{self.depth}"] if self.depth else []
        parts += [f"scale{self.scale:g}"] if self.scale != 1 else []
        parts += [f"batch{self.batch}"] if self.batch else []
        return "-".join(parts)

    def config(self, base: ExperimentConfig, seed: int) -> ExperimentConfig:
        """Returns the config of a run, not yet validated.

        Args:
          base: config of the study.
          seed: number of the run among those of its kind, from 0.

        Raises:
          UserError: for an architecture that is not known.
        """
        model = registry.named(base.model.name).resized(base.model, width=self.width, depth=self.depth)
        data = dataclasses.replace(
            base.data,
            train_split=f"{base.data.train_split}[:{self.images}]",
            height=round(base.data.height * self.scale),
            width=round(base.data.width * self.scale),
        )
        trained = dataclasses.replace(
            base.train, seed=base.train.seed + seed, batch_size=self.batch or base.train.batch_size
        )
        return dataclasses.replace(base, model=model, data=data, train=trained)


def kinds_of(request: ScalingRequest) -> tuple[list[Kind], dict[str, list[Kind]]]:
    """Returns the kinds of the grid, and those of the other axes about its largest set of images at width 1."""
    grid = [Kind(images, width) for images, width in itertools.product(request.images, request.widths)]
    base = Kind(max(request.images))
    alone = {
        "depth": [dataclasses.replace(base, depth=depth) for depth in request.depths],
        "scale": [dataclasses.replace(base, scale=scale) for scale in request.scales],
        "batch": [dataclasses.replace(base, batch=batch) for batch in request.batches],
    }
    return grid, {axis: kinds for axis, kinds in alone.items() if kinds}
