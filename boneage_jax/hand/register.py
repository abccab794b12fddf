"""A hand laid on the common canvas: one transform from three points, one resampling from the original pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.canvas import Canvas, thumb_side
from boneage_jax.data import contrast, images, input_layout
from boneage_jax.data.images import Grey
from boneage_jax.geometry import Similarity
from boneage_jax.hand.regions import Region


@dataclasses.dataclass(frozen=True)
class Registration:
    """How an image lies on the canvas.

    Attributes:
      to_canvas: from the image's pixels to the canvas's; its inverse leads back.
      key_points: x, y of `anatomy.KEY_POINTS` in the image.
      inverted: whether bone is dark in the image.
    """

    to_canvas: Similarity
    key_points: Float[np.ndarray, "3 2"]
    inverted: bool

    @property
    def mirrored(self) -> bool:
        """Whether the hand is mirrored on the canvas, so that its thumb lies on the right."""
        return self.to_canvas.mirrored

    @property
    def side(self) -> float:
        """See `canvas.thumb_side`; positive where the thumb is on the right in the image."""
        return thumb_side(self.key_points)


def registration(
    image: Grey, mask: Bool[np.ndarray, "h w"], key_points: Float[np.ndarray, "3 2"], canvas: Canvas = Canvas()
) -> Registration:
    """Returns how an image lies on the canvas.

    Args:
      image: grey levels.
      mask: the hand, at the image's size.
      key_points: in the image's pixels.
      canvas: that the hand is laid on.

    Raises:
      ValueError: where fingertip and capitate coincide.
    """
    return Registration(canvas.transform(key_points), np.asarray(key_points), contrast.is_inverted(image, mask))


def cut(
    image: Grey, mask: Bool[np.ndarray, "h w"], registration: Registration, regions: Sequence[Region]
) -> dict[str, Grey]:
    """Returns the registered regions by name: background 0, bone bright, grey levels on one range.

    Each is sampled once, from the image's own pixels.

    Args:
      image: grey levels.
      mask: the hand, at the image's size.
      registration: of the image.
      regions: of its canvas.
    """
    alone = contrast.equalise(image, mask, inverted=registration.inverted)
    return {
        region.name: input_layout.cut(
            alone, registration.to_canvas, region.rows, region.columns, region.height, region.width
        )
        for region in regions
    }


def mask_on_canvas(
    mask: Bool[np.ndarray, "h w"], registration: Registration, region: Region
) -> Bool[np.ndarray, "n m"]:
    """Returns a mask of the image as it lies in a region."""
    transform = registration.to_canvas.then(region.transform)
    return images.warp(images.of_mask(mask), transform, region.height, region.width) > 127


def mask_from_canvas(
    mask: Bool[np.ndarray, "n m"], registration: Registration, region: Region, shape: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
    """Returns a mask in a region as it lies in an image of a shape; the inverse of `mask_on_canvas`."""
    transform = registration.to_canvas.then(region.transform).inverse()
    return images.warp(images.of_mask(mask), transform, *shape) > 127
