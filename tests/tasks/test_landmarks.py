"""Soft-argmax against sums in NumPy; both forms of the loss."""

import jax.numpy as jnp
import numpy as np
import pytest

from boneage_jax import tasks
from boneage_jax.config import TaskConfig
from boneage_jax.tasks.landmarks import centre_of_mass

TRUTH = jnp.array([[[20.0, 4.0], [40.0, 30.0], [20.0, 44.0]]])


def task(points):
    return tasks.build(TaskConfig(name="landmarks", points=points))


def test_centre_and_spread_against_sums():
    p = np.random.default_rng(0).random((2, 3, 7, 9))
    p /= p.sum((2, 3), keepdims=True)
    y, x = np.mgrid[:7, :9]
    points, spread = centre_of_mass(jnp.asarray(p))
    mx, my = (p * x).sum((2, 3)), (p * y).sum((2, 3))
    np.testing.assert_allclose(points, np.stack([mx, my], -1), rtol=1e-5)
    variance = (p * ((x - mx[..., None, None]) ** 2 + (y - my[..., None, None]) ** 2)).sum((2, 3))
    np.testing.assert_allclose(spread, np.sqrt(variance), rtol=1e-4)


def test_a_peak_is_found_at_the_middle_of_its_pixel():
    """Map pixel (column 3, row 5), two input pixels wide, is centred at 6.5, 10.5."""
    logits = np.full((1, 24, 32, 3), -30.0, np.float32)
    logits[0, 5, 3] = 30.0
    said = task("heatmap").prediction(jnp.asarray(logits), (48, 64))
    np.testing.assert_allclose(said[0, :, :2], [[6.5, 10.5]] * 3, atol=1e-3)
    np.testing.assert_allclose(said[0, :, 2], 0, atol=1e-2)


def test_errors_are_in_percent_of_the_hand():
    """Fingertip to capitate is 40 pixels; all points 2 pixels off are 5 percent."""
    shape = {"key_points": TRUTH, "image": jnp.zeros((1, 48, 64))}
    outputs = ((TRUTH + jnp.array([2.0, 0.0]) - jnp.array([31.5, 23.5])) / 24.0).reshape(1, 6)
    values = task("regression").losses(outputs, shape)
    assert float(values["error"][0]) == pytest.approx(5.0, abs=1e-4)
    assert float(values["loss"][0]) == pytest.approx((2 / 48) ** 2 / 2, rel=1e-4)


def test_the_best_heat_map_is_the_truths():
    """Shifting the peak away from the truth makes loss and error grow."""
    shape = {"key_points": TRUTH, "image": jnp.zeros((1, 48, 64))}
    y, x = np.mgrid[:24, :32]

    def loss(offset):
        maps = [-((2 * x + 0.5 - px - offset) ** 2 + (2 * y + 0.5 - py) ** 2) / 12 for px, py in np.asarray(TRUTH[0])]
        return task("heatmap").losses(jnp.asarray(np.stack(maps, -1)[None], jnp.float32), shape)

    near, far = loss(0.0), loss(5.0)
    assert float(near["error"][0]) < 0.5 < float(far["error"][0])
    assert float(near["loss"][0]) < float(far["loss"][0])
