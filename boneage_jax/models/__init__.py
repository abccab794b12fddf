"""Networks. `build` is the only door."""

from __future__ import annotations

from flax import nnx

from boneage_jax.config import ModelConfig
from boneage_jax.models.unet import UNet
from boneage_jax.models.vgg import Vgg

__all__ = ["build"]

_ARCHITECTURES = {"vgg": Vgg, "unet": UNet}


def build(
    config: ModelConfig, image_shape: tuple[int, int], *, outputs: int, rngs: nnx.Rngs, axis_name: str | None = None
) -> nnx.Module:
    """Returns the network that a validated config names, with fresh weights.

    Args:
      config: the architecture and its sizes.
      image_shape: height and width of the input, in pixels.
      outputs: numbers, or maps, that it ends in.
      rngs: source of the initial weights (`params`).
      axis_name: see `Vgg`; only tests against `jax.pmap` need it.
    """
    return _ARCHITECTURES[config.name](config, image_shape, outputs=outputs, axis_name=axis_name, rngs=rngs)
