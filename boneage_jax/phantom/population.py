"""Ages and sexes as they occur in the RSNA 2017 training set."""

from __future__ import annotations

import numpy as np

AGE_BINS_YEARS: tuple[int, ...] = tuple(range(19))
"""Lower edges of the bins below, in years; a label of m months falls into bin ceil(m / 12) - 1."""

MALE_COUNTS: tuple[int, ...] = (
    12,
    83,
    78,
    131,
    262,
    272,
    289,
    297,
    366,
    417,
    480,
    582,
    1377,
    1330,
    298,
    262,
    206,
    70,
    21,
)
"""Boys a bin in train.csv of the RSNA Pediatric Bone Age Challenge 2017 (Halabi et al. 2019, 12,611 images)."""

FEMALE_COUNTS: tuple[int, ...] = (
    12,
    61,
    126,
    65,
    249,
    235,
    470,
    608,
    540,
    707,
    822,
    656,
    479,
    396,
    230,
    73,
    31,
    18,
    0,
)
"""Girls a bin in the same table."""


def sample_ages(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws bone ages and sexes from the RSNA histogram, ages evenly within a bin.

    Args:
      seed: same seed, same sample.
      count: number of children.

    Returns:
      Ages in months, float32 in (0, 228], and whether each child is male, bool; both of shape (count,).
    """
    generator = np.random.default_rng(seed)
    counts = np.array([MALE_COUNTS, FEMALE_COUNTS], np.float64)
    cell = generator.choice(counts.size, size=count, p=(counts / counts.sum()).ravel())
    male = cell < counts.shape[1]
    # Within a bin (12 k, 12 (k + 1)], so that no child is of age 0.
    ages = 12.0 * (cell % counts.shape[1]) + 12.0 * (1.0 - generator.random(count))
    return ages.astype(np.float32), male
