"""Networks. `build` is the only door."""

from __future__ import annotations

from flax import nnx

from boneage_jax.config import ModelConfig
from boneage_jax.models.regressor import Regressor
from boneage_jax.models.unet import UNet

__all__ = ["build"]


def build(
    config: ModelConfig,
    image_shape: tuple[int, int],
    *,
    outputs: int,
    rngs: nnx.Rngs,
    pictures: int = 1,
    axis_name: str | None = None,
) -> nnx.Module:
    """Returns the network that a validated config names, with fresh weights.

    Args:
      config: the architecture and its sizes.
      image_shape: height and width of the input, in pixels.
      outputs: numbers, or maps, that it ends in.
      rngs: source of the initial weights (`params`).
      pictures: pictures of one child that are seen together; 1 for a U-Net.
      axis_name: see `Vgg`; only tests against `jax.pmap` need it.
    """
    if config.name == "unet":
        return UNet(config, image_shape, outputs=outputs, axis_name=axis_name, rngs=rngs)
    return Regressor(config, image_shape, pictures=pictures, outputs=outputs, axis_name=axis_name, rngs=rngs)
