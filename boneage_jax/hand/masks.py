"""From maps of probabilities to the mask of one hand, and how certain it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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
      border: pixels of the hand on the image's edge, as a fraction of the hand's circumference.
      agreement: lowest IoU of a single view's mask with the mask of the mean over views, at the network's size.
      expected: IoU to be expected if the probabilities are right: their sum inside the mask, over the mask's area and
        their sum outside it.
      change: IoU with the mask of the coarse stage; 1 where there was no fine stage.
    """

    inside: Bool[np.ndarray, "h w"]
    area: float
    second: float
    border: float
    agreement: float
    expected: float
    change: float = 1.0


LEAST_KEPT = 0.5
"""Least area of the fine stage's mask, as a fraction of the coarse one's; chosen by eye, see
docs/explanation/lab-notes.md."""


def clean(
    views: Sequence[Float[np.ndarray, "n m"]], shape: tuple[int, int], transform: Similarity | None = None
) -> Mask:
    """Returns the hand: the largest piece above one half, its holes filled.

    Args:
      views: probabilities that a pixel of the network's input shows the hand, from one or more views of the image, all
        brought back to the first one's pixels; they are averaged.
      shape: height and width of the image.
      transform: from the image's pixels to the map's; None for an image fitted into the map whole. Pixels outside the
        map are not hand.
    """
    mean = np.stack(views).mean(0, dtype=np.float32)
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
    agreement = min(iou(view > 0.5, mean > 0.5) for view in views)
    hand = inside > 0
    return Mask(
        hand,
        float(hand.mean()),
        float(areas[order[1]] / areas[order[0]]) if len(order) > 1 else 0.0,
        np.count_nonzero(on_the_edge(hand)) / len(outlines[order[0]]),
        agreement,
        float(full[hand].sum() / (np.count_nonzero(hand) + full[~hand].sum())),
    )


def combined_stages(coarse: Mask, fine: Mask) -> Mask:
    """Returns the fine stage's mask, or the coarse stage's where the fine one has lost the hand.

    Only the coarse stage sees the whole image, and so a second hand: the larger `second` of both counts.
    """
    if fine.area < LEAST_KEPT * coarse.area:
        return coarse
    return dataclasses.replace(fine, second=max(coarse.second, fine.second), change=iou(coarse.inside, fine.inside))


def on_the_edge(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Returns the part of a mask that lies on the image's edge."""
    edge = np.ones_like(mask)
    edge[1:-1, 1:-1] = False
    return mask & edge


def iou(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    """Returns intersection over union; 1 for two empty masks."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
