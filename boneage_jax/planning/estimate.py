"""A plan: memory, time and chip-hours of a run."""

from __future__ import annotations

import dataclasses

from boneage_jax.planning.chips import Chip
from boneage_jax.planning.collectives import Account
from boneage_jax.planning.cost import StepCost


@dataclasses.dataclass(frozen=True)
class Plan:
    """Memory, time and use of chips of a run.

    Attributes:
      where: slice or devices, as text.
      chip: its rates; None where they are not known.
      count: number of chips.
      batch_size: global.
      steps: number of steps of the run.
      cost: of a step on one chip, as it is trained.
      bytes: that the step reads and writes without the augmentation's resampling, which compilers count as if each of
        its gathers read whole images.
      purposes: the collectives, by purpose.
      seconds_arithmetic: arithmetic of a step, at the chip's rate; None without rates, as the others.
      seconds_memory: memory traffic of a step, likewise.
      seconds_links: of the collectives, one after the other and behind nothing.
      seconds_alone: bound of the same images on a single chip; None where it was not compiled.
      largest: most images a chip that fit; None where that was not looked for, or no limit is known.
      slices: weak scaling from a single chip to each usual slice up to this one, by name: the collectives of this
        program, over the links of that slice. Empty for other devices.
    """

    where: str
    chip: Chip | None
    count: int
    batch_size: int
    steps: int
    cost: StepCost
    bytes: float
    purposes: Account
    seconds_arithmetic: float | None = None
    seconds_memory: float | None = None
    seconds_links: float | None = None
    seconds_alone: float | None = None
    largest: int | None = None
    slices: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Seconds of a step: the longer of arithmetic and memory, and then the links."""
        if self.seconds_arithmetic is None or self.seconds_memory is None or self.seconds_links is None:
            return None
        return max(self.seconds_arithmetic, self.seconds_memory) + self.seconds_links

    @property
    def images_a_second(self) -> float | None:
        """Images a second of all chips."""
        return self.batch_size / self.seconds if self.seconds else None

    @property
    def hours(self) -> float | None:
        """Hours of the whole run."""
        return self.steps * self.seconds / 3600 if self.seconds else None

    @property
    def efficiency(self) -> float | None:
        """Efficiency of weak scaling: time of a chip's images on it alone, over their time in the slice."""
        return self.seconds_alone / self.seconds if self.seconds and self.seconds_alone else None
