"""From a network's predictions to ages and their spread."""

import types

import numpy as np
import pytest

from boneage_jax.runs.inference import ages_of


def test_the_spread_of_a_regression_is_that_of_laplaces_distribution():
    """Errors drawn with the run's mean absolute error of 7 months; a network's own spread stays as it is."""
    run = types.SimpleNamespace(score=7.0)
    ages = ages_of(run, np.array([[100.0, np.nan], [120.0, 3.0]]))
    errors = np.random.default_rng(0).laplace(0, 7, 400_000)
    assert np.abs(errors).mean() == pytest.approx(7, rel=0.01)
    np.testing.assert_array_equal(ages.months, [100, 120])
    assert ages.spread[0] == pytest.approx(errors.std(), rel=0.01)
    assert ages.spread[1] == 3
