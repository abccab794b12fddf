"""Quality thresholds that are chosen for networks: on ordinary hands, on hands whose truth is known, as files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from boneage_jax.errors import UserError
from boneage_jax.hand import quality
from boneage_jax.hand import thresholds as choosing
from boneage_jax.hand.quality import Thresholds
from boneage_jax.workflows import calibration
from boneage_jax.workflows.calibration import Calibration, Origin

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
    thresholds, reached = choosing.by_quantile(rows, share)
    counted = np.mean([flagged(row, thresholds) for row in rows])
    assert counted == pytest.approx(reached)
    assert share - 0.01 < reached <= share
    # Of other hands of the same kind about as many.
    others = np.mean([flagged(row, thresholds) for row in hands(4000, seed=1)])
    assert others == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_unusual_in_one_measure_is_flagged(name):
    thresholds, _ = choosing.by_quantile(hands(500), 0.04)
    strange = hands(1, seed=5)[0]
    strange[name] = getattr(thresholds, name) + DOUBTFUL[name] * 1e-3
    assert flagged(strange, thresholds)
    # What the picture itself shows is judged as before.
    assert (thresholds.area, thresholds.cut, thresholds.thumb) == (
        Thresholds().area,
        Thresholds().cut,
        Thresholds().thumb,
    )


def test_thresholds_are_set_where_they_tell_failures():
    """Failures show in `faint` and `expected`; the other measures are alike in all hands."""
    generator = np.random.default_rng(0)
    rows, failed = [], np.arange(1000) < 100
    for n in range(1000):
        row = {name: float(abs(generator.normal())) / 10 for name in (*choosing.HIGH, *choosing.EXPOSURE)}
        row |= {name: 1 - float(abs(generator.normal())) / 10 for name in choosing.LOW}
        row |= {"area": 0.2, "second": 0.0, "contrast": 50.0, "side": 0.5, "thumb_x": 1500.0, "thumb_y": 900.0}
        if failed[n]:
            row["faint" if n % 2 else "expected"] = 1.0 if n % 2 else 0.5
        rows.append(row)
    thresholds = choosing.by_failures(rows, failed, 0.04)
    reached = choosing.outcome(rows, failed, thresholds)
    assert (reached.caught, reached.failures) == (1, 100)
    assert reached.flagged <= 0.04
    assert reached.good == 900
    spared = [not quality.flags_of(row, thresholds) for row in rows[100:]]
    assert np.mean(spared) == pytest.approx(1 - reached.flagged)
    assert 0.2 < thresholds.faint < 1
    assert 0.5 < thresholds.expected < 0.8


PAIR = {"segmentation": "step 3, weights ab", "landmarks": "step 4, weights cd"}


@pytest.mark.parametrize("origin", [Origin("phantoms validation", 100, 0.03), Origin("p", 9, 0.1, "failures", 3, 0.5)])
def test_a_file_of_thresholds(origin, tmp_path):
    thresholds = dataclasses.replace(Thresholds(), expected=0.5, thumb=((1.0, 2.0), (3.0, 4.0)))
    path = tmp_path / "thresholds.json"
    calibration.write(Calibration(thresholds, origin), PAIR, path)
    found = calibration.read(path, PAIR)
    assert found.thresholds == thresholds
    assert found.origin == origin
    assert calibration.read(path, dict(reversed(PAIR.items()))).thresholds == thresholds
    with pytest.raises(UserError, match="thresholds of other networks"):
        calibration.read(path, PAIR | {"landmarks": "step 5, weights ef"})


def test_a_file_of_an_older_version(tmp_path):
    """Thresholds were called limits, and their origin stood beside them."""
    path = tmp_path / "limits.json"
    limits = dataclasses.asdict(dataclasses.replace(Thresholds(), expected=0.5))
    origin = {"source": "phantoms validation", "images": 100, "share": 0.03}
    path.write_text(json.dumps({"limits": limits, "networks": PAIR, **origin}))
    found = calibration.read(path, PAIR)
    assert found == Calibration(dataclasses.replace(Thresholds(), expected=0.5), Origin(**origin))


@pytest.mark.parametrize("damage", ["missing", "text", "unknown", "no number", "method"])
def test_what_is_no_file_of_thresholds(damage, tmp_path):
    path = tmp_path / "thresholds.json"
    calibration.write(Calibration(Thresholds(), Origin("x", 1, 0.1)), {}, path)
    stored = json.loads(path.read_text())
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("thresholds")
    elif damage == "method":
        path.write_text(json.dumps(stored | {"calibration": stored["calibration"] | {"method": "guess"}}))
    else:
        stored["thresholds"]["area" if damage == "no number" else "width"] = "wide" if damage == "no number" else 1.0
        path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"thresholds\.json: cannot be used .* expected a file of thresholds"):
        calibration.read(path, {})
