"""Importance by taking parts away: occlusion, Shapley values, and curves of deletion and insertion.

A part that is taken away is replaced by a filling, see `fillings`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from boneage_jax.importance.function import PredictMonths
from boneage_jax.importance.method import Batch, PartMethod, Parts


def occlusion(
    months: PredictMonths,
    image: Float[Array, "b h w p"],
    areas: Integer[Array, "b h w p"],
    fill: Float[Array, "b h w p"],
    *,
    count: int,
) -> Float[Array, "b areas"]:
    """Returns by how many months the predicted age falls when one area is replaced, for each area.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", with areas in place of squares.

    Args:
      months: the network.
      image: grey levels in [0, 1].
      areas: number of each pixel's area.
      fill: what areas are replaced by.
      count: number of areas.
    """
    before = months(image)
    after = jax.lax.map(lambda area: months(jnp.where(areas == area, fill, image)), jnp.arange(count))
    return before[:, None] - after.T


def subset_values(
    months: PredictMonths,
    image: Float[Array, "b h w p"],
    groups: Integer[Array, "b h w p"],
    fill: Float[Array, "b h w p"],
    *,
    count: int,
) -> Float[Array, "b subsets"]:
    """Returns the predicted age, in months, with each subset of the groups in place and the others replaced.

    Args:
      months: the network.
      image: grey levels in [0, 1].
      groups: number of each pixel's group; group 0 is in place in every subset.
      fill: what groups are replaced by.
      count: number of groups that subsets are made of, 1 to `count`.

    Returns:
      The ages of all 2 to the power of `count` subsets: bit n - 1 of a subset's number says whether group n is in
      place.
    """

    def of(subset: Array) -> Array:
        # Group 0 is moved to a bit that is always set.
        bits = (subset << 1) | 1
        return months(jnp.where((bits >> groups.astype(jnp.int32)) & 1, image, fill))

    return jax.lax.map(of, jnp.arange(2**count)).T


def shapley(values: Float[np.ndarray, "n subsets"]) -> Float[np.ndarray, "n groups"]:
    """Returns each group's exact Shapley value from the values of all subsets (see `subset_values`).

    Shapley 1953, "A Value for n-Person Games": the mean, over all orders in which the groups can be put in place, of
    the change when the group is put in place. Orders are counted by the subset S that is already there: |S|! (n - |S| -
    1)! / n! of them, for n groups.
    """
    subsets = np.arange(values.shape[1])
    groups = values.shape[1].bit_length() - 1
    size = np.array([int(subset).bit_count() for subset in subsets])
    found = []
    for group in range(groups):
        without = subsets[(subsets >> group) & 1 == 0]
        weight = np.array(
            [math.factorial(s) * math.factorial(groups - s - 1) / math.factorial(groups) for s in size[without]]
        )
        found.append(((values[:, without | 1 << group] - values[:, without]) * weight).sum(1))
    return np.stack(found, axis=1)


def deletion_and_insertion(
    months: PredictMonths,
    image: Float[Array, "b h w p"],
    areas: Integer[Array, "b h w p"],
    fill: Float[Array, "b h w p"],
    *,
    places: Int[Array, "b areas"],
) -> tuple[Float[Array, "b steps"], Float[Array, "b steps"]]:
    """Returns the predicted ages, in months, as areas are replaced in order, and as they return into the filling.

    Petsiuk, Das and Saenko 2018, "RISE", area by area in place of pixel by pixel.

    Args:
      months: the network.
      image: grey levels in [0, 1].
      areas: number of each pixel's area.
      fill: what areas are replaced by.
      places: place of each area in the order, 0 the first.
    """
    place = jax.vmap(lambda one, area: one[area.astype(jnp.int32)])(places, areas)

    def at(step: Array) -> tuple[Array, Array]:
        gone = place < step
        return months(jnp.where(gone, fill, image)), months(jnp.where(gone, image, fill))

    deleted, inserted = jax.lax.map(at, jnp.arange(places.shape[1] + 1))
    return deleted.T, inserted.T


def _occlusion(batch: Batch, parts: Parts) -> Float[Array, "b parts"]:
    return occlusion(batch.months, batch.image, parts.index, batch.fill, count=parts.count)


OCCLUSION = PartMethod(
    name="occlusion",
    sentence="Replaces one bone, or one group of bones, at a time; its importance is the change of the prediction.",
    reference="Zeiler and Fergus 2014",
    kind="perturbation",
    additive=True,
    parts=_occlusion,
)


def _subset_values(batch: Batch, parts: Parts) -> Float[Array, "b subsets"]:
    return subset_values(batch.months, batch.image, parts.index, batch.fill, count=parts.count - 1)


def _with_elsewhere(values: Float[np.ndarray, "n subsets"]) -> Float[np.ndarray, "n groups"]:
    """Returns the Shapley values of all groups; group 0 is never replaced, and its value is 0."""
    return np.pad(shapley(values), ((0, 0), (1, 0)))


SHAPLEY = PartMethod(
    name="Shapley values",
    sentence="Replaces every subset of the groups of bones; a group's importance is its mean contribution, exactly.",
    reference="Shapley 1953",
    kind="perturbation",
    additive=True,
    parts=_subset_values,
    finish=_with_elsewhere,
    # Of 30 bones there would be a billion subsets.
    asked=("groups",),
)
