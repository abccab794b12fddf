"""A network that reads numbers off pictures: one backbone a picture, their features side by side, a dense head."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from boneage_jax.config import ModelConfig
from boneage_jax.models.heads import DenseHead
from boneage_jax.models.resnet import ResNet
from boneage_jax.models.vgg import Vgg

_BACKBONES: dict[str, type[Vgg] | type[ResNet]] = {"vgg": Vgg, "resnet": ResNet}


class Regressor(nnx.Module):
    """Backbones and head.

    Args:
      config: the architecture and its sizes.
      image_shape: height and width of each picture, in pixels.
      pictures: how many of one child it sees, as channels: a backbone each, because regions have little in common.
      outputs: numbers in the end.
      axis_name: see `Vgg`.
      rngs: source of the initial weights.
    """

    def __init__(
        self,
        config: ModelConfig,
        image_shape: tuple[int, int],
        *,
        pictures: int,
        outputs: int,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ):
        backbones = [
            _BACKBONES[config.name](config, image_shape, axis_name=axis_name, rngs=rngs) for _ in range(pictures)
        ]
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
          image_bhwp: grey levels in [-1, 1], a picture a channel.
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
        """Returns the outputs that feature maps come to; the arguments are those of the whole."""
        features = [backbone.pooled(one) for backbone, one in zip(self.backbones, maps, strict=True)]
        return self.head(jnp.concatenate(features, axis=-1), male_b, dropout_keys_b=dropout_keys_b)
