"""ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s", arXiv 2201.03545), as timm has it.

Stem of patches of 4 x 4 pixels, four stages of residual blocks, global average, layer norm. A block: depthwise
convolution 7 x 7, layer norm, a dense layer four times as wide, GELU, a dense layer back, a learnt scale of each
channel. Between stages: layer norm, and a convolution of 2 x 2 and stride 2. Rows and columns that do not fill a patch
are cut off at the bottom and on the right, as PyTorch's convolutions without a border do. Widths are the config's, one
a stage: 96, 192, 384, 768 in the paper's smallest. Its stochastic depth is left out.
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
from boneage_jax.models.regressor import Regressor
from boneage_jax.schema import ModelConfig

BLOCKS = {
    4: (1, 1, 1, 1),
    12: (2, 2, 6, 2),
    14: (2, 2, 8, 2),
    18: (3, 3, 9, 3),
    36: (3, 3, 27, 3),
}
"""Blocks in each stage, by their sum: 18 and 36 are the paper's (section 3: T; S, B and L), 12 and 14 are timm's (atto,
femto and pico; nano), 4 is ours, for small networks and tests."""

KERNEL = 7
"""Side of the depthwise kernels (section 2.5)."""

EXPANSION = 4
"""How many times wider a block is inside (section 2.4)."""

STEM_PATCH = 4
"""Side of the stem's patches (section 2.2)."""

STAGE_PATCH = 2
"""Side of the patches between stages (section 2.6)."""

NORM_EPSILON = 1e-6
"""Epsilon of the layer norms, as in the authors' code."""

SCALE_START = 1e-6
"""Start of the learnt scales of channels (appendix A, table 5: layer scale)."""

START = nnx.initializers.truncated_normal(0.02)
"""Start of all kernels (appendix A, table 5)."""

_SMALLEST_SIDE = STEM_PATCH * STAGE_PATCH**3
"""Pixels of height or width that become one in the last feature maps."""


class Patches(nnx.Module):
    """Convolution whose stride is its size: a dense layer on patches of pixels."""

    def __init__(self, inputs: int, outputs: int, side: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dense = nnx.Linear(side**2 * inputs, outputs, kernel_init=START, dtype=dtype, rngs=rngs)
        self.side = side

    def __call__(self, x_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b oh ow o"]:
        height, width = (size // self.side * self.side for size in x_bhwc.shape[1:3])
        return self.dense(ops.unshuffle(x_bhwc[:, :height, :width], self.side))


class Block(nnx.Module):
    """A residual block; shapes stay as they are."""

    def __init__(self, channels: int, config: ModelConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.kernel = nnx.Param(START(rngs.params(), (KERNEL, KERNEL, channels), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))
        self.norm = nnx.LayerNorm(channels, epsilon=NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.widen = nnx.Linear(channels, EXPANSION * channels, kernel_init=START, dtype=dtype, rngs=rngs)
        self.narrow = nnx.Linear(EXPANSION * channels, channels, kernel_init=START, dtype=dtype, rngs=rngs)
        self.scale = nnx.Param(jnp.full((channels,), SCALE_START, jnp.float32))
        self.dtype, self.kernels = dtype, ops.resolve_kernels(config.kernels)

    def __call__(self, x_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        kernel, bias, scale = (one[...].astype(self.dtype) for one in (self.kernel, self.bias, self.scale))
        y = self.norm(ops.depthwise_conv2d(x_bhwc, kernel, kernels=self.kernels) + bias)
        return x_bhwc + scale * self.narrow(jax.nn.gelu(self.widen(y), approximate=False))


class ConvNeXt(nnx.Module):
    """Stem, stages, global average, layer norm.

    Args:
      config: depth, widths and types.
      image_shape: height and width of the input, in pixels; at least 32 x 32.
      axis_name: not read: there is no batch norm.
      rngs: source of the initial weights.

    Attributes:
      features: number of features.
    """

    def __init__(self, config: ModelConfig, image_shape: tuple[int, int], *, axis_name: str | None, rngs: nnx.Rngs):
        del image_shape, axis_name
        dtype = jnp.dtype(config.dtype)
        self.stem = Patches(1, config.widths[0], STEM_PATCH, dtype=dtype, rngs=rngs)
        norms, downs, stages = [nnx.LayerNorm(config.widths[0], epsilon=NORM_EPSILON, dtype=dtype, rngs=rngs)], [], []
        for stage, (width, count) in enumerate(zip(config.widths, BLOCKS[config.depth], strict=True)):
            if stage:
                before = config.widths[stage - 1]
                norms.append(nnx.LayerNorm(before, epsilon=NORM_EPSILON, dtype=dtype, rngs=rngs))
                downs.append(Patches(before, width, STAGE_PATCH, dtype=dtype, rngs=rngs))
            stages.append(nnx.List([Block(width, config, rngs=rngs) for _ in range(count)]))
        self.norms, self.downs, self.stages = nnx.List(norms), nnx.List(downs), nnx.List(stages)
        self.last_norm = nnx.LayerNorm(config.widths[-1], epsilon=NORM_EPSILON, rngs=rngs)
        self.features = config.widths[-1]

    def maps(self, x_bhw1: Float[Array, "b h w 1"], *, train: bool = False) -> Float[Array, "b oh ow c"]:
        """Returns the last feature maps of each image.

        Args:
          x_bhw1: grey levels in [-1, 1].
          train: not read: there is no batch norm.
        """
        del train
        x = self.norms[0](self.stem(x_bhw1))
        for stage, blocks in enumerate(self.stages):
            if stage:
                x = self.downs[stage - 1](self.norms[stage](x))
            for block in blocks:
                x = block(x)
        return x

    def pooled(self, maps_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Returns the features of maps: the layer norm of the mean over each."""
        return self.last_norm(maps_bhwc.mean((1, 2), dtype=jnp.float32))


def _size_problem(config: ModelConfig, height: int, width: int) -> str:
    del config
    if min(height, width) >= _SMALLEST_SIDE:
        return ""
    return (
        f"data.height x data.width: found {height} x {width}, expected at least {_SMALLEST_SIDE} x {_SMALLEST_SIDE} "
        "for a convnext"
    )


def _pretrained(config: ModelConfig) -> Iterator[Tensor]:
    """The tensors of timm; a stem that has learnt from three colours becomes one for grey by the sum over them."""
    yield Tensor("stem.0.weight", ("stem", "dense", "kernel"), _grey_patches)
    yield Tensor("stem.0.bias", ("stem", "dense", "bias"))
    yield from _norm("stem.1", ("norms", "0"))
    for stage, count in enumerate(BLOCKS[config.depth]):
        theirs = f"stages.{stage}"
        if stage:
            yield from _norm(f"{theirs}.downsample.0", ("norms", str(stage)))
            yield Tensor(f"{theirs}.downsample.1.weight", ("downs", str(stage - 1), "dense", "kernel"), _patches)
            yield Tensor(f"{theirs}.downsample.1.bias", ("downs", str(stage - 1), "dense", "bias"))
        for n in range(count):
            block, ours = f"{theirs}.blocks.{n}", ("stages", str(stage), str(n))
            yield Tensor(f"{block}.conv_dw.weight", (*ours, "kernel"), _depthwise)
            yield Tensor(f"{block}.conv_dw.bias", (*ours, "bias"))
            yield from _norm(f"{block}.norm", (*ours, "norm"))
            yield from _dense(f"{block}.mlp.fc1", (*ours, "widen"))
            yield from _dense(f"{block}.mlp.fc2", (*ours, "narrow"))
            yield Tensor(f"{block}.gamma", (*ours, "scale"))
    yield from _norm("head.norm", ("last_norm",))


def _norm(name: str, path: tuple[str, ...]) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (*path, "scale"))
    yield Tensor(f"{name}.bias", (*path, "bias"))


def _dense(name: str, path: tuple[str, ...]) -> Iterator[Tensor]:
    # Some of timm's sizes have convolutions of 1 x 1 in the place of dense layers.
    yield Tensor(f"{name}.weight", (*path, "kernel"), lambda weight: weight.reshape(weight.shape[:2]).T)
    yield Tensor(f"{name}.bias", (*path, "bias"))


def _patches(weight: Float[np.ndarray, "o c k k"]) -> Float[np.ndarray, "k*k*c o"]:
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _grey_patches(weight: Float[np.ndarray, "o c k k"]) -> Float[np.ndarray, "k*k o"]:
    return _patches(weight.sum(1, keepdims=True))


def _depthwise(weight: Float[np.ndarray, "c 1 k k"]) -> Float[np.ndarray, "k k c"]:
    return weight[:, 0].transpose(1, 2, 0)


ARCHITECTURE = Architecture(
    name="convnext",
    reference="Liu et al. 2022, arXiv 2201.03545",
    build=functools.partial(Regressor, ConvNeXt),
    heads=("regression", "points"),
    settings=("widths", "depth", "weights", "dense", "dropout", "sex", "kernels"),
    depths=BLOCKS,
    size_problem=_size_problem,
    pretrained=_pretrained,
    pretrained_from="timm",
)
