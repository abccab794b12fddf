"""The registered canvas, and the transform of a hand to it.

The paper lays every hand so that the tip of the middle finger and the centre of the capitate are at fixed places, with
the thumb on the right (see `anatomy` for the numbers and their sources).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from boneage_jax import anatomy
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity

FINGERTIP, THUMB, CAPITATE = range(3)
"""Places in every key point array: the order of `anatomy.KEY_POINTS`."""


@dataclasses.dataclass(frozen=True)
class Canvas:
    """The common canvas. Points are x, y in canvas pixels.

    Attributes:
      height: in pixels.
      width: in pixels.
      fingertip: where the tip of the middle finger goes.
      capitate: where the centre of the capitate goes.
    """

    height: int = anatomy.CANVAS[0]
    width: int = anatomy.CANVAS[1]
    fingertip: tuple[float, float] = anatomy.CANVAS_FINGERTIP
    capitate: tuple[float, float] = anatomy.CANVAS_CAPITATE

    @classmethod
    def of(
        cls, height: float, width: float, tip_x: float, tip_y: float, capitate_x: float, capitate_y: float
    ) -> Canvas:
        """Returns a canvas of a size with its two places, all in pixels.

        Raises:
          UserError: for a canvas without area, or one whose fingertip is not above its capitate.
        """
        canvas = cls(round(height), round(width), (tip_x, tip_y), (capitate_x, capitate_y))
        if min(canvas.height, canvas.width) < 16 or tip_y >= capitate_y:
            raise UserError(
                f"canvas {height:g} x {width:g}, fingertip at row {tip_y:g}, capitate at row {capitate_y:g}: expected "
                "at least 16 x 16 pixels, and the fingertip above the capitate"
            )
        return canvas

    def transform(self, key_points: ArrayLike) -> Similarity:
        """Returns the transform from an image to the canvas.

        Fingertip and capitate fix rotation, zoom and shift exactly; the side of the thumb decides on mirroring.

        Args:
          key_points: x, y of `anatomy.KEY_POINTS` in the image, (3, 2).

        Raises:
          ValueError: where fingertip and capitate coincide or a point is not finite.
        """
        points = np.asarray(key_points, np.float64)
        source = points[[FINGERTIP, CAPITATE]]
        # The paper has the thumb on the right.
        return Similarity.between(source, (self.fingertip, self.capitate), mirrored=thumb_side(points) < 0)


def thumb_side(key_points: Float[np.ndarray, "3 2"]) -> float:
    """Returns how far the thumb's tip lies to the right of the line from capitate to fingertip, in hand lengths.

    A hand length is the distance between fingertip and capitate; left is negative.
    """
    up = key_points[FINGERTIP] - key_points[CAPITATE]
    thumb = key_points[THUMB] - key_points[CAPITATE]
    # x to the right, y down: points to the right of "up" have a positive cross product.
    return float((up[0] * thumb[1] - up[1] * thumb[0]) / max(float(up @ up), 1e-12))


def hand_length(key_points: Float[np.ndarray, "*n 3 2"]) -> Float[np.ndarray, " *n"] | np.float64:
    """Returns the distance from the middle fingertip to the capitate, in the points' own unit."""
    return np.linalg.norm(key_points[..., FINGERTIP, :] - key_points[..., CAPITATE, :], axis=-1)
