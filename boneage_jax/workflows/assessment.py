"""The bone age of one radiograph as an assessor gives it, and what must be said with it."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.analysis import sd_score
from boneage_jax.data.dicom_header import Stated
from boneage_jax.data.images import Grey
from boneage_jax.hand import quality
from boneage_jax.hand.attribution import Attribution
from boneage_jax.hand.pipeline import Registered
from boneage_jax.workflows.flags import MATURE

PHANTOMS_ONLY = "Trained on phantoms only, research demonstration: no reading of these radiographs."

UNCALIBRATED = "uncalibrated"
"""Mark of flags whose thresholds were not chosen for the networks."""

UNCALIBRATED_NOTICE = (
    "Quality flags are uncalibrated: their thresholds were not chosen for these networks. "
    "See boneage calibrate quality."
)


def as_years_and_months(months: float) -> str:
    """Returns an age in whole months, as in `10 years 3 months`; the months alone below two years."""
    whole = round(months)
    if whole < 24:
        return f"{whole} month" + ("" if whole == 1 else "s")
    years, rest = divmod(whole, 12)
    return f"{years} years" + (f" {rest} month{'' if rest == 1 else 's'}" if rest else "")


@dataclasses.dataclass(frozen=True)
class Interval:
    """Ages that hold a promised share of readings.

    Attributes:
      level: the share, between 0 and 1.
      low: lower end, in months.
      high: upper end, in months.
    """

    level: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class NetworkAge:
    """What one network of several reads.

    Attributes:
      region: that it takes, for people, as in `B and C`.
      months: bone age; NaN for children of a sex that it was not trained on.
      spread: its standard deviation by the network's own estimate, in months; NaN where it gives none.
    """

    region: str
    months: float
    spread: float


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One radiograph's bone age.

    Attributes:
      file: name of the radiograph, as it was given; not always printable.
      months: bone age; NaN where flags refuse it, or there is a problem. May lie outside 0 to 240 for an image that
        shows no hand.
      spread: its standard deviation by the networks' own estimate, in months; NaN where they give none.
      sex: `M`, `F`, or empty where it was not given.
      flags: reasons to look at the radiograph before its age is used.
      problem: why it could not be read or used; empty where it could.
      calibrated: whether the quality thresholds behind the flags were chosen for the networks that found the hand; True
        where no hand was looked for.
      intervals: of the age, from the least level on; empty where the networks have none, or there is no age.
      refused: those of the flags for which no age is given; empty where there is an age.
      turned: degrees that the radiograph was turned by, counterclockwise, before its hand was found.
      stated: what its DICOM header states.
      chronological_months: age since birth, in months; None where it is not known.
      chronological_source: where that comes from, for people.
      sd_score: how many standard deviations the bone age lies above that of children of this sex and chronological age;
        None where one of them is not known, or the reference has no children of the age. See `sd_score.REFERENCE`.
      networks: what each network reads by itself; empty where there is no age.
      hand_mm: length of the hand, from middle fingertip to capitate, in millimetres; None where the header states no
        spacing of pixels, or no hand was found.
      identifiers: of patient and examination, by DICOM attribute, where they were asked for.
    """

    file: str
    months: float
    spread: float
    sex: str
    flags: tuple[str, ...] = ()
    problem: str = ""
    calibrated: bool = True
    intervals: tuple[Interval, ...] = ()
    refused: tuple[str, ...] = ()
    turned: int = 0
    stated: Stated = Stated()
    chronological_months: float | None = None
    chronological_source: str = ""
    sd_score: float | None = None
    networks: tuple[NetworkAge, ...] = ()
    hand_mm: float | None = None
    identifiers: tuple[tuple[str, str], ...] = ()

    @property
    def disagreement(self) -> float | None:
        """Months between the youngest and the oldest age of its networks; None for fewer than two."""
        ages = [one.months for one in self.networks if np.isfinite(one.months)]
        return max(ages) - min(ages) if len(ages) > 1 else None

    @property
    def doubtful(self) -> bool:
        """Whether a flag says that the age may be wrong; that of a nearly mature skeleton says nothing of the kind."""
        return any(flag != MATURE for flag in self.flags)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people must know of how it was read, and is no reason for doubt."""
        found = [f"turned by {self.turned} degrees"] if self.turned else []
        if self.chronological_months is not None:
            found.append(f"chronological age {self.chronological_months:.1f} months, {self.chronological_source}")
        if self.sd_score is not None:
            found.append(f"SD score {self.sd_score:+.1f}, {sd_score.REFERENCE}")
        return tuple(found)

    @property
    def marked_flags(self) -> tuple[str, ...]:
        """The flags for people and tables: those of uncalibrated thresholds say so, as in `cut off (uncalibrated)`."""
        if self.calibrated:
            return self.flags
        return tuple(f"{flag} ({UNCALIBRATED})" if flag in quality.MEANINGS else flag for flag in self.flags)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What an assessment was made from, for pages and overlays.

    Attributes:
      image: the radiograph, turned by the degrees of its assessment.
      mask: of the hand; None where no hand was looked for.
      key_points: in the radiograph's pixels; None where there are none.
      regions: that the age networks took.
      hand: as it was registered; None where no hand was looked for.
      labels: of the regions, for people.
      attribution: which bones the age rests on, where that was asked for and there is an age.
    """

    image: Grey
    mask: Bool[np.ndarray, "h w"] | None
    key_points: Float[np.ndarray, "3 2"] | None
    regions: tuple[Grey, ...]
    hand: Registered | None = None
    labels: tuple[str, ...] = ()
    attribution: Attribution | None = None
