"""From a map of probabilities to the mask of one hand, and how sure it is."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data import images
from boneage_jax.geometry import Similarity


@dataclasses.dataclass(frozen=True)
class Mask:
    """The hand in an image.

    Attributes:
      inside: whether a pixel shows the hand, at the image's own size; nowhere where no hand was found.
      area: of the hand, as a fraction of the image.
      second: area of the next largest piece, as a fraction of the hand's; near 1 for two hands.
      border: part of the image's edge that the hand touches, as a fraction of the hand's circumference.
      agreement: IoU of the masks of the image and of its mirror image, at the network's size.
      confidence: mean probability of the pixels inside, minus that of the pixels outside.
    """

    inside: Bool[np.ndarray, "h w"]
    area: float
    second: float
    border: float
    agreement: float
    confidence: float


def clean(
    probability: Float[np.ndarray, "n m"],
    mirrored: Float[np.ndarray, "n m"] | None,
    shape: tuple[int, int],
    transform: Similarity | None = None,
) -> Mask:
    """Returns the hand: the largest piece above one half, its holes filled.

    Args:
      probability: that a pixel shows the hand, for the image fitted into the network's input.
      mirrored: the same for the mirrored image, mirrored back; averaged with the other. None for none.
      shape: height and width of the image.
      transform: from the image's pixels to the map's; None for an image fitted into the map whole. What the map does
        not show is not hand.
    """
    mean = probability if mirrored is None else 0.5 * (probability + mirrored)
    mean = np.asarray(mean, np.float32)
    if transform is None:
        full = images.unfit(mean, shape)
    else:
        full = cv2.warpAffine(mean, transform.inverse().matrix, shape[::-1], flags=cv2.INTER_LINEAR)
    above = (full > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    inside = np.zeros(shape, np.uint8)
    if not outlines:
        return Mask(inside > 0, 0.0, 0.0, 0.0, 1.0, 0.0)
    areas = [cv2.contourArea(outline) + 0.5 * len(outline) for outline in outlines]
    order = np.argsort(areas)[::-1]
    cv2.drawContours(inside, outlines, int(order[0]), 1, cv2.FILLED)
    agreement = 1.0 if mirrored is None else iou(probability > 0.5, mirrored > 0.5)
    hand = inside > 0
    return Mask(
        hand,
        float(hand.mean()),
        float(areas[order[1]] / areas[order[0]]) if len(order) > 1 else 0.0,
        np.count_nonzero(on_the_edge(hand)) / len(outlines[order[0]]),
        agreement,
        float(full[hand].mean() - (full[~hand].mean() if not hand.all() else 0.0)),
    )


def second_thoughts(first: Mask, second: Mask) -> Mask:
    """Returns the mask of a second, closer look, unless it lost what the first had found.

    Two hands show in the first alone, and so does the rest of the picture.
    """
    if second.area < 0.5 * first.area:
        return first
    return dataclasses.replace(second, second=max(first.second, second.second), confidence=first.confidence)


def on_the_edge(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Returns the part of a mask that lies on the picture's edge."""
    edge = np.ones_like(mask)
    edge[1:-1, 1:-1] = False
    return mask & edge


def iou(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    """Returns intersection over union; 1 for two empty masks."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
