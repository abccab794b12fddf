"""The fast forms against the plain ones, and both against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax.models import ops


def value_and_gradients(function, *arguments):
    """The value, and the gradient of a fixed random projection of it by each argument."""
    value, back = jax.vjp(function, *arguments)
    seed = jnp.asarray(np.random.default_rng(1).normal(size=value.shape), value.dtype)
    return value, *back(seed)


def random(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("shape", [(2, 75, 53, 3, 4), (3, 64, 40, 1, 8), (1, 200, 60, 5, 2), (4, 33, 33, 8, 8)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution_in_both_forms(shape, size):
    b, h, w, c, o = shape
    x, kernel = random(b, h, w, c), random(size, size, c, o)
    plain = value_and_gradients(ops._conv2d_plain, x, kernel)
    fast = value_and_gradients(lambda x, k: ops.conv2d(x, k, kernels="cpu"), x, kernel)
    for a, b in zip(plain, fast, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * float(jnp.abs(a).max()))


def test_the_fast_convolution_is_taken():
    """Otherwise the test above compares the plain form with itself."""
    x, kernel = random(2, 75, 53, 3), random(3, 3, 3, 4)
    program = str(jax.make_jaxpr(jax.grad(lambda k: ops.conv2d(x, k, kernels="cpu").sum()))(kernel))
    assert "scan" in program
    assert "scan" not in str(jax.make_jaxpr(jax.grad(lambda k: ops.conv2d(x, k).sum()))(kernel))


@pytest.mark.parametrize(("shape", "size"), [((2, 9, 7, 3), 7), ((1, 3, 4, 2), 3)])
def test_depthwise_convolution_in_both_forms_and_in_pytorch(shape, size):
    """Also where the kernel is larger than the image."""
    torch = pytest.importorskip("torch")
    x, kernel = random(*shape), random(size, size, shape[-1])
    plain = value_and_gradients(ops.depthwise_conv2d, x, kernel)
    fast = value_and_gradients(lambda x, k: ops.depthwise_conv2d(x, k, kernels="cpu"), x, kernel)
    tx = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    tk = torch.tensor(np.asarray(kernel).transpose(2, 0, 1)[:, None].copy(), requires_grad=True)
    out = torch.nn.functional.conv2d(tx, tk, padding=size // 2, groups=shape[-1])
    out.backward(torch.tensor(np.random.default_rng(1).normal(size=x.shape).astype(np.float32).transpose(0, 3, 1, 2)))
    theirs = (out.detach().permute(0, 2, 3, 1), tx.grad.permute(0, 2, 3, 1), tk.grad[:, 0].permute(1, 2, 0))
    for one, other, reference in zip(plain, fast, theirs, strict=True):
        np.testing.assert_allclose(one, reference, atol=1e-5 * float(reference.abs().max()))
        np.testing.assert_allclose(other, reference, atol=1e-5 * float(reference.abs().max()))


@pytest.mark.integration
@settings(max_examples=12)
@given(height=st.integers(3, 9), width=st.integers(3, 9), window=st.sampled_from([2, 3]), ties=st.booleans())
def test_pooling_in_both_forms(height, width, window, ties):
    """Also where many pixels are equal, as on a black background: the gradient goes to the first of them."""
    x = random(2, height, width, 3)
    if ties:
        x = jnp.round(x)
    plain = value_and_gradients(lambda x: ops.max_pool(x, window=window), x)
    fast = value_and_gradients(lambda x: ops.max_pool(x, window=window, kernels="cpu"), x)
    for a, b in zip(plain, fast, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernels", ["plain", "cpu"])
def test_against_pytorch(kernels):
    torch = pytest.importorskip("torch")
    x, kernel = random(2, 65, 47, 3), random(3, 3, 3, 4)

    def ours(x, k):
        return ops.max_pool(ops.conv2d(x, k, kernels=kernels), window=3, kernels=kernels)

    value, dx, dk = value_and_gradients(ours, x, kernel)
    tx = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    tk = torch.tensor(np.asarray(kernel).transpose(3, 2, 0, 1).copy(), requires_grad=True)
    out = torch.nn.functional.max_pool2d(torch.nn.functional.conv2d(tx, tk, padding=1), 3, 2)
    seed = np.random.default_rng(1).normal(size=value.shape).astype(np.float32)
    out.backward(torch.tensor(seed.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(value, out.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dx, tx.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dk, tk.grad.numpy().transpose(2, 3, 1, 0), rtol=1e-3, atol=1e-3)
