"""The error that nobody can avoid on phantoms: what remains for who knows every bone's maturity exactly."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from boneage_jax import anatomy
from boneage_jax.data.sources import Dataset

_RIDGE = 1.0
"""Months squared: keeps the fit from using differences of bones that are always equal."""


REGION_BONES = {"A": "all", "B": "carpals, radius, ulna, metacarpal 1", "C": "metacarpal, proximal phalanx"}
"""Bones whose growth plates, or all of which, lie in each of `anatomy.CANVAS_REGIONS`."""


def best_readings(dataset: Dataset, *, train: str = "train", test: str = "test") -> dict[str, Float[np.ndarray, " n"]]:
    """Returns the best linear reading of the true maturities of each region's bones, in months, by region.

    The phantom's label is the child's age and a rater's noise; bones and regions scatter about the age. So the picture
    can say no more than the maturities of its bones. Their best linear combination by sex is fitted on `train`; what
    it errs by on `test` is the scatter that no picture of these bones shows, and the noise of the labels. Maturities
    count as known before a centre appears and after it has fused, where pictures do not show them: so what a picture
    allows lies a little above, and for adults far above.

    Args:
      dataset: phantoms.
      train: split that the combinations are fitted on.
      test: split that they are made for.

    Returns:
      One for each of `REGION_BONES`; none for a dataset that does not hold the truth.
    """
    if not {"bone_maturity", "bone_age", "male"} <= set(dataset.features):
        return {}
    learnt, male, reading = _columns(dataset, train)
    shown, shown_male, _ = _columns(dataset, test)
    found = {}
    for region, bones in REGION_BONES.items():
        known = anatomy.select(bones)
        weights = _fitted(_design(learnt[:, known], male), reading)
        found[region] = _design(shown[:, known], shown_male) @ weights
    return found


def irreducible_mae(dataset: Dataset, *, train: str = "train", test: str = "test") -> float | None:
    """Returns the mean absolute error of the best reading of all bones, in months.

    None for a dataset that does not hold the truth; see `best_readings`.
    """
    read = best_readings(dataset, train=train, test=test)
    return float(np.abs(read["A"] - _columns(dataset, test)[2]).mean()) if read else None


def _columns(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    records = dataset.split(split)
    rows = [records.row(n) for n in range(len(records))]
    columns = ([row[name] for row in rows] for name in ("bone_maturity", "male", "bone_age"))
    bones, male, reading = (np.asarray(column, np.float64) for column in columns)
    return bones, male, reading


def _design(bones: Float[np.ndarray, "n bones"], male: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n features"]:
    """Bones and a constant, for boys and girls apart."""
    one = np.concatenate([bones, np.full((len(bones), 1), 100.0)], axis=1)
    return np.concatenate([one * male[:, None], one * (1 - male[:, None])], axis=1)


def _fitted(
    design: Float[np.ndarray, "n features"], reading: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " features"]:
    """Ridge regression."""
    return np.linalg.solve(design.T @ design + _RIDGE * np.eye(design.shape[1]), design.T @ reading)
