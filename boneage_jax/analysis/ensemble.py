"""Several models' predictions as one: averages, fitted weights, and the correction of linear bias."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.optimize
from jaxtyping import Float


def average(predicted: Float[np.ndarray, "models n"]) -> Float[np.ndarray, " n"]:
    """Returns the mean over models, as in the paper."""
    return np.asarray(predicted, np.float64).mean(0)


def mixture(
    months: Float[np.ndarray, "models n"], spread: Float[np.ndarray, "models n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns mean and standard deviation of the equal mixture of several models' distributions.

    Args:
      months: means, in months; NaN where a model says nothing of a child.
      spread: standard deviations, in months.

    Returns:
      The mean of the means, and the root of the mean variance plus the variance of the means (law of total variance);
      NaN where no model says anything.
    """
    known = np.isfinite(months)
    count = known.sum(0)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, months, 0.0).sum(0) / count
        between = np.where(known, np.square(months - mean), 0.0).sum(0) / count
        within = np.where(known, np.square(spread), 0.0).sum(0) / count
    return mean, np.sqrt(within + between)


def fitted_weights(
    predicted: Float[np.ndarray, "models n"], reading: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " models"]:
    """Returns weights of 0 or more whose weighted sum is nearest to the readings (stacking, Breiman 1996).

    Non-negative least squares (Lawson and Hanson 1974, SciPy's). Fit them on a split that no model has learnt from.

    Args:
      predicted: bone ages in months.
      reading: in months.
    """
    weights, _ = scipy.optimize.nnls(np.asarray(predicted, np.float64).T, np.asarray(reading, np.float64))
    return weights


@dataclasses.dataclass(frozen=True)
class Debias:
    """Correction of a linear bias: predicted - (slope predicted + intercept), as Deeplasia's code has it.

    Networks draw extreme ages to the middle; the line is the error's, fitted on validation.

    Attributes:
      slope: months of error a month of prediction.
      intercept: error at a prediction of 0, in months.
    """

    slope: float = 0.0
    intercept: float = 0.0

    @classmethod
    def fit(cls, predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"]) -> Debias:
        """Returns the line of prediction minus reading over prediction, by least squares; none for constants."""
        x = np.asarray(predicted, np.float64)
        if len(x) < 2 or np.ptp(x) < 1e-9:
            return cls(0.0, float(np.mean(x - reading)) if len(x) else 0.0)
        slope, intercept = np.polyfit(x, x - np.asarray(reading, np.float64), 1)
        return cls(float(slope), float(intercept))

    def __call__(self, predicted: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Returns corrected predictions."""
        predicted = np.asarray(predicted, np.float64)
        return predicted - (self.slope * predicted + self.intercept)
