"""A bone age as it is reported to clinical systems: what was measured, on whom, how, and what must be said with it."""

from __future__ import annotations

import dataclasses
import math

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.errors import UserError, printable

SEXES = ("M", "F", "")
SIDES = ("L", "R", "")

_LONGEST_NAME = 64
"""Most characters of a long string (VR LO, PS3.5 6.2), as which the algorithm's name and version are stored."""

AUTHORS = "The boneage-jax authors"
"""Who makes the algorithm: the authors in pyproject.toml."""


class _Said:
    """What measurements and radiographs without one have in common."""

    algorithm_name: str
    algorithm_version: str
    turned: str
    notices: tuple[str, ...]

    @property
    def algorithm(self) -> str:
        """Name and version of the algorithm."""
        return f"{self.algorithm_name} {self.algorithm_version}"

    @property
    def statements(self) -> tuple[str, ...]:
        """What is said in words with the age: that this is no medical device, how the picture was turned, the terms."""
        turned = (f"The picture was turned before it was read: {self.turned}.",) if self.turned.strip() else ()
        said = (NOT_A_MEDICAL_DEVICE, *turned, *filter(str.strip, self.notices))
        return tuple(printable(text) for text in dict.fromkeys(said))


@dataclasses.dataclass(frozen=True)
class Measurement(_Said):
    """One bone age, read by networks.

    Attributes:
      months: bone age, 0 or more.
      algorithm_name: of what read it, 1 to 64 characters without a backslash.
      algorithm_version: as `algorithm_name`.
      interval: lower and upper end in months, 0 or more, with `months` between them; None where there is none. It
        promises to hold the reading of a person in a share `level` of hands.
      level: of the interval, between 0 and 1.
      sex: that the age was read with: `M`, `F`, or empty where none was given.
      chronological_months: age since birth, in months, 0 or more; None where it is not known.
      sd_score: how many standard deviations the bone age lies above that of children of the same sex and chronological
        age; None where it is not known.
      sd_reference: which children these were; empty only where there is no `sd_score`.
      flags: reasons to look at the radiograph before the age is used.
      laterality: of the hand: `L`, `R`, or empty where it is not known.
      turned: how the picture was turned before it was read; empty where it was not.
      networks: where the networks come from.
      notices: terms of the networks and of the software. `NOT_A_MEDICAL_DEVICE` is said with or without it.
    """

    months: float
    algorithm_name: str
    algorithm_version: str
    interval: tuple[float, float] | None = None
    level: float = 0.9
    sex: str = ""
    chronological_months: float | None = None
    sd_score: float | None = None
    sd_reference: str = ""
    flags: tuple[str, ...] = ()
    laterality: str = ""
    turned: str = ""
    networks: tuple[str, ...] = ()
    notices: tuple[str, ...] = (NOT_A_MEDICAL_DEVICE,)

    def __post_init__(self) -> None:
        """Refuses what cannot be reported.

        Raises:
          UserError: that names the field, what was found and what was expected.
        """
        if not _is_age(self.months):
            raise _refused("months", self.months, "a finite number, 0 or more; leave out radiographs without an age")
        if self.interval is not None and not (
            all(map(_is_age, self.interval)) and self.interval[0] <= self.months <= self.interval[1]
        ):
            raise _refused("interval", self.interval, f"finite ends, 0 or more, with {self.months:g} between them")
        if not 0 < self.level < 1:
            raise _refused("level", self.level, "a share between 0 and 1")
        if self.chronological_months is not None and not _is_age(self.chronological_months):
            raise _refused("chronological_months", self.chronological_months, "a finite number, 0 or more, or None")
        if self.sd_score is not None and not math.isfinite(self.sd_score):
            raise _refused("sd_score", self.sd_score, "a finite number, or None")
        if self.sd_score is not None and not self.sd_reference.strip():
            raise _refused("sd_reference", self.sd_reference, "the children that the SD score compares with")
        for name, allowed in (("sex", SEXES), ("laterality", SIDES)):
            if getattr(self, name) not in allowed:
                raise _refused(name, getattr(self, name), " or ".join(map(repr, allowed)))
        _check_algorithm(self.algorithm_name, self.algorithm_version)

    @property
    def interval_text(self) -> str:
        """The interval, as in `90% prediction interval: 118.2 to 134.9 months`; empty where there is none."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return f"{100 * self.level:g}% prediction interval: {low:.1f} to {high:.1f} months"

    @property
    def summary(self) -> str:
        """The age in one line, with its interval."""
        return "; ".join(filter(None, [f"bone age {self.months:.1f} months", self.interval_text]))

    @property
    def parameters(self) -> tuple[str, ...]:
        """What the algorithm was given, and which networks it consists of."""
        sex = f"sex of the child: {self.sex or 'not given'}"
        return (sex, *(printable(f"network: {name}") for name in self.networks))

    @property
    def findings(self) -> tuple[str, ...]:
        """The quality flags, printable."""
        return tuple(printable(flag) for flag in self.flags if flag.strip())


@dataclasses.dataclass(frozen=True)
class Unmeasured(_Said):
    """A radiograph that gets no bone age. Of it only pictures are reported: there is nothing that was measured.

    Attributes:
      reasons: why, one or more.
      algorithm_name: of what refused it, as in `Measurement`.
      algorithm_version: as `algorithm_name`.
      laterality: of the hand: `L`, `R`, or empty where it is not known.
      turned: how the picture was turned before it was looked at; empty where it was not.
      notices: terms of the networks and of the software. `NOT_A_MEDICAL_DEVICE` is said with or without it.
    """

    reasons: tuple[str, ...]
    algorithm_name: str
    algorithm_version: str
    laterality: str = ""
    turned: str = ""
    notices: tuple[str, ...] = (NOT_A_MEDICAL_DEVICE,)

    def __post_init__(self) -> None:
        """Refuses what cannot be reported.

        Raises:
          UserError: that names the field, what was found and what was expected.
        """
        if not any(map(str.strip, self.reasons)):
            raise _refused("reasons", self.reasons, "one reason or more")
        if self.laterality not in SIDES:
            raise _refused("laterality", self.laterality, " or ".join(map(repr, SIDES)))
        _check_algorithm(self.algorithm_name, self.algorithm_version)

    @property
    def summary(self) -> str:
        """That there is no age, and why, in one line."""
        return printable(f"no bone age: {', '.join(filter(str.strip, self.reasons))}")


def _check_algorithm(name: str, version: str) -> None:
    for field, text in (("algorithm_name", name), ("algorithm_version", version)):
        if not text.strip() or len(text) > _LONGEST_NAME or "\\" in text or not text.isprintable():
            raise _refused(field, text, f"1 to {_LONGEST_NAME} printable characters without a backslash")


def _is_age(months: float) -> bool:
    return math.isfinite(months) and months >= 0


def _refused(field: str, found: object, expected: str) -> UserError:
    return UserError(f"a bone age cannot be reported: {field} is {found!r}, expected {expected}")
