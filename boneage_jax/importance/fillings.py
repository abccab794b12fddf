"""What a part of an image is replaced by when a method takes it away.

A black hole is unlike anything that the network was trained on. The same place in another child's image (`other`, the
default) is like its training images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

from boneage_jax.errors import UserError
from boneage_jax.hand.atlas import ELSEWHERE
from boneage_jax.importance.request import Filling
from boneage_jax.settings import did_you_mean

Images = UInt8[np.ndarray, "n h w p"]


@dataclasses.dataclass(frozen=True)
class Fill:
    """One way to replace parts of images.

    Attributes:
      make: returns the images that parts are taken from, given all images, the area of each of their pixels and a seed.
      sentence: completes "parts that are taken away are replaced by ...".
    """

    make: Callable[[Images, Images, int], Images]
    sentence: str


def fill(images: Images, areas: Images, kind: Filling, *, seed: int) -> Images:
    """Returns what the parts of each image are replaced by.

    Args:
      images: all images.
      areas: area of each of their pixels, see `atlas.AREAS`.
      kind: one of `FILLINGS`.
      seed: chooses the other child of `other`; never the same child.

    Raises:
      UserError: for an unknown kind.
    """
    if kind not in FILLINGS:
        known = ", ".join(map(repr, FILLINGS))
        raise UserError(f"filling: found {kind!r}, expected one of {known}{did_you_mean(kind, FILLINGS)}")
    return FILLINGS[kind].make(images, areas, seed)


def exposed_like(pixels: UInt8[np.ndarray, " k"], like: UInt8[np.ndarray, " l"]) -> UInt8[np.ndarray, " k"]:
    """Returns grey levels mapped to the quantiles of others, their order kept (histogram specification).

    Every radiograph has its own exposure. A piece of another one would end in a visible edge, and the effect of that
    edge on the age would be counted for the bones along it.
    """
    if not len(pixels) or not len(like):
        return pixels
    counts = np.bincount(pixels, minlength=256)
    table = np.quantile(like, (counts.cumsum() - counts / 2) / len(pixels))
    mapped: UInt8[np.ndarray, " k"] = np.round(table).astype(np.uint8)[pixels]
    return mapped


def _other(images: Images, areas: Images, seed: int) -> Images:
    shift = 1 + np.random.default_rng(seed).integers(max(1, len(images) - 1))
    made = np.roll(images, int(shift), axis=0)
    for other, image, hand in zip(made, images, areas != ELSEWHERE, strict=True):
        other[hand] = exposed_like(other[hand], image[hand])
    return made


def _mean(images: Images, areas: Images, seed: int) -> Images:
    del areas, seed
    return np.broadcast_to(images.mean(0).round().astype(np.uint8), images.shape)


def _blur(images: Images, areas: Images, seed: int) -> Images:
    del areas, seed
    # A twelfth of the height, chosen by eye: no bone can be made out any more.
    sigma = images.shape[1] / 12
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma).reshape(one.shape) for one in images])


def _black(images: Images, areas: Images, seed: int) -> Images:
    del areas, seed
    return np.zeros_like(images)


FILLINGS: dict[Filling, Fill] = {
    "other": Fill(_other, "the same place in another child's image, its grey levels matched to those of this image"),
    "mean": Fill(_mean, "the mean of all images"),
    "blur": Fill(_blur, "the image itself, blurred"),
    "black": Fill(_black, "black"),
}
"""Every filling: the values of `request.Filling`."""
