"""How often intervals hold the reading, on hands that they were not made of: all, by sex, by stage.

    python -m benchmarks.bundle_ages rsna_bone_age/full --bundle rsna --out bundle_ages
    python -m benchmarks.interval_coverage bundle_ages/bundle_ages.csv

Takes the table of `benchmarks.bundle_ages`. Each fifth of the hands gets intervals that the others made
(`conformal.held_out`), twenty times over with other fifths; printed are the mean of the shares and the mean width, as
rows of a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import pathlib

import numpy as np

from boneage_jax.analysis import conformal, stages
from boneage_jax.workflows.flags import MATURE

_REPEATS = 20


def main() -> None:
    """Reads the table and prints another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=pathlib.Path, help="bundle_ages.csv")
    with parser.parse_args().table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if np.isfinite(float(row["months"] or "nan"))]
    months, spread, reading = (np.array([float(row[key]) for row in rows]) for key in ("months", "spread", "reading"))
    male = np.array([row["male"] == "True" for row in rows])
    flagged = np.array([bool({*filter(None, row["flags"].split(", "))} - {MATURE}) for row in rows])
    of = (months, spread, reading, male, flagged)
    held, width = (np.zeros((len(conformal.LEVELS), len(rows))) for _ in range(2))
    for repeat in range(_REPEATS):
        order = np.random.default_rng(repeat).permutation(len(rows))
        ends = conformal.held_out(*(column[order] for column in of))
        inside = (ends[..., 0] <= reading[order]) & (reading[order] <= ends[..., 1])
        held[:, order] += inside / _REPEATS
        width[:, order] += (ends[..., 1] - ends[..., 0]) / _REPEATS
    stage = stages.stages_of(reading, male)
    groups = {"all": np.ones_like(male), "girls": ~male, "boys": male}
    groups |= {name: stage == n for n, name in enumerate(stages.NAMES) if (stage == n).any()}
    groups |= {"flagged": flagged} if flagged.any() else {}
    for name, members in groups.items():
        shares = [f"{100 * share[members].mean():.1f}%" for share in held]
        widths = [f"{wide[members].mean():.1f}" for wide in width]
        print(f"| {name} | {members.sum():,} | {' | '.join(shares)} | {' | '.join(widths)} |")


if __name__ == "__main__":
    main()
