"""The law against planted ones, and the frontier against a search."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax.scaling.law import Compute, Law, fit, fit_with_intervals, frontier

exponents = st.floats(0.2, 1.0)


def planted(a, b, floor=4.0, of_weights=4.0, of_images=6.0):
    """A law whose terms are as large as the floor, about the middle of what is tried."""
    return Law(floor, of_weights * 1e5**a, a, of_images * 2000**b, b)


def tried(sizes=5):
    weights, images = np.meshgrid(np.geomspace(2e4, 2e6, sizes), np.geomspace(250, 16000, sizes))
    return weights.ravel(), images.ravel()


@given(a=exponents, b=exponents)
@settings(max_examples=25)
def test_without_scatter_the_law_itself_is_found(a, b):
    law = planted(a, b)
    found = fit(*tried(), law(*tried()))
    for name in ("floor", "weights_exponent", "images_exponent"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=2e-2)
    np.testing.assert_allclose(found(1e7, 1e5), law(1e7, 1e5), rtol=1e-2)


@pytest.mark.integration
def test_planted_exponents_lie_in_their_intervals():
    """Of simulated studies with 2% scatter, in at least nine of ten."""
    draws, inside = np.random.default_rng(11), {"weights_exponent": 0, "images_exponent": 0, "floor": 0}
    studies = 40
    for study in range(studies):
        law = planted(*draws.uniform(0.25, 0.8, 2), floor=draws.uniform(2, 6))
        error = law(*tried()) * np.exp(draws.normal(0, 0.02, 25))
        found = fit_with_intervals(*tried(), error, seed=study)
        assert 0.005 < found.scatter < 0.05
        for name in inside:
            low, high = found.interval(name)
            inside[name] += low <= getattr(law, name) <= high
    assert min(inside.values()) >= 0.9 * studies, inside


@pytest.mark.integration
def test_a_run_that_was_held_out_lies_in_its_band():
    draws, inside = np.random.default_rng(3), 0
    for study in range(20):
        law = planted(0.5, 0.4)
        weights, images = tried()
        error = law(weights, images) * np.exp(draws.normal(0, 0.02, 25))
        found = fit_with_intervals(weights[:-1], images[:-1], error[:-1], resamples=60, seed=study)
        low, high = found.band(weights[-1:], images[-1:], of_a_run=True)
        inside += bool(low[0] <= error[-1] <= high[0])
    assert inside >= 17


@given(a=exponents, b=exponents, g=st.floats(0.6, 1.2), spent=st.floats(1e13, 1e17))
@settings(max_examples=30)
def test_the_frontier_is_the_least_error_that_can_be_bought(a, b, g, spent):
    law, compute = planted(a, b), Compute(50.0, g, 10.0)
    weights, images = frontier(law, compute, np.array([spent]))
    np.testing.assert_allclose(compute.of(weights, images), spent, rtol=1e-6)

    def error(log_weights):
        n = np.exp(log_weights)
        return float(law(n, spent / (500.0 * n**g)))

    best = scipy.optimize.minimize_scalar(
        error, bounds=(np.log(weights[0]) - 8, np.log(weights[0]) + 8), method="bounded"
    )
    assert float(law(weights, images)[0]) <= best.fun * (1 + 1e-6)


def test_operations_grow_as_a_power():
    weights = np.array([1e4, 1e5, 1e6])
    found = Compute.fit(weights, 30 * weights**0.8, passes=5.0)
    assert (found.factor, found.exponent) == (pytest.approx(30), pytest.approx(0.8))
    np.testing.assert_allclose(found.of(weights, 100), 30 * weights**0.8 * 500)


@pytest.mark.parametrize(
    ("weights", "images", "message"),
    [([1, 2, 3, 4], [1, 2, 3, 4], "five runs"), ([1, 1, 1, 2, 2], [1, 2, 3, 4, 5], "three sizes")],
)
def test_too_few_runs(weights, images, message):
    with pytest.raises(ValueError, match=message):
        fit(np.array(weights, float), np.array(images, float), np.ones(len(weights)))
