"""The largest batch that fits into a chip's memory, found by compiling."""

from __future__ import annotations

import math

from jax.sharding import Mesh

from boneage_jax.config import ExperimentConfig
from boneage_jax.planning.chips import Chip
from boneage_jax.planning.cost import DoesNotFit, StepCost, step_cost, with_batch
from boneage_jax.planning.progress import say

_TRIES = 6
"""Most sizes that are compiled in search of the largest batch: each takes minutes for a TPU; chosen by eye."""

_CLOSE = 1.1
"""The search ends where a size that does not fit is within this factor of one that does; chosen by eye."""


def largest_batch(config: ExperimentConfig, one: Mesh, chip: Chip, cost: StepCost) -> int:
    """Returns the most images a chip that were compiled and fit; 0 where no size fits.

    Memory grows as a straight line at first, from which the next size to compile follows. Near the limit TPU compilers
    compute values twice in place of keeping them, and much more may fit than on the line: from there on the gap between
    a size that fits and one that does not is halved.

    Args:
      config: the experiment.
      one: mesh of a single chip, or of the smallest slice.
      chip: its memory.
      cost: of a step at the config's batch size.
    """
    unit = config.train.accumulation * (8 if cost.images >= 8 else 1)
    known = [(cost.images, float(cost.memory))]
    best = int(cost.images) if cost.memory <= chip.memory else 0
    too_large = math.inf
    for _ in range(_TRIES):
        if too_large <= _CLOSE * best + unit:
            break
        between = math.sqrt(best * too_large) if best else too_large / 2
        size = int(min(_on_the_line(known, chip.memory), between)) // unit * unit
        if too_large == math.inf:
            size = max(size, math.ceil(_CLOSE * best / unit) * unit, unit)
        if size <= best:
            break
        say(f"compiling for {size} images a chip")
        try:
            needed = float(step_cost(with_batch(config, size * one.size), one).memory)
            known.append((size, needed))
        except DoesNotFit:  # then the compiler gives no size
            needed = math.inf
        if needed <= chip.memory:
            best = size
        else:
            too_large = size
    return best


def _on_the_line(known: list[tuple[float, float]], memory: float) -> float:
    """Images that a memory holds, by the straight line through the last two sizes, or through one and nothing."""
    images, needed = known[-1]
    if len(known) == 1:
        return images * memory / needed
    before, needed_before = known[-2]
    slope = (needed - needed_before) / (images - before)
    return images + (memory - needed) / slope if slope > 0 else 2 * images
