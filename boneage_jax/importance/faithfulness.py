"""How far a method can be believed: by the truth, by what deleting does, by a network without training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from boneage_jax.analysis.scores import CONFIDENCE, Score


def shares(importance: Float[np.ndarray, "n areas"]) -> Float[np.ndarray, " areas"]:
    """Returns each area's part of the importance of all, over all images: the mean size, whichever its sign."""
    size = np.abs(np.asarray(importance, np.float64)).mean(0)
    return size / max(float(size.sum()), 1e-12)


def explained(importance: Float[np.ndarray, "n areas"]) -> Float[np.ndarray, " areas"]:
    """Returns each area's part of what the sums over all areas differ by from image to image.

    The covariance of an area's part with the sum, over the variance of the sum: the parts add up to 1 (Shapley effects,
    Owen 2014, "Sobol' indices and Shapley value", for the Shapley values of a network's own predictions). For methods
    whose parts add up to a difference of predictions. What a network makes of a bone without reason is as often up as
    down: it counts in `shares`, and cancels here.

    Args:
      importance: of each image's areas, with its sign.
    """
    values = np.asarray(importance, np.float64)
    total = values.sum(1)
    scattered = total - total.mean()
    return (values - values.mean(0)).T @ scattered / max(float(scattered @ scattered), 1e-12)


def shares_with_interval(
    importance: Float[np.ndarray, "n areas"],
    of: Callable[[Float[np.ndarray, "n areas"]], Float[np.ndarray, " areas"]] = shares,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns `shares`, or other parts of a whole, and both ends of their 95% bootstrap intervals."""
    low, high = bootstrapped(lambda rows: of(importance[rows]), len(importance))
    return of(importance), low, high


def bootstrapped(
    statistic: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, " *k"]], count: int, *, resamples: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Returns both ends of the 95% percentile interval of a statistic over images drawn with replacement.

    Args:
      statistic: of the numbers of the images that were drawn.
      count: of images.
      resamples: how often.
    """
    draws = np.random.default_rng(0)
    values = np.stack([np.asarray(statistic(draws.integers(0, count, count))) for _ in range(resamples)])
    tail = 50 * (1 - CONFIDENCE)
    return np.percentile(values, tail, axis=0), np.percentile(values, 100 - tail, axis=0)


def agreement(importance: Float[np.ndarray, "n areas"], truth: Float[np.ndarray, "n areas"]) -> Score:
    """Returns the rank correlation of a method's areas with the truth's, for the mean over all images (Spearman).

    Args:
      importance: of each image's areas; its sign is left out.
      truth: likewise: the change of the prediction when the bone alone is aged.
    """

    def of(rows: Int[np.ndarray, " n"]) -> np.ndarray:
        return np.array(rank_correlation(shares(importance[rows]), shares(truth[rows])))

    low, high = bootstrapped(of, len(importance))
    return Score(float(of(np.arange(len(importance)))), float(low), float(high))


def agreement_by_image(importance: Float[np.ndarray, "n areas"], truth: Float[np.ndarray, "n areas"]) -> float:
    """Returns the mean over images of the rank correlation of each image's own areas."""
    pairs = zip(np.abs(importance), np.abs(truth), strict=True)
    return float(np.mean([rank_correlation(mine, theirs) for mine, theirs in pairs]))


def rank_correlation(a: Float[np.ndarray, " k"], b: Float[np.ndarray, " k"]) -> float:
    """Returns Spearman's rank correlation; 0 where all of one are equal."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(a, b).statistic)


def places(importance: Float[np.ndarray, "n areas"]) -> Int[np.ndarray, "n areas"]:
    """Returns each area's place in the order of importance, 0 the most important."""
    order = np.argsort(-np.abs(importance), axis=1, kind="stable")
    return np.argsort(order, axis=1, kind="stable").astype(np.int32)


def deletion(months: Float[np.ndarray, "n steps"]) -> float:
    """Returns how soon the age leaves what it was as areas are replaced, most important first: 0 to about 1.

    The mean distance from the first age over all steps, as a part of that at the last step. Half is what an order that
    knows nothing gets where all areas count alike; more is better.
    """
    way = np.abs(months - months[:, :1])
    return float(way.mean() / max(float(way[:, -1].mean()), 1e-12))


def insertion(months: Float[np.ndarray, "n steps"]) -> float:
    """Returns how soon the age comes back as areas return to the filling: 1 at once, 0 only at the very end."""
    way = np.abs(months - months[:, -1:])
    return float(1 - way.mean() / max(float(way[:, 0].mean()), 1e-12))
