"""Chooses quality thresholds for a pair of networks, from what was measured on hands.

A network of a few minutes' training is less certain of every mask than one of hours, and no less right to be used:
thresholds that were chosen for another pair would flag all of its hands. There are two methods:

- `by_quantile` needs no truth: it flags the most unusual of hands that are known to be ordinary;
- `by_failures` needs to know which hands failed, as of phantoms: it catches as many failures as it can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.hand import quality
from boneage_jax.hand.quality import Thresholds

LOW = ("expected", "agreement", "change")
"""Measures of the networks' predictions of which low values are flagged."""

HIGH = ("faint", "disagreement", "moved", "spread", "outside", "inside")
"""Measures of the networks' predictions of which high values are flagged."""

EXPOSURE = ("cut", "beyond")
"""Measures of how much of the hand lies outside the image, of which high values are flagged. Only `by_failures` chooses
their thresholds: ordinary hands do not tell how much may be missing."""

LEVELS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.014, 0.02, 0.03)
"""Fractions of the good hands that one threshold alone may flag, for `by_failures` to choose from. None is 0: a
threshold that few phantoms need may be needed by real images. Chosen by eye, see docs/explanation/lab-notes.md."""

_STARTS, _SWEEPS = 60, 8
"""Random starts of the search, and most sweeps from each; chosen by eye, see docs/explanation/lab-notes.md."""

_OVERSPENT, _SPENT = 10.0, 0.2
"""Cost of the flagged good hands beyond the budget, and of all flagged good hands, in caught failures, both as
fractions: the budget is kept, and of two searches that catch as many the one that flags fewer good hands wins."""

_NEVER: dict[str, Any] = {**dict.fromkeys(LOW, -np.inf), **dict.fromkeys((*HIGH, *EXPOSURE), np.inf)}


def by_quantile(
    measures: Sequence[Mapping[str, float]], share: float, base: Thresholds = Thresholds()
) -> tuple[Thresholds, float]:
    """Returns thresholds that flag a share of ordinary hands, and the share that they do flag.

    Every threshold of `LOW` and `HIGH` is at the same quantile of its measure, the mildest at which all together flag
    no more than the share: none is preferred, as nothing is known of which tells failures best.

    Args:
      measures: of ordinary hands; see `quality.MEASURES`. A missing measure is not flagged.
      share: of the hands, 0 to 1.
      base: all other thresholds.
    """
    columns = {name: np.array([float(row.get(name, np.nan)) for row in measures]) for name in (*LOW, *HIGH)}

    def at(level: float) -> tuple[dict[str, float], float]:
        thresholds = {name: float(np.nanquantile(columns[name], level)) for name in LOW}
        thresholds |= {name: float(np.nanquantile(columns[name], 1 - level)) for name in HIGH}
        flagged = np.zeros(len(measures), bool)
        for name in LOW:
            flagged |= columns[name] < thresholds[name]
        for name in HIGH:
            flagged |= columns[name] > thresholds[name]
        return thresholds, float(flagged.mean())

    # The share grows with the level, in steps of one hand: bisect until the step is met.
    low, high = 0.0, share
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[1] <= share else (low, middle)
    thresholds, reached = at(low)
    taken: dict[str, Any] = dict(thresholds)
    return dataclasses.replace(base, **taken), reached


def by_failures(
    measures: Sequence[Mapping[str, float]],
    failed: Bool[np.ndarray, " n"],
    budget: float,
    *,
    base: Thresholds = Thresholds(),
    seed: int = 0,
) -> Thresholds:
    """Returns the thresholds that catch most failures among those that flag at most a share of the good hands.

    Coordinate ascent from many random starts: the share of caught failures is a step function, without a slope to
    follow.

    Args:
      measures: of hands whose truth is known; see `quality.MEASURES`.
      failed: which of the hands failed; some did and some did not.
      budget: share of the good hands that may be flagged, 0 to 1.
      base: all other thresholds.
      seed: of the starts.
    """
    others = dataclasses.replace(base, **_NEVER)
    rest = np.array([bool(quality.flags_of(row, others)) for row in measures])
    levels, beyond = {}, {}
    # In alphabetical order, so that random starts and sweeps do not depend on how the measures are listed.
    for name in sorted(_NEVER):
        values = _high_is_flagged(measures, name)
        good = values[~failed]
        levels[name] = [float(np.quantile(good[np.isfinite(good)], 1 - level)) for level in LEVELS]
        beyond[name] = [values > level for level in levels[name]]

    def score(picked: dict[str, int]) -> float:
        flagged: Bool[np.ndarray, " n"] = rest.copy()
        for name, n in picked.items():
            flagged |= beyond[name][n]
        spent = flagged[~failed].mean()
        return float(flagged[failed].mean() - _OVERSPENT * max(0.0, spent - budget) - _SPENT * spent)

    generator = np.random.default_rng(seed)
    best: tuple[float, dict[str, int]] = (-np.inf, {})
    for _ in range(_STARTS):
        picked = {name: int(generator.integers(len(values))) for name, values in levels.items()}
        reached = score(picked)
        for _ in range(_SWEEPS):
            before = reached
            for name in generator.permutation(list(levels)):
                for n in range(len(levels[name])):
                    other = score(tried := {**picked, name: n})
                    if other > reached:
                        picked, reached = tried, other
            if reached == before:
                break
        best = max(best, (reached, picked), key=lambda pair: pair[0])
    found: dict[str, Any] = {name: (-1.0 if name in LOW else 1.0) * levels[name][n] for name, n in best[1].items()}
    return dataclasses.replace(base, **found)


def _high_is_flagged(measures: Sequence[Mapping[str, float]], name: str) -> Float[np.ndarray, " n"]:
    """A measure of all hands, its sign turned where low values are flagged; a missing one never is."""
    sign = -1.0 if name in LOW else 1.0
    return np.array([sign * row[name] if name in row else -np.inf for row in measures])


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What thresholds flag of hands whose truth is known.

    Attributes:
      failures: number of hands that failed.
      caught: share of these that is flagged; NaN where there are none.
      good: number of all other hands.
      flagged: share of these that is flagged; NaN where there are none.
    """

    failures: int
    caught: float
    good: int
    flagged: float


def outcome(measures: Sequence[Mapping[str, float]], failed: Bool[np.ndarray, " n"], thresholds: Thresholds) -> Outcome:
    """Returns what thresholds flag; see `by_failures` for the arguments."""
    flagged = np.array([bool(quality.flags_of(row, thresholds)) for row in measures])

    def share(of: Bool[np.ndarray, " n"]) -> float:
        return float(flagged[of].mean()) if of.any() else float("nan")

    return Outcome(int(failed.sum()), share(failed), int((~failed).sum()), share(~failed))
