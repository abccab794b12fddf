"""Ages fitted to one's own readers: a line for each sex, from about a hundred labelled radiographs.

Networks learn the habits of the readers that labelled their images, and of the machines that took them. A line for each
sex takes most of the difference away (Deeplasia's authors found 6.57 to 5.69 months with 121 images of another clinic).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.analysis import scores
from boneage_jax.analysis.ensemble import Debias
from boneage_jax.analysis.scores import Score

FEWEST = 10
"""A sex with fewer images gets no line of its own; chosen by eye, a line has two numbers."""

ADVISED = 50
"""With fewer images in all there is a warning: a line may do harm; chosen by eye."""

FOLDS = 10
"""Parts of the images, each corrected by the line of the others, to measure the gain."""


@dataclasses.dataclass(frozen=True)
class LocalCalibration:
    """A line for each sex.

    Attributes:
      female: correction of girls' ages; level at 0 for none.
      male: correction of boys' ages.
      source: of the labelled images, for people.
      images: number of them by sex, `F` and `M`.
      before: mean absolute error without the lines, in months.
      after: with lines fitted to other images of the same source: cross-validated.
      gain: before minus after, of the same images.
    """

    female: Debias
    male: Debias
    source: str
    images: Mapping[str, int]
    before: Score
    after: Score
    gain: Score

    def __call__(self, months: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Returns corrected ages.

        Args:
          months: predicted.
          male: whether each child is a boy.
        """
        return corrected(months, male, self.female, self.male)

    def remark(self) -> str:
        """Returns what people must know of ages that it has corrected."""
        return (
            f"Ages are corrected by a line for each sex, fitted to {self.source} (MAE there {self.before.value:.2f} to "
            f"{self.after.value:.2f} months, cross-validated)."
        )

    def to_json(self) -> dict[str, Any]:
        """Returns its fields as JSON has them; `from_json` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LocalCalibration:
        """Reads what `to_json` gives. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        girls, boys = (Debias(**{k: float(v) for k, v in stored[sex].items()}) for sex in ("female", "male"))
        before, after, gain = (
            Score(**{k: float(v) for k, v in stored[name].items()}) for name in ("before", "after", "gain")
        )
        images = {str(sex): int(count) for sex, count in stored["images"].items()}
        return cls(girls, boys, str(stored["source"]), images, before, after, gain)


def corrected(
    months: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"], of_girls: Debias, of_boys: Debias
) -> Float[np.ndarray, " n"]:
    """Returns ages corrected by the line of each child's sex."""
    return np.where(male, of_boys(months), of_girls(months))


def fit(
    months: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"], source: str
) -> LocalCalibration:
    """Fits a line for each sex of at least `FEWEST` images, by least squares, and measures what it brings.

    Args:
      months: predicted, in months; finite.
      reading: of the local readers, in months.
      male: whether each child is a boy.
      source: see `LocalCalibration`.

    Raises:
      ValueError: where no sex has `FEWEST` images.
    """
    months, reading, male = np.asarray(months, np.float64), np.asarray(reading, np.float64), np.asarray(male, bool)
    if max(int(male.sum()), int((~male).sum())) < FEWEST:
        raise ValueError(f"{int((~male).sum())} girls and {int(male.sum())} boys, expected {FEWEST} of a sex")
    # A part of the images is left out while the gain is measured: nine tenths of `FEWEST` must do there.
    fewest = FEWEST * (FOLDS - 1) // FOLDS
    # By rank of the reading: every part has children of all ages, and the same ones each time.
    fold = np.empty(len(months), int)
    for sex in (False, True):
        members = np.flatnonzero(male == sex)
        fold[members[np.argsort(reading[members], kind="stable")]] = np.arange(len(members)) % FOLDS
    held_out = np.empty_like(months)
    for number in range(FOLDS):
        inside = fold == number
        fitted = lines(months[~inside], reading[~inside], male[~inside], fewest=fewest)
        held_out[inside] = corrected(months[inside], male[inside], *fitted)
    before, after = np.abs(months - reading), np.abs(held_out - reading)
    return LocalCalibration(
        *lines(months, reading, male, fewest=fewest),
        source,
        {"F": int((~male).sum()), "M": int(male.sum())},
        scores.bootstrapped(before, np.mean),
        scores.bootstrapped(after, np.mean),
        scores.bootstrapped(before - after, np.mean),
    )


def lines(
    months: Float[np.ndarray, " n"],
    reading: Float[np.ndarray, " n"],
    male: Bool[np.ndarray, " n"],
    *,
    fewest: int = 0,
) -> tuple[Debias, Debias]:
    """Returns the lines of girls and of boys, by least squares.

    Args:
      months: predicted, in months; finite.
      reading: in months.
      male: whether each child is a boy.
      fewest: images that a sex needs for a line; with fewer its line changes nothing.
    """
    girls, boys = (
        Debias.fit(months[male == sex], reading[male == sex]) if (male == sex).sum() >= fewest else Debias()
        for sex in (False, True)
    )
    return girls, boys


def as_text(found: LocalCalibration) -> str:
    """Returns the lines and their gain for people, with warnings."""
    text = [f"{found.source}: {found.images['F']} girls, {found.images['M']} boys"]
    for letter, name, line in (("F", "girls", found.female), ("M", "boys", found.male)):
        if found.images[letter] < FEWEST:
            text.append(f"  {name:<6} no line: {found.images[letter]} images, expected at least {FEWEST}")
        else:
            text.append(f"  {name:<6} age = {1 - line.slope:.4f} x predicted {-line.intercept:+.2f} months")
    text.append(
        f"MAE {scores.shown(found.before)} before, {scores.shown(found.after)} after (cross-validated); "
        f"gain {scores.shown(found.gain, sign=True)} months"
    )
    if sum(found.images.values()) < ADVISED:
        text.append(
            f"warning: {sum(found.images.values())} images; expected about 100; with fewer than {ADVISED} a line "
            "may do harm"
        )
    if found.gain.low <= 0:
        text.append("warning: the interval of the gain holds 0: these images do not show that the lines help")
    return "\n".join(text)
