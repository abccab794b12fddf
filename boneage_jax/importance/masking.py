"""Importance by taking parts away: occlusion, Shapley values, and curves of deletion and insertion.

What is taken away is replaced by a filling. A black hole is a thing that no network has seen; the same place in another
child's picture (`other`, the default) is one that it knows.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from boneage_jax.importance.atlas import ELSEWHERE
from boneage_jax.importance.function import Months

Filling = Literal["other", "mean", "blur", "black"]


def filling(
    images: UInt8[np.ndarray, "n h w p"], areas: UInt8[np.ndarray, "n h w p"], kind: Filling, seed: int
) -> UInt8[np.ndarray, "n h w p"]:
    """Returns what parts of each picture are replaced by.

    Args:
      images: all pictures.
      areas: of each of their pixels.
      kind: the same place in another child's picture, as if exposed like this one; or in the mean of all; the picture
        itself blurred by a twelfth of its height; or black.
      seed: who the other child is; nobody is his own.
    """
    if kind == "other":
        shift = 1 + np.random.default_rng(seed).integers(max(1, len(images) - 1))
        made = np.roll(images, int(shift), axis=0)
        for other, picture, hand in zip(made, images, areas != ELSEWHERE, strict=True):
            other[hand] = exposed_like(other[hand], picture[hand])
        return made
    if kind == "mean":
        return np.broadcast_to(images.mean(0).round().astype(np.uint8), images.shape)
    if kind == "blur":
        sigma = images.shape[1] / 12
        return np.stack([cv2.GaussianBlur(one, (0, 0), sigma).reshape(one.shape) for one in images])
    return np.zeros_like(images)


def exposed_like(pixels: UInt8[np.ndarray, " k"], like: UInt8[np.ndarray, " l"]) -> UInt8[np.ndarray, " k"]:
    """Returns grey levels carried to the quantiles of others, their order kept (histogram specification).

    Radiographs are exposed each in its own way. A piece of another one as it is shows as an edge where it ends, and
    what that does to the age would be put down to the bones that it runs along.
    """
    if not len(pixels) or not len(like):
        return pixels
    counts = np.bincount(pixels, minlength=256)
    table = np.quantile(like, (counts.cumsum() - counts / 2) / len(pixels))
    carried: UInt8[np.ndarray, " k"] = np.round(table).astype(np.uint8)[pixels]
    return carried


def occlusion(
    months: Months,
    image: Float[Array, "b h w p"],
    areas: Int[Array, "b h w p"],
    fill: Float[Array, "b h w p"],
    count: int,
) -> Float[Array, "b areas"]:
    """Returns by how many months the age falls when an area is replaced, area by area (Zeiler and Fergus 2014)."""
    before = months(image)
    after = jax.lax.map(lambda area: months(jnp.where(areas == area, fill, image)), jnp.arange(count))
    return before[:, None] - after.T


def subset_values(
    months: Months,
    image: Float[Array, "b h w p"],
    groups: Int[Array, "b h w p"],
    fill: Float[Array, "b h w p"],
    players: int,
) -> Float[Array, "b subsets"]:
    """Returns the age in months with each subset of the groups 1 to `players` in place and the others replaced.

    Bit n - 1 of a subset's number says whether group n is in place; group 0 always is.
    """

    def of(subset: Array) -> Array:
        # Group 0 is moved to a bit that is always set.
        bits = (subset << 1) | 1
        return months(jnp.where((bits >> groups.astype(jnp.int32)) & 1, image, fill))

    return jax.lax.map(of, jnp.arange(2**players)).T


def shapley(values: Float[np.ndarray, "n subsets"]) -> Float[np.ndarray, "n players"]:
    """Returns each player's Shapley value, exactly, from the values of all subsets (see `subset_values`).

    Shapley 1953: the mean, over all orders in which players can come, of what a player adds when he comes. Orders are
    counted by the subset that is already there: |S|! (p - |S| - 1)! / p! of them.
    """
    subsets = np.arange(values.shape[1])
    players = values.shape[1].bit_length() - 1
    size = np.array([int(subset).bit_count() for subset in subsets])
    found = []
    for player in range(players):
        without = subsets[(subsets >> player) & 1 == 0]
        weight = np.array(
            [math.factorial(s) * math.factorial(players - s - 1) / math.factorial(players) for s in size[without]]
        )
        found.append(((values[:, without | 1 << player] - values[:, without]) * weight).sum(1))
    return np.stack(found, axis=1)


def deletion_and_insertion(
    months: Months,
    image: Float[Array, "b h w p"],
    areas: Int[Array, "b h w p"],
    fill: Float[Array, "b h w p"],
    places: Int[Array, "b areas"],
) -> tuple[Float[Array, "b steps"], Float[Array, "b steps"]]:
    """Returns the ages, in months, as areas are replaced in order, and as they come back into the filling in order.

    Petsiuk, Das and Saenko 2018, "RISE", area by area instead of pixel by pixel.

    Args:
      months: the network.
      image: grey levels in [0, 1].
      areas: of each pixel.
      fill: the filling.
      places: of each area in the order, 0 the first.
    """
    place = jax.vmap(lambda one, area: one[area.astype(jnp.int32)])(places, areas)

    def at(step: Array) -> tuple[Array, Array]:
        gone = place < step
        return months(jnp.where(gone, fill, image)), months(jnp.where(gone, image, fill))

    deleted, inserted = jax.lax.map(at, jnp.arange(places.shape[1] + 1))
    return deleted.T, inserted.T
