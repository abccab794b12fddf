"""Thresholds of trust taken from the networks themselves."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from boneage_jax.errors import UserError
from boneage_jax.hand.quality import Thresholds
from boneage_jax.workflows import calibrate

ORDINARY = {"expected": 0.93, "agreement": 0.95, "change": 0.97, "disagreement": 0.01, "moved": 0.02, "spread": 1.5}
DOUBTFUL = {
    **dict.fromkeys(("expected", "agreement", "change"), -1),
    **dict.fromkeys(("faint", "disagreement", "moved", "spread", "outside", "inside"), 1),
}


def hands(count, seed=0):
    """Measures of ordinary hands: each its own way off its centre."""
    draws = np.random.default_rng(seed)
    return [
        {name: centre * (1 + 0.02 * draws.normal()) for name, centre in ORDINARY.items()}
        | {"outside": abs(draws.normal()) / 100, "inside": abs(draws.normal()) / 100}
        | {"faint": abs(draws.normal()) / 50}
        for _ in range(count)
    ]


def flagged(row, thresholds):
    return any(sign * (row[name] - getattr(thresholds, name)) > 0 for name, sign in DOUBTFUL.items())


@pytest.mark.parametrize("share", [0.02, 0.04, 0.2])
def test_the_share_that_is_asked_for_is_flagged(share):
    rows = hands(500)
    thresholds, reached = calibrate.fitted(rows, share)
    counted = np.mean([flagged(row, thresholds) for row in rows])
    assert counted == pytest.approx(reached)
    assert share - 0.01 < reached <= share
    # Of other hands of the same kind about as many.
    others = np.mean([flagged(row, thresholds) for row in hands(4000, seed=1)])
    assert others == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_unusual_in_one_measure_is_flagged(name):
    thresholds, _ = calibrate.fitted(hands(500), 0.04)
    strange = hands(1, seed=5)[0]
    strange[name] = getattr(thresholds, name) + DOUBTFUL[name] * 1e-3
    assert flagged(strange, thresholds)
    # What the picture itself shows is judged as before.
    assert (thresholds.area, thresholds.cut, thresholds.thumb) == (
        Thresholds().area,
        Thresholds().cut,
        Thresholds().thumb,
    )


def test_a_file_of_limits(tmp_path):
    pair = {"segmentation": "step 3, weights ab", "landmarks": "step 4, weights cd"}
    thresholds = dataclasses.replace(Thresholds(), expected=0.5, thumb=((1.0, 2.0), (3.0, 4.0)))
    path = tmp_path / "thresholds.json"
    calibrate.Calibration(thresholds, pair, "phantoms validation", 100, 0.03).write(path)
    found = calibrate.read(path)
    assert found.thresholds == thresholds
    assert found.for_networks(dict(reversed(pair.items())), path) == thresholds
    with pytest.raises(UserError, match="thresholds of other networks"):
        found.for_networks(pair | {"landmarks": "step 5, weights ef"}, path)


@pytest.mark.parametrize("damage", ["missing", "text", "unknown", "no number"])
def test_what_is_no_file_of_limits(damage, tmp_path):
    path = tmp_path / "thresholds.json"
    calibrate.Calibration(Thresholds(), {}, "x", 1, 0.1).write(path)
    stored = json.loads(path.read_text())
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("thresholds")
    else:
        stored["thresholds"]["area" if damage == "no number" else "width"] = "wide" if damage == "no number" else 1.0
        path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"thresholds\.json: cannot be used .* expected a file of thresholds"):
        calibrate.read(path)
