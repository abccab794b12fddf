"""Ages of a bundle from radiograph to age, against readings: all, by sex, age band, flags, and groups of ids.

    python -m benchmarks.bundle_ages rsna_bone_age/full --bundle rsna --split validation --out bundle_ages
    python -m benchmarks.bundle_ages rsna_bone_age/full --ids "low contrast=2000:3999" --out bundle_ages

Every radiograph of the split goes through the whole pipeline, and every age counts, those with flags too. Writes
`bundle_ages.json` and `bundle_ages.csv` (a row a radiograph), and prints the rows of a Markdown table. How often the
networks' own spread holds the reading is stated at one and two standard deviations.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

import boneage_jax
from benchmarks.common import hardware, versions
from boneage_jax.analysis import scores
from boneage_jax.analysis.groups import age_bands
from boneage_jax.files import write_text
from boneage_jax.parallel import progress


def members(
    ids: list[str],
    readings: Float[np.ndarray, " n"],
    male: Bool[np.ndarray, " n"],
    flagged: Bool[np.ndarray, " n"],
    ranges: dict[str, tuple[int, int]],
) -> dict[str, Bool[np.ndarray, " n"]]:
    """Returns which radiographs belong to each group, by its name; groups overlap."""
    groups = {"all": np.ones(len(ids), bool), "boys": male, "girls": ~male, "without flags": ~flagged}
    for name, (first, last) in ranges.items():
        inside = np.array([one.isdigit() and first <= int(one) <= last for one in ids])
        groups |= {f"ids {first} to {last} ({name})": inside, f"all but ids {first} to {last}": ~inside}
    bands = np.array(age_bands(readings))
    # From the youngest on: the readings' order is that of their bands.
    groups |= {str(band): bands == band for band in dict.fromkeys(bands[np.argsort(readings)])}
    return {name: inside for name, inside in groups.items() if inside.any()}


def _range(text: str) -> tuple[str, tuple[int, int]]:
    name, _, ends = text.partition("=")
    first, _, last = ends.partition(":")
    return name, (int(first), int(last))


def main() -> None:
    """Reads the split, prints the table and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="radiographs as acquired, as in rsna_bone_age/full")
    parser.add_argument("--bundle", default="rsna")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--views", type=int, default=2, choices=(1, 2, 6))
    parser.add_argument("--ids", type=_range, action="append", default=[], help="NAME=FIRST:LAST, a group of ids")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bundle_ages"))
    options = parser.parse_args()
    split = boneage_jax.open_dataset(options.dataset, dir=options.data).split(options.split)
    labels = split.labels
    rows: list[dict[str, Any]] = []
    with boneage_jax.load(options.bundle, views=options.views) as model:
        found = model.predict_many(split)
        for n, prediction in enumerate(progress(found, total=len(split), label="radiographs")):
            known = {"id": labels.id[n], "male": bool(labels.male[n]), "reading": float(labels.months[n])}
            rows.append(
                known | {"months": prediction.months, "spread": prediction.spread, "flags": ", ".join(prediction.flags)}
            )
    readings, male = labels.months.astype(np.float64), labels.male
    error = np.array([row["months"] for row in rows]) - readings
    flagged, read = np.array([bool(row["flags"]) for row in rows]), np.isfinite(error)
    error, ids = error[read], [one for one, was_read in zip(labels.id, read, strict=True) if was_read]
    figures: dict[str, dict[str, scores.Score | int]] = {}
    for name, inside in members(ids, readings[read], male[read], flagged[read], dict(options.ids)).items():
        mae, bias = (scores.named(score, error[inside]) for score in ("MAE", "bias"))
        count = int(inside.sum())
        figures[name] = {"images": count, "MAE": mae, "bias": bias}
        print(f"| {name} | {count:,} | {scores.shown(mae)} | {scores.shown(bias, sign=True)} |")
    spread = np.array([row["spread"] for row in rows])[read]
    held = [100 * float((np.abs(error) <= k * spread).mean()) for k in (1, 2)]
    print(f"flagged {100 * flagged.mean():.1f}%, without an age {(~read).sum()}; reading held by one and two standard")
    print(f"deviations: {held[0]:.0f}% and {held[1]:.0f}%; {hardware()}; {versions('boneage-jax', 'jax')}")
    options.out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "bundle": options.bundle,
        "dataset": options.dataset,
        "split": options.split,
        "held, %": held,
    }
    about["groups"] = scores.as_dict(figures)
    write_text(options.out / "bundle_ages.json", json.dumps(about, indent=2) + "\n")
    with (options.out / "bundle_ages.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
