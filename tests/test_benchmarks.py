"""Every benchmark starts; their figures are measured by people, not by tests."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import koitka, phantom_realism
from boneage_jax.anatomy import OSSIFICATION_AREAS
from tests.conftest import REAL, boneage, needs_real

BENCHMARKS = (
    "accuracy",
    "hand_accuracy",
    "hand_other_pipeline",
    "hand_real",
    "real_key_points",
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
)

START_ALL = """
import contextlib, io, json, runpy, sys, traceback

said = {}
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
            status = "came back"
        except SystemExit as leave:
            status = leave.code
        except BaseException:
            traceback.print_exc()
            status = "failed"
    said[name] = [status, out.getvalue()]
print(json.dumps(said))
"""
"""Asks one benchmark after the other for its help, each as the program that it is; one process loads JAX for all."""


@pytest.fixture(scope="module")
def said(pytestconfig):
    """Exit status and output of each benchmark's --help."""
    done = subprocess.run(
        [sys.executable, "-c", START_ALL, *BENCHMARKS],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_start(name, said):
    status, output = said[name]
    assert status == 0, output
    assert f"python -m benchmarks.{name}" in output


def test_the_command_is_installed():
    assert boneage("--version").stdout.startswith("boneage-jax ")


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
