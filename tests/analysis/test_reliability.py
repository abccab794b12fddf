"""Agreement, coverage and reliability against planted errors and another way of working them out."""

import numpy as np
import pytest

from boneage_jax.analysis import reliability


def test_limits_of_agreement_hold_nineteen_of_twenty_differences():
    error = np.random.default_rng(0).normal(3.0, 10.0, 20_000)
    found = reliability.agreement(error)
    assert found.bias == pytest.approx(3.0, abs=0.3)
    assert (found.low, found.high) == (pytest.approx(-16.6, abs=0.5), pytest.approx(22.6, abs=0.5))
    assert np.mean((error > found.low) & (error < found.high)) == pytest.approx(0.95, abs=0.005)


def test_one_difference_has_no_limits():
    assert reliability.agreement(np.array([4.0])) == reliability.Agreement(4.0, 4.0, 4.0)


@pytest.mark.parametrize(("stated", "covered"), [(1.0, 0.95), (0.5, 0.673), (2.0, 0.9999)])
def test_coverage_of_errors_that_are_normal(stated, covered):
    """A spread that is half the true one covers P(|z| < 1.96 / 2) of the readings; see a table of the normal law."""
    rng = np.random.default_rng(1)
    true = rng.uniform(2.0, 12.0, 20_000)
    error = rng.normal(0.0, true)
    (found,) = reliability.coverage(error, stated * true, np.array([0.95]))
    assert found == pytest.approx(covered, abs=0.01)


def test_coverage_goes_from_none_to_all_and_leaves_out_what_is_not_known():
    error, spread = np.array([1.0, -1.0, 5.0, 2.0]), np.array([1.0, 1.0, np.nan, 1.0])
    found = reliability.coverage(error, spread, np.array([0.0, 0.5, 0.7, 0.9999]))
    np.testing.assert_allclose(found, [0.0, 0.0, 2 / 3, 1.0])
    assert reliability.has_spread(spread)
    assert not reliability.has_spread(np.full(3, np.nan))


def test_bins_by_prediction_hold_every_image_once():
    rng = np.random.default_rng(2)
    predicted = rng.uniform(20.0, 220.0, 103)
    reading = 0.5 * predicted + 60.0 + rng.normal(0.0, 5.0, 103)
    bins = reliability.by_prediction(predicted, reading)
    assert [one.count for one in bins] == [11, 11, 11] + [10] * 7
    order = np.argsort(predicted)
    assert bins[0].reading == pytest.approx(reading[order[:11]].mean())
    assert [one.predicted for one in bins] == sorted(one.predicted for one in bins)
    for one in bins:
        assert one.low < one.reading < one.high
    # Predictions that spread twice as far as the readings: too high above the middle, too low below it.
    assert bins[0].low > bins[0].predicted
    assert bins[-1].high < bins[-1].predicted


@pytest.mark.parametrize(("images", "bins"), [(1, 1), (9, 1), (10, 2), (1000, 10)])
def test_few_images_make_few_bins(images, bins):
    ages = np.arange(images, dtype=float)
    found = reliability.by_prediction(ages, ages)
    assert len(found) == bins
    assert sum(one.count for one in found) == images


def test_the_interval_of_a_bin_holds_the_true_mean_in_nineteen_of_twenty():
    hits = 0
    for seed in range(400):
        reading = np.random.default_rng(seed).normal(100.0, 10.0, 8)
        (one,) = reliability.by_prediction(np.full(8, 90.0), reading, bins=1)
        hits += one.low <= 100.0 <= one.high
    assert 365 <= hits <= 395
