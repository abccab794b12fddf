"""Outlines that people drew on the originals, as masks of the smaller copies, true to a fraction of a pixel.

    python -m benchmarks.real_outlines registered_hands/first --outlines rsna299/masks.json --out outlines
    boneage mine --config=configs/segmentation.py --config.data.name=rsna_bone_age/full --masks outlines ...

A copy of 299 pixels shows a hand whose outline is some 1,500 pixels long and whose area is some 35,000: half a pixel
all round is 2% of intersection over union. So corners are not rounded, and edges not drawn: a pixel belongs to the
hand where its centre lies inside the polygon. (Rounding corners and filling up to the edge, as OpenCV's `fillPoly`
does, agrees with this to 0.977 on the 100 outlines.)
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from boneage_jax.data.annotations import mask_folder
from boneage_jax.data.annotations.fill import fill
from boneage_jax.data.sources import Dataset


def inside(
    shapes: Sequence[dict[str, Any]], original: tuple[int, int], shape: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
    """Returns which pixels of a copy have their centre inside.

    Args:
      shapes: each with the polygon `exterior` and a list of polygons, its holes, `interior`; corners are columns and
        rows of the original's pixels, counted from 0 at the first one's centre.
      original: width and height of the image that the polygons were drawn on.
      shape: height and width of the copy.
    """
    size = np.array(shape[::-1])
    mask = np.zeros(shape, bool)

    def filled(corners: Sequence[tuple[float, float]]) -> Bool[np.ndarray, "h w"]:
        return fill((np.asarray(corners, float) + 0.5) * size / original - 0.5, shape)

    for one in shapes:
        within = filled(one["exterior"])
        for hole in one["interior"]:
            within &= ~filled(hole)
        mask |= within
    return mask


def main() -> None:
    """Writes a mask an outlined hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="that holds the copies, as in registered_hands/first")
    parser.add_argument("--outlines", type=pathlib.Path, required=True, help="JSON by id: size, polygons")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    dataset = Dataset.open(options.data, options.dataset)
    outlines = json.loads(options.outlines.read_text())
    written = 0
    for split in dataset.splits:
        records = dataset.split(split)
        for n, image_id in enumerate(records.ids()):
            if image_id not in outlines:
                continue
            row, outline = records.row(n), outlines[image_id]
            mask = inside(outline["polygons"], tuple(outline["size"]), (int(row["height"]), int(row["width"])))
            mask_folder.write_one(image_id, mask, options.out)
            written += 1
    print(f"{written} masks in {options.out}")


if __name__ == "__main__":
    main()
