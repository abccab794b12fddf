"""L = E + B / D^b for each start: error by number of training images, with one floor for all starts.

The law of `scaling.law` for a network of one size (Hoffmann et al. 2022, arXiv 2203.15556, approach 3), fitted to
logarithms of errors. Starts differ in B and b; with images without end they come to the same error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.optimize
from jaxtyping import Float
from numpy.typing import ArrayLike

_STEEPEST = 3.0
"""Largest exponent of the search; chosen by eye, as in `scaling.law`."""

_STARTS = (0.1, 0.3, 0.6, 1.0)
"""Exponents that the search starts from; chosen by eye."""


@dataclasses.dataclass(frozen=True)
class CurveLaw:
    """The law of one start.

    Attributes:
      floor: E, the error that no number of images removes.
      factor: B.
      exponent: b.
    """

    floor: float
    factor: float
    exponent: float

    def __call__(self, images: ArrayLike) -> Float[np.ndarray, "*n"]:
        """Returns the error of networks by their number of training images."""
        return np.asarray(self.floor + self.factor * np.asarray(images, np.float64) ** -self.exponent)

    def images_for(self, error: float) -> float:
        """Returns the number of images that come to an error; infinity where none does."""
        if error <= self.floor or self.factor <= 0:
            return float("inf")
        return float((self.factor / (error - self.floor)) ** (1 / self.exponent))


def fit(points: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]) -> dict[str, CurveLaw]:
    """Fits the laws of all starts together.

    Args:
      points: of each start: numbers of images above 0, and errors above 0.

    Raises:
      ValueError: for a start of fewer than three different numbers of images.
    """
    for name, (images, _) in points.items():
        if len(np.unique(images)) < 3:
            raise ValueError(f"{name}: {len(np.unique(images))} numbers of images, expected at least 3 for a law")
    names = list(points)
    every = np.concatenate([images for images, _ in points.values()])
    middle = float(np.exp(np.log(every).mean()))
    scaled = {
        name: (np.asarray(images, np.float64) / middle, np.log(error)) for name, (images, error) in points.items()
    }
    lowest = min(float(np.min(error)) for _, error in points.values())

    def residuals(p: np.ndarray) -> np.ndarray:
        parts = []
        for n, name in enumerate(names):
            d, target = scaled[name]
            parts.append(np.log(p[0] + p[1 + 2 * n] * d ** -p[2 + 2 * n]) - target)
        return np.concatenate(parts)

    least = np.array([0.0, *([1e-9, 1e-3] * len(names))])
    most = np.array([np.inf, *([np.inf, _STEEPEST] * len(names))])
    found = []
    for exponent in _STARTS:
        for share in (0.3, 0.8):
            # From a floor below all errors, each start's factor at the middle of the images.
            floor = share * lowest
            first = [floor]
            for name in names:
                first += [max(1e-6, float(np.exp(np.mean(scaled[name][1]))) - floor), exponent]
            found.append(scipy.optimize.least_squares(residuals, np.array(first), bounds=(least, most), x_scale="jac"))
    p = min(found, key=lambda one: one.cost).x
    return {
        name: CurveLaw(float(p[0]), float(p[1 + 2 * n] * middle ** p[2 + 2 * n]), float(p[2 + 2 * n]))
        for n, name in enumerate(names)
    }
