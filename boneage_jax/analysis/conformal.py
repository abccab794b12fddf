"""Intervals that hold a promised share of readings: split conformal prediction, by sex and age.

A hand's score is the absolute error over the networks' own spread (over 1 month where they give none). The interval's
half width is a quantile of the scores of labelled hands, of the same sex and of about the same predicted age, times the
spread (Papadopoulos et al. 2002; Lei et al. 2018, arXiv 1604.04173, section 5.2; in groups: Vovk et al. 2003). The
quantile is the k-th smallest of n, k = ceil((n + 1) level): where new hands are drawn as the labelled ones were, each
group's interval holds at least that share of its readings, whatever the networks are like.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

LEVELS = (0.8, 0.9)
"""Shares of readings that intervals promise to hold."""

GROUP = 60
"""Hands of a group, at least: with 60 the quantile of 90% still has six scores beyond it. Chosen by eye."""

WIDENED = 1.5
"""How many times wider intervals of flagged hands are where too few labelled hands were flagged to say; by eye."""

FEWEST = 20
"""Hands of a sex that intervals need. Below 9 no interval keeps the promise of 90% ((n + 1) 0.9 > n), and with few more
it is as wide as the worst error; chosen by eye. As many flagged hands tell how much wider
theirs are."""


@dataclasses.dataclass(frozen=True)
class Groups:
    """Factors of one sex.

    Attributes:
      edges: predicted ages between groups, in months, ascending; one fewer than groups.
      factors: of each level, one a group: what the spread is multiplied by for the half width.
    """

    edges: tuple[float, ...]
    factors: tuple[tuple[float, ...], ...]

    def __call__(self, months: Float[np.ndarray, " n"]) -> Float[np.ndarray, "levels n"]:
        """Returns the factor of each level for each predicted age."""
        return np.array(self.factors)[:, np.searchsorted(self.edges, months, side="right")]


@dataclasses.dataclass(frozen=True)
class ConformalIntervals:
    """Intervals of predicted ages.

    Attributes:
      levels: promised shares, ascending.
      female: factors of girls.
      male: factors of boys.
      source: of the labelled hands, for people.
      hands: number of them by sex, `F` and `M`.
      coverage: of each level: share of labelled hands whose reading the interval held, each by groups that the hand was
        not part of.
    """

    levels: tuple[float, ...]
    female: Groups
    male: Groups
    source: str
    hands: Mapping[str, int]
    coverage: tuple[float, ...]
    widened: tuple[float, ...]

    def __call__(
        self,
        months: Float[np.ndarray, " n"],
        spread: Float[np.ndarray, " n"],
        male: Bool[np.ndarray, " n"],
        flagged: Bool[np.ndarray, " n"],
    ) -> Float[np.ndarray, "levels n 2"]:
        """Returns lower and upper end of each level's interval, in months, not below 0; NaN where there is no age.

        Args:
          months: predicted.
          spread: the networks' own, in months; NaN where they give none.
          male: whether each child is a boy.
          flagged: whether each radiograph raises a flag.
        """
        half = np.where(male, self.male(months), self.female(months)) * _scale(spread)
        half *= np.where(flagged, np.array(self.widened)[:, None], 1.0)
        return np.maximum(np.stack([months - half, months + half], axis=-1), 0.0)

    def remark(self) -> str:
        """Returns what people must know of its intervals."""
        held = ", ".join(
            f"{100 * level:.0f}% ({100 * found:.1f}% there)"
            for level, found in zip(self.levels, self.coverage, strict=True)
        )
        return (
            f"Intervals promise to hold the reading in {held} of hands like {sum(self.hands.values()):,} of "
            f"{self.source}: of other readers, machines or children they may hold fewer."
        )

    def to_json(self) -> dict[str, Any]:
        """Returns its fields as JSON has them; `from_json` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ConformalIntervals:
        """Reads what `to_json` gives. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        levels = tuple(float(level) for level in stored["levels"])
        girls, boys = (
            Groups(
                tuple(map(float, stored[sex]["edges"])),
                tuple(tuple(map(float, of_level)) for of_level in stored[sex]["factors"]),
            )
            for sex in ("female", "male")
        )
        if any({len(of) for of in one.factors} != {len(one.edges) + 1} for one in (girls, boys)) or not (
            len(girls.factors) == len(boys.factors) == len(levels)
        ):
            raise ValueError("expected a factor for each level and group")
        hands = {str(sex): int(count) for sex, count in stored["hands"].items()}
        coverage, widened = (tuple(map(float, stored[name])) for name in ("coverage", "widened"))
        if len(widened) != len(levels) or min(widened) < 1:
            raise ValueError(f"found {widened} for widened, expected a number of 1 or more for each level")
        return cls(levels, girls, boys, str(stored["source"]), hands, coverage, widened)


def fit(
    months: Float[np.ndarray, " n"],
    spread: Float[np.ndarray, " n"],
    reading: Float[np.ndarray, " n"],
    male: Bool[np.ndarray, " n"],
    flagged: Bool[np.ndarray, " n"],
    source: str,
    *,
    levels: Sequence[float] = LEVELS,
) -> ConformalIntervals:
    """Returns intervals from labelled hands that no network has learnt from, with their cross-validated coverage.

    Groups are made of all hands. Where `FEWEST` of them are flagged, their intervals are widened until they hold the
    promised share of the flagged hands' readings; else by `WIDENED`. The coverage is that without widening for hands
    without flags, with it for the others.

    Args:
      months: predicted; finite.
      spread: the networks' own, in months; NaN where they give none.
      reading: in months.
      male: whether each child is a boy.
      flagged: whether each radiograph raises a flag.
      source: see `ConformalIntervals`.
      levels: shares to promise, each between 0 and 1.

    Raises:
      ValueError: where a sex has fewer than `FEWEST` hands.
    """
    fewest = min(int(male.sum()), int((~male).sum()))
    if fewest < FEWEST:
        raise ValueError(f"{int((~male).sum())} girls and {int(male.sum())} boys, expected {FEWEST} of each at least")
    levels = tuple(sorted(levels))
    of = (months, spread, reading, male, flagged)
    found = held_out(*of, levels=levels)
    inside = (found[..., 0] <= reading) & (reading <= found[..., 1])
    hands = {"F": int((~male).sum()), "M": int(male.sum())}
    girls, boys, widened = _fitted(*of, levels)
    return ConformalIntervals(levels, girls, boys, source, hands, tuple(map(float, inside.mean(-1))), widened)


FOLDS = 5
"""Parts of the hands, each of which gets intervals that the others make."""


def held_out(
    months: Float[np.ndarray, " n"],
    spread: Float[np.ndarray, " n"],
    reading: Float[np.ndarray, " n"],
    male: Bool[np.ndarray, " n"],
    flagged: Bool[np.ndarray, " n"],
    *,
    levels: Sequence[float] = LEVELS,
) -> Float[np.ndarray, "levels n 2"]:
    """Returns each hand's intervals as the hands of the other parts make them; see `fit` for the arguments."""
    part = np.random.default_rng(0).permutation(len(months)) % FOLDS
    found = np.empty((len(levels), len(months), 2))
    for number in range(FOLDS):
        inside = part == number
        rest = ~inside
        girls, boys, widened = _fitted(months[rest], spread[rest], reading[rest], male[rest], flagged[rest], levels)
        one = ConformalIntervals(tuple(levels), girls, boys, "", {}, (), widened)
        found[:, inside] = one(months[inside], spread[inside], male[inside], flagged[inside])
    return found


def _fitted(
    months: Float[np.ndarray, " n"],
    spread: Float[np.ndarray, " n"],
    reading: Float[np.ndarray, " n"],
    male: Bool[np.ndarray, " n"],
    flagged: Bool[np.ndarray, " n"],
    levels: Sequence[float],
) -> tuple[Groups, Groups, tuple[float, ...]]:
    """Groups of girls and of boys, and how much wider intervals of flagged hands are."""
    score = np.abs(reading - months) / _scale(spread)
    girls, boys = (_groups(months[male == sex], score[male == sex], levels) for sex in (False, True))
    if flagged.sum() < FEWEST:
        return girls, boys, (WIDENED,) * len(levels)
    # A hand's interval holds its reading where it is widened by this, or more.
    needed = (score / np.where(male, boys(months), girls(months)))[:, flagged]
    return girls, boys, tuple(max(1.0, _quantile(of, level)) for of, level in zip(needed, levels, strict=True))


def _groups(months: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"], levels: Sequence[float]) -> Groups:
    """Groups of equal size by predicted age, as many as have `GROUP` hands each; one where there are fewer."""
    count = max(1, len(months) // GROUP)
    edges = np.quantile(months, np.arange(1, count) / count)
    group = np.searchsorted(edges, months, side="right")
    factors = [[_quantile(score[group == n], level) for n in range(count)] for level in levels]
    return Groups(tuple(map(float, edges)), tuple(map(tuple, factors)))


def _quantile(score: Float[np.ndarray, " n"], level: float) -> float:
    """The k-th smallest score, k = ceil((n + 1) level); the largest where that is more than there are."""
    k = min(math.ceil((len(score) + 1) * level), len(score))
    return float(np.sort(score)[k - 1])


def _scale(spread: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.where(np.isfinite(spread), spread, 1.0)
