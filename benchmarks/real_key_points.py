"""Key points that people set, ready to train on: one habit taken out, only those set by hand.

    python -m benchmarks.real_key_points registered_hands/first --annotations rsna299/annotations --out points.json
    boneage train --config=configs/landmarks.py --config.data.key_points=points.json ...

People set fingertips a little beyond the tip, networks that learnt from phantoms do not; one that learns from both
needs one definition. The median difference on training hands (see `benchmarks.hand_real`) is added to people's points.
Written are the training hands whose points a person set, and all validation hands with points, to be evaluated on.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from jaxtyping import Float

from benchmarks.hand_real import axes_of, compared, habit_of, read_annotations
from boneage_jax import anatomy
from boneage_jax.data.annotations import Annotation, write
from boneage_jax.data.sources import Dataset


def moved(person: Float[np.ndarray, "3 2"], habit: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "3 2"]:
    """Returns a person's points with a habit added; the inverse of what `hand_real.in_hand` measures.

    Args:
      person: x, y in the image's pixels.
      habit: towards the thumb's side and towards the wrist, in percent of the hand's length.
    """
    return person + habit @ axes_of(person)


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="registered hands whose habit is taken, as in registered_hands/first")
    parser.add_argument("--annotations", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    dataset = Dataset.open(options.data, options.dataset)
    points, _, set_by_hand = read_annotations(options.annotations, dataset)
    habit = habit_of(compared(dataset, points, {}, set_by_hand))
    written = []
    for split in dataset.splits:
        records = dataset.split(split)
        for n, image_id in enumerate(records.ids()):
            if image_id not in points or not (split == "validation" or image_id in set_by_hand):
                continue
            row = records.row(n)
            own = moved(points[image_id], habit)
            named = {name: (float(x), float(y)) for name, (x, y) in zip(anatomy.KEY_POINTS, own, strict=True)}
            written.append(Annotation(f"{image_id}.png", int(row["width"]), int(row["height"]), (), named, boxes=()))
    write(written, options.out)
    print(f"{len(written)} hands in {options.out}; added: {habit.round(3).tolist()}")


if __name__ == "__main__":
    main()
