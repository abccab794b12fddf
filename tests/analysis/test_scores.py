"""Scores against plain formulas, intervals against what intervals promise."""

import numpy as np
import pytest

from boneage_jax.analysis import figures, reliability, scores
from boneage_jax.train import logs


def test_scores_are_their_formulas():
    generator = np.random.default_rng(0)
    reading = generator.uniform(1, 228, 200)
    predicted = reading + generator.normal(2, 8, 200)
    male = generator.random(200) < 0.5
    table = scores.score_all(predicted, reading, male)
    for group, members in (("all", male | ~male), ("male", male), ("female", ~male)):
        error = (predicted - reading)[members]
        expected = {
            "MAE": np.abs(error).mean(),
            "median": np.median(np.abs(error)),
            "RMSE": np.sqrt((error**2).mean()),
            "bias": error.mean(),
            "within 6": 100 * (np.abs(error) <= 6).mean(),
            "within 12": 100 * (np.abs(error) <= 12).mean(),
        }
        assert table[group]["images"] == members.sum()
        for name, value in expected.items():
            score = table[group][name]
            assert score.value == pytest.approx(value)
            assert score.low <= score.value <= score.high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Bias of known size: its 95% interval holds it in 85 to 100% of 60 samples."""
    hits = 0
    for seed in range(60):
        error = np.random.default_rng(seed).normal(3.0, 10.0, 100)
        score = scores.score_all(100 + error, np.full(100, 100.0), np.ones(100, bool))["all"]["bias"]
        hits += score.low <= 3.0 <= score.high
    assert 51 <= hits <= 60


def test_the_interval_of_a_mean_is_as_wide_as_its_normal_distribution_says():
    """95% lie within 1.96 standard errors; 2,000 resamples find that to a few percent."""
    error = np.random.default_rng(5).normal(3.0, 10.0, 500)
    score = scores.named("bias", error)
    half = 1.96 * error.std() / 500**0.5
    assert score.high - score.value == pytest.approx(half, rel=0.07)
    assert score.value - score.low == pytest.approx(half, rel=0.07)


def test_one_image_has_no_interval():
    table = scores.score_all(np.array([100.0]), np.array([90.0]), np.array([True]))
    assert table["male"]["MAE"] == scores.Score(10.0, 10.0, 10.0)
    assert "female" not in table
    assert "10.00" in scores.as_text(table)


def test_figures_are_pictures(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "mae": 9.0, "learning_rate": 0.1}\n{"step": 1, "eval_mae": 8.0}\n{"step": 2, "ma'
    )
    lines = logs.scalars_of(tmp_path)
    assert [line["step"] for line in lines] == [1, 1], "what a kill has cut short is left out"
    values = np.array([10.0, 100.0, 220.0])
    male = np.array([True, False, True])
    for png in (
        figures.predicted_against_reading(values + 3, values, male),
        figures.error_by_age(values + 3, values, male),
        figures.training_curve(lines),
        figures.training_curve([]),
        figures.bland_altman(values + 3, values, male),
        figures.reliability_by_prediction(reliability.by_prediction(values + 3, values)),
        figures.interval_coverage(np.full(3, 3.0), np.array([2.0, 4.0, np.nan])),
    ):
        assert png.startswith(b"\x89PNG")
