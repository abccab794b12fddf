"""The three ways to put an age, against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from boneage_jax import tasks
from boneage_jax.config import TaskConfig

MONTHS = np.arange(240)


def task(age, **changes):
    return tasks.build(TaskConfig(age=age, **changes))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("age", ["classification", "distribution"])
def test_point_and_spread_of_a_distribution(age):
    logits = np.random.default_rng(0).normal(size=(3, 240)).astype(np.float32) * 3
    p = softmax(logits)
    mean = p @ MONTHS
    said = task(age).prediction(jnp.asarray(logits), (0, 0))
    np.testing.assert_allclose(said[:, 0], mean, rtol=1e-4)
    np.testing.assert_allclose(said[:, 1], np.sqrt((p * (MONTHS - mean[:, None]) ** 2).sum(1)), rtol=1e-4)


def test_the_papers_classes_are_taught_by_the_error_of_their_expectation():
    logits = np.random.default_rng(1).normal(size=(2, 240)).astype(np.float32)
    truth = np.array([40.0, 200.0], np.float32)
    values = task("classification").losses(jnp.asarray(logits), {"bone_age": jnp.asarray(truth)})
    error = np.abs(softmax(logits) @ MONTHS - truth)
    np.testing.assert_allclose(values["mae"], error, rtol=1e-4)
    np.testing.assert_allclose(values["loss"], error / 120, rtol=1e-4)


def test_soft_labels_lie_about_the_reading_and_their_own_distribution_is_best():
    one = task("distribution", label_sd=6.0)
    labels = np.asarray(one.soft_labels(jnp.array([100.0, 3.0])))
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(labels[0] @ MONTHS, 100, atol=1e-3)
    np.testing.assert_allclose(np.sqrt(labels[0] @ (MONTHS - 100) ** 2), 6, rtol=1e-3)
    batch = {"bone_age": jnp.array([100.0])}
    best = np.log(labels[:1] + 1e-30)
    entropy = -(labels[0] * np.log(labels[0] + 1e-30)).sum()
    assert float(one.losses(jnp.asarray(best), batch)["loss"][0]) == pytest.approx(entropy, rel=1e-4)
    for shift in (5, -8):
        assert float(one.losses(jnp.asarray(np.roll(best, shift)), batch)["loss"][0]) > entropy * 1.05


def test_one_number_has_no_spread_of_its_own():
    said = task("regression").prediction(jnp.array([[0.5]]), (0, 0))
    assert float(said[0, 0]) == pytest.approx(180.0)
    assert np.isnan(said[0, 1])


def test_several_pictures_are_channels():
    assert task("regression").model_input(jnp.zeros((2, 8, 6))).shape == (2, 8, 6, 1)
    assert task("regression").model_input(jnp.zeros((2, 8, 6, 3))).shape == (2, 8, 6, 3)
