"""Scores of faithfulness where the answer is known."""

import numpy as np
import pytest
import scipy.stats

from boneage_jax.importance import faithfulness

RNG = np.random.default_rng(0)


def test_shares_leave_out_the_sign_and_sum_to_one():
    values = np.array([[2.0, -1.0, 0.0], [-2.0, 1.0, 2.0]])
    np.testing.assert_allclose(faithfulness.shares(values), [0.5, 0.25, 0.25])
    assert not faithfulness.shares(np.zeros((3, 2))).any()


def test_an_interval_holds_the_share_of_the_population():
    """Of 60 sets of images, about 95% of intervals hold the share that they were drawn with."""
    held = 0
    for seed in range(60):
        sizes = np.random.default_rng(seed).exponential([3.0, 1.0], (80, 2))
        _, low, high = faithfulness.shares_with_interval(sizes)
        held += low[0] <= 0.75 <= high[0]
    assert 51 <= held <= 60


def test_agreement_against_scipy():
    truth = RNG.normal(size=(30, 8)) * np.arange(1, 9)
    same = faithfulness.agreement(-2 * truth, truth)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    other = RNG.normal(size=(30, 8))
    expected = scipy.stats.spearmanr(np.abs(other).mean(0), np.abs(truth).mean(0)).statistic
    assert faithfulness.agreement(other, truth).value == np.float64(expected)
    by_image = [scipy.stats.spearmanr(abs(a), abs(b)).statistic for a, b in zip(other, truth, strict=True)]
    np.testing.assert_allclose(faithfulness.agreement_by_image(other, truth), np.mean(by_image))
    assert faithfulness.rank_correlation(np.zeros(4), np.arange(4.0)) == 0


def curves_of(parts, order):
    """Ages of an additive network as parts are taken away in an order, and as they come back."""
    total = parts.sum()
    gone = np.concatenate([[0], np.cumsum(parts[order])])
    return (100 + total - gone)[None], (100 + gone)[None]


def test_the_better_order_deletes_and_inserts_sooner():
    parts = np.array([8.0, 4.0, 2.0, 1.0])
    order = np.argsort(faithfulness.places(parts[None])[0])
    np.testing.assert_array_equal(order, [0, 1, 2, 3])
    best, worst = curves_of(parts, order), curves_of(parts, order[::-1])
    even = curves_of(np.full(4, 5.0), order)
    assert faithfulness.deletion(best[0]) > faithfulness.deletion(even[0]) > faithfulness.deletion(worst[0])
    assert faithfulness.insertion(best[1]) > faithfulness.insertion(even[1]) > faithfulness.insertion(worst[1])
    # By hand: distances 0, 8, 12, 14, 15 of 15.
    np.testing.assert_allclose(faithfulness.deletion(best[0]), (8 + 12 + 14 + 15) / 5 / 15)
    np.testing.assert_allclose(faithfulness.insertion(best[1]), 1 - (15 + 7 + 3 + 1) / 5 / 15)


def test_what_is_without_reason_cancels_in_what_is_explained():
    """One area carries the differences, the others scatter by themselves: half of all sizes, little of the variance."""
    draws = np.random.default_rng(0)
    reason = draws.normal(0, 20, 400)
    noise = draws.normal(0, 5, (400, 4))
    importance = np.column_stack([reason, noise])
    parts = faithfulness.explained(importance)
    assert parts.sum() == pytest.approx(1)
    # By hand: 20^2 of 20^2 + 4 x 5^2.
    assert parts[0] == pytest.approx(0.8, abs=0.03)
    assert faithfulness.shares(importance)[0] == pytest.approx(0.5, abs=0.05)
    # What all images have alike explains nothing.
    assert faithfulness.explained(importance + np.eye(5)[1] * 100)[1] == pytest.approx(parts[1])


def test_equal_predictions_differ_by_nothing():
    assert not faithfulness.explained(np.ones((5, 3))).any()
