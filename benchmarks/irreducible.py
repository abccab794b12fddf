"""How near the best ensemble of `boneage paper` comes to what nobody can know, at a given noise of the label.

    python -m benchmarks.irreducible paper --tiny --experiments 'm46-regression-*-all' --set model.sex=input \
        --beside runs/best-0 --beside runs/fine-0 --beside runs/fine-1 [--rater-sd 7]

Takes the options of `boneage paper`, trains what is missing of its experiments, and fits the ensemble on validation as
it does. The test split's labels are means of six readings; here each phantom's true age gets one rater's noise, many
times over, for the ensemble and for who knows every bone's maturity (`analysis/ceiling.py`). Phantoms: says nothing
about children.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np

from benchmarks.common import versions
from boneage_jax.analysis.ceiling import best_readings
from boneage_jax.options import names
from boneage_jax.paper.page import best_of
from boneage_jax.paper.plan import PaperRequest
from boneage_jax.paper.results import results

DRAWS = 400


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder of boneage paper")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--experiments", type=names, default=())
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--beside", type=pathlib.Path, action="append", default=[], metavar="RUN")
    parser.add_argument("--rater-sd", type=float, default=7.0, help="months (default: the phantoms' own in training)")
    options = parser.parse_args()
    found = results(
        PaperRequest(
            options.out,
            options.data,
            experiments=options.experiments,
            tiny=options.tiny,
            overrides=tuple(f"--config.{setting}" for setting in options.set),
            beside=tuple(options.beside),
        )
    )
    records = found.dataset.split(found.split)
    ages = {image_id: float(records.row(n)["true_bone_age"]) for n, image_id in enumerate(records.ids())}
    truth = np.array([ages[image_id] for image_id in found.ids])
    known = best_readings(found.dataset, test=found.split)
    assert known is not None, "phantoms: their truth is stored"
    floor = known.all_bones
    best = best_of(found)
    noise = np.random.default_rng(0).normal(0.0, options.rater_sd, (DRAWS, len(truth)))
    ours, theirs = (np.abs(months - truth - noise).mean(1) for months in (best.months, floor))
    low, high = np.percentile(ours / theirs, [2.5, 97.5])
    used = versions("boneage-jax", "jax", "numpy")
    print(f"{found.dataset.path.parent.name} {found.split}, {len(truth)} phantoms; {used}")
    print(
        f"labels as stored      {best.name}: {np.abs(best.months - found.reading).mean():.2f} months, irreducible "
        f"{np.abs(floor - found.reading).mean():.2f}"
    )
    print(
        f"one reading of sd {options.rater_sd:g}   {ours.mean():.2f} months, irreducible {theirs.mean():.2f}: "
        f"{(ours / theirs).mean():.3f} [{low:.3f}, {high:.3f}] over {DRAWS} draws (bar 1.15)"
    )


if __name__ == "__main__":
    main()
