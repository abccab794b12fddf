"""A length of training, in one unit."""

from __future__ import annotations

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Duration:
    """A length of training in exactly one unit: `2000 steps`, `50 epochs`, `1e6 examples`, or `10%` of the run.

    Attributes:
      amount: positive number of units.
      unit: `steps`, `epochs`, `examples` or `%`.
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Parses `<number> <unit>`. Raises ValueError for anything else."""
        match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(steps?|epochs?|examples?|%)\s*", text)
        if not match or not float(match[1]) > 0:
            raise ValueError("a positive number and one of steps, epochs, examples or %, as in '50 epochs'")
        unit = match[2] if match[2] == "%" else match[2].rstrip("s") + "s"
        return cls(float(match[1]), unit)

    def in_steps(self, *, batch_size: int, examples_per_epoch: int, total_steps: int | None = None) -> int:
        """Returns the duration in steps, rounded up, at least 1.

        Args:
          batch_size: global batch size, in images.
          examples_per_epoch: number of images in the training split.
          total_steps: length of the run, needed for percentages.

        Raises:
          ValueError: for a percentage where `total_steps` is not given.
        """
        if self.unit == "%":
            if total_steps is None:
                raise ValueError("the length of a run cannot be a percentage of itself")
            steps = self.amount / 100 * total_steps
        else:
            per_unit = {"steps": 1, "epochs": examples_per_epoch / batch_size, "examples": 1 / batch_size}
            steps = self.amount * per_unit[self.unit]
        return max(1, math.ceil(steps - 1e-9))
