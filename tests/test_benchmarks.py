"""Every benchmark starts; their figures are measured by people, not by tests."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import hand_thresholds, koitka, phantom_realism
from boneage_jax.anatomy import OSSIFICATION_AREAS
from boneage_jax.hand import quality
from tests.conftest import REAL, boneage, needs_real


@pytest.mark.parametrize(
    "name",
    [
        "accuracy",
        "hand_accuracy",
        "hand_thresholds",
        "hand_real",
        "hand_speed",
        "importance_truth",
        "input_pipeline",
        "irreducible",
        "train_step",
        "phantom_layout",
        "huge_pages",
        "processes",
        "phantom_realism",
        "phantom_speed",
        "rsna_hours",
    ],
)
def test_benchmarks_start(name, pytestconfig):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m benchmarks.{name}" in done.stdout


def test_the_command_is_installed():
    assert boneage("--version").stdout.startswith("boneage-jax ")


def test_limits_are_set_where_they_tell_failures():
    """Failures show in `faint` and `expected`; the other measures say nothing of them."""
    generator = np.random.default_rng(0)
    rows = []
    for n in range(1000):
        row = {name: float(abs(generator.normal())) / 10 for name in hand_thresholds.HIGH}
        row |= {name: 1 - float(abs(generator.normal())) / 10 for name in hand_thresholds.LOW}
        row |= {"area": 0.2, "second": 0.0, "contrast": 50.0, "side": 0.5, "thumb_x": 1500.0, "thumb_y": 900.0}
        row["failed"] = n < 100
        if row["failed"]:
            row["faint" if n % 2 else "expected"] = 1.0 if n % 2 else 0.5
        rows.append(row)
    limits = hand_thresholds.chosen(rows, 0.04)
    assert hand_thresholds.outcome(rows, limits).startswith("100% of 100")
    spared = [not quality.flags_of(row, limits) for row in rows if not row["failed"]]
    assert np.mean(spared) >= 0.96
    assert 0.2 < limits.faint < 1
    assert 0.5 < limits.expected < 0.8


def test_hands_are_laid_on_one_frame_however_they_lay():
    generator = np.random.default_rng(0)
    base = generator.uniform(200, 1600, size=(17, 2))
    hands = base + generator.normal(scale=10, size=(6, 17, 2))
    laid, zoom = koitka.align(hands)
    angles, zooms = generator.uniform(-3, 3, 6), generator.uniform(0.2, 4, 6)
    turned = hands[..., 0] + 1j * hands[..., 1]
    turned = turned * (zooms * np.exp(1j * angles))[:, None] + generator.normal(size=(6, 1)) * 500
    again, zoom_again = koitka.align(np.stack([turned.real, turned.imag], -1))
    np.testing.assert_allclose(laid, again, atol=1e-6)
    np.testing.assert_allclose(zoom, zoom_again * zooms)


@needs_real
def test_real_boxes_are_read_digit_by_digit():
    hands = koitka.read(REAL / "koitka_rois", REAL / "rsna" / "train.csv")
    assert len(hands.boxes) == 327, "329 less two that lack a box"
    assert (hands.ages.min(), hands.ages.max()) == (6, 216)
    points, _ = koitka.align(koitka.centres(hands.boxes))
    place = {name: points[:, n] for n, name in enumerate(OSSIFICATION_AREAS)}
    for digit in (2, 3, 4, 5):
        assert (place[f"DIP {digit}"][:, 1] < place[f"PIP {digit}"][:, 1]).mean() > 0.99
        assert (place[f"PIP {digit}"][:, 1] < place[f"MCP {digit}"][:, 1]).all()
    across = np.stack([place[f"MCP {digit}"][:, 0] for digit in (1, 2, 3, 4, 5)])
    assert (np.diff(across, axis=0) < 0).all(), "thumb on the right, then finger by finger"
    assert (place["Radius"][:, 0] > place["Ulna"][:, 0]).all()


@needs_real
def test_phantoms_have_the_geometry_of_real_hands():
    """Kolmogorov-Smirnov distance at most 0.2 for each ratio of sizes and places."""
    hands = koitka.read(REAL / "koitka_rois", REAL / "rsna" / "train.csv")
    rows = phantom_realism.geometry(hands, koitka.reader_scatter(REAL / "koitka_rois"), repeats=3)
    misses = {row["quantity"]: row["ks"] for row in rows if row["ks"] > phantom_realism.GOAL}
    assert not misses
