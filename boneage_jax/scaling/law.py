"""L = E + A / N^a + B / D^b: fitted, with intervals, and turned into the best use of compute.

Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models" (arXiv 2203.15556), approach 3, with images for
tokens: N weights, D training images, L an error that is above 0. Errors scatter by a part of themselves, so logarithms
are compared.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.optimize
from jaxtyping import Float
from numpy.typing import ArrayLike

_STEEPEST = 3.0
"""Largest exponent of the search; chosen by eye, far above those of published laws (Hoffmann et al.: 0.34, 0.28)."""

_GRID = np.array([0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0])
"""Exponents that the search starts from; chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Law:
    """The law.

    Attributes:
      floor: E, the error that no network and no number of images removes.
      of_weights: A.
      weights_exponent: a.
      of_images: B.
      images_exponent: b.
    """

    floor: float
    of_weights: float
    weights_exponent: float
    of_images: float
    images_exponent: float

    def __call__(self, weights: ArrayLike, images: ArrayLike) -> Float[np.ndarray, "*n"]:
        """Returns the error of networks by their number of weights and of training images."""
        weights, images = np.asarray(weights, np.float64), np.asarray(images, np.float64)
        by_weights = self.of_weights * weights**-self.weights_exponent
        return np.asarray(self.floor + by_weights + self.of_images * images**-self.images_exponent)


def fit(
    weights: Float[np.ndarray, " n"],
    images: Float[np.ndarray, " n"],
    error: Float[np.ndarray, " n"],
    *,
    start: Law | None = None,
) -> Law:
    """Returns the law that is nearest to errors in their logarithms.

    For given exponents the other three are a linear problem, solved without negative ones; from the best few pairs of
    exponents all five are refined together.

    Args:
      weights: of each network.
      images: that it has learnt from.
      error: above 0.
      start: a law nearby, to begin from; None to look everywhere.

    Raises:
      ValueError: for fewer than five errors, or fewer than three different numbers of weights or of images.
    """
    weights, images, error = (np.asarray(values, np.float64) for values in (weights, images, error))
    if len(error) < 5 or len(np.unique(weights)) < 3 or len(np.unique(images)) < 3:
        raise ValueError("a law of five numbers needs five runs, of at least three sizes of network and of data")
    # Relative to the middle of the runs, numbers are near 1.
    middle = np.exp(np.log(weights).mean()), np.exp(np.log(images).mean())
    n, d, target = weights / middle[0], images / middle[1], np.log(error)

    def residuals(p: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(p[0] + p[1] * n ** -p[3] + p[2] * d ** -p[4]) - target)

    def slopes(p: np.ndarray) -> np.ndarray:
        by_n, by_d = n ** -p[3], d ** -p[4]
        value = p[0] + p[1] * by_n + p[2] * by_d
        columns = [np.ones_like(n), by_n, by_d, -p[1] * by_n * np.log(n), -p[2] * by_d * np.log(d)]
        return np.stack(columns, axis=1) / value[:, None]

    if start is None:
        starts = _starts(n, d, error)
    else:
        by_n = start.of_weights * middle[0] ** -start.weights_exponent
        by_d = start.of_images * middle[1] ** -start.images_exponent
        starts = [np.array([start.floor, by_n, by_d, start.weights_exponent, start.images_exponent])]
    least = np.array([0.0, 1e-9, 1e-9, 1e-3, 1e-3])
    most = np.array([np.inf, np.inf, np.inf, _STEEPEST, _STEEPEST])
    found = [
        scipy.optimize.least_squares(
            residuals, np.clip(p, least + 1e-9, most - 1e-9), jac=slopes, bounds=(least, most), x_scale="jac"
        )
        for p in starts
    ]
    e, a_here, b_here, a, b = min(found, key=lambda one: one.cost).x
    return Law(float(e), float(a_here * middle[0] ** a), float(a), float(b_here * middle[1] ** b), float(b))


def _starts(n: np.ndarray, d: np.ndarray, error: np.ndarray, keep: int = 4) -> list[np.ndarray]:
    """The best few of a grid of exponents, with the other three numbers that go with them."""
    tried = []
    for a in _GRID:
        for b in _GRID:
            columns = np.stack([np.ones_like(n), n**-a, d**-b], axis=1)
            # Divided by the error, as its logarithm sees it.
            (e, of_n, of_d), rest = scipy.optimize.nnls(columns / error[:, None], np.ones_like(error))
            tried.append((rest, np.array([e, of_n, of_d, a, b])))
    return [p for _, p in sorted(tried, key=lambda pair: pair[0])[:keep]]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A law with its uncertainty.

    Attributes:
      law: the nearest.
      laws: laws of resampled studies: see `fit_with_intervals`.
      scatter: standard deviation of the errors about the law, as a part of themselves.
    """

    law: Law
    laws: tuple[Law, ...]
    scatter: float

    def interval(self, name: str) -> tuple[float, float]:
        """Returns both ends of the 95% interval of one of the law's numbers."""
        low, high = np.percentile([getattr(law, name) for law in self.laws], [2.5, 97.5])
        return float(low), float(high)

    def band(
        self, weights: Float[np.ndarray, " n"], images: Float[np.ndarray, " n"], *, of_a_run: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns both ends of the 95% interval of the error, of the mean of many runs or of a single one."""
        values = np.log(np.stack([law(weights, images) for law in self.laws]))
        if of_a_run:
            values = values + np.random.default_rng(0).normal(0.0, self.scatter, values.shape)
        low, high = np.percentile(values, [2.5, 97.5], axis=0)
        return np.exp(low), np.exp(high)


def fit_with_intervals(
    weights: Float[np.ndarray, " n"],
    images: Float[np.ndarray, " n"],
    error: Float[np.ndarray, " n"],
    *,
    resamples: int = 200,
    seed: int = 0,
) -> Fitted:
    """Fits the law, and fits it again to studies that are drawn from it.

    A parametric bootstrap (Efron and Tibshirani 1993, section 6.5): errors are drawn about the law with the scatter
    that is left, divided by n - 5 and not by n, for five numbers were fitted; and as that scatter is an estimate
    itself, each study draws its own from its chi-square distribution, so that small studies get wide intervals.

    Args:
      weights: see `fit`.
      images: see `fit`.
      error: see `fit`.
      resamples: studies that are drawn.
      seed: of these.

    Raises:
      ValueError: see `fit`; and for fewer than seven errors, which leave no scatter to see.
    """
    if len(error) < 7:
        raise ValueError(f"{len(error)} runs: expected at least 7 to say how sure a law of five numbers is")
    law = fit(weights, images, error)
    expected = law(weights, images)
    freedom = len(error) - 5
    scatter = float(np.sqrt(np.square(np.log(error) - np.log(expected)).sum() / freedom))
    draws = np.random.default_rng(seed)
    laws = []
    for _ in range(resamples):
        own = scatter * np.sqrt(freedom / draws.chisquare(freedom))
        drawn = expected * np.exp(draws.normal(0.0, max(own, 1e-9), len(error)))
        laws.append(fit(weights, images, drawn, start=law))
    return Fitted(law, tuple(laws), scatter)


@dataclasses.dataclass(frozen=True)
class Compute:
    """Operations that training takes: `factor` x N^`exponent` for each image seen, `passes` times each.

    Attributes:
      factor: operations an image of a network of one weight.
      exponent: how they grow with the weights; 1 where all weights work alike on all images.
      passes: times that each image is seen.
    """

    factor: float
    exponent: float
    passes: float

    @classmethod
    def fit(cls, weights: Float[np.ndarray, " n"], operations: Float[np.ndarray, " n"], passes: float) -> Compute:
        """Fits the power of the weights to operations an image."""
        if len(np.unique(weights)) < 2:
            return cls(float(np.mean(np.asarray(operations) / np.asarray(weights))), 1.0, passes)
        exponent, offset = np.polyfit(np.log(weights), np.log(operations), 1)
        return cls(float(np.exp(offset)), float(exponent), passes)

    def of(self, weights: ArrayLike, images: ArrayLike) -> Float[np.ndarray, "*n"]:
        """Returns the operations of whole runs."""
        step = self.factor * np.asarray(weights, np.float64) ** self.exponent
        return np.asarray(step * self.passes * np.asarray(images))


def frontier(
    law: Law, compute: Compute, operations: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns the numbers of weights and of images whose error is least for so many operations.

    With C = k N^g D the error's derivative by N is 0 where N^(a + g b) = a A / (g b B) (C / k)^b.
    """
    a, b, g = law.weights_exponent, law.images_exponent, compute.exponent
    a, b = max(a, 1e-6), max(b, 1e-6)
    spent = np.asarray(operations, np.float64) / (compute.factor * compute.passes)
    weights = (a * law.of_weights / (g * b * law.of_images) * spent**b) ** (1 / (a + g * b))
    return weights, spent / weights**g
