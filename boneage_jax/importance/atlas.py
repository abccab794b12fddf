"""Anatomical areas: to which bone each pixel of a network's input belongs.

Importance is counted area by area. A bone's area is the bone as it will be when grown, and what lies nearer to it than
to any other within a margin: growth plates, and the place of centres that have not appeared, belong to it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import cv2
import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8

from boneage_jax import anatomy
from boneage_jax.canvas import Canvas
from boneage_jax.data import images
from boneage_jax.data.examples import View
from boneage_jax.geometry import Similarity
from boneage_jax.phantom.series import Series

ELSEWHERE = 0
"""The area of all that belongs to no bone: soft tissue, background."""

AREAS: tuple[str, ...] = ("elsewhere", *(bone.name for bone in anatomy.BONES))
"""Cell n is `AREAS[n]`: bones from 1 on, as in `anatomy.BONES`."""

GROUPS: tuple[str, ...] = (
    *("elsewhere", "distal phalanges", "middle phalanges", "proximal phalanges"),
    *("metacarpals", "carpals", "radius", "ulna"),
)
"""Areas taken together, as readers speak of them; the sesamoid lies at a metacarpal."""

_KINDS = {
    "distal phalanx": "distal phalanges",
    "middle phalanx": "middle phalanges",
    "proximal phalanx": "proximal phalanges",
    "metacarpal": "metacarpals",
    "sesamoid": "metacarpals",
    "carpal": "carpals",
}

GROUP_OF: tuple[int, ...] = (
    ELSEWHERE,
    *(GROUPS.index(bone.name if bone.kind == "forearm" else _KINDS[bone.kind]) for bone in anatomy.BONES),
)
"""The group of each area."""

REGIONS: tuple[str, ...] = ("elsewhere", *anatomy.REGIONS)
"""Groups taken together: regions of the hand."""

_REGION_OF_BONE = {bone.name: bone.region for bone in anatomy.BONES}

REGION_OF: tuple[int, ...] = tuple(
    next((REGIONS.index(_REGION_OF_BONE[AREAS[n]]) for n, of in enumerate(GROUP_OF) if of == group and n), ELSEWHERE)
    for group in range(len(GROUPS))
)
"""The region of each group."""

MARGIN = 45.0
"""Canvas pixels about a grown bone that belong to it where no other is nearer."""

_GROWN = 216.0
"""Months at which every bone of a boy or girl has its place and size."""

_BONE_OF = np.array(
    [ELSEWHERE, *(AREAS.index(name.removeprefix("epiphysis of ")) for name in anatomy.INSTANCES)], np.uint8
)
"""The area of each value of an instance map."""


@dataclasses.dataclass(frozen=True)
class Territory:
    """The areas of a picture.

    Attributes:
      areas: a number of `AREAS` for each pixel.
      to_canvas: from its pixels to those of the registered canvas.
    """

    areas: UInt8[np.ndarray, "h w"]
    to_canvas: Similarity


def spread(instances: UInt8[np.ndarray, "h w"], scale: float) -> UInt8[np.ndarray, "h w"]:
    """Returns the areas of a map of bones: each pixel goes to the nearest bone within `MARGIN`.

    Args:
      instances: see `anatomy.INSTANCES`.
      scale: canvas pixels that a pixel of it is wide.
    """
    bones = _BONE_OF[instances]
    if not bones.any():
        return np.zeros_like(bones)
    distance, (rows, columns) = scipy.ndimage.distance_transform_edt(bones == ELSEWHERE, return_indices=True)
    nearest: UInt8[np.ndarray, "h w"] = bones[rows, columns]
    return np.where(distance * scale <= MARGIN, nearest, ELSEWHERE).astype(np.uint8)


def of_child(series: Series, split: str, number: int, age: float, male: bool) -> Territory:
    """Returns the territory of a phantom: of the same child in the same picture, with all its bones grown."""
    grown = np.full(len(anatomy.BONES), _GROWN, np.float32)
    phantom = series.draw(split, number, age, male, grown)
    to_canvas = Canvas().transform(phantom.key_points)
    return Territory(spread(np.asarray(phantom.instances), to_canvas.scale), to_canvas)


ATLAS_SIZE = (260, 200)
"""Height and width of the atlas: an eighth of the canvas."""

_ATLAS_CHILDREN = 24


@functools.lru_cache(maxsize=64)
def atlas(stage: int, male: bool) -> Territory:
    """Returns where bones lie on the registered canvas at a stage of development, for pictures without a truth.

    Of phantoms, whose joints were fitted to those of real hands: the area that most of them have at each pixel. The
    same two dozen children every time.

    Args:
      stage: number in `anatomy.STAGES`.
      male: sex.
    """
    series = Series(seed=stage, view="registered", sizes=(ATLAS_SIZE,))
    one = anatomy.STAGES[stage]
    start, end = one.starts[0 if male else 1], min(one.ends[0 if male else 1], anatomy.MAX_MONTHS)
    votes = np.zeros((len(AREAS), *ATLAS_SIZE), np.uint8)
    for n, age in enumerate(np.linspace(start, end, _ATLAS_CHILDREN + 2)[1:-1]):
        areas = of_child(series, "test", n, float(age), male).areas
        votes += areas == np.arange(len(AREAS), dtype=np.uint8)[:, None, None]
    return Territory(votes.argmax(0).astype(np.uint8), Similarity.scaling(anatomy.CANVAS[0] / ATLAS_SIZE[0]))


@dataclasses.dataclass(frozen=True)
class Picture:
    """A stored picture and its place on the canvas.

    Attributes:
      shape: height and width, in pixels.
      to_canvas: from its pixels to the canvas's.
    """

    shape: tuple[int, int]
    to_canvas: Similarity

    @classmethod
    def of_region(cls, rows: Sequence[float], columns: Sequence[float], height: int, width: int) -> Picture:
        """Returns that of a rectangle of the canvas that was cut at a size."""
        framing = Similarity.framing((rows[0], rows[1]), (columns[0], columns[1]), height, width)
        return cls((height, width), framing.inverse())


_RECTANGLES = {region.name: (region.rows, region.columns) for region in anatomy.CANVAS_REGIONS}


def on_planes(territory: Territory, view: View, pictures: Sequence[Picture]) -> UInt8[np.ndarray, "h w p"]:
    """Returns the areas of what a network sees: the same planes as `examples.lay_out` makes of the pictures.

    Args:
      territory: of the hand.
      view: how pictures are laid out.
      pictures: that it lays out.
    """
    size = (view.height, view.width)
    if view.regions:
        from_canvas = [Similarity.framing(*_RECTANGLES[name], *size) for _ in pictures for name in view.regions]
    else:
        from_canvas = [one.to_canvas.inverse().then(images.fitting(one.shape, *size)) for one in pictures]
    return np.stack([_nearest(territory.areas, territory.to_canvas.then(way), *size) for way in from_canvas], axis=-1)


def on_picture(territory: Territory, picture: Picture) -> UInt8[np.ndarray, "h w"]:
    """Returns the areas of a picture's own pixels: an atlas carried back from the canvas to the radiograph."""
    return _nearest(territory.areas, territory.to_canvas.then(picture.to_canvas.inverse()), *picture.shape)


def _nearest(areas: UInt8[np.ndarray, "h w"], transform: Similarity, height: int, width: int) -> np.ndarray:
    warped = cv2.warpAffine(areas, transform.matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=ELSEWHERE)
    return np.asarray(warped, np.uint8)


def grouped(of_areas: Float[np.ndarray, "*n areas"]) -> Float[np.ndarray, "*n groups"]:
    """Returns the sums over the areas of each group."""
    return _summed(of_areas, GROUP_OF, len(GROUPS))


def by_region(of_groups: Float[np.ndarray, "*n groups"]) -> Float[np.ndarray, "*n regions"]:
    """Returns the sums over the groups of each region."""
    return _summed(of_groups, REGION_OF, len(REGIONS))


def _summed(values: np.ndarray, owner: Sequence[int], count: int) -> np.ndarray:
    return np.asarray(values, np.float64) @ np.eye(count)[list(owner)]
