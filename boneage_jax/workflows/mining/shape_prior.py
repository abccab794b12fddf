"""How the shapes of given masks scatter, so that a predicted mask can be compared with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.errors import UserError

SMALLEST_AREA = 16
"""Pixels; anything smaller has no shape worth comparing."""

QUARTILES_TO_DEVIATION = 1.349
"""Distance of the quartiles of a normal distribution in standard deviations."""

SMALLEST_SPREAD = (0.15, 0.03, 0.06)
"""Least standard deviation of the numbers of `MaskShape`, so that a few masks that are much alike do not refuse all
others; chosen by eye, see docs/explanation/lab-notes.md."""


@dataclasses.dataclass(frozen=True)
class MaskShape:
    """Three numbers that describe the shape of a mask.

    Attributes:
      area: logarithm of its area over the image's.
      solidity: its area over that of its convex hull; fingers make it small.
      roughness: logarithm of its perimeter over the root of its area; large for spread fingers, larger for ragged
        masks.
    """

    area: float
    solidity: float
    roughness: float

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"]) -> MaskShape | None:
        """Returns the shape of a mask's largest piece; None where that has fewer than 16 pixels."""
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if not outlines:
            return None
        outline = max(outlines, key=cv2.contourArea)
        area = cv2.contourArea(outline)
        if area < SMALLEST_AREA:
            return None
        hull = cv2.contourArea(cv2.convexHull(outline))
        perimeter = cv2.arcLength(outline, closed=True)
        return cls(math.log(area / mask.size), area / hull, math.log(perimeter / math.sqrt(area)))


@dataclasses.dataclass(frozen=True)
class ShapePrior:
    """The distribution of the shapes of given masks.

    Attributes:
      centre: median of each number of `MaskShape`.
      spread: their standard deviations, estimated from the quartiles, at least `SMALLEST_SPREAD`.
    """

    centre: Float[np.ndarray, " 3"]
    spread: Float[np.ndarray, " 3"]

    @classmethod
    def of(cls, shapes: Iterable[MaskShape]) -> ShapePrior:
        """Returns the prior of given masks. Raises `UserError` where there are none."""
        values = np.array([dataclasses.astuple(shape) for shape in shapes])
        if not len(values):
            raise UserError("none of the labelled masks shows a hand")
        quartiles = np.percentile(values, (25, 75), axis=0)
        spread = np.maximum((quartiles[1] - quartiles[0]) / QUARTILES_TO_DEVIATION, SMALLEST_SPREAD)
        return cls(np.median(values, axis=0), spread)

    def distance(self, shape: MaskShape) -> float:
        """Returns the largest distance of a shape's numbers from the centre, in standard deviations."""
        return float((np.abs(np.array(dataclasses.astuple(shape)) - self.centre) / self.spread).max())
