"""The atlas: to which bone each pixel of a network's input belongs.

Importance is counted area by area. A bone's area is the grown bone, and all pixels within a margin that are nearer to
it than to any other bone: growth plates, and the places of ossification centres that have not appeared, belong to it.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
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
from boneage_jax.phantoms.series import Series

ELSEWHERE = 0
"""The area of all that belongs to no bone: soft tissue, background."""

AREAS: tuple[str, ...] = ("elsewhere", *(bone.name for bone in anatomy.BONES))
"""Names of the areas by number: 0 is `ELSEWHERE`, bones follow from 1 on, in the order of `anatomy.BONES`."""

GROUPS: tuple[str, ...] = (
    *("elsewhere", "distal phalanges", "middle phalanges", "proximal phalanges"),
    *("metacarpals", "carpals", "radius", "ulna"),
)
"""Groups of areas, as radiologists name them; the sesamoid counts with the metacarpals, where it lies."""

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
"""Regions of the hand: each is one or several groups."""

_REGION_OF_BONE = {bone.name: bone.region for bone in anatomy.BONES}

REGION_OF: tuple[int, ...] = tuple(
    next((REGIONS.index(_REGION_OF_BONE[AREAS[n]]) for n, of in enumerate(GROUP_OF) if of == group and n), ELSEWHERE)
    for group in range(len(GROUPS))
)
"""The region of each group."""

MARGIN = 45.0
"""Canvas pixels around a grown bone that belong to it where no other bone is nearer; chosen by eye."""

_GROWN = 216.0
"""Bone age in months at which every bone of a boy or girl has its final place and size."""

_BONE_OF = np.array(
    [ELSEWHERE, *(AREAS.index(name.removeprefix("epiphysis of ")) for name in anatomy.INSTANCES)], np.uint8
)
"""The area of each value of an instance map."""


@dataclasses.dataclass(frozen=True)
class AreaMap:
    """The area of each pixel of an image.

    Attributes:
      areas: number in `AREAS` of each pixel.
      to_canvas: from pixels of the image to those of the registered canvas.
    """

    areas: UInt8[np.ndarray, "h w"]
    to_canvas: Similarity


def spread(instances: UInt8[np.ndarray, "h w"], scale: float) -> UInt8[np.ndarray, "h w"]:
    """Returns the area of each pixel: that of the nearest bone within `MARGIN`.

    Args:
      instances: bone that each pixel shows; see `anatomy.INSTANCES`.
      scale: width of a pixel of the map, in canvas pixels.
    """
    bones = _BONE_OF[instances]
    if not bones.any():
        return np.zeros_like(bones)
    distance, (rows, columns) = scipy.ndimage.distance_transform_edt(bones == ELSEWHERE, return_indices=True)
    nearest: UInt8[np.ndarray, "h w"] = bones[rows, columns]
    return np.where(distance * scale <= MARGIN, nearest, ELSEWHERE).astype(np.uint8)


def of_phantom(series: Series, split: str, number: int, *, age: float, male: bool) -> AreaMap:
    """Returns the areas of a phantom's image, from the same child drawn again with all its bones grown.

    Args:
      series: that the phantom is of.
      split: of the series.
      number: of the child in the split.
      age: bone age in months.
      male: sex.
    """
    grown = np.full(len(anatomy.BONES), _GROWN, np.float32)
    phantom = series.draw(split, number, age, male, grown)
    to_canvas = Canvas().transform(phantom.key_points)
    return AreaMap(spread(np.asarray(phantom.instances), to_canvas.scale), to_canvas)


ATLAS_SIZE = (260, 200)
"""Height and width of the atlas: an eighth of the canvas."""

_ATLAS_CHILDREN = 24
"""Phantoms that the atlas of a stage and sex is made from; chosen by eye."""


def of_stage(stage: int, male: bool) -> AreaMap:
    """Returns where bones lie on the registered canvas at a stage of development, for images without a truth.

    The places of the phantoms' joints were fitted to those of real hands. Rendering needs a compilation of many
    seconds, so the maps lie ready in a file, which `python -m boneage_jax.hand.atlas` makes anew.

    Args:
      stage: number in `anatomy.STAGES`.
      male: sex.
    """
    height = ATLAS_SIZE[0]
    row = 2 * stage + male
    return AreaMap(_stored()[row * height : (row + 1) * height], Similarity.scaling(anatomy.CANVAS[0] / ATLAS_SIZE[0]))


def drawn(stage: int, male: bool) -> UInt8[np.ndarray, "h w"]:
    """Returns the areas of `of_stage`, drawn anew: each pixel has the area that most of `_ATLAS_CHILDREN` phantoms have
    there; the phantoms are the same in every call.

    Args:
      stage: number in `anatomy.STAGES`.
      male: sex.
    """
    series = Series(seed=stage, view="registered", sizes=(ATLAS_SIZE,))
    one = anatomy.STAGES[stage]
    start, end = one.starts[0 if male else 1], min(one.ends[0 if male else 1], anatomy.MAX_MONTHS)
    votes = np.zeros((len(AREAS), *ATLAS_SIZE), np.uint8)
    for n, age in enumerate(np.linspace(start, end, _ATLAS_CHILDREN + 2)[1:-1]):
        areas = of_phantom(series, "test", n, age=float(age), male=male).areas
        votes += areas == np.arange(len(AREAS), dtype=np.uint8)[:, None, None]
    return votes.argmax(0).astype(np.uint8)


FILE = pathlib.Path(__file__).parent.parent / "bundles" / "atlas.png"
"""The areas of all stages, girls before boys, below each other."""


@functools.cache
def _stored() -> UInt8[np.ndarray, "h w"]:
    return images.read(FILE)


@dataclasses.dataclass(frozen=True)
class PlacedImage:
    """The shape of a stored image and its place on the canvas.

    Attributes:
      shape: height and width, in pixels.
      to_canvas: from pixels of the image to those of the registered canvas.
    """

    shape: tuple[int, int]
    to_canvas: Similarity

    @classmethod
    def of_region(cls, rows: Sequence[float], columns: Sequence[float], *, height: int, width: int) -> PlacedImage:
        """Returns the place of a rectangle that was cut from the canvas and scaled.

        Args:
          rows: first and last row of the rectangle, in canvas pixels.
          columns: first and last column, in canvas pixels.
          height: of the cut image, in pixels.
          width: likewise.
        """
        framing = Similarity.framing((rows[0], rows[1]), (columns[0], columns[1]), height, width)
        return cls((height, width), framing.inverse())


_RECTANGLES = {region.name: (region.rows, region.columns) for region in anatomy.CANVAS_REGIONS}


def on_input(area_map: AreaMap, view: View, images_read: Sequence[PlacedImage]) -> UInt8[np.ndarray, "h w p"]:
    """Returns the area of each pixel of a network's input, in the channels that `examples.lay_out` makes.

    Args:
      area_map: of the hand.
      view: how images are laid into the input.
      images_read: the stored images that the view reads.
    """
    size = (view.height, view.width)
    if view.regions:
        from_canvas = [Similarity.framing(*_RECTANGLES[name], *size) for _ in images_read for name in view.regions]
    else:
        from_canvas = [one.to_canvas.inverse().then(images.fitting(one.shape, *size)) for one in images_read]
    return np.stack([_warped(area_map.areas, area_map.to_canvas.then(way), *size) for way in from_canvas], axis=-1)


def on_image(area_map: AreaMap, image: PlacedImage) -> UInt8[np.ndarray, "h w"]:
    """Returns the area of each pixel of an image: the atlas projected from the canvas back onto the radiograph."""
    return _warped(area_map.areas, area_map.to_canvas.then(image.to_canvas.inverse()), *image.shape)


def _warped(areas: UInt8[np.ndarray, "h w"], transform: Similarity, height: int, width: int) -> np.ndarray:
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


if __name__ == "__main__":
    maps = [drawn(stage, male) for stage in range(len(anatomy.STAGES)) for male in (False, True)]
    cv2.imwrite(str(FILE), np.concatenate(maps), [cv2.IMWRITE_PNG_COMPRESSION, 9])
