"""Convolution and pooling, each in a plain form and in one that is faster on CPUs.

XLA's CPU back end spends most of a step on two gradients: that of max pooling (select-and-scatter) and that of the
weights of wide, shallow convolutions; and depthwise convolutions are slow in both directions. The `cpu` forms below
compute the same values by other means; tests hold both against each other, and `benchmarks/train_step.py` measures
the gain.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import export, lax
from jaxtyping import Array, Float

Images = Float[Array, "b h w c"]

_PATCH_ROWS = 8192
"""Rows of the patch matrix made at a time: large enough for an efficient product, small enough for the cache. Chosen
by eye."""

_MIN_PIXELS_FOR_BLOCKS = 4096
"""Batch x height x width below which XLA's own weight gradient is as fast; chosen by eye."""


def resolve_kernels(kernels: str) -> str:
    """Returns `plain` or `cpu` for a config's `auto`, by the default JAX back end.

    The gradients of `cpu` go over an image row by row: between processes each of their rows would be a collective.
    """
    if kernels != "auto":
        return kernels
    return "cpu" if jax.default_backend() == "cpu" and jax.process_count() == 1 else "plain"


def conv2d(
    x_bhwc: Images, kernel_hwio: Float[Array, "k k c o"], *, stride: int = 1, kernels: str = "plain"
) -> Float[Array, "b oh ow o"]:
    """Convolution with an odd square kernel and a border of k // 2 zeros on all sides, as PyTorch pads it.

    Args:
      x_bhwc: images.
      kernel_hwio: weights, `k` odd.
      stride: step between outputs, in pixels.
      kernels: `plain` for XLA's convolution and gradients; `cpu` for matrix products where they are faster.
    """
    if kernel_hwio.shape[0] == 1:
        # A 1 x 1 convolution is a matrix product, and XLA's CPU back end knows only the latter to be fast.
        return jnp.einsum("bhwc,co->bhwo", x_bhwc[:, ::stride, ::stride], kernel_hwio[0, 0])
    if stride != 1:
        border = (kernel_hwio.shape[0] // 2,) * 2
        return lax.conv_general_dilated(
            x_bhwc, kernel_hwio, (stride, stride), (border, border), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    # An exported network has a batch of any size: it is small or large for nobody, and wants no gradient.
    any_size = export.is_symbolic_dim(x_bhwc.shape[0])
    if kernels == "cpu" and not any_size and math.prod(x_bhwc.shape[:3]) >= _MIN_PIXELS_FOR_BLOCKS:
        return _conv2d_block_gradient(x_bhwc, kernel_hwio)
    return _conv2d_plain(x_bhwc, kernel_hwio)


def _conv2d_plain(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def _conv2d_block_gradient(x: Array, kernel: Array) -> Array:
    return _conv2d_plain(x, kernel)


def _conv2d_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv2d_plain(x, kernel), (x, kernel)


def _conv2d_backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    # The gradient by the input is the convolution with the kernel turned by 180 degrees.
    dx = _conv2d_plain(dy, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    return dx, _kernel_gradient(x, dy, kernel.shape[0]).astype(kernel.dtype)


def _kernel_gradient(x: Array, dy: Array, k: int) -> Array:
    """Gradient by the kernel as a sum of products (patches of some rows)^T (output gradients of these rows)."""
    b, h, w, c = x.shape
    o = dy.shape[-1]
    rows = max(1, min(h, _PATCH_ROWS // (b * w)))
    blocks = -(-h // rows)
    border, tail = k // 2, blocks * rows - h
    x = jnp.pad(x, ((0, 0), (border, border + tail), (border, border), (0, 0)))
    dy = jnp.pad(dy, ((0, 0), (0, tail), (0, 0), (0, 0)))

    def add_block(total: Array, first_row: Array) -> tuple[Array, None]:
        x_block = lax.dynamic_slice_in_dim(x, first_row, rows + 2 * border, axis=1)
        dy_block = lax.dynamic_slice_in_dim(dy, first_row, rows, axis=1).reshape(-1, o)
        taps = [x_block[:, i : i + rows, j : j + w] for i in range(k) for j in range(k)]
        patches = jnp.concatenate(taps, axis=-1).reshape(-1, k * k * c)
        # Without the barrier XLA folds the transposition into the product and loses its fast path.
        transposed = lax.optimization_barrier(patches.T)
        return total + jnp.matmul(transposed, dy_block, preferred_element_type=jnp.float32), None

    total, _ = lax.scan(add_block, jnp.zeros((k * k * c, o), jnp.float32), jnp.arange(blocks) * rows)
    return total.reshape(k, k, c, o)


_conv2d_block_gradient.defvjp(_conv2d_forward, _conv2d_backward)


def depthwise_conv2d(x_bhwc: Images, kernel_hwc: Float[Array, "k k c"], *, kernels: str = "plain") -> Images:
    """Convolution of each channel with its own odd square kernel and a border of k // 2 zeros on all sides.

    Args:
      x_bhwc: images.
      kernel_hwc: weights, `k` odd, a kernel a channel.
      kernels: `plain` for XLA's grouped convolution; `cpu` for a sum of shifted products, one a place of the kernel.
    """
    if kernels == "cpu":
        return _depthwise_taps(x_bhwc, kernel_hwc)
    return lax.conv_general_dilated(
        x_bhwc,
        kernel_hwc[:, :, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x_bhwc.shape[-1],
    )


@jax.custom_vjp
def _depthwise_taps(x: Array, kernel: Array) -> Array:
    tap, flat = _taps(x, kernel.shape[0]), kernel.reshape(-1, kernel.shape[-1])

    def add(n: Array, total: Array) -> Array:
        return total + tap(n) * flat[n]

    return lax.fori_loop(0, len(flat), add, jnp.zeros(x.shape, jnp.float32)).astype(x.dtype)


def _depthwise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise_taps(x, kernel), (x, kernel)


def _depthwise_backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    tap = _taps(x, kernel.shape[0])

    def put(n: Array, gradient: Array) -> Array:
        return gradient.at[n].set((tap(n) * dy).sum((0, 1, 2), dtype=jnp.float32))

    places, channels = kernel.shape[0] ** 2, kernel.shape[-1]
    gradient = lax.fori_loop(0, places, put, jnp.zeros((places, channels), jnp.float32))
    # The gradient by the input is the convolution with the kernel turned by 180 degrees.
    return _depthwise_taps(dy, jnp.flip(kernel, (0, 1))), gradient.reshape(kernel.shape).astype(kernel.dtype)


def _taps(x: Array, k: int) -> Callable[[Array], Array]:
    """Returns a function: the images as the kernel's place of a number sees them, zeros beyond their border."""
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return lambda n: lax.dynamic_slice(padded, (0, n // k, n % k, 0), x.shape)


_depthwise_taps.defvjp(_depthwise_forward, _depthwise_backward)


def max_pool(x_bhwc: Images, *, window: int, stride: int = 2, kernels: str = "plain") -> Float[Array, "b oh ow c"]:
    """Max pooling over square windows without padding.

    The gradient goes to the first largest pixel of each window in both forms.

    Args:
      x_bhwc: images at least as large as the window.
      window: side of the window, in pixels.
      stride: step between windows, in pixels.
      kernels: `plain` for `lax.reduce_window`; `cpu` for a maximum of strided slices.
    """
    if kernels == "cpu":
        return _max_pool_slices(x_bhwc, window, stride)
    # A literal initial value, so that JAX sees a maximum and knows its gradient.
    return lax.reduce_window(x_bhwc, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), "VALID")


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool_slices(x: Array, window: int, stride: int) -> Array:
    return _max_pool_forward(x, window, stride)[0]


def _max_pool_forward(x: Array, window: int, stride: int) -> tuple[Array, tuple[Array, tuple[int, ...]]]:
    b, h, w, c = x.shape
    oh, ow = (h - window) // stride + 1, (w - window) // stride + 1

    def tap(i: int, j: int) -> Array:
        limits = (b, i + stride * (oh - 1) + 1, j + stride * (ow - 1) + 1, c)
        return lax.slice(x, (0, i, j, 0), limits, (1, stride, stride, 1))

    best = tap(0, 0)
    chosen = jnp.zeros(best.shape, jnp.uint8)
    for n in range(1, window * window):
        value = tap(*divmod(n, window))
        chosen = jnp.where(value > best, jnp.uint8(n), chosen)
        best = jnp.maximum(value, best)
    return best, (chosen, x.shape)


def _max_pool_backward(
    window: int, stride: int, residuals: tuple[Array, tuple[int, ...]], dy: Array
) -> tuple[Float[Array, "b h w c"]]:
    chosen, (_, h, w, _) = residuals
    oh, ow = dy.shape[1:3]
    zero = jnp.zeros((), dy.dtype)
    dx = None
    for n in range(window * window):
        i, j = divmod(n, window)
        low_high = (
            (0, 0, 0),
            (i, h - i - stride * (oh - 1) - 1, stride - 1),
            (j, w - j - stride * (ow - 1) - 1, stride - 1),
        )
        part = lax.pad(jnp.where(chosen == n, dy, zero), zero, (*low_high, (0, 0, 0)))
        dx = part if dx is None else dx + part
    assert dx is not None
    return (dx,)


_max_pool_slices.defvjp(_max_pool_forward, _max_pool_backward)


def unshuffle(x_bhwc: Float[Array, "b h w c"], patch: int) -> Float[Array, "b h2 w2 c2"]:
    """Moves patches of pixels into channels; the inverse of `shuffle`."""
    b, h, w, c = x_bhwc.shape
    x = x_bhwc.reshape(b, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // patch, w // patch, patch * patch * c)


def shuffle(x_bhwc: Float[Array, "b h w c"], patch: int) -> Float[Array, "b h2 w2 c2"]:
    """Moves channels out into patches of pixels: (b, h, w, p p c) to (b, p h, p w, c)."""
    b, h, w, c = x_bhwc.shape
    out = c // patch**2
    x = x_bhwc.reshape(b, h, w, patch, patch, out).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * patch, w * patch, out)
