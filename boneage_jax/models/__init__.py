"""Networks. `build` makes the one that a config names; `registry` lists them all."""

from __future__ import annotations

from flax import nnx

from boneage_jax.models import registry
from boneage_jax.models.keys import parameter_keys
from boneage_jax.schema import ModelConfig

__all__ = ["build", "parameter_keys"]


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
      outputs: numbers, or maps, in the network's output.
      rngs: source of the initial weights (`params`).
      pictures: images of one child that the network sees together; 1 for a U-Net.
      axis_name: mapped axis that batch statistics are averaged over, for `pmap` and `shard_map`; None under `jit`,
        where they are global by themselves.

    Raises:
      UserError: for a name that is not in `models.registry`.
    """
    architecture = registry.named(config.name)
    return architecture.build(config, image_shape, pictures=pictures, outputs=outputs, axis_name=axis_name, rngs=rngs)
