"""The registered canvas: where the key points go on it, and what is cut out of it.

The paper lays every hand so that the tip of the middle finger and the centre of the capitate come to fixed places, with
the thumb on the right (see `anatomy` for the numbers and their sources).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from boneage_jax import anatomy
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

    def transform(self, key_points: ArrayLike) -> Similarity:
        """Returns the transform from a picture to the canvas.

        Fingertip and capitate fix rotation, zoom and shift exactly; the thumb says whether the hand is turned over.

        Args:
          key_points: x, y of `anatomy.KEY_POINTS` in the picture, (3, 2).

        Raises:
          ValueError: where fingertip and capitate coincide or a point is not finite.
        """
        points = np.asarray(key_points, np.float64)
        source = points[[FINGERTIP, CAPITATE]]
        mirrored = thumb_side(points) * thumb_side(self._order()) < 0
        return Similarity.between(source, (self.fingertip, self.capitate), mirrored=mirrored)

    def _order(self) -> Float[np.ndarray, "3 2"]:
        """Key points of a hand whose thumb is on the right, as the paper has it."""
        right = (self.capitate[0] + 1.0, self.fingertip[1])
        return np.array([self.fingertip, right, self.capitate])


def thumb_side(key_points: Float[np.ndarray, "3 2"]) -> float:
    """Returns how far the thumb's tip lies to the right of the way from capitate to fingertip, in hand lengths.

    A hand length is the distance between fingertip and capitate; left is negative.
    """
    up = key_points[FINGERTIP] - key_points[CAPITATE]
    thumb = key_points[THUMB] - key_points[CAPITATE]
    # x to the right, y down: what lies to the right of "up" has a positive cross product.
    return float((up[0] * thumb[1] - up[1] * thumb[0]) / max(float(up @ up), 1e-12))


def hand_length(key_points: Float[np.ndarray, "*n 3 2"]) -> Float[np.ndarray, " *n"]:
    """Returns the distance from the middle fingertip to the capitate, in the points' own unit."""
    return np.linalg.norm(key_points[..., FINGERTIP, :] - key_points[..., CAPITATE, :], axis=-1)
