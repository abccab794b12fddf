"""Masks of the whole hand pipeline against people's outlines that its segmentation network has not learnt from.

    for fold in 0 1 2 3 4; do
        boneage train --config=configs/segmentation.py --run=runs/outlines-$fold \\
            --config.data.name=rsna_bone_age/full --config.data.masks=outlines \\
            --config.data.folds=5 --config.data.fold=$fold \\
            --config.train.start=phantom_only:segmentation ...
    done
    python -m benchmarks.outline_folds runs/outlines-[0-4] --out outline_folds.json

Each run is a fold of one cross-validation over the outlined images. Its network takes the place of the bundle's in the
pipeline, and the outlines of its fold are compared with the masks that come out.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Literal

import numpy as np

import boneage_jax
from benchmarks.common import versions
from benchmarks.hand_real import of_masks
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.files import write_text
from boneage_jax.hand.masks import iou
from boneage_jax.parallel import progress
from boneage_jax.runs import run_folder


def ious_of(run: pathlib.Path, *, bundle: str, views: Literal[1, 2, 6]) -> dict[str, float]:
    """Returns the IoU of each image of a run's fold, by id.

    Args:
      run: a segmentation network, trained with `data.folds`.
      bundle: whose other networks are used.
      views: that the networks take of a hand.
    """
    loaded = run_folder.load(run)
    data = loaded.config.data
    view = view_of(data, loaded.task.layers, split=data.train_split, evaluation=True)
    records = Dataset.of(data).split(data.train_split, view)
    found = {}
    with boneage_jax.load(bundle, segmentation=run, views=views, batch_size=1) as model:
        for n, image_id in progress(list(enumerate(records.ids())), total=len(records), label=f"{run.name}: masks"):
            hand = model.register(records.image(n))
            found[image_id] = iou(np.rot90(hand.mask, -hand.turned // 90), records.mask(n))
    return found


def main() -> None:
    """Prints the figures and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--bundle", default="phantom_only", help="whose other networks are used")
    parser.add_argument("--views", type=int, default=2, choices=(1, 2, 6))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("outline_folds.json"))
    options = parser.parse_args()
    found: dict[str, float] = {}
    for run in options.runs:
        of_fold = ious_of(run, bundle=options.bundle, views=options.views)
        twice = found.keys() & of_fold.keys()
        if twice:
            parser.error(f"{run}: {len(twice)} of its images are in another run's fold too; expected folds apart")
        found |= of_fold
    figures = of_masks(np.array(list(found.values())))
    report = {"figures": figures, "iou": found, "versions": versions("boneage-jax", "jax")}
    write_text(options.out, json.dumps(report, indent=2) + "\n")
    print(
        f"{len(options.runs)} runs, {figures['hands']} hands: IoU mean {figures['mean']:.4f}, 5th percentile "
        f"{figures['5th percentile']:.4f}, least {figures['least']:.4f}; in {options.out}"
    )


if __name__ == "__main__":
    main()
