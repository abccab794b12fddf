"""Errors by stage of skeletal development."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import anatomy
from boneage_jax.analysis.scores import Score, mae

NAMES = tuple(stage.name for stage in anatomy.STAGES)


def stages_of(reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]) -> np.ndarray:
    """Returns each image's stage by its reading and sex, as a number in `anatomy.STAGES`."""
    top = anatomy.MAX_MONTHS
    return np.array(
        [
            NAMES.index(anatomy.stage_of(float(np.clip(months, 0, top)), bool(boy)).name)
            for months, boy in zip(reading, male, strict=True)
        ],
        int,
    )


def mae_by_stage(
    predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]
) -> dict[str, tuple[int, Score]]:
    """Returns number of images and mean absolute error, in months, of each stage that occurs, in order."""
    stage = stages_of(reading, male)
    table = {}
    for number, name in enumerate(NAMES):
        members = stage == number
        if members.any():
            table[name] = (int(members.sum()), mae((predicted - reading)[members]))
    return table
