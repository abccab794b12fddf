"""How far predictions agree with readings, and how far the spread that a network states may be believed."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.stats
from jaxtyping import Float

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
"""Nominal coverages that tables state."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Bias and limits of agreement, in months.

    Attributes:
      bias: mean of prediction minus reading.
      low: bias - 1.96 standard deviations of the differences.
      high: bias + 1.96 standard deviations; both equal to `bias` where there is one image only.
    """

    bias: float
    low: float
    high: float


def agreement(error: Float[np.ndarray, " n"]) -> Agreement:
    """Returns bias and limits of agreement (Bland and Altman, Lancet 1986; 327: 307-310).

    Args:
      error: prediction minus reading, in months; at least one.
    """
    bias = float(error.mean())
    half = 1.96 * float(error.std(ddof=1)) if len(error) > 1 else 0.0
    return Agreement(bias, bias - half, bias + half)


def coverage(
    error: Float[np.ndarray, " n"], spread: Float[np.ndarray, " n"], levels: Float[np.ndarray, " levels"]
) -> Float[np.ndarray, " levels"]:
    """Returns the part of the readings inside the central interval of each nominal coverage.

    The intervals are those of a normal distribution about the prediction. A network whose spread can be believed has
    as many readings inside as the interval states (Kuleshov, Fenner and Ermon, ICML 2018).

    Args:
      error: prediction minus reading, in months.
      spread: standard deviation of each prediction as the network states it, in months; those that are not finite are
        left out. At least one has to be finite.
      levels: nominal coverages, from 0 to 1.
    """
    known = np.isfinite(spread)
    half = scipy.stats.norm.ppf(0.5 + 0.5 * np.asarray(levels))[:, None] * spread[known]
    return np.asarray((np.abs(error[known]) <= half).mean(axis=1))


def has_spread(spread: Float[np.ndarray, " n"]) -> bool:
    """Returns whether a network states a spread at all."""
    return bool(np.isfinite(spread).any())


@dataclasses.dataclass(frozen=True)
class Bin:
    """Images of neighbouring predictions.

    Attributes:
      count: of the images.
      predicted: mean of the predictions, in months.
      reading: mean of the readings, in months.
      low: lower end of the 95% interval of the mean reading (Student's t); equal to `reading` for one image.
      high: upper end.
    """

    count: int
    predicted: float
    reading: float
    low: float
    high: float


def by_prediction(predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], *, bins: int = 10) -> list[Bin]:
    """Returns predicted and read bone ages in bins of about as many images, by prediction; the reliability diagram.

    Where the mean reading of a bin is above its mean prediction, predictions of that size are too low.

    Args:
      predicted: bone ages as predicted, in months; at least one.
      reading: bone ages as read, in months.
      bins: at most; fewer where a bin would hold fewer than 5 images.
    """
    order = np.argsort(predicted, kind="stable")
    found = []
    for members in np.array_split(order, max(1, min(bins, len(order) // 5))):
        mean, half = float(reading[members].mean()), 0.0
        if len(members) > 1:
            error = float(reading[members].std(ddof=1)) / np.sqrt(len(members))
            half = float(scipy.stats.t.ppf(0.975, len(members) - 1)) * error
        found.append(Bin(len(members), float(predicted[members].mean()), mean, mean - half, mean + half))
    return found
