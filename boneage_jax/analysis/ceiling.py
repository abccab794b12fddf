"""The irreducible error on phantoms: the error of the best prediction from the exact maturity of every bone."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from boneage_jax import anatomy
from boneage_jax.data.sources import Dataset

_RIDGE = 1.0
"""Ridge penalty in months squared: bones whose maturities are always equal get equal weights. Chosen by eye, see
docs/explanation/lab-notes.md."""


@dataclasses.dataclass(frozen=True)
class BestReadings:
    """The best predictions of bone age from true maturities, in months.

    Attributes:
      all_bones: from the maturities of all bones.
      by_region: from those of the bones that a region shows, by the names of `anatomy.CANVAS_REGIONS`.
    """

    all_bones: Float[np.ndarray, " n"]
    by_region: dict[str, Float[np.ndarray, " n"]]


def best_readings(dataset: Dataset, *, train: str = "train", test: str = "test") -> BestReadings | None:
    """Returns the best linear predictions of bone age from the true maturities of all bones and of each region's.

    A phantom's label is the child's bone age plus a reader's noise, and the maturities of regions and bones scatter
    about that age. An image shows no more than the maturities of its bones. Their best linear combination, one for
    each sex, is fitted on `train`; its error on `test` comes from the scatter that no image of these bones shows, and
    from the noise of the labels. Maturities count as known before a centre appears and after it has fused, where
    images do not show them: the true irreducible error of an image is a little larger, and much larger for adults.

    Args:
      dataset: phantoms.
      train: split that the combinations are fitted on.
      test: split that is predicted.

    Returns:
      The predictions for `test`; None for a dataset without the truth.
    """
    if not {"bone_maturity", "bone_age", "male"} <= set(dataset.features):
        return None
    maturity, male, reading = _columns(dataset, train)
    test_maturity, test_male, _ = _columns(dataset, test)

    def predicted(bones: str) -> np.ndarray:
        known = anatomy.select(bones)
        weights = _fitted(_design(maturity[:, known], male), reading)
        return np.asarray(_design(test_maturity[:, known], test_male) @ weights)

    by_region = {region.name: predicted(region.bones) for region in anatomy.CANVAS_REGIONS}
    return BestReadings(predicted("all"), by_region)


def irreducible_mae(dataset: Dataset, *, train: str = "train", test: str = "test") -> float | None:
    """Returns the mean absolute error of the best prediction from all bones, in months; see `best_readings`.

    None for a dataset without the truth.
    """
    read = best_readings(dataset, train=train, test=test)
    return float(np.abs(read.all_bones - _columns(dataset, test)[2]).mean()) if read else None


def _columns(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    records = dataset.split(split)
    rows = [records.row(n) for n in range(len(records))]
    columns = ([row[name] for row in rows] for name in ("bone_maturity", "male", "bone_age"))
    bones, male, reading = (np.asarray(column, np.float64) for column in columns)
    return bones, male, reading


def _design(bones: Float[np.ndarray, "n bones"], male: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n features"]:
    """Maturities and a constant, in separate columns for boys and girls."""
    one = np.concatenate([bones, np.full((len(bones), 1), 100.0)], axis=1)
    return np.concatenate([one * male[:, None], one * (1 - male[:, None])], axis=1)


def _fitted(
    design: Float[np.ndarray, "n features"], reading: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " features"]:
    """Weights of ridge regression."""
    return np.linalg.solve(design.T @ design + _RIDGE * np.eye(design.shape[1]), design.T @ reading)
