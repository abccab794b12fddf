"""U-Net with batch norm after each convolution, for masks and for heat maps.

Ronneberger et al. 2015 (arXiv 1505.04597); batch norm as in Iglovikov et al. 2017. Depth and width are the config's
`widths`, one number a level. The first and the last layer may work on patches of pixels (Shi et al. 2016, arXiv
1609.05158): with `patch` 2 the network's input has 2 x 2 pixels as four channels, and so has its output, so that an
image of full resolution costs as much as one of half the height and width.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from boneage_jax.models import ops
from boneage_jax.models.architecture import Architecture
from boneage_jax.models.blocks import Conv, batch_norm
from boneage_jax.schema import ModelConfig


class Unit(nnx.Module):
    """Convolution 3 x 3, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig, *, axis_name: str | None, rngs: nnx.Rngs):
        dtype, kernels = jnp.dtype(config.dtype), ops.resolve_kernels(config.kernels)
        self.conv = Conv(inputs, outputs, 3, dtype=dtype, kernels=kernels, rngs=rngs)
        self.norm = batch_norm(outputs, dtype=dtype, axis_name=axis_name, rngs=rngs)

    def __call__(self, x_bhwc: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w o"]:
        return jax.nn.relu(self.norm(self.conv(x_bhwc), use_running_average=not train))


class Level(nnx.Module):
    """Two units."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig, *, axis_name: str | None, rngs: nnx.Rngs):
        self.first = Unit(inputs, outputs, config, axis_name=axis_name, rngs=rngs)
        self.second = Unit(outputs, outputs, config, axis_name=axis_name, rngs=rngs)

    def __call__(self, x_bhwc: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w o"]:
        return self.second(self.first(x_bhwc, train=train), train=train)


class Up(nnx.Module):
    """Transposed convolution 2 x 2 of stride 2: a matrix product to four pixels each."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig, *, rngs: nnx.Rngs):
        self.dense = nnx.Linear(inputs, 4 * outputs, dtype=jnp.dtype(config.dtype), rngs=rngs)

    def __call__(self, x_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        return ops.shuffle(self.dense(x_bhwc), 2)


class UNet(nnx.Module):
    """Contracting path, expanding path with skip connections, one map an output.

    Args:
      config: widths by level, patch, types.
      image_shape: height and width of the input, in pixels: multiples of patch x 2^(levels - 1).
      outputs: number of maps.
      axis_name: see `models.build`.
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
        unit = stride_of(config)
        if image_shape[0] % unit or image_shape[1] % unit:
            raise ValueError(f"image of {image_shape}: a U-Net of this depth takes multiples of {unit}")
        widths, channels = config.widths, config.patch**2
        down = []
        for width in widths:
            down.append(Level(channels, width, config, axis_name=axis_name, rngs=rngs))
            channels = width
        up, levels = [], []
        for width in reversed(widths[:-1]):
            up.append(Up(channels, width, config, rngs=rngs))
            levels.append(Level(2 * width, width, config, axis_name=axis_name, rngs=rngs))
            channels = width
        self.down, self.up, self.levels = nnx.List(down), nnx.List(up), nnx.List(levels)
        self.patch, self.kernels = config.patch, ops.resolve_kernels(config.kernels)
        # Masks are wanted for every pixel; a heat map's peak is found between its pixels.
        self.expand = config.patch if config.head == "mask" else 1
        self.head = nnx.Linear(channels, outputs * self.expand**2, rngs=rngs)

    def __call__(
        self,
        image_bhw1: Float[Array, "b h w 1"],
        male_b: Float[Array, " b"],
        *,
        train: bool = False,
        dropout_keys_b: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b oh ow o"]:
        """Returns the logits of each map, at the input's size for masks and a `patch`-th of it for heat maps.

        Args:
          image_bhw1: standardised grey levels.
          male_b: not read.
          train: whether batch norm uses (and updates by) the statistics of this batch.
          dropout_keys_b: not read.
        """
        del male_b, dropout_keys_b
        x = ops.unshuffle(image_bhw1, self.patch)
        skips = []
        for n, level in enumerate(self.down):
            if n:
                x = ops.max_pool(x, window=2, kernels=self.kernels)
            x = level(x, train=train)
            skips.append(x)
        for up, level, skip in zip(self.up, self.levels, reversed(skips[:-1]), strict=True):
            x = level(jnp.concatenate([skip, up(x)], axis=-1), train=train)
        return ops.shuffle(self.head(x.astype(jnp.float32)), self.expand)


def stride_of(config: ModelConfig) -> int:
    """Returns the pixels that height and width of a U-Net's input must be multiples of."""
    return config.patch * 2 ** (len(config.widths) - 1)


def _build(
    config: ModelConfig,
    image_shape: tuple[int, int],
    *,
    pictures: int,
    outputs: int,
    axis_name: str | None,
    rngs: nnx.Rngs,
) -> UNet:
    if pictures != 1:
        raise ValueError(f"{pictures} images of one child: a U-Net takes one")
    return UNet(config, image_shape, outputs=outputs, axis_name=axis_name, rngs=rngs)


def _size_problem(config: ModelConfig, height: int, width: int) -> str:
    unit = stride_of(config)
    if height % unit == 0 and width % unit == 0:
        return ""
    return (
        f"data.height x data.width: found {height} x {width}, expected multiples of {unit} for a U-Net of "
        f"{len(config.widths)} levels on patches of {config.patch}"
    )


ARCHITECTURE = Architecture(
    name="unet",
    reference="Ronneberger et al. 2015, arXiv 1505.04597",
    build=_build,
    heads=("mask", "heatmap"),
    settings=("widths", "patch", "kernels"),
    size_problem=_size_problem,
)
