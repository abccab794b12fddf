"""A part of the unpacked real radiographs as a folder of its own, for `boneage data build rsna_bone_age --from`.

    python -m benchmarks.real_subset downloads/rsna299 --which annotated --out annotated
    python -m benchmarks.real_subset downloads/rsna299 --which others --most 500 --out others

`annotated` are the training hands whose key points a person set, and the validation hands with key points; `others` are
training hands that no network of the hand learns from, drawn by their ids: the same ones each time. Images are linked,
not copied, so the folder must lie on the same disk.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import pathlib

from boneage_jax.data import annotations as annotation_files

TABLES = {"train": "train.csv", "validation": "validation.csv"}
"""Labels of each split, in its folder below `radiographs/`."""


def chosen(split: str, ids: list[str], which: str, annotations: pathlib.Path, most: int) -> set[str]:
    """Returns the ids of a split that belong to the part.

    Args:
      split: `train` or `validation`.
      ids: of all its images.
      which: `annotated` or `others`.
      annotations: folder of `key_points.json`, `by_hand.txt` and `masks/ID.png`.
      most: of `others`, 0 for all.
    """
    by_hand = set((annotations / "by_hand.txt").read_text().split())
    if which == "annotated":
        pointed = {one.id for one in annotation_files.read(annotations / "key_points.json") if one.points}
        return {one for one in ids if one in (by_hand if split == "train" else pointed)}
    if split == "validation":
        return set()
    taken = by_hand | {path.stem for path in (annotations / "masks").iterdir()}
    left = sorted(set(ids) - taken, key=lambda one: hashlib.sha256(one.encode()).digest())
    return set(left[: most or None])


def link(source: pathlib.Path, out: pathlib.Path, which: str, most: int) -> dict[str, int]:
    """Links the images of a part and writes their tables; returns how many images each split has."""
    counts = {}
    for split, table in TABLES.items():
        folder = source / "radiographs" / split
        with (folder / table).open(newline="") as file:
            rows = list(csv.DictReader(file))
        wanted = chosen(split, [row["id"] for row in rows], which, source / "annotations", most)
        rows = [row for row in rows if row["id"] in wanted]
        if not rows:
            continue
        (out / split / "images").mkdir(parents=True, exist_ok=True)
        for path in (folder / "images").iterdir():
            to = out / split / "images" / path.name
            if path.stem in wanted and not to.exists():
                os.link(path, to)
        with (out / split / table).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        counts[split] = len(rows)
    return counts


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, help="with radiographs/ and annotations/, as unpacked")
    parser.add_argument("--which", choices=("annotated", "others"), required=True)
    parser.add_argument("--most", type=int, default=0, help="of others (default: all)")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    for split, count in link(options.source, options.out, options.which, options.most).items():
        print(f"{split}: {count} images in {options.out / split}")


if __name__ == "__main__":
    main()
