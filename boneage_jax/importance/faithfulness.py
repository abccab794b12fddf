"""How faithful a method is to the network: by the truth, by deletion and insertion, by a network without training.

Statistics of importance first, then the scores of one method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from boneage_jax.analysis.scores import CONFIDENCE, Score
from boneage_jax.importance.method import Importance


def shares(importance: Float[np.ndarray, "n areas"]) -> Float[np.ndarray, " areas"]:
    """Returns each area's share of all importance: its mean absolute value over the images, by the sum of all."""
    size = np.abs(np.asarray(importance, np.float64)).mean(0)
    return size / max(float(size.sum()), 1e-12)


def explained(importance: Float[np.ndarray, "n areas"]) -> Float[np.ndarray, " areas"]:
    """Returns each area's part of the variance, from image to image, of the sum over all areas.

    The covariance of an area's importance with the sum, over the variance of the sum: the parts add up to 1 (Shapley
    effects, Owen 2014, "Sobol' indices and Shapley value", for the Shapley values of a network's own predictions). For
    additive methods, whose values add up to a difference of predictions. An effect of a bone that has nothing to do
    with the prediction is positive as often as negative: it counts in `shares`, and cancels here.

    Args:
      importance: of each image's areas, signed, in months.
    """
    values = np.asarray(importance, np.float64)
    total = values.sum(1)
    scattered = total - total.mean()
    return (values - values.mean(0)).T @ scattered / max(float(scattered @ scattered), 1e-12)


def shares_with_interval(
    importance: Float[np.ndarray, "n areas"],
    of: Callable[[Float[np.ndarray, "n areas"]], Float[np.ndarray, " areas"]] = shares,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns `shares`, or another statistic of the areas, and both ends of its 95% bootstrap interval."""
    low, high = bootstrapped(lambda rows: of(importance[rows]), len(importance))
    return of(importance), low, high


def bootstrapped(
    statistic: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, " *k"]], count: int, *, resamples: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Returns both ends of the 95% percentile interval of a statistic over images drawn with replacement.

    Args:
      statistic: from the numbers of the images that were drawn.
      count: number of images.
      resamples: number of draws.
    """
    draws = np.random.default_rng(0)
    values = np.stack([np.asarray(statistic(draws.integers(0, count, count))) for _ in range(resamples)])
    tail = 50 * (1 - CONFIDENCE)
    return np.percentile(values, tail, axis=0), np.percentile(values, 100 - tail, axis=0)


def agreement(importance: Float[np.ndarray, "n areas"], truth: Float[np.ndarray, "n areas"]) -> Score:
    """Returns the rank correlation of a method's areas with the truth's, for the mean over all images (Spearman).

    Args:
      importance: of each image's areas; its sign is ignored.
      truth: likewise: the change of the prediction when the bone alone is older, see `truth.importance`.
    """

    def of(rows: Int[np.ndarray, " n"]) -> np.ndarray:
        return np.array(rank_correlation(shares(importance[rows]), shares(truth[rows])))

    low, high = bootstrapped(of, len(importance))
    return Score(float(of(np.arange(len(importance)))), float(low), float(high))


def agreement_by_image(importance: Float[np.ndarray, "n areas"], truth: Float[np.ndarray, "n areas"]) -> float:
    """Returns the mean over images of the rank correlation of each image's own areas."""
    pairs = zip(np.abs(importance), np.abs(truth), strict=True)
    return float(np.mean([rank_correlation(found, true) for found, true in pairs]))


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
    """Returns how soon the age departs from its first value as areas are replaced, most important first: 0 to about 1.

    The mean distance from the first age over all steps, as a part of that at the last step. A random order gets about
    0.5 where all areas count alike; more is better.
    """
    distance = np.abs(months - months[:, :1])
    return float(distance.mean() / max(float(distance[:, -1].mean()), 1e-12))


def insertion(months: Float[np.ndarray, "n steps"]) -> float:
    """Returns how soon the age returns as areas return into the filling: 1 at once, 0 only at the very end."""
    distance = np.abs(months - months[:, -1:])
    return float(1 - distance.mean() / max(float(distance[:, 0].mean()), 1e-12))


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """How faithful a method is to the network.

    Attributes:
      bones: rank correlation with the truth over bones and its interval; None without truth, or for a method that is
        asked about groups alone.
      groups: likewise over groups.
      by_image: mean rank correlation with the truth, over groups, image by image; NaN without truth.
      deletion: see `deletion`.
      insertion: see `insertion`.
      untrained: mean rank correlation, over groups and image by image, with the method's answer for the same network
        without training (Adebayo et al. 2018, "Sanity Checks for Saliency Maps"): less is better.
    """

    bones: Score | None
    groups: Score | None
    by_image: float
    deletion: float
    insertion: float
    untrained: float

    @property
    def merit(self) -> float:
        """The score that orders methods: agreement with the truth, image by image, or else deletion and insertion."""
        return self.by_image if np.isfinite(self.by_image) else (self.deletion + self.insertion) / 2


def against_truth(found: Importance, truth: Importance | None) -> tuple[Score | None, Score | None, float]:
    """Returns `bones`, `groups` and `by_image` of `Faithfulness`.

    Column 0 belongs to no bone and has no truth: it is left out.
    """
    if truth is None or truth.areas is None:
        return None, None, float("nan")
    bones = None if found.areas is None else agreement(found.areas[:, 1:], truth.areas[:, 1:])
    groups, true_groups = found.groups[:, 1:], truth.groups[:, 1:]
    return bones, agreement(groups, true_groups), agreement_by_image(groups, true_groups)


def most_faithful(scores: Mapping[str, Faithfulness]) -> str:
    """Returns the name of the method of the greatest merit; of equal ones the first."""
    return max(scores, key=lambda name: scores[name].merit)
