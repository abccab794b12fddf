"""Whether importance is found where it must be: sets of phantoms in which one region alone shows the age.

    python -m benchmarks.importance_truth --data data --out truth [--children 3600] [--epochs 10] [--images 60]

For each of the three sets the demo's network is trained, and every method of `boneage importance` is asked. A method is
right where it names the region; the bar is 90% of all importance there, for the best method. Then the ordinary set:
which groups of bones count at which stage, and how long 200 images take. The same command goes on where it was
interrupted.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import time

import numpy as np

from benchmarks.common import hardware, save, versions
from boneage_jax import anatomy, parallel
from boneage_jax.config import loading
from boneage_jax.data.sources import Dataset
from boneage_jax.hand import atlas
from boneage_jax.hand.atlas import GROUPS
from boneage_jax.importance import faithfulness, page, study, tables
from boneage_jax.importance.request import ImportanceRequest
from boneage_jax.importance.study import Findings
from boneage_jax.train.loop import train
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest

CARRIERS = ("carpals", "metacarpals", "phalanges")


def dataset_of(name: str, options: argparse.Namespace) -> Dataset:
    """Builds a set, or opens it."""
    counts = {"train": options.children, "validation": 100, "test": 200}
    return build.build(
        BuildRequest(f"hand_phantom/{name}", out=options.data, workers=parallel.default_workers(), counts=counts)
    )


def findings_of(dataset: Dataset, images: int, options: argparse.Namespace) -> tuple[Findings, float]:
    """Trains the demo's network on a set and asks every method; returns the findings and the seconds that they took."""
    short = dataset.name.split("/")[1]
    config = loading.load(
        [
            "--config=configs/tiny.py",
            f"--config.data.dir={options.data}",
            f"--config.data.name={dataset.name}",
            f"--config.train.length={options.epochs} epochs",
            # Its figures in benchmarks/README.md are those of this size.
            "--config.data.height=192",
            "--config.data.width=144",
        ]
    )
    train(config, options.out / "runs" / short)
    start = time.perf_counter()
    found = study.study(
        ImportanceRequest(
            options.out / "runs" / short,
            options.out / short,
            images=images,
            workers=parallel.default_workers(),
        )
    )
    page.write(found)
    return found, time.perf_counter() - start


def explained_by(importance: np.ndarray, *, columns: list[int]) -> np.ndarray:
    """Returns the part of some columns in the variance of the predictions."""
    return faithfulness.explained(importance)[columns].sum(keepdims=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--children", type=int, default=3600, help="of each training split")
    parser.add_argument("--epochs", type=int, default=10, help="of each network's training")
    parser.add_argument("--images", type=int, default=60, help="of each set with one region")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    print(f"{hardware()}; {versions('jax', 'flax')}; rendered phantoms, which say nothing about children")
    kept: dict[str, object] = {}
    for carrier in CARRIERS:
        found, seconds = findings_of(dataset_of(f"only_{carrier}", options), options.images, options)
        bones = anatomy.select(carrier)
        error = np.abs(found.subjects.predicted - found.subjects.reading).mean()
        print(
            f"{carrier} alone show the age: {len(found.subjects.ids)} images, MAE {error:.1f} months, {seconds:.0f} s"
        )
        rows: dict[str, dict[str, object]] = {}
        additive = [method.name for method in found.methods if method.additive]
        regions = sorted({anatomy.BONES[n].region for n in np.flatnonzero(bones)})
        columns = [atlas.REGIONS.index(name) for name in regions]
        for method in found.groups:
            share = faithfulness.shares(atlas.by_region(np.abs(found.groups[method])))
            by_region = dict(zip(atlas.REGIONS, share.round(3).tolist(), strict=True))
            named = atlas.REGIONS[int(share.argmax())]
            line = f"  {method:<22}{100 * share[columns].sum():>5.1f}% of all sizes there, names {named}"
            rows[method] = {"share": float(share[columns].sum()), "named": named, **by_region}
            if method in additive:
                ends = faithfulness.shares_with_interval(
                    atlas.by_region(found.groups[method]), functools.partial(explained_by, columns=columns)
                )
                part, low, high = (float(one[0]) for one in ends)
                rows[method] |= {"explained": part, "interval": [low, high]}
                line += f"; {100 * part:.1f}% [{100 * low:.0f}, {100 * high:.0f}] of the variance of the predictions"
            print(line, flush=True)
        print(f"  most faithful: {found.most_faithful}")
        kept[carrier] = {"methods": rows, "most_faithful": found.most_faithful, "seconds": seconds, "mae": float(error)}

    found, seconds = findings_of(dataset_of("tiny", options), 200, options)
    print(f"ordinary phantoms, {len(found.subjects.ids)} images, every method: {seconds:.0f} s (bar: 600)")
    for method in tables.names_shown(found):
        print(f"  {method}: share of each group in all importance, by stage")
        for number, stage in enumerate(anatomy.STAGES):
            members = np.flatnonzero(found.subjects.stage == number)
            if len(members) < 2:
                continue
            share = faithfulness.shares(found.groups[method][members])
            order = np.argsort(-share)[:4]
            shown = ", ".join(f"{GROUPS[n]} {100 * share[n]:.0f}%" for n in order)
            print(f"    {stage.name:<24}({len(members):>3})  {shown}")
    kept["ordinary"] = {"seconds": seconds, "facts": json.loads((found.request.out / page.FACTS).read_text())}
    save(options.json, kept)


if __name__ == "__main__":
    main()
