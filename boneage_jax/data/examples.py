"""An example of a batch, and how it is laid out from images and their truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NotRequired, Protocol, TypedDict

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import anatomy
from boneage_jax.data import images, input_layout, pairing
from boneage_jax.data.folds import Fold
from boneage_jax.geometry import Similarity
from boneage_jax.schema import InputLayout


class Example(TypedDict):
    """One image as it enters a batch.

    Attributes:
      image: uint8 of shape (height, width), or (height, width, images) for several images of one child.
      male: 1 for male, 0 for female.
      bone_age: months; NaN where unknown.
      hand: uint8 of the image's shape, 255 inside the hand; where `Layers` ask for it.
      key_points: float32 of shape (3, 2), x, y in pixels of the image; where `Layers` ask for it.
    """

    image: np.ndarray
    male: np.float32
    bone_age: np.float32
    hand: NotRequired[np.ndarray]
    key_points: NotRequired[np.ndarray]


Layer = Literal["hand", "key_points"]


@dataclasses.dataclass(frozen=True)
class View:
    """How the records of a split are read.

    Attributes:
      height: pixels that images are fitted into; 0 to keep their size.
      width: likewise.
      input_layout: how they are laid into it; see `input_layout`.
      local_contrast: whether whole images are equalised locally; see `contrast.local`.
      features: which stored images are read.
      regions: of the canvas, that are cut from each of them; empty for the whole image.
      sex: children that are read: `all`, `male` or `female`.
      layers: truth that an example holds beside image, sex and age.
      labels: masks and key points by id that replace the dataset's own; images without them are left out.
      fold: images that are read, for cross-validation; None for all.
    """

    height: int = 0
    width: int = 0
    input_layout: InputLayout = "image"
    local_contrast: bool = False
    features: tuple[str, ...] = ("image",)
    regions: tuple[str, ...] = ()
    sex: Literal["all", "male", "female"] = "all"
    layers: tuple[Layer, ...] = ()
    labels: Labels | None = None
    fold: Fold | None = None


class Labels(Protocol):
    """Masks or key points by id, in pixels of the original image.

    `among` is called first: it fixes the ids that the other methods use.
    """

    @property
    def fingerprint(self) -> str: ...

    def among(self, images: pairing.Images) -> Labels:
        """The same labels, by these images' ids."""

    def ids(self, layer: Layer) -> frozenset[str] | None:
        """Ids that have the layer; None where the layer is left to the dataset."""

    def mask(self, image_id: str, shape: tuple[int, int]) -> np.ndarray:
        """Whether a pixel shows the hand, for an image of a shape."""

    def key_points(self, image_id: str, shape: tuple[int, int]) -> np.ndarray:
        """x, y of `anatomy.KEY_POINTS`, (3, 2), for an image of a shape."""


def needed_for(view: View) -> set[Layer]:
    """Returns the layers that examples hold or that the layout needs."""
    needed: set[Layer] = set(view.layers)
    if view.input_layout != "image":
        needed.add("hand")
    if view.input_layout in ("masked_canvas", "canvas"):
        needed.add("key_points")
    return needed


def lay_out(
    view: View,
    pictures: Sequence[images.Grey],
    *,
    male: float,
    bone_age: float,
    mask: Bool[np.ndarray, "h w"] | None = None,
    key_points: Float[np.ndarray, "3 2"] | None = None,
) -> Example:
    """Returns an example, laid out as a view describes.

    Args:
      view: how images are laid out; one without a height leaves the first unchanged.
      pictures: images of one child, at their own sizes.
      male: 1 for male, 0 for female.
      bone_age: in months; NaN where unknown.
      mask: the hand, at the first image's size; for the layer `hand` and all layouts but `image`.
      key_points: in the first image's pixels; for the layer of that name and the layouts `masked_canvas`
        and `canvas`.
    """
    example: Example = {"image": pictures[0], "male": np.float32(male), "bone_age": np.float32(bone_age)}
    if not view.height:
        return example
    height, width = view.height, view.width
    if view.regions or len(pictures) > 1:
        if view.input_layout == "masked_canvas":
            assert mask is not None
            assert key_points is not None
            planes = input_layout.on_canvas(
                pictures[0], mask, key_points, [_rectangle(name) for name in view.regions], height, width
            )
        else:
            planes = [plane for picture in pictures for plane in regions_of(view, picture)]
        example["image"] = planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)
        return example
    framed = input_layout.lay(
        view.input_layout, pictures[0], height, width, mask=mask, key_points=key_points, local=view.local_contrast
    )
    example["image"] = framed.image
    if "hand" in view.layers and mask is not None:
        soft = images.of_mask(mask)
        # The whole image is fitted, and so is its mask; other layouts have a transform.
        example["hand"] = (
            images.fit(soft, height, width)
            if view.input_layout == "image"
            else images.warp(soft, framed.transform, height, width)
        )
    if "key_points" in view.layers and key_points is not None:
        example["key_points"] = framed.transform(key_points).astype(np.float32)
    return example


def regions_of(view: View, picture: images.Grey) -> list[images.Grey]:
    """Returns the view's regions of an image of the whole canvas, or the image, each fitted into the view's size."""
    size = (view.height, view.width)
    if not view.regions:
        return [images.fit(picture, *size)]
    to_canvas = Similarity.scaling(anatomy.CANVAS[0] / picture.shape[0])
    return [input_layout.cut(picture, to_canvas, *_rectangle(name), *size) for name in view.regions]


def _rectangle(name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a region on the canvas."""
    region = anatomy.canvas_region(name)
    return region.rows, region.columns
