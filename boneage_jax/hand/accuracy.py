"""How far a registered hand is from the truth, where that is known: on phantoms, or with masks drawn by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import anatomy
from boneage_jax.canvas import CAPITATE, FINGERTIP, Canvas, hand_length, thumb_side
from boneage_jax.hand import masks
from boneage_jax.hand.pipeline import Registered

FAILED_IOU = 0.95
"""A mask of less IoU has failed: the bar for the first percentile of all masks."""

FAILED_ERROR = 3.0
"""A key point farther off has failed, in percent of the hand's length: the bar for the 99th percentile of all."""

FAILED_CANVAS = 45.0
"""A fingertip or capitate farther from its place on the canvas has failed, in pixels: three times the bar of 15."""

_NOT_FOUND_ERROR = 100.0
_NOT_FOUND_CANVAS = math.dist(anatomy.CANVAS_FINGERTIP, anatomy.CANVAS_CAPITATE)
"""What counts for a hand that was not found: the hand's whole length, in percent and in pixels of the canvas."""


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A registered hand against its truth.

    Attributes:
      iou: of the mask with the true one.
      errors: distance of each of `anatomy.KEY_POINTS` from the true one, in percent of the hand's length.
      canvas: distance on the canvas of true fingertip or capitate from its place there, the larger one, in pixels.
      side_right: whether the thumb is on its true side.
    """

    iou: float
    errors: tuple[float, float, float]
    canvas: float
    side_right: bool

    @property
    def failed(self) -> bool:
        """Whether the hand should not be used."""
        return bool(
            self.iou < FAILED_IOU
            or max(self.errors) > FAILED_ERROR
            or self.canvas > FAILED_CANVAS
            or not self.side_right
        )


def against_truth(
    hand: Registered, mask: Bool[np.ndarray, "h w"], key_points: Float[np.ndarray, "3 2"], canvas: Canvas = Canvas()
) -> Accuracy:
    """Returns the accuracy of a registered hand.

    Args:
      hand: as the pipeline found it.
      mask: the true one, at the image's size.
      key_points: the true ones, in the image's pixels.
      canvas: that the hand is registered on.
    """
    iou = float(masks.iou(hand.mask.inside, mask))
    registration = hand.registration
    if registration is None:
        return Accuracy(iou, (_NOT_FOUND_ERROR,) * 3, _NOT_FOUND_CANVAS, False)
    tip, thumb, capitate = 100 * np.linalg.norm(registration.key_points - key_points, axis=1) / hand_length(key_points)
    ends = registration.to_canvas(key_points)[[FINGERTIP, CAPITATE]]
    return Accuracy(
        iou,
        (float(tip), float(thumb), float(capitate)),
        float(np.linalg.norm(ends - (canvas.fingertip, canvas.capitate), axis=1).max()),
        bool(registration.side * thumb_side(key_points) > 0),
    )
