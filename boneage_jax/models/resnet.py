"""Residual networks (He et al. 2015, arXiv 1512.03385), in the form of torchvision and timm.

Stem of 7 x 7 and stride 2, max pooling 3 x 3 of stride 2, four stages, global average. Blocks have two convolutions of
3 x 3 (depths 10, 18, 34) or a bottleneck of 1 x 1, 3 x 3, 1 x 1 that is four times as wide outside (26, 50, 101, 152);
the stride sits in the 3 x 3 ("v1.5"). Widths are the config's, one a stage: 64, 128, 256, 512 in the paper.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from boneage_jax.models import ops
from boneage_jax.models.architecture import Architecture, Tensor
from boneage_jax.models.blocks import Conv, batch_norm
from boneage_jax.models.regressor import Regressor
from boneage_jax.schema import ModelConfig

BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks in each stage, by depth (He et al. 2015, table 1; 10 and 26 as in timm)."""

BOTTLENECKS = (26, 50, 101, 152)
"""Depths whose blocks are bottlenecks."""

EXPANSION = 4
"""How many times wider a bottleneck is outside."""


class Unit(nnx.Module):
    """Convolution without bias, batch norm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        config: ModelConfig,
        *,
        stride: int = 1,
        last: bool = False,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ):
        dtype = jnp.dtype(config.dtype)
        kernels = ops.resolve_kernels(config.kernels)
        self.conv = Conv(inputs, outputs, size, stride=stride, bias=False, dtype=dtype, kernels=kernels, rngs=rngs)
        # The last norm of a block starts at zero: the block starts as its short cut (Goyal et al. 2017, 1706.02677).
        scale = nnx.initializers.zeros if last else nnx.initializers.ones
        self.norm = batch_norm(outputs, dtype=dtype, scale_init=scale, axis_name=axis_name, rngs=rngs)

    def __call__(self, x_bhwc: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b oh ow o"]:
        return self.norm(self.conv(x_bhwc), use_running_average=not train)


class Block(nnx.Module):
    """Convolutions beside a short cut, which is a convolution 1 x 1 where the shape changes."""

    def __init__(
        self, inputs: int, width: int, config: ModelConfig, *, stride: int, axis_name: str | None, rngs: nnx.Rngs
    ):
        bottleneck = config.depth in BOTTLENECKS
        outputs = width * EXPANSION if bottleneck else width
        # Kernel, outputs and stride of each convolution.
        plan = (
            [(1, width, 1), (3, width, stride), (1, outputs, 1)] if bottleneck else [(3, width, stride), (3, width, 1)]
        )
        units, channels = [], inputs
        for n, (size, made, step) in enumerate(plan):
            last = n == len(plan) - 1
            units.append(Unit(channels, made, size, config, stride=step, last=last, axis_name=axis_name, rngs=rngs))
            channels = made
        self.units = nnx.List(units)
        self.shortcut = (
            Unit(inputs, outputs, 1, config, stride=stride, axis_name=axis_name, rngs=rngs)
            if stride != 1 or inputs != outputs
            else nnx.data(None)
        )
        self.outputs = outputs

    def __call__(self, x_bhwc: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b oh ow o"]:
        y = x_bhwc
        for n, unit in enumerate(self.units):
            y = unit(y if n == 0 else jax.nn.relu(y), train=train)
        return jax.nn.relu(y + (x_bhwc if self.shortcut is None else self.shortcut(x_bhwc, train=train)))


class ResNet(nnx.Module):
    """Stem, stages, global average.

    Args:
      config: depth, widths and types.
      image_shape: height and width of the input, in pixels; any will do.
      axis_name: see `models.build`.
      rngs: source of the initial weights.

    Attributes:
      features: number of features.
    """

    def __init__(self, config: ModelConfig, image_shape: tuple[int, int], *, axis_name: str | None, rngs: nnx.Rngs):
        del image_shape
        channels = config.widths[0]
        self.stem = Unit(1, channels, 7, config, stride=2, axis_name=axis_name, rngs=rngs)
        blocks = []
        for stage, (width, count) in enumerate(zip(config.widths, BLOCKS[config.depth], strict=True)):
            for n in range(count):
                stride = 2 if stage and n == 0 else 1
                block = Block(channels, width, config, stride=stride, axis_name=axis_name, rngs=rngs)
                blocks.append(block)
                channels = block.outputs
        self.blocks = nnx.List(blocks)
        self.features = channels
        self.kernels = ops.resolve_kernels(config.kernels)

    def maps(self, x_bhw1: Float[Array, "b h w 1"], *, train: bool = False) -> Float[Array, "b oh ow c"]:
        """Returns the last feature maps of each image.

        Args:
          x_bhw1: grey levels in [-1, 1].
          train: whether batch norm uses (and updates by) the statistics of this batch.
        """
        x = jax.nn.relu(self.stem(x_bhw1, train=train))
        # All values are at least 0 here, so that a border of zeros is one of minus infinity.
        x = ops.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), window=3, kernels=self.kernels)
        for block in self.blocks:
            x = block(x, train=train)
        return x

    def pooled(self, maps_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Returns the features of maps: the mean over each."""
        return maps_bhwc.mean((1, 2), dtype=jnp.float32)


def _pretrained(config: ModelConfig) -> Iterator[Tensor]:
    """The tensors of torchvision and timm, whose names agree: conv1, bn1, layerS.N.convK, layerS.N.downsample.0 and .1.

    A stem that has learnt from three colours becomes one for grey by the sum over its colours: three equal channels
    give the same.
    """
    yield from _unit("conv1", "bn1", ("stem",), grey=True)
    bottleneck = config.depth in BOTTLENECKS
    channels, number = config.widths[0], 0
    for stage, (width, count) in enumerate(zip(config.widths, BLOCKS[config.depth], strict=True)):
        outputs = width * EXPANSION if bottleneck else width
        for n in range(count):
            theirs, ours = f"layer{stage + 1}.{n}", ("blocks", str(number))
            for k in range(3 if bottleneck else 2):
                yield from _unit(f"{theirs}.conv{k + 1}", f"{theirs}.bn{k + 1}", (*ours, "units", str(k)))
            if channels != outputs or (stage and n == 0):
                yield from _unit(f"{theirs}.downsample.0", f"{theirs}.downsample.1", (*ours, "shortcut"))
            channels, number = outputs, number + 1


def _unit(convolution: str, norm: str, path: tuple[str, ...], *, grey: bool = False) -> Iterator[Tensor]:
    """The tensors of a convolution without bias and of its batch norm."""
    yield Tensor(f"{convolution}.weight", (*path, "conv", "kernel"), _grey_kernel if grey else _kernel)
    yield Tensor(f"{norm}.weight", (*path, "norm", "scale"))
    yield Tensor(f"{norm}.bias", (*path, "norm", "bias"))
    yield Tensor(f"{norm}.running_mean", (*path, "norm", "mean"), statistic=True)
    yield Tensor(f"{norm}.running_var", (*path, "norm", "var"), statistic=True)


def _kernel(weight: Float[np.ndarray, "o c k k"]) -> Float[np.ndarray, "k k c o"]:
    return weight.transpose(2, 3, 1, 0)


def _grey_kernel(weight: Float[np.ndarray, "o c k k"]) -> Float[np.ndarray, "k k 1 o"]:
    return _kernel(weight).sum(2, keepdims=True)


ARCHITECTURE = Architecture(
    name="resnet",
    reference="He et al. 2015, arXiv 1512.03385",
    build=functools.partial(Regressor, ResNet),
    heads=("regression", "points"),
    settings=("widths", "depth", "weights", "dense", "dropout", "sex", "kernels"),
    depths=BLOCKS,
    pretrained=_pretrained,
    pretrained_from="torchvision or timm",
)
