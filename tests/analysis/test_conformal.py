"""Intervals: the promise against fresh draws of a known law, the quantile against NumPy's, groups, files."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax.analysis import conformal


def hands(seed, count):
    """Readings whose errors depend on age and sex in a way that the spread does not say, with heavy tails."""
    draws = np.random.default_rng(seed)
    male = draws.random(count) < 0.55
    months = draws.uniform(10, 220, count)
    spread = draws.uniform(5, 15, count)
    sd = spread * np.where(male, 0.6, 1.1) * np.where(months < 80, 0.5, 1.0)
    return months, spread, months + sd * draws.standard_t(4, count), male, np.zeros(count, bool)


def test_the_promise_is_kept_on_hands_of_the_same_law():
    """Of 40,000 new hands: overall and by sex; and by age, where hands were split into groups."""
    fitted = conformal.fit(*hands(0, 4000), "draws")
    months, spread, reading, male, flagged = hands(1, 40_000)
    ends = fitted(months, spread, male, flagged)
    for level, (low, high) in zip(fitted.levels, ends.transpose(0, 2, 1), strict=True):
        inside = (low <= reading) & (reading <= high)
        for group in (np.ones_like(male), male, ~male):
            assert inside[group].mean() == pytest.approx(level, abs=0.015)
        for youngest in range(20, 200, 30):
            assert inside[(months >= youngest) & (months < youngest + 30)].mean() == pytest.approx(level, abs=0.04)
    assert fitted.coverage == pytest.approx(fitted.levels, abs=0.02)
    assert (ends[1, :, 1] - ends[1, :, 0] >= ends[0, :, 1] - ends[0, :, 0]).all(), "90% is no narrower than 80%"


def test_the_spread_of_few_hands_errs_on_the_safe_side():
    """Over many small sets the mean coverage of new hands is at least what was promised: the theorem's own claim."""
    found = []
    for seed in range(200):
        fitted = conformal.fit(*hands(seed, 90), "draws")
        months, spread, reading, male, flagged = hands(1000 + seed, 200)
        ends = fitted(months, spread, male, flagged)
        found.append(((ends[..., 0] <= reading) & (reading <= ends[..., 1])).mean(-1))
    mean, error = np.mean(found, 0), np.std(found, 0) / 200**0.5
    assert (mean >= np.array(fitted.levels) - 3 * error).all()
    assert (mean <= np.array(fitted.levels) + 0.05).all()


@given(st.integers(conformal.FEWEST, 60), st.integers(0, 1000), st.sampled_from([0.5, 0.8, 0.9]))
@settings(max_examples=50)
def test_the_quantile_is_that_of_numpy_with_the_correction_for_finite_samples(count, seed, level):
    """One group of one sex: half width over spread is NumPy's inverted distribution at ceil((n + 1) level) / n."""
    months, spread, reading, _, flagged = hands(seed, 2 * count)
    male = np.arange(2 * count) % 2 == 0
    fitted = conformal.fit(months, spread, reading, male, flagged, "draws", levels=(level,))
    for sex, groups in ((True, fitted.male), (False, fitted.female)):
        score = np.abs(reading - months)[male == sex] / spread[male == sex]
        rank = min(np.ceil((count + 1) * level) / count, 1.0)
        expected = np.quantile(score, rank - 1e-9, method="inverted_cdf")
        assert groups.edges == ()
        assert groups.factors == ((pytest.approx(expected),),)


def test_networks_without_a_spread_get_intervals_of_one_width():
    months, _, reading, male, flagged = hands(0, 100)
    unknown = np.full(100, np.nan)
    ends = conformal.fit(months, unknown, reading, male, flagged, "draws")(months, unknown, male, flagged)
    widths = (ends[..., 1] - ends[..., 0])[:, ends[0, :, 0] > 0]
    assert np.isfinite(ends).all()
    assert len(np.unique(widths[0].round(6))) <= 2, "one for each sex"


def test_no_interval_reaches_below_birth_and_none_is_where_there_is_no_age():
    fitted = conformal.fit(*hands(0, 400), "draws")
    ends = fitted(np.array([3.0, np.nan]), np.array([10.0, 10.0]), np.array([True, False]), np.zeros(2, bool))
    assert (ends[:, 0, 0] == 0).all()
    assert np.isnan(ends[:, 1]).all()


def test_through_json_and_back():
    fitted = conformal.fit(*hands(0, 400), "draws")
    assert conformal.ConformalIntervals.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted
    stored = fitted.to_json()
    for wrong in (
        {},
        {**stored, "levels": [0.8]},
        {**stored, "widened": [0.5, 1.0]},
        {**stored, "male": {"edges": [1, 2], "factors": [[1], [1]]}},
    ):
        with pytest.raises((KeyError, ValueError, TypeError)):
            conformal.ConformalIntervals.from_json(wrong)
    assert "80% (" in fitted.remark()
    assert "400 of draws" in fitted.remark()


def test_few_hands_are_refused():
    months, spread, reading, male, flagged = hands(0, 60)
    male = np.arange(60) >= conformal.FEWEST - 1
    with pytest.raises(ValueError, match="19 girls and 41 boys, expected 20"):
        conformal.fit(months, spread, reading, male, flagged, "draws")


def test_intervals_of_flagged_hands_hold_what_is_promised_too():
    """Hands of a tenth whose errors are twice as large; where few were flagged, the factor is the stated one."""

    def drawn(seed, count):
        months, spread, reading, male, flagged = hands(seed, count)
        flagged |= np.random.default_rng(seed + 100).random(count) < 0.1
        return months, spread, np.where(flagged, months + 2 * (reading - months), reading), male, flagged

    fitted = conformal.fit(*drawn(0, 6000), "draws")
    assert min(fitted.widened) > 1.2
    months, spread, reading, male, flagged = drawn(1, 40_000)
    ends = fitted(months, spread, male, flagged)
    for level, (low, high) in zip(fitted.levels, ends.transpose(0, 2, 1), strict=True):
        inside = (low <= reading) & (reading <= high)
        assert inside[flagged].mean() == pytest.approx(level, abs=0.04)
        assert inside[~flagged].mean() == pytest.approx(level, abs=0.03)
    few = conformal.fit(*drawn(0, 100), "draws")
    assert few.widened == (conformal.WIDENED,) * 2
    wide, plain = (few(months, spread, male, np.full(len(months), is_flagged)) for is_flagged in (True, False))
    free = plain[..., 0] > 0
    widths = [(ends[..., 1] - months)[free] for ends in (wide, plain)]
    np.testing.assert_allclose(widths[0], conformal.WIDENED * widths[1])
