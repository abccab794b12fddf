"""The quality thresholds: chosen where the truth is known, so that they catch failures and spare what is good.

    boneage data build hand_phantom/raw --counts 0,2000,0 --out data
    python -m benchmarks.hand_accuracy runs/segmentation runs/landmarks --data data \\
        --dataset hand_phantom/raw_0-2000-0 --split validation --images 2000 --json measures.json
    python -m benchmarks.hand_accuracy runs/segmentation runs/landmarks --data data --json test.json
    python -m benchmarks.hand_thresholds measures.json test.json

Prints the thresholds, and what they catch of each file. Figures on phantoms, not on children.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Bool

from boneage_jax.hand import quality
from boneage_jax.hand.quality import Thresholds
from boneage_jax.workflows import calibrate

LOW = calibrate.LOW
"""Measures of which little is doubtful."""
HIGH = (*calibrate.HIGH, "cut", "beyond")
"""Measures of which much is doubtful: what the networks say, and what the picture shows."""
LEVELS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.014, 0.02, 0.03)
"""Shares of the good that one threshold alone may flag; never none, for what few phantoms need real pictures may."""

_NEVER: dict[str, Any] = {**dict.fromkeys(LOW, -np.inf), **dict.fromkeys(HIGH, np.inf)}
_STARTS, _SWEEPS = 60, 8


def _values(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    """A measure of all rows, much of it doubtful; what was not measured is not doubtful."""
    sign = -1.0 if name in LOW else 1.0
    return np.array([sign * row[name] if name in row else -np.inf for row in rows])


def chosen(rows: list[dict[str, Any]], budget: float, seed: int = 0) -> Thresholds:
    """Returns the thresholds that catch most failures among those that flag at most a share of the good.

    Coordinate ascent from many random starts: the share that is caught is a step function, with no slope to follow.

    Args:
      rows: of `hand_accuracy`: measures and whether the hand `failed`.
      budget: share of the good that may be flagged.
      seed: of the starts.
    """
    others = dataclasses.replace(Thresholds(), **_NEVER)
    failed = np.array([row["failed"] for row in rows])
    rest = np.array([bool(quality.flags_of(row, others)) for row in rows])
    levels, doubtful = {}, {}
    # In the order of the alphabet: random starts and ways then do not hang on how the measures are listed.
    for name in sorted((*LOW, *HIGH)):
        values = _values(rows, name)
        good = values[~failed]
        levels[name] = [float(np.quantile(good[np.isfinite(good)], 1 - level)) for level in LEVELS]
        doubtful[name] = [values > level for level in levels[name]]

    def score(picked: dict[str, int]) -> float:
        flagged: Bool[np.ndarray, " n"] = rest.copy()
        for name, n in picked.items():
            flagged |= doubtful[name][n]
        spent = flagged[~failed].mean()
        # Of two that catch as many, the one that spares more.
        return float(flagged[failed].mean() - 10 * max(0.0, spent - budget) - 0.2 * spent)

    generator = np.random.default_rng(seed)
    best: tuple[float, dict[str, int]] = (-np.inf, {})
    for _ in range(_STARTS):
        picked = {name: int(generator.integers(len(values))) for name, values in levels.items()}
        reached = score(picked)
        for _ in range(_SWEEPS):
            before = reached
            for name in generator.permutation(list(levels)):
                for n in range(len(levels[name])):
                    other = score(tried := {**picked, name: n})
                    if other > reached:
                        picked, reached = tried, other
            if reached == before:
                break
        best = max(best, (reached, picked), key=lambda pair: pair[0])
    found: dict[str, Any] = {name: (-1.0 if name in LOW else 1.0) * levels[name][n] for name, n in best[1].items()}
    return dataclasses.replace(Thresholds(), **found)


def outcome(rows: list[dict[str, Any]], thresholds: Thresholds) -> str:
    """Returns what thresholds catch, for people."""
    failed = np.array([row["failed"] for row in rows])
    flagged = np.array([bool(quality.flags_of(row, thresholds)) for row in rows])
    return (
        f"{100 * flagged[failed].mean():.0f}% of {failed.sum()} failures flagged (bar 90%), "
        f"{100 * flagged[~failed].mean():.1f}% of {(~failed).sum()} good ones (bar 5%)"
    )


def main() -> None:
    """Chooses and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", type=pathlib.Path, help="of hand_accuracy --json, to choose on")
    parser.add_argument(
        "tests", type=pathlib.Path, nargs="*", help="of other hands, to see what the thresholds catch there"
    )
    parser.add_argument("--budget", type=float, default=0.04, help="share of the good that may be flagged")
    options = parser.parse_args()
    rows = json.loads(options.measures.read_text())
    thresholds = chosen(rows, options.budget)
    for name in (*LOW, *HIGH):
        print(f"{name:<14}{getattr(thresholds, name):.4g}")
    for path in (options.measures, *options.tests):
        found = json.loads(path.read_text())
        print(f"{path.name}: {outcome(found, thresholds)}; with the code's: {outcome(found, Thresholds())}")


if __name__ == "__main__":
    main()
