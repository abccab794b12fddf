"""Fits where the joints of a hand lie, by age and sex, to real hands, and writes the phantom's `layout.json`.

    python -m benchmarks.phantom_layout --boxes koitka_rois --table train.csv

Only means, slopes, modes and standard deviations are kept: no single hand can be recovered from them.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np

from benchmarks import koitka
from boneage_jax.phantoms import layout

MODES = 12
"""Modes of common variation that are kept; chosen by eye, see docs/explanation/lab-notes.md. The share of the
variance that they explain is printed."""


def main() -> None:
    """Fits and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=pathlib.Path, required=True, help="folder of Koitka's annotations")
    parser.add_argument("--table", type=pathlib.Path, required=True, help="train.csv of RSNA")
    parser.add_argument("--out", type=pathlib.Path, default=layout.ASSET)
    options = parser.parse_args()
    hands = koitka.read(options.boxes, options.table)
    print(f"{write(hands, options.out)}: {options.out}")


def write(hands: koitka.Hands, path: pathlib.Path) -> str:
    """Fits the layout to hands and writes it; returns one line about the fit."""
    points, _ = koitka.align(koitka.centres(hands.boxes))
    values = np.asarray(layout.to_parameters(points))
    features = np.stack([np.asarray(layout.features(a, m)) for a, m in zip(hands.ages, hands.males, strict=True)])
    kept = np.ones(len(values), bool)
    for _ in range(3):  # outliers are mistakes of the annotator or bent fingers
        weights, *_ = np.linalg.lstsq(features[kept], values[kept], rcond=None)
        residual = values - features @ weights
        kept = (np.abs(residual) < 4 * residual[kept].std(0)).all(1)
    residual = residual[kept]
    scale = residual.std(0)
    _, spread, directions = np.linalg.svd(residual / scale, full_matrices=False)
    modes = directions[:MODES] * spread[:MODES, None] / np.sqrt(len(residual)) * scale
    rest = np.sqrt(np.maximum(residual.var(0) - np.sum(modes**2, axis=0), 0))
    fitted = {"weights": weights, "modes": modes, "rest": rest}
    rounded = {name: np.round(numbers, 4).tolist() for name, numbers in fitted.items()}
    content = {"parameters": layout.PARAMETERS, "hands": len(residual), **rounded}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    explained = 1 - np.mean(rest**2 / scale**2)
    return f"{len(residual)} of {len(values)} hands, {MODES} modes hold {explained:.1%} of the variance"


if __name__ == "__main__":
    main()
