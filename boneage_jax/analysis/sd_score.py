"""How far a bone age lies from those of children of the same chronological age, in standard deviations.

Standard deviations are those of the Brush Foundation's study of children in Cleveland, 1931 to 1942, as the atlas of
Greulich and Pyle gives them (second edition, 1959). They know neither other peoples nor later decades.
"""

from __future__ import annotations

import numpy as np

REFERENCE = "Brush Foundation, in Greulich and Pyle's atlas of 1959"

_MONTHS = (
    *(3, 6, 9, 12, 18, 24, 30, 36, 42, 48, 54, 60, 72, 84, 96, 108, 120, 132, 144, 156, 168, 180, 192, 204),
)  # fmt: skip

_BOYS = (
    *(0.69, 1.13, 1.43, 1.97, 3.52, 3.92, 4.52, 5.08, 5.40, 6.66, 8.36, 8.79, 9.17, 8.91, 9.10, 9.00, 9.79, 10.09),
    *(10.38, 10.44, 10.72, 11.32, 12.86, 13.05),
)

_GIRLS = (
    *(0.72, 1.16, 1.36, 1.77, 3.49, 4.64, 5.37, 5.97, 7.48, 8.98, 10.73, 11.65, 10.23, 9.64, 10.23, 10.74, 11.73),
    *(11.94, 10.24, 10.67, 11.30, 9.23, 7.31),
)

TABLES: dict[bool, tuple[tuple[int, ...], tuple[float, ...]]] = {
    True: (_MONTHS, _BOYS),
    False: (_MONTHS[: len(_GIRLS)], _GIRLS),
}
"""Chronological ages and standard deviations of bone age, in months, for boys (True) and girls (False)."""


def standard_deviation(chronological: float, male: bool) -> float:
    """Returns the standard deviation of bone age at a chronological age, in months: linear between the table's ages.

    Args:
      chronological: age in months.
      male: whether the child is a boy.

    Raises:
      ValueError: for ages outside the table: 3 to 204 months for boys, 3 to 192 for girls.
    """
    ages, deviations = TABLES[male]
    if not ages[0] <= chronological <= ages[-1]:
        whom = "boys" if male else "girls"
        raise ValueError(
            f"found {chronological:g} months, expected {ages[0]} to {ages[-1]}: "
            f"the reference has no {whom} of other ages"
        )
    return float(np.interp(chronological, ages, deviations))


def sd_score(bone_age: float, chronological: float, male: bool) -> float:
    """Returns (bone age - chronological age) / standard deviation at the chronological age.

    The atlas's plates were chosen so that the mean bone age at an age is that age.

    Args:
      bone_age: in months.
      chronological: age in months.
      male: whether the child is a boy.

    Raises:
      ValueError: see `standard_deviation`.
    """
    return (bone_age - chronological) / standard_deviation(chronological, male)
