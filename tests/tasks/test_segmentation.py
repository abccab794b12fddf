"""L = H - log J against NumPy, and what the score says."""

import jax.numpy as jnp
import numpy as np
import pytest

from boneage_jax import tasks
from boneage_jax.config import TaskConfig


def task(**changes):
    return tasks.build(TaskConfig(name="segmentation", **changes))


def some(count=3):
    generator = np.random.default_rng(0)
    return generator.normal(0, 2, (count, 6, 5)), (generator.random((count, 6, 5)) > 0.6).astype(np.float64)


def test_the_loss_is_the_papers():
    """H = -mean(y log p + (1 - y) log(1 - p)); J = mean(y p / (y + p - y p)); L = H - log J."""
    logits, y = some()
    p = 1 / (1 + np.exp(-logits))
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean((1, 2))
    jaccard = (y * p / (y + p - y * p)).mean((1, 2))
    values = task().losses(jnp.asarray(logits, jnp.float32)[..., None], {"hand": jnp.asarray(y, jnp.float32)})
    np.testing.assert_allclose(values["loss"], entropy - np.log(jaccard), rtol=1e-5)
    halved = task(jaccard=0.5).losses(jnp.asarray(logits, jnp.float32)[..., None], {"hand": jnp.asarray(y)})
    np.testing.assert_allclose(halved["loss"], entropy - 0.5 * np.log(jaccard), rtol=1e-5)


def test_the_other_form_is_the_soft_intersection_over_union():
    logits, y = some()
    p = 1 / (1 + np.exp(-logits))
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean((1, 2))
    soft = (y * p).sum((1, 2)) / (y + p - y * p).sum((1, 2))
    values = task(jaccard_form="ratio").losses(jnp.asarray(logits, jnp.float32)[..., None], {"hand": jnp.asarray(y)})
    np.testing.assert_allclose(values["loss"], entropy - np.log(soft), rtol=1e-5)


def test_the_score_is_intersection_over_union():
    logits, y = some()
    said = logits > 0
    expected = [(s & (t > 0)).sum() / (s | (t > 0)).sum() for s, t in zip(said, y, strict=True)]
    values = task().losses(jnp.asarray(logits)[..., None], {"hand": jnp.asarray(y)})
    np.testing.assert_allclose(values["iou"], expected, rtol=1e-6)
    assert task().score.badness(0.9) < task().score.badness(0.8)


def test_an_empty_picture_is_no_trouble():
    values = task().losses(jnp.full((1, 4, 4, 1), -20.0), {"hand": jnp.zeros((1, 4, 4))})
    assert float(values["loss"][0]) == pytest.approx(0, abs=1e-6)
    assert float(values["iou"][0]) == 1


def test_faint_pictures_look_like_others():
    picture = np.random.default_rng(0).random((1, 8, 8))
    faint = 0.4 + 0.05 * picture
    np.testing.assert_allclose(
        task().model_input(jnp.asarray(faint)), task().model_input(jnp.asarray(picture)), atol=1e-3
    )
