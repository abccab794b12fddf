"""Each method against sums, exact enumeration, a hand-derived case, and PyTorch."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax.importance import gradients, masking, method

RNG = np.random.default_rng(0)
SHAPE = (3, 8, 6, 2)
WEIGHTS = jnp.asarray(RNG.normal(size=SHAPE[1:]), jnp.float32)


def images_of(seed=0, shape=SHAPE):
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def linear(images):
    return (images * WEIGHTS).sum((1, 2, 3))


def quadratic(images):
    return (images**2 * WEIGHTS).sum((1, 2, 3))


def small_network():
    """Two convolutions, ELU as in the paper's network, and a bend at the end: gradients change along any path."""
    rng = np.random.default_rng(1)
    first = jnp.asarray(rng.normal(size=(3, 3, 2, 6)) / 3, jnp.float32)
    second = jnp.asarray(rng.normal(size=(3, 3, 6, 4)) / 5, jnp.float32)
    last = jnp.asarray(rng.normal(size=4), jnp.float32)

    def maps(images):
        dims = ("NHWC", "HWIO", "NHWC")
        x = jax.nn.elu(jax.lax.conv_general_dilated(images, first, (1, 1), "SAME", dimension_numbers=dims))
        return jax.nn.elu(jax.lax.conv_general_dilated(x, second, (2, 2), "SAME", dimension_numbers=dims))

    def head(x):
        return 120.0 * jax.nn.sigmoid(x.mean((1, 2)) @ last)

    return maps, head, (first, second, last)


# ---- integrated gradients --------------------------------------------------------------------------------------------


def test_integrated_gradients_of_squares():
    """For w x^2 the integral is w (x^2 - x'^2), pixel by pixel."""
    x, start = images_of(0), images_of(1)
    found = gradients.integrated_gradients(quadratic, x, start, steps=4)
    np.testing.assert_allclose(found, WEIGHTS * (x**2 - start**2), atol=1e-5)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_integrated_gradients_are_complete(seed):
    maps, head, _ = small_network()

    def months(images):
        return head(maps(images))

    x, start = images_of(seed), images_of(seed + 1)
    found = gradients.integrated_gradients(months, x, start, steps=256).sum((1, 2, 3))
    np.testing.assert_allclose(found, months(x) - months(start), atol=1e-3)


# ---- SmoothGrad ------------------------------------------------------------------------------------------------------


def test_smooth_grad_is_the_mean_gradient_about_the_image():
    keys = jax.random.split(jax.random.key(0), 3)
    x = images_of()
    np.testing.assert_allclose(gradients.smooth_grad(linear, x, keys), jnp.broadcast_to(WEIGHTS, SHAPE), rtol=1e-5)
    # Of w x^2 it is 2 w x, and of the noise nothing is left but its mean.
    found = gradients.smooth_grad(quadratic, x, keys, samples=2000)
    error = np.abs(found - 2 * WEIGHTS * x) / np.abs(2 * WEIGHTS)
    assert error.max() < 5 * 0.1 / math.sqrt(2000)


def test_an_image_gets_the_same_noise_in_any_batch():
    keys = jax.random.split(jax.random.key(0), 3)
    x = images_of()
    together = gradients.smooth_grad(quadratic, x, keys)
    alone = gradients.smooth_grad(quadratic, x[2:], keys[2:])
    np.testing.assert_allclose(alone[0], together[2], rtol=1e-5)


# ---- Grad-CAM --------------------------------------------------------------------------------------------------------


def test_grad_cam_by_hand():
    """Age = 3 mean(A) - 2 mean(B) over 2 x 3 maps: weights 3/6 and -2/6; the map is 0.5 A - B / 3."""
    a = jnp.array([[1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
    b = jnp.array([[0.0, 3.0, 0.0], [6.0, 0.0, 0.0]])
    maps = [jnp.stack([a, b], -1)[None]]
    found = gradients.grad_cam(lambda m: m[0].mean((1, 2)) @ jnp.array([3.0, -2.0]), maps, (2, 3))
    np.testing.assert_allclose(found[0, ..., 0], [[0.5, -1.0, 1.0], [-2.0, 2.0, 0.0]], atol=1e-6)


def test_grad_cam_against_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    maps, head, (first, second, last) = small_network()
    x = images_of(3)
    found = gradients.grad_cam(lambda m: head(m[0]), [maps(x)], (4, 3))

    def kernel(array):
        return torch.tensor(np.asarray(array).transpose(3, 2, 0, 1).copy())

    t = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy())
    t = functional.elu(functional.conv2d(t, kernel(first), padding=1))
    # JAX's SAME at stride 2 pads an even side at its end only.
    t = functional.elu(functional.conv2d(functional.pad(t, (0, 1, 0, 1)), kernel(second), stride=2)).requires_grad_()
    (120 * torch.sigmoid(t.mean((2, 3)) @ torch.tensor(np.asarray(last)))).sum().backward()
    expected = (t.grad.mean((2, 3), keepdim=True) * t).sum(1).detach().numpy()
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)


# ---- parts -----------------------------------------------------------------------------------------------------------


def areas_of(count, seed=2):
    return jnp.asarray(np.random.default_rng(seed).integers(0, count, SHAPE), jnp.uint8)


def test_over_parts_against_bincount():
    values, areas = images_of(), areas_of(5)
    found = method.over_parts(values, areas, 5)
    for row, value, area in zip(found, values, areas, strict=True):
        np.testing.assert_allclose(row, np.bincount(area.ravel(), value.ravel(), minlength=5), rtol=1e-5)


def test_occlusion_of_a_sum_is_each_areas_part():
    x, fill, areas = images_of(0), images_of(1), areas_of(5)
    found = masking.occlusion(linear, x, areas, fill, count=5)
    np.testing.assert_allclose(found, method.over_parts(WEIGHTS * (x - fill), areas, 5), atol=1e-4)


def test_subsets_by_hand():
    x, fill, groups = images_of(0), images_of(1), areas_of(4)
    values = masking.subset_values(linear, x, groups, fill, count=3)
    for subset in range(8):
        there = [0] + [n + 1 for n in range(3) if subset >> n & 1]
        mixed = np.where(np.isin(groups, there), x, fill)
        np.testing.assert_allclose(values[:, subset], linear(mixed), atol=1e-4)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_shapley_against_all_orders_of_four(seed):
    values = np.random.default_rng(seed).normal(size=(2, 16))
    expected = np.zeros((2, 4))
    orders = list(itertools.permutations(range(4)))
    for order in orders:
        subset = 0
        for group in order:
            expected[:, group] += values[:, subset | 1 << group] - values[:, subset]
            subset |= 1 << group
    found = masking.shapley(values)
    np.testing.assert_allclose(found, expected / len(orders), atol=1e-12)
    np.testing.assert_allclose(found.sum(1), values[:, -1] - values[:, 0], atol=1e-12)


def test_curves_begin_and_end_where_they_must():
    x, fill, areas = images_of(0), images_of(1), areas_of(4)
    places = jnp.asarray(np.stack([RNG.permutation(4) for _ in range(3)]), jnp.int32)
    deleted, inserted = masking.deletion_and_insertion(linear, x, areas, fill, places=places)
    assert deleted.shape == inserted.shape == (3, 5)
    for curve, start, end in ((deleted, x, fill), (inserted, fill, x)):
        np.testing.assert_allclose(curve[:, 0], linear(start), atol=1e-4)
        np.testing.assert_allclose(curve[:, -1], linear(end), atol=1e-4)
    # The first to go is the area whose place is 0.
    first = jnp.argmin(places, axis=1)[:, None, None, None]
    np.testing.assert_allclose(deleted[:, 1], linear(jnp.where(areas == first, fill, x)), atol=1e-4)
