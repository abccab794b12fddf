"""A network from images to numbers: one backbone an image, their features side by side, a dense head."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from boneage_jax.models.heads import DenseHead
from boneage_jax.schema import ModelConfig


class Backbone(Protocol):
    """From one image to feature maps, and from these to features.

    Attributes:
      features: number of features.
    """

    features: int

    def __init__(
        self, config: ModelConfig, image_shape: tuple[int, int], *, axis_name: str | None, rngs: nnx.Rngs
    ) -> None: ...

    def maps(self, x_bhw1: Float[Array, "b h w 1"], *, train: bool = False) -> Float[Array, "b oh ow c"]:
        """Returns the last feature maps of each image; `train`: whether batch norm uses this batch's statistics."""

    def pooled(self, maps_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Returns the features of maps."""


class Regressor(nnx.Module):
    """Backbones and head.

    Args:
      backbone: class of the backbones.
      config: their sizes, and the head.
      image_shape: height and width of each image, in pixels.
      pictures: images of one child, as channels: a backbone each, because regions have little in common.
      outputs: number of outputs.
      axis_name: see `models.build`.
      rngs: source of the initial weights.
    """

    def __init__(
        self,
        backbone: type[Backbone],
        config: ModelConfig,
        image_shape: tuple[int, int],
        *,
        pictures: int,
        outputs: int,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ):
        backbones = [backbone(config, image_shape, axis_name=axis_name, rngs=rngs) for _ in range(pictures)]
        self.backbones = nnx.List(backbones)
        self.head = DenseHead(sum(one.features for one in backbones), config, outputs=outputs, rngs=rngs)

    def __call__(
        self,
        image_bhwp: Float[Array, "b h w p"],
        male_b: Float[Array, " b"],
        *,
        train: bool = False,
        dropout_keys_b: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b o"]:
        """Returns the outputs of each example.

        Args:
          image_bhwp: grey levels in [-1, 1], an image a channel.
          male_b: 1 for male, 0 for female; not read by a model without sex.
          train: whether batch norm uses (and updates by) the statistics of this batch.
          dropout_keys_b: one key an example, or None for no dropout.
        """
        return self.from_maps(self.maps(image_bhwp, train=train), male_b, dropout_keys_b=dropout_keys_b)

    def maps(self, image_bhwp: Float[Array, "b h w p"], *, train: bool = False) -> list[Float[Array, "b oh ow c"]]:
        """Returns each backbone's last feature maps."""
        return [backbone.maps(image_bhwp[..., n : n + 1], train=train) for n, backbone in enumerate(self.backbones)]

    def from_maps(
        self,
        maps: list[Float[Array, "b oh ow c"]],
        male_b: Float[Array, " b"],
        *,
        dropout_keys_b: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b o"]:
        """Returns the outputs of feature maps: `from_maps(maps(images))` is the whole network."""
        features = [backbone.pooled(one) for backbone, one in zip(self.backbones, maps, strict=True)]
        return self.head(jnp.concatenate(features, axis=-1), male_b, dropout_keys_b=dropout_keys_b)
