"""A predicted bone age, as the Python API returns it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, UInt8

from boneage_jax.api import notebook
from boneage_jax.api.hands import OVERLAY_SIDE, RegisteredHand
from boneage_jax.data.images import Grey
from boneage_jax.errors import UserError
from boneage_jax.workflows import assess_text, pictures
from boneage_jax.workflows.assessment import Assessment, Interval, Seen


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The bone age of one radiograph.

    Attributes:
      name: of the radiograph: its path, or as in `image 3`, its place in what was given, from 0.
      months: bone age; NaN where flags refuse it.
      spread: its standard deviation by the networks' own estimate, in months; NaN where they give none.
      sex: of the child as the networks were told it, `M` or `F`; empty where it is not known.
      intervals: ages that hold a promised share of readings, from the least level on: `level`, `low` and `high` in
        months. Empty where the networks come without, or there is no age.
      flags: reasons to look at the radiograph before its age is used; empty where there are none.
      refused: those of the flags for which no age is given; empty where there is an age.
      calibrated: whether the thresholds behind the flags were chosen for the networks; True where none were used.
      turned: degrees that the radiograph was turned by, counterclockwise; see `RegisteredHand.turned`.
      image: the radiograph, turned by these, grey levels, uint8 of shape (height, width).
      hand: the registered hand; None where the networks take whole radiographs, or images of the canvas.
      inputs: images that the age networks took, uint8.
      notice: what the age may not be used for.
    """

    name: str
    months: float
    spread: float
    sex: str
    intervals: tuple[Interval, ...]
    flags: tuple[str, ...]
    refused: tuple[str, ...]
    calibrated: bool
    turned: int
    image: Grey
    hand: RegisteredHand | None
    inputs: tuple[Grey, ...]
    notice: str
    _assessment: Assessment

    @property
    def years(self) -> float:
        """The bone age in years."""
        return self.months / 12

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Returns lower and upper end, in months, of the interval that promises to hold this share of readings.

        The promise is for hands like those that the intervals were fitted to: `boneage calibrate intervals`.

        Args:
          level: one of those of `intervals`.

        Raises:
          UserError: for networks without intervals, other levels, and where there is no age.
        """
        known = {one.level: (one.low, one.high) for one in self.intervals}
        if level not in known:
            levels = ", ".join(f"{one:g}" for one in known) or "none: see boneage calibrate intervals"
            raise UserError(f"level: found {level:g}, expected one of the intervals that there are ({levels})")
        return known[level]

    @property
    def regions(self) -> dict[str, Grey]:
        """The registered regions by name; see `RegisteredHand.regions`. Empty where no hand was looked for."""
        return {} if self.hand is None else self.hand.regions

    @property
    def mask(self) -> Bool[np.ndarray, "h w"] | None:
        """Whether a pixel of the radiograph shows the hand; None where no hand was looked for."""
        return None if self.hand is None else self.hand.mask

    @property
    def key_points(self) -> Float[np.ndarray, "3 2"] | None:
        """x, y of `anatomy.KEY_POINTS` in the radiograph, in pixels; None where none were found."""
        return None if self.hand is None else self.hand.key_points

    @functools.cached_property
    def overlay(self) -> UInt8[np.ndarray, "h w 3"]:
        """The radiograph with the hand's outline and the key points drawn on it, RGB, at most 640 pixels a side."""
        return pictures.overlay(self.image, self.mask, self.key_points, side=OVERLAY_SIDE)

    @classmethod
    def of(cls, assessment: Assessment, seen: Seen, hand: RegisteredHand | None, notice: str) -> Prediction:
        """Returns the prediction for a radiograph that an assessor could use."""
        return cls(
            name=assess_text.legible(assessment.file),
            months=assessment.months,
            spread=assessment.spread,
            sex=assessment.sex,
            intervals=assessment.intervals,
            flags=assessment.flags,
            refused=assessment.refused,
            calibrated=assessment.calibrated,
            turned=assessment.turned,
            image=seen.image,
            hand=hand,
            inputs=seen.regions,
            notice=notice,
            _assessment=assessment,
        )

    def __repr__(self) -> str:
        flags = f"; flags: {', '.join(self._assessment.marked_flags)}" if self.flags else ""
        return f"Prediction({self.name}: {assess_text.shown(self._assessment)}, sex {self.sex or 'not given'}{flags})"

    def _repr_png_(self) -> bytes:
        return notebook.png(self.overlay)

    def _repr_html_(self) -> str:
        facts = {
            "radiograph": self.name,
            "bone age": assess_text.shown(self._assessment),
            "sex": self.sex or "not given",
            "flags": ", ".join(self._assessment.marked_flags) or "none",
        }
        return notebook.beside(self.overlay, facts, self.notice)
