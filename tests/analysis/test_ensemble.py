"""Ensembles, comparisons, stages and tables against formulas and SciPy."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax import anatomy
from boneage_jax.analysis import stages
from boneage_jax.analysis.comparison import compare, holm
from boneage_jax.analysis.ensemble import Blend, Debias, average, fitted_weights, mixture
from boneage_jax.analysis.tables import Table
from boneage_jax.errors import UserError
from boneage_jax.paper import grid


def members(seed=0, n=400):
    """A reading and three models: two with errors of their own, one worthless."""
    rng = np.random.default_rng(seed)
    reading = rng.uniform(20, 220, n)
    return reading, np.stack([reading + rng.normal(0, 8, n), reading + rng.normal(0, 8, n), rng.uniform(20, 220, n)])


def test_weights_are_the_best_that_are_not_negative():
    """Against a general bounded solver; the worthless model gets almost nothing; the sum beats every member."""
    reading, predicted = members()
    weights = fitted_weights(predicted, reading)
    expected = scipy.optimize.lsq_linear(predicted.T, reading, bounds=(0, np.inf)).x
    np.testing.assert_allclose(weights, expected, atol=1e-4)
    assert weights.min() >= 0
    assert weights[2] < 0.05
    new_reading, new = members(seed=1)
    errors = np.abs(new - new_reading).mean(1)
    assert np.abs(weights @ new - new_reading).mean() < errors.min() * 0.8
    np.testing.assert_allclose(average(new), new.sum(0) / 3)


def test_a_model_that_errs_as_another_does_but_worse_gets_no_negative_weight():
    """Without the bound least squares would take the second model's errors off the first one's."""
    rng = np.random.default_rng(3)
    reading, error = rng.uniform(20, 220, 400), rng.normal(0, 5, 400)
    predicted = np.stack([reading + error, reading + 3 * error + rng.normal(0, 1, 400)])
    unbounded = np.linalg.lstsq(predicted.T, reading, rcond=None)[0]
    assert unbounded[1] < -0.3
    first, second = fitted_weights(predicted, reading)
    assert second == 0
    assert first == pytest.approx(predicted[0] @ reading / (predicted[0] @ predicted[0]))


@given(st.floats(0.5, 1.5), st.floats(-30, 30))
@settings(max_examples=20)
def test_a_linear_bias_is_undone(slope, shift):
    reading = np.linspace(10, 220, 50)
    predicted = slope * reading + shift
    np.testing.assert_allclose(Debias.fit(predicted, reading)(predicted), reading, atol=1e-6)


def test_predictions_without_bias_stay():
    reading = np.linspace(10, 220, 50)
    corrected = Debias.fit(reading, reading)
    np.testing.assert_allclose(corrected(np.array([5.0, 300.0])), [5, 300], atol=1e-9)
    constant = Debias.fit(np.full(50, 100.0), reading)
    np.testing.assert_allclose(constant(np.array([100.0])), [115.0])


def test_paired_comparisons_see_what_unpaired_ones_cannot():
    """A gain of one month in errors that scatter by ten."""
    rng = np.random.default_rng(0)
    error = np.abs(rng.normal(0, 10, 300)) + 1
    found = compare(error + rng.uniform(0.5, 1.5, 300), error)
    assert found.difference.low < 1 < found.difference.high
    assert found.difference.low > 0.9
    assert found.p < 1e-10
    assert compare(error, error).p == 1.0


def test_errors_are_compared_by_size_whatever_their_sign():
    """The first is 12 months too low or too high, the second 10 too high or too low: 2 months worse each time."""
    sign = np.where(np.arange(40) % 4 == 0, 1.0, -1.0)
    found = compare(12 * sign, -10 * sign)
    assert (found.difference.value, found.difference.low, found.difference.high) == (2.0, 2.0, 2.0)


def test_no_difference_is_rarely_called_one():
    rng = np.random.default_rng(1)
    p = [compare(rng.normal(0, 8, 60), rng.normal(0, 8, 60)).p for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) < 0.1


def test_holms_correction_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).max() == 1.0


def test_errors_by_stage():
    """Girls of 83 and 84 months lie in different stages; each stage's error is its own."""
    reading = np.array([5.0, 83.0, 84.0, 84.0, 300.0])
    male = np.array([False, False, False, True, True])
    predicted = reading + np.array([1.0, -2.0, 3.0, 4.0, 5.0])
    table = stages.mae_by_stage(predicted, reading, male)
    assert {name: (n, score.value) for name, (n, score) in table.items()} == {
        "infancy": (1, 1.0),
        "pre-puberty": (2, 3.0),
        "early and mid-puberty": (1, 3.0),
        "post-puberty": (1, 5.0),
    }
    assert list(table) == [stage.name for stage in anatomy.STAGES if stage.name in table]


def test_tables_in_three_notations(tmp_path):
    table = Table("t", "50% of A & B", ("model", "MAE"), (("m46_x", "1.2"), ("a|b", "< 3")))
    table.write(tmp_path)
    assert (tmp_path / "t.csv").read_text() == "model,MAE\nm46_x,1.2\na|b,< 3\n"
    assert "| a\\|b | < 3 |" in (tmp_path / "t.md").read_text()
    latex = (tmp_path / "t.tex").read_text()
    assert r"m46\_x & 1.2 \\" in latex
    assert r"50\% of A \& B" in latex
    assert r"a|b & $<$ 3 \\" in latex


def test_experiments_by_pattern():
    assert len(grid.matching([])) == 36
    assert [experiment.name for experiment in grid.matching(["m46-regression-*-all"])] == [
        f"m46-regression-{region}-all" for region in "ABC"
    ]
    with pytest.raises(UserError, match=r"m47.*expected MODEL-HEAD-REGION-SEX"):
        grid.matching(["m47-*"])


def test_a_mixture_has_the_moments_of_its_samples():
    """Mean and standard deviation against samples; a model that does not answer is left out."""
    months, spread = (
        np.array([[60.0, 60.0, np.nan], [72.0, np.nan, np.nan]]),
        np.array([[5.0, 5.0, 1.0], [9.0, 1.0, 1.0]]),
    )
    mean, sd = mixture(months, spread)
    rng = np.random.default_rng(0)
    draws = np.concatenate([rng.normal(60, 5, 200_000), rng.normal(72, 9, 200_000)])
    assert mean[0] == pytest.approx(draws.mean(), abs=0.05)
    assert sd[0] == pytest.approx(draws.std(), abs=0.05)
    assert (mean[1], sd[1]) == (60.0, 5.0)
    assert np.isnan(mean[2])
    assert np.isnan(sd[2])
    _, weighted = mixture(months, spread, np.array([3.0, 1.0]))
    draws = np.concatenate([rng.normal(60, 5, 300_000), rng.normal(72, 9, 100_000)])
    assert weighted[0] == pytest.approx(draws.std(), abs=0.05)
    assert weighted[1] == 5.0


def test_a_blend_of_models_by_sex_is_least_squares_over_the_models_that_answer():
    """A model of all, one of boys, one of girls; readings that are a known sum of them, stretched and shifted."""
    rng = np.random.default_rng(2)
    male = rng.random(500) < 0.5
    predicted = rng.uniform(40, 200, (3, 500))
    predicted[1, ~male] = predicted[2, male] = np.nan
    truth = 0.25 * predicted[0] + 0.75 * np.where(male, predicted[1], predicted[2])
    blend = Blend.fit(predicted, truth, weighted=True)
    np.testing.assert_allclose(blend.weights, (0.25, 0.75, 0.75), atol=1e-6)
    np.testing.assert_allclose(blend(predicted, np.ones_like(predicted))[0], truth)
    stretched = 0.9 * truth + 12
    bent = Blend.fit(predicted, stretched, weighted=True, corrected=True)
    error, before = (
        one(predicted, np.ones_like(predicted))[0] - stretched
        for one in (bent, dataclasses.replace(bent, debias=Debias()))
    )
    assert error.mean() == pytest.approx(0, abs=1e-6)
    assert np.square(error).mean() < 0.9 * np.square(before).mean()
    again = Blend.of(json.loads(json.dumps(dataclasses.asdict(bent))))
    assert again == bent
    assert Blend.of({}) == Blend()
    np.testing.assert_allclose(Blend()(predicted, predicted)[0], np.nanmean(predicted, 0))
    with pytest.raises(ValueError, match="answers for none of the children"):
        Blend.fit(np.where([[True], [True], [False]], predicted, np.nan), truth)


def test_stretched_ages_spread_as_the_readings_do():
    """Mean and standard deviation are those of the readings; the bias at both ends falls, the error grows a little."""
    draws = np.random.default_rng(0)
    reading = draws.normal(127, 41, 5000)
    predicted = 127 + 0.93 * (reading - 127) + draws.normal(0, 8, 5000) * 0.9
    fitted, stretched = (line(predicted, reading)(predicted) for line in (Debias.fit, Debias.stretching))
    assert stretched.mean() == pytest.approx(reading.mean())
    assert stretched.std() == pytest.approx(reading.std())
    for end in (reading < 60, reading > 195):
        assert abs((stretched - reading)[end].mean()) < 0.7 * abs((fitted - reading)[end].mean())
    errors = [float(np.square(one - reading).mean() ** 0.5) for one in (fitted, stretched)]
    assert errors[0] < errors[1] < 1.05 * errors[0]
    constant = np.full(5, 100.0)
    assert Debias.stretching(constant, constant + 3) == Debias.fit(constant, constant + 3)
    months = np.stack([predicted, predicted])
    blend = Blend.fit(months, reading, stretched=True)
    np.testing.assert_allclose(blend(months, np.ones_like(months))[0], stretched)
