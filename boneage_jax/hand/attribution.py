"""By how many months an age changes when the bones of one kind are blurred: occlusion, for a single registered hand.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", with kinds of bones in place of squares.
Where bones lie is known from the atlas of their stage. `boneage importance` is the study of many hands, by several
methods.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import UInt8

from boneage_jax import anatomy, parallel
from boneage_jax.data.images import Grey
from boneage_jax.hand import atlas
from boneage_jax.hand.age_ensemble import AgeEnsemble
from boneage_jax.hand.regions import Region

BLUR = 60.0
"""Standard deviation of the blur, in pixels of the canvas: about the width of an epiphysis, so that neither growth
plate nor shape is left; chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What the age rests on.

    Attributes:
      months: of each of `atlas.GROUPS` but `elsewhere`: months that the age falls when these bones are blurred;
        negative where they speak for a younger hand.
      areas: number in `atlas.GROUPS` of each pixel of the canvas, uint8 of shape (260, 200).
    """

    months: dict[str, float]
    areas: UInt8[np.ndarray, "h w"]


def attribution(
    ensemble: AgeEnsemble, regions: dict[str, Grey], image: Grey, *, male: bool | None, months: float
) -> Attribution:
    """Returns what the age of a registered hand rests on, by one more prediction for each kind of bone.

    Args:
      ensemble: that has read the hand.
      regions: of the registered hand, by name.
      image: the radiograph, for networks that take it whole; they see no difference.
      male: sex; None where it is not known: bones of a girl are taken to lie where those of a boy do.
      months: the age that was read.
    """
    stage = anatomy.STAGES.index(anatomy.stage_of(float(np.clip(months, 0, anatomy.MAX_MONTHS)), bool(male)))
    area_map, group_of = atlas.of_stage(stage, bool(male)), np.array(atlas.GROUP_OF, np.uint8)
    groups = {of.name: group_of[atlas.on_image(area_map, _place(of))] for of in ensemble.regions}
    softened = {of.name: _blurred(regions[of.name], of) for of in ensemble.regions}
    variants = [regions] + [
        {name: np.where(groups[name] == n, softened[name], plain).astype(np.uint8) for name, plain in regions.items()}
        for n in range(len(atlas.GROUPS))
        if n != atlas.ELSEWHERE
    ]
    read = [
        ensemble.predict([variants[n] for n in batch], [image] * len(batch), [male] * len(batch)).blended.months
        for batch in parallel.in_batches(len(variants), ensemble.batch_size)
    ]
    before, *after = map(float, np.concatenate(read))
    kinds = [name for n, name in enumerate(atlas.GROUPS) if n != atlas.ELSEWHERE]
    return Attribution({kind: before - age for kind, age in zip(kinds, after, strict=True)}, group_of[area_map.areas])


def _place(region: Region) -> atlas.PlacedImage:
    return atlas.PlacedImage.of_region(region.rows, region.columns, height=region.height, width=region.width)


def _blurred(image: Grey, region: Region) -> Grey:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR * region.transform.scale))
