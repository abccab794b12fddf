"""The parts networks are built of, as Flax NNX modules with float32 parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from boneage_jax.models import ops

HE_FAN_OUT = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He et al. 2015 (arXiv 1502.01852), as the paper's convolutions start."""


BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-5
"""PyTorch's defaults, in which the paper's code, torchvision's and timm's networks were written. Flax's momentum is the
part of the running statistics that stays: PyTorch's 0.1 is 0.9 here."""


def batch_norm(
    channels: int,
    *,
    dtype: jnp.dtype,
    axis_name: str | None,
    rngs: nnx.Rngs,
    scale_init: nnx.Initializer = nnx.initializers.ones,
) -> nnx.BatchNorm:
    """Returns the batch norm of all networks here.

    Args:
      channels: of its input.
      dtype: type of computation.
      axis_name: see `models.build`.
      rngs: source of the initial weights.
      scale_init: how its scale starts.
    """
    return nnx.BatchNorm(
        channels,
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPSILON,
        dtype=dtype,
        scale_init=scale_init,
        axis_name=axis_name,
        rngs=rngs,
    )


class Conv(nnx.Module):
    """Convolution with a border of `size // 2` zeros: at stride 1 it keeps the size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        dtype: jnp.dtype,
        kernels: str,
        rngs: nnx.Rngs,
        stride: int = 1,
        bias: bool = True,
    ):
        self.kernel = nnx.Param(HE_FAN_OUT(rngs.params(), (size, size, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32)) if bias else nnx.data(None)
        self.dtype = dtype
        self.kernels = kernels
        self.stride = stride

    def __call__(self, x_bhwc: Float[Array, "b h w c"]) -> Float[Array, "b oh ow o"]:
        kernel = self.kernel[...].astype(self.dtype)
        y = ops.conv2d(x_bhwc.astype(self.dtype), kernel, stride=self.stride, kernels=self.kernels)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class ConvUnit(nnx.Module):
    """Convolution, ELU, batch norm: in this order, as in the paper."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        dtype: jnp.dtype,
        kernels: str,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(inputs, outputs, size, dtype=dtype, kernels=kernels, rngs=rngs)
        self.norm = batch_norm(outputs, dtype=dtype, axis_name=axis_name, rngs=rngs)

    def __call__(self, x_bhwc: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w o"]:
        return self.norm(jax.nn.elu(self.conv(x_bhwc)), use_running_average=not train)


class Dropout(nnx.Module):
    """Dropout whose mask of an example depends on that example's key alone.

    So a mask is the same on any number of devices and however a batch is cut for gradient accumulation.
    """

    def __init__(self, rate: float, *, salt: int):
        self.rate = rate
        self.salt = salt

    def __call__(self, x_bf: Float[Array, "b f"], keys_b: Key[Array, " b"] | None) -> Float[Array, "b f"]:
        """Drops units at `rate` and scales the rest up; does nothing where `keys_b` is None (evaluation)."""
        if keys_b is None or self.rate == 0.0:
            return x_bf

        def keep(key: Array) -> Array:
            return jax.random.bernoulli(jax.random.fold_in(key, self.salt), 1.0 - self.rate, x_bf.shape[1:])

        return jnp.where(jax.vmap(keep)(keys_b), x_bf / (1.0 - self.rate), 0).astype(x_bf.dtype)
