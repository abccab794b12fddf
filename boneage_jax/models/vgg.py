"""The paper's VGG-style network, from `m46` down to the demo's.

Block: convolution 3 x 3, ELU, batch norm, convolution 1 x 1, ELU, batch norm, max pooling 3 x 3 of stride 2; then
dropout, dense and ELU for each hidden layer, and the head (Iglovikov et al. 2017; widths and order from the
co-author's code, neuro-inc/ml-recipe-bone-age). The variant has a second 3 x 3 convolution and 2 x 2 pooling.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from boneage_jax.config import ModelConfig
from boneage_jax.models import ops
from boneage_jax.models.blocks import ConvUnit, Dropout
from boneage_jax.models.heads import RegressionHead

SEX_FEATURES = 32
"""Width of the layer between the sex and the image's features (as 16 Bit Inc. had it in the RSNA challenge of 2017)."""


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
    """Blocks, hidden dense layers, head.

    Args:
      config: widths, dense layers, dropout, head, sex and types.
      image_shape: height and width of the input, in pixels; the first dense layer depends on it.
      outputs: numbers in the end.
      axis_name: mapped axis that batch statistics are averaged over, for `pmap` and `shard_map`; None under `jit`,
        where they are global by themselves.
      rngs: source of the initial weights.
    """

    def __init__(
        self,
        config: ModelConfig,
        image_shape: tuple[int, int],
        *,
        outputs: int,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ):
        dtype = jnp.dtype(config.dtype)
        channels, (height, width) = 1, image_shape
        blocks = []
        for block_width in config.widths:
            blocks.append(VggBlock(channels, block_width, config, axis_name=axis_name, rngs=rngs))
            channels, height, width = block_width, (height - config.pool) // 2 + 1, (width - config.pool) // 2 + 1
        self.blocks = nnx.List(blocks)
        features = channels * height * width
        self.sex = nnx.Linear(1, SEX_FEATURES, dtype=dtype, rngs=rngs) if config.sex == "input" else nnx.data(None)
        features += SEX_FEATURES if config.sex == "input" else 0
        hidden, dropouts = [], []
        for n, units in enumerate(config.dense):
            dropouts.append(Dropout(config.dropout, salt=n))
            hidden.append(nnx.Linear(features, units, dtype=dtype, rngs=rngs))
            features = units
        self.dropouts, self.hidden = nnx.List(dropouts), nnx.List(hidden)
        self.head = RegressionHead(features, outputs, rngs=rngs)

    def __call__(
        self,
        image_bhw1: Float[Array, "b h w 1"],
        male_b: Float[Array, " b"],
        *,
        train: bool = False,
        dropout_keys_b: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b o"]:
        """Returns the scaled targets of each image.

        Args:
          image_bhw1: grey levels in [-1, 1].
          male_b: 1 for male, 0 for female; not read by a model without sex.
          train: whether batch norm uses (and updates by) the statistics of this batch.
          dropout_keys_b: one key an image, or None for no dropout.
        """
        x = image_bhw1
        for block in self.blocks:
            x = block(x, train=train)
        x = x.reshape(x.shape[0], -1)
        if self.sex is not None:
            x = jnp.concatenate([x, jax.nn.elu(self.sex(male_b[:, None] * 2 - 1)).astype(x.dtype)], axis=-1)
        for dropout, dense in zip(self.dropouts, self.hidden, strict=True):
            x = jax.nn.elu(dense(dropout(x, dropout_keys_b)))
        return self.head(x)
