"""Whether one model is better than another on the same images."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.stats
from jaxtyping import Float

from boneage_jax.analysis.scores import Score, bootstrapped


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
      difference: MAE of the first minus that of the second, in months, with its paired bootstrap interval.
      p: two-sided, of Wilcoxon's signed-rank test on the pairs of absolute errors; 1 where all pairs are equal.
    """

    difference: Score
    p: float


def compare(error: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"], *, seed: int = 0) -> Comparison:
    """Compares two models' errors on the same images.

    Args:
      error: prediction minus reading of the first model, in months.
      other: that of the second, of the same images in the same order.
      seed: of the bootstrap.
    """
    pairs = np.abs(np.asarray(error, np.float64)) - np.abs(np.asarray(other, np.float64))
    difference = bootstrapped(pairs, np.mean, seed=seed)
    return Comparison(difference, float(scipy.stats.wilcoxon(pairs).pvalue) if pairs.any() else 1.0)


def holm(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Returns p values corrected for their number (Holm 1979), so that each may be held against the level by itself."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    stepped = np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(stepped)
    return corrected
