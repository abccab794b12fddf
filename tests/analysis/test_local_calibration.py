"""A line for each sex, against NumPy's own fit and against data whose truth is known."""

import json

import numpy as np
import pytest

from boneage_jax.analysis import local_calibration
from boneage_jax.analysis.ensemble import Debias
from boneage_jax.analysis.local_calibration import LocalCalibration


def clinic(count, *, seed=0, girls=(0.9, 14.0), boys=(1.05, -9.0), noise=5.0):
    """Predictions, readings and sexes of a clinic whose readers differ from the network by a line for each sex."""
    draws = np.random.default_rng(seed)
    months = draws.uniform(20, 210, count)
    male = np.arange(count) % 2 == 0
    slope, intercept = (np.where(male, *pair) for pair in zip(boys, girls, strict=True))
    return months, slope * months + intercept + draws.normal(0, noise, count), male


def test_the_lines_are_those_of_least_squares():
    months, reading, male = clinic(120)
    found = local_calibration.fit(months, reading, male, "labels.csv")
    for sex, line in ((False, found.female), (True, found.male)):
        slope, intercept = np.polyfit(months[male == sex], reading[male == sex], 1)
        ages = np.array([50.0, 150.0])
        np.testing.assert_allclose(line(ages), slope * ages + intercept, rtol=1e-9)
        np.testing.assert_allclose(found(ages, np.array([sex, sex])), slope * ages + intercept, rtol=1e-9)
    assert found.images == {"F": 60, "M": 60}


def test_the_gain_is_that_on_hands_that_the_lines_have_not_seen():
    months, reading, male = clinic(100, seed=3)
    found = local_calibration.fit(months, reading, male, "labels.csv")
    other_months, other_reading, other_male = clinic(4000, seed=4)
    after = np.abs(found(other_months, other_male) - other_reading).mean()
    assert found.before.value == pytest.approx(np.abs(months - reading).mean())
    assert found.after.value == pytest.approx(after, rel=0.2)
    assert found.gain.value == pytest.approx(found.before.value - found.after.value)
    assert found.gain.low > 0


def test_no_gain_is_said_to_be_none():
    """Readers who agree with the network: lines of twenty hands do harm, and say so."""
    months, reading, male = clinic(20, girls=(1, 0), boys=(1, 0), noise=8)
    found = local_calibration.fit(months, reading, male, "labels.csv")
    text = local_calibration.as_text(found)
    assert found.gain.low <= 0
    assert "do not show that the lines help" in text
    assert "warning: 20 images" in text
    assert "warning" not in local_calibration.as_text(local_calibration.fit(*clinic(200), "labels.csv"))


def test_where_nothing_is_to_be_gained_the_gain_is_below_nothing():
    """Ten of each sex, of readers who agree with the network: lines learn noise, and cost months on other images."""
    gains = [
        local_calibration.fit(*clinic(20, seed=seed, girls=(1, 0), boys=(1, 0), noise=8), "labels.csv").gain.value
        for seed in range(40)
    ]
    assert np.mean(gains) + 2 * np.std(gains) / 40**0.5 < 0


def test_a_sex_of_few_images_gets_no_line():
    months, reading, male = clinic(60)
    kept = ~male | (np.cumsum(male) <= 5)
    found = local_calibration.fit(months[kept], reading[kept], male[kept], "labels.csv")
    assert found.male == Debias()
    assert found.female != Debias()
    assert "boys   no line: 5 images, expected at least 10" in local_calibration.as_text(found)
    few = np.flatnonzero(kept)[:14]
    with pytest.raises(ValueError, match="expected 10 of a sex"):
        local_calibration.fit(months[few], reading[few], male[few], "labels.csv")


def test_it_is_read_as_it_was_written():
    found = local_calibration.fit(*clinic(80), "labels.csv")
    assert LocalCalibration.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(KeyError):
        LocalCalibration.from_json({"female": {"slope": 1.0, "intercept": 0.0}})
