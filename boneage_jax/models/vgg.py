"""The paper's VGG-style network: `m46`, and smaller ones of the same form.

Block: convolution 3 x 3, ELU, batch norm, convolution 1 x 1, ELU, batch norm, max pooling 3 x 3 of stride 2
(Iglovikov et al. 2017; widths and order from the co-author's code, neuro-inc/ml-recipe-bone-age). The variant has a
second 3 x 3 convolution and 2 x 2 pooling. `heads.DenseHead` follows the blocks.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from boneage_jax.models import ops
from boneage_jax.models.architecture import Architecture
from boneage_jax.models.blocks import ConvUnit
from boneage_jax.models.regressor import Regressor
from boneage_jax.schema import ModelConfig


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
      axis_name: see `models.build`.
      rngs: source of the initial weights.

    Attributes:
      features: number of features; it depends on the input's size.
    """

    def __init__(self, config: ModelConfig, image_shape: tuple[int, int], *, axis_name: str | None, rngs: nnx.Rngs):
        channels = 1
        blocks = []
        for block_width in config.widths:
            blocks.append(VggBlock(channels, block_width, config, axis_name=axis_name, rngs=rngs))
            channels = block_width
        height, width = _size_of_maps(config, *image_shape)
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
        """Returns the features of maps: all of their values."""
        return maps_bhwc.reshape(maps_bhwc.shape[0], -1)


def _size_of_maps(config: ModelConfig, height: int, width: int) -> tuple[int, int]:
    """Height and width of the last feature maps of an input; below 1 where the poolings leave nothing of it."""
    for _ in config.widths:
        height, width = (height - config.pool) // 2 + 1, (width - config.pool) // 2 + 1
    return height, width


def _size_problem(config: ModelConfig, height: int, width: int) -> str:
    if min(_size_of_maps(config, height, width)) >= 1:
        return ""
    return (
        f"model.widths: {len(config.widths)} blocks leave nothing of an image of {height} x {width} "
        "(data.height x data.width); use fewer blocks or larger images"
    )


ARCHITECTURE = Architecture(
    name="vgg",
    reference="Iglovikov et al. 2017, arXiv 1712.05053",
    build=functools.partial(Regressor, Vgg),
    heads=("regression", "points"),
    settings=("widths", "second_kernel", "pool", "dense", "dropout", "sex", "kernels"),
    size_problem=_size_problem,
)
