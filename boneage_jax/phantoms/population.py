"""Ages and sexes as they occur in the RSNA 2017 training set."""

from __future__ import annotations

import numpy as np

from boneage_jax import anatomy
from boneage_jax.phantoms.maturity import scatter_at

BIN_MONTHS = 6
"""Width of the bins below, centred on 0, 6, 12, ... 228 months: four in five readings of RSNA are such ages."""

# fmt: off
MALE_COUNTS: tuple[int, ...] = (
    1, 3, 20, 29, 45, 34, 51, 58, 74, 107, 148, 44, 227,
    56, 231, 46, 250, 52, 314, 59, 359, 83, 426, 435, 125, 641,
    772, 548, 742, 79, 220, 145, 113, 32, 174, 12, 57, 2, 19,
)
# fmt: on
"""Boys in each bin: train.csv of the RSNA Pediatric Bone Age Challenge 2017 (Halabi et al. 2019, 12,611 images)."""

# fmt: off
FEMALE_COUNTS: tuple[int, ...] = (
    0, 5, 14, 19, 41, 52, 76, 44, 109, 15, 139, 200, 47,
    28, 432, 61, 544, 63, 481, 67, 639, 129, 691, 113, 545, 88,
    417, 210, 159, 24, 205, 12, 60, 4, 27, 2, 16, 0, 0,
)
# fmt: on
"""Girls in each bin, from the same table."""


def sample_ages(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws bone ages and sexes from the RSNA histogram, ages evenly within a bin.

    Args:
      seed: same seed, same sample.
      count: number of children.

    Returns:
      Ages in months, float32 in [0, 231), and whether each child is male, bool; both of shape (count,).
    """
    generator = np.random.default_rng(seed)
    counts = np.array([MALE_COUNTS, FEMALE_COUNTS], np.float64)
    drawn = generator.choice(counts.size, size=count, p=(counts / counts.sum()).ravel())
    male = drawn < counts.shape[1]
    ages = BIN_MONTHS * (drawn % counts.shape[1] + generator.random(count) - 0.5)
    return np.maximum(ages, 0.0).astype(np.float32), male


def sample_evenly(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws bone ages evenly from birth to the end of the RSNA histogram, and sexes likewise; see `sample_ages`."""
    generator = np.random.default_rng(seed)
    last = BIN_MONTHS * (len(MALE_COUNTS) - 0.5)
    return generator.uniform(0.0, last, count).astype(np.float32), generator.random(count) < 0.5


RATER_SD = 7.0
"""Standard deviation of one human reading about the truth, in months; chosen near the scatter of single readings (about
0.58 years), see tfds_builder/hand_phantom/README.md."""


def read_ages(seed: int, ages: np.ndarray, *, sd: float = RATER_SD, readings: int = 1) -> np.ndarray:
    """Draws bone ages as human readers would report them: each the mean of independent readings with normal errors.

    Errors are smaller for infants: see `maturity.scatter_at`.

    Args:
      seed: same seed, same readings.
      ages: true bone ages in months, shape (n,).
      sd: standard deviation of one reading, in months; 0 gives the truth.
      readings: how many are averaged; six for RSNA's test set, one for its training set.

    Returns:
      Ages in months, float32, at least 0, shape (n,).
    """
    spread = sd / np.sqrt(readings) * scatter_at(ages)
    read = ages + spread * np.random.default_rng(seed).normal(size=ages.shape)
    return np.clip(read, 0.0, anatomy.MAX_MONTHS).astype(np.float32)
