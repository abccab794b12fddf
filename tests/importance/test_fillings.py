"""What parts of images are replaced by."""

import typing

import numpy as np
import pytest
import scipy.stats

from boneage_jax.errors import UserError
from boneage_jax.importance import fillings
from boneage_jax.importance.request import Filling

RNG = np.random.default_rng(0)
IMAGES = (RNG.beta(1 + np.arange(5), 3, (24, 16, 2, 5)) * 255).astype(np.uint8).transpose(3, 0, 1, 2)
# The hand is everywhere but in the first rows.
AREAS = np.broadcast_to((np.arange(24) >= 6).astype(np.uint8)[None, :, None, None], IMAGES.shape)


def filled(kind):
    fill = fillings.fill(IMAGES, AREAS, kind, seed=4)
    assert fill.shape == IMAGES.shape
    assert fill.dtype == np.uint8
    return fill


def test_another_child_exposed_like_this_one():
    fill = filled("other")
    for n in range(5):
        (donor,) = (m for m in range(5) if np.array_equal(fill[n, :6], IMAGES[m, :6]))
        assert donor != n
        hand = fill[n, 6:].ravel().astype(float)
        # Like this image in its grey levels, like the other one in their order.
        np.testing.assert_allclose(
            np.percentile(hand, [5, 25, 50, 75, 95]), np.percentile(IMAGES[n, 6:], [5, 25, 50, 75, 95]), atol=4
        )
        assert scipy.stats.spearmanr(hand, IMAGES[donor, 6:].ravel()).statistic > 0.999


def test_the_mean_of_all():
    np.testing.assert_allclose(filled("mean")[2], IMAGES.astype(float).mean(0), atol=0.51)


def test_a_blur_leaves_no_detail():
    assert filled("blur").std((1, 2)).max() < 0.3 * IMAGES.std((1, 2)).min()


def test_black():
    assert not filled("black").any()


def test_every_filling_of_the_command_is_there_and_no_other():
    assert tuple(fillings.FILLINGS) == typing.get_args(Filling)
    with pytest.raises(UserError, match=r"filling: found 'blak', expected one of .* \(did you mean 'black'\?\)"):
        fillings.fill(IMAGES, AREAS, "blak", seed=0)
