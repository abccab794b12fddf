"""Several models' predictions as one: averages, fitted weights, and the correction of linear bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float


def average(predicted: Float[np.ndarray, "models n"]) -> Float[np.ndarray, " n"]:
    """Returns the mean over models, as in the paper."""
    return np.asarray(predicted, np.float64).mean(0)


def mixture(
    months: Float[np.ndarray, "models n"],
    spread: Float[np.ndarray, "models n"],
    weights: Float[np.ndarray, " models"] | None = None,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns mean and standard deviation of the mixture of several models' distributions.

    Args:
      months: means, in months; NaN where a model does not answer for a child, as one of the other sex.
      spread: standard deviations, in months.
      weights: of the models, 0 or more; for each child those of the models that answer, whatever their sum. None for
        equal ones.

    Returns:
      The mean of the means, and the root of the mean variance plus the variance of the means (law of total variance);
      NaN where no model answers.
    """
    share = np.isfinite(months) * (np.ones(len(months)) if weights is None else weights)[:, None]
    total = share.sum(0)
    with np.errstate(invalid="ignore"):
        mean = np.where(share > 0, share * months, 0.0).sum(0) / total
        between = np.where(share > 0, share * np.square(months - mean), 0.0).sum(0) / total
        within = np.where(share > 0, share * np.square(spread), 0.0).sum(0) / total
    return mean, np.sqrt(within + between)


def fitted_weights(
    predicted: Float[np.ndarray, "models n"], reading: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " models"]:
    """Returns weights of 0 or more whose weighted sum is nearest to the readings (stacking, Breiman 1996).

    Non-negative least squares (Lawson and Hanson 1974, SciPy's). Fit them on a split that no model has learnt from.

    Args:
      predicted: bone ages in months; NaN where a model does not answer for a child, as one of the other sex.
      reading: in months.
    """
    import scipy.optimize  # a quarter of a second, for fitting only

    known = np.nan_to_num(np.asarray(predicted, np.float64), nan=0.0)
    weights, _ = scipy.optimize.nnls(known.T, np.asarray(reading, np.float64))
    return weights


@dataclasses.dataclass(frozen=True)
class Debias:
    """Correction of a linear bias: predicted - (slope predicted + intercept), as in Deeplasia's code.

    Networks pull extreme ages to the middle; the line is that of the error, fitted on a split that no network was
    trained on.

    Attributes:
      slope: months of error for each month of prediction.
      intercept: error at a prediction of 0, in months.
    """

    slope: float = 0.0
    intercept: float = 0.0

    @classmethod
    def fit(cls, predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"]) -> Debias:
        """Returns the line of prediction minus reading over prediction, by least squares; level for constant ones."""
        x = np.asarray(predicted, np.float64)
        if len(x) < 2 or np.ptp(x) < 1e-9:
            return cls(0.0, float(np.mean(x - reading)) if len(x) else 0.0)
        slope, intercept = np.polyfit(x, x - np.asarray(reading, np.float64), 1)
        return cls(float(slope), float(intercept))

    @classmethod
    def stretching(cls, predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"]) -> Debias:
        """Returns the line after which predictions have the mean and the standard deviation of the readings.

        The line of least squares leaves the ages of the youngest too old and of the oldest too young: the best guess of
        a reading lies nearer to the mean than the reading. This one, the reduced major axis, takes most of that away,
        and errs more in the mean. Level for constant predictions.
        """
        x, y = np.asarray(predicted, np.float64), np.asarray(reading, np.float64)
        if len(x) < 2 or np.ptp(x) < 1e-9:
            return cls.fit(x, y)
        stretch = float(y.std() / x.std())
        return cls(1 - stretch, stretch * float(x.mean()) - float(y.mean()))

    def __call__(self, predicted: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Returns corrected predictions."""
        predicted = np.asarray(predicted, np.float64)
        return predicted - (self.slope * predicted + self.intercept)


@dataclasses.dataclass(frozen=True)
class Blend:
    """How the ages of several models become one.

    Attributes:
      weights: of the models; None for their mean.
      debias: correction of the blended age.
    """

    weights: tuple[float, ...] | None = None
    debias: Debias = Debias()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Blend:
        """Returns the blend of the fields that `dataclasses.asdict` gives; the mean for an empty mapping."""
        weights = stored.get("weights")
        return cls(None if weights is None else tuple(weights), Debias(**stored.get("debias", {})))

    @classmethod
    def fit(
        cls,
        months: Float[np.ndarray, "models n"],
        reading: Float[np.ndarray, " n"],
        *,
        weighted: bool = False,
        corrected: bool = False,
        stretched: bool = False,
    ) -> Blend:
        """Returns the blend that fits readings best.

        Args:
          months: ages; NaN where a model does not answer for a child.
          reading: in months.
          weighted: whether weights are fitted; see `fitted_weights`.
          corrected: whether the linear bias of the result is corrected.
          stretched: whether the result is stretched to the spread of the readings, see `Debias.stretching`.

        Raises:
          ValueError: where a model answers for none of the children.
        """
        if not np.isfinite(months).any(1).all():
            raise ValueError("a model answers for none of the children")
        weights = tuple(map(float, fitted_weights(months, reading))) if weighted else None
        plain = cls(weights)
        if not (corrected or stretched):
            return plain
        blended, _ = plain(months, np.zeros_like(months))
        known = np.isfinite(blended)
        line = Debias.stretching if stretched else Debias.fit
        return cls(weights, line(blended[known], reading[known]))

    def __call__(
        self, months: Float[np.ndarray, "models n"], spread: Float[np.ndarray, "models n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Returns blended ages and their spread, in months, of models' ages and spreads; see `mixture`."""
        weights = None if self.weights is None else np.array(self.weights)
        mean, deviation = mixture(months, spread, weights)
        if weights is not None:
            # Fitted weights need not sum to 1: they correct the scale too.
            mean = mean * (np.isfinite(months) * weights[:, None]).sum(0)
        return self.debias(mean), deviation
