"""Scores of predictions against readings, each with a bootstrap confidence interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

RESAMPLES = 2000
"""Bootstrap resamples of an interval; chosen by eye."""
CONFIDENCE = 0.95
"""Level of the intervals; the usual one."""

_SCORES: dict[str, Callable[..., Any]] = {
    "MAE": lambda error, axis=-1: np.mean(np.abs(error), axis=axis),
    "median": lambda error, axis=-1: np.median(np.abs(error), axis=axis),
    "RMSE": lambda error, axis=-1: np.sqrt(np.mean(error**2, axis=axis)),
    "bias": lambda error, axis=-1: np.mean(error, axis=axis),
    "within 6": lambda error, axis=-1: 100 * np.mean(np.abs(error) <= 6, axis=axis),
    "within 12": lambda error, axis=-1: 100 * np.mean(np.abs(error) <= 12, axis=axis),
}
"""Functions of the error, prediction minus reading, in months; the last two in percent."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A score and its 95% bootstrap percentile interval.

    Attributes:
      value: in months, or percent for `within`.
      low: lower end; equal to `value` where there is one image only.
      high: upper end.
    """

    value: float
    low: float
    high: float


def score_all(
    predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"], *, seed: int = 0
) -> dict[str, dict[str, Score | int]]:
    """Scores all images, and boys and girls apart.

    Args:
      predicted: bone ages in months.
      reading: the radiologists', in months.
      male: whether each child is a boy.
      seed: of the bootstrap.

    Returns:
      For `all`, `male` and `female` (where there are any): `images` and each score.
    """
    error = np.asarray(predicted, np.float64) - np.asarray(reading, np.float64)
    groups = {"all": np.ones(len(error), bool), "male": np.asarray(male), "female": ~np.asarray(male)}
    table: dict[str, dict[str, Score | int]] = {}
    for name, members in groups.items():
        if members.any():
            table[name] = {"images": int(members.sum()), **_scores(error[members], seed)}
    return table


def _scores(error: np.ndarray, seed: int) -> dict[str, Score]:
    return {name: bootstrapped(error, score, seed=seed) for name, score in _SCORES.items()}


def mae(error: Float[np.ndarray, " n"], *, seed: int = 0) -> Score:
    """Returns the mean absolute error with its interval, in the error's unit."""
    return named("MAE", error, seed=seed)


def named(name: str, error: Float[np.ndarray, " n"], *, seed: int = 0) -> Score:
    """Returns one of the scores of `score_all` by its name, with its interval."""
    return bootstrapped(np.asarray(error, np.float64), _SCORES[name], seed=seed)


def bootstrapped(values: Float[np.ndarray, " n"], score: Callable[..., Any], *, seed: int = 0) -> Score:
    """Returns a score of values with its 95% bootstrap percentile interval; a point where there is one value.

    Args:
      values: of the images, at least one.
      score: function of values along `axis`.
      seed: of the bootstrap.
    """
    value = float(score(values))
    if len(values) < 2:
        return Score(value, value, value)
    import scipy.stats  # half a second, of which most uses of this module need nothing

    interval = scipy.stats.bootstrap(
        (values,),
        score,
        n_resamples=RESAMPLES,
        batch=200,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Score(value, float(interval.low), float(interval.high))


def as_text(table: dict[str, dict[str, Score | int]]) -> str:
    """Returns the table for people: a row for each group, each score with its interval."""
    header = f"{'':<8}{'images':>7}" + "".join(f"{_title(name):>24}" for name in _SCORES)
    lines = [header]
    for group, scores in table.items():
        line = f"{group:<8}{scores['images']:>7}"
        for name in _SCORES:
            score = scores[name]
            assert isinstance(score, Score)
            line += f"{score.value:>8.2f} [{score.low:.2f}, {score.high:.2f}]".rjust(24)
        lines.append(line)
    lines.append(f"months; bias is prediction minus reading; [95% bootstrap interval, {RESAMPLES} resamples]")
    return "\n".join(lines)


def _title(name: str) -> str:
    return f"{name} months (%)" if name.startswith("within") else name


def shown(score: Score, *, sign: bool = False) -> str:
    """Returns a score in months with its interval, as in `5.95 [5.52, 6.40]`; with `sign`, of a difference."""
    form = "+.2f" if sign else ".2f"
    return f"{score.value:{form}} [{score.low:{form}}, {score.high:{form}}]"


def as_dict(table: dict[str, dict[str, Score | int]]) -> dict[str, dict[str, object]]:
    """Returns the table in types that JSON has."""
    return {
        group: {
            name: dataclasses.asdict(score) if isinstance(score, Score) else score for name, score in scores.items()
        }
        for group, scores in table.items()
    }
