"""What an attribution method declares of itself, and what it is given.

A method answers for a batch of images, in pure functions that JAX compiles. There are two kinds: a `PixelMethod` gives
each pixel a value, which are then summed over the atlas; a `PartMethod` gives each part of the hand a value directly.
A new method is a file beside this one that ends in its declaration, and a line in `methods`.
"""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from boneage_jax.hand import atlas
from boneage_jax.hand.atlas import AREAS, GROUPS
from boneage_jax.importance.function import PredictMonths

Level = Literal["areas", "groups"]
"""How finely a hand is divided into parts: `atlas.AREAS` or `atlas.GROUPS`."""


@dataclasses.dataclass(frozen=True)
class Importance:
    """The importance of each part of the hand, a row for each image.

    Attributes:
      groups: by `atlas.GROUPS`.
      areas: by `atlas.AREAS`; None for a method that is asked about groups alone.
    """

    groups: Float[np.ndarray, "n groups"]
    areas: Float[np.ndarray, "n areas"] | None = None

    @classmethod
    def of(cls, levels: Mapping[Level, np.ndarray]) -> Importance:
        """Returns importance from what is known of it: groups that are not known are sums over their areas."""
        return cls(levels["groups"] if "groups" in levels else atlas.grouped(levels["areas"]), levels.get("areas"))


@dataclasses.dataclass(frozen=True)
class Parts:
    """A division of images into parts.

    Attributes:
      index: number of each pixel's part, from 0 (`atlas.ELSEWHERE`) to `count` - 1.
      count: number of parts.
    """

    index: Integer[Array, "b h w p"]
    count: int


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images to explain, and the network that they are explained for.

    Attributes:
      months: from images to bone ages in months; differentiable.
      feature_maps: from images to the network's last feature maps, those of each channel by themselves.
      months_of_maps: from feature maps to bone ages in months.
      image: grey levels in [0, 1]; a channel for each image of a child that the network sees.
      fill: likewise: what parts that are taken away are replaced by.
      areas: area of each pixel.
      groups: group of each pixel.
      keys: a random key for each image, the same in any batch.
    """

    months: PredictMonths
    feature_maps: Callable[[Float[Array, "b h w p"]], list[Float[Array, "b oh ow c"]]]
    months_of_maps: Callable[[list[Float[Array, "b oh ow c"]]], Float[Array, " b"]]
    image: Float[Array, "b h w p"]
    fill: Float[Array, "b h w p"]
    areas: Integer[Array, "b h w p"]
    groups: Integer[Array, "b h w p"]
    keys: Key[Array, " b"]

    def parts(self, level: Level) -> Parts:
        """Returns the images' parts at a level."""
        return Parts(self.areas, len(AREAS)) if level == "areas" else Parts(self.groups, len(GROUPS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """An attribution method.

    Attributes:
      name: in tables, pages and options.
      sentence: how it works, for the page.
      reference: the paper that it is from.
      kind: whether it follows gradients or replaces parts of the image.
      additive: whether its values are signed and add up to a difference between two predictions, in months.
      version: to be raised when its values change: finished work of another version is not used.
    """

    name: str
    sentence: str
    reference: str
    kind: Literal["gradient", "perturbation"]
    additive: bool
    version: int = 1

    @property
    def slug(self) -> str:
        """The name as files and options have it: `Shapley values` is `shapley-values`."""
        return slug(self.name)

    @property
    @abc.abstractmethod
    def levels(self) -> tuple[Level, ...]:
        """Levels at which it is asked, the finest first; a group that it is not asked about is the sum of its areas."""

    @abc.abstractmethod
    def values(self, batch: Batch, level: Level) -> Float[Array, "b v"]:
        """Returns what is computed on the device for one of `levels`."""

    @abc.abstractmethod
    def importance(self, values: Float[np.ndarray, "n v"]) -> Float[np.ndarray, "n parts"]:
        """Returns the importance of each part from the `values` of all images, in double precision."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelMethod(Method):
    """A method that gives each pixel a value.

    The importance of an area is the sum over its pixels: of the values where they are `additive`, else of their sizes.

    Attributes:
      pixels: returns the value of each pixel; positive where it makes the age older.
    """

    pixels: Callable[[Batch], Float[Array, "b h w p"]]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Areas alone: the values of a group's pixels are those of its areas' pixels."""
        return ("areas",)

    def values(self, batch: Batch, level: Level) -> Float[Array, "b parts"]:
        """Returns the sum over each part."""
        found, parts = self.pixels(batch), batch.parts(level)
        return over_parts(found if self.additive else jnp.abs(found), parts.index, parts.count)

    def importance(self, values: Float[np.ndarray, "n parts"]) -> Float[np.ndarray, "n parts"]:
        """Returns the values themselves."""
        return np.asarray(values, np.float64)


def _unchanged(values: Float[np.ndarray, "n parts"]) -> Float[np.ndarray, "n parts"]:
    return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartMethod(Method):
    """A method that gives each part of the hand a value.

    Attributes:
      parts: returns what is computed on the device: the importance of each part, or what `finish` makes it from.
      finish: returns the importance of each part, from the values of all images, in double precision.
      asked: see `Method.levels`.
    """

    parts: Callable[[Batch, Parts], Float[Array, "b v"]]
    finish: Callable[[Float[np.ndarray, "n v"]], Float[np.ndarray, "n parts"]] = _unchanged
    asked: tuple[Level, ...] = ("areas", "groups")

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels at which it is asked."""
        return self.asked

    def values(self, batch: Batch, level: Level) -> Float[Array, "b v"]:
        """Returns what `parts` computes."""
        return self.parts(batch, batch.parts(level))

    def importance(self, values: Float[np.ndarray, "n v"]) -> Float[np.ndarray, "n parts"]:
        """Returns what `finish` makes of the values."""
        return self.finish(np.asarray(values, np.float64))


def over_parts(
    values: Float[Array, "b h w p"], index: Integer[Array, "b h w p"], count: int
) -> Float[Array, "b parts"]:
    """Returns the sum of the values of each part's pixels, over all channels.

    Args:
      values: of each pixel.
      index: number of each pixel's part.
      count: number of parts.
    """

    def one(value: Array, index: Array) -> Array:
        return jax.ops.segment_sum(value.reshape(-1), index.reshape(-1).astype(jnp.int32), num_segments=count)

    return jax.vmap(one)(values, index)


def slug(text: str) -> str:
    """Returns a text in small letters and digits with dashes between, as names of files have it."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
