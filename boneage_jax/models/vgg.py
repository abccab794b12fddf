"""The paper's VGG-style network, from `m46` down to the demo's.

Block: convolution 3 x 3, ELU, batch norm, convolution 1 x 1, ELU, batch norm, max pooling 3 x 3 of stride 2
(Iglovikov et al. 2017; widths and order from the co-author's code, neuro-inc/ml-recipe-bone-age). The variant has a
second 3 x 3 convolution and 2 x 2 pooling. What follows the blocks is `heads.DenseHead`.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from boneage_jax.config import ModelConfig
from boneage_jax.models import ops
from boneage_jax.models.blocks import ConvUnit


class VggBlock(nnx.Module):
    """Two convolution units and one pooling that halves the size."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig, *, axis_name: str | None, rngs: nnx.Rngs):
        dtype, kernels = jnp.dtype(config.dtype), ops.resolve_kernels(config.kernels)
        self.first = ConvUnit(inputs, outputs, 3, dtype=dtype, kernels=kernels, axis_name=axis_name, rngs=rngs)
        self.second = ConvUnit(
            outputs, outputs, config.second_kernel, dtype=dtype, kernels=kernels, axis_name=axis_name, rngs=rngs
        )
        self.pool = config.pool
        self.kernels = kernels

    def __call__(self, x_bhwc: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b oh ow o"]:
        x = self.second(self.first(x_bhwc, train=train), train=train)
        return ops.max_pool(x, window=self.pool, kernels=self.kernels)


class Vgg(nnx.Module):
    """Blocks, flattened.

    Args:
      config: widths and types.
      image_shape: height and width of the input, in pixels.
      axis_name: mapped axis that batch statistics are averaged over, for `pmap` and `shard_map`; None under `jit`,
        where they are global by themselves.
      rngs: source of the initial weights.

    Attributes:
      features: width of what comes out; it depends on the input's size.
    """

    def __init__(self, config: ModelConfig, image_shape: tuple[int, int], *, axis_name: str | None, rngs: nnx.Rngs):
        channels, (height, width) = 1, image_shape
        blocks = []
        for block_width in config.widths:
            blocks.append(VggBlock(channels, block_width, config, axis_name=axis_name, rngs=rngs))
            channels, height, width = block_width, (height - config.pool) // 2 + 1, (width - config.pool) // 2 + 1
        self.blocks = nnx.List(blocks)
        self.features = channels * height * width

    def maps(self, x_bhw1: Float[Array, "b h w 1"], *, train: bool = False) -> Float[Array, "b oh ow c"]:
        """Returns the last feature maps of each image.

        Args:
          x_bhw1: grey levels in [-1, 1].
          train: whether batch norm uses (and updates by) the statistics of this batch.
        """
        x = x_bhw1
        for block in self.blocks:
            x = block(x, train=train)
        return x

    def pooled(self, maps_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Returns the features that maps come to."""
        return maps_bhwc.reshape(maps_bhwc.shape[0], -1)
