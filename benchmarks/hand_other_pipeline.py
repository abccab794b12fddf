"""The hand pipeline on a few real radiographs, against what the paper's own pipeline made of them.

    python -m benchmarks.hand_other_pipeline runs/segmentation runs/landmarks --real FOLDER --out other.html

`FOLDER` holds the real radiographs, by the names in `FILES`; they are not part of this package.

- `hand_1381`: as acquired, and after background removal and registration by others: intersection over union of our mask
  on the canvas and of their foreground, as they lie and after the best similarity between the two.
- `4556`, `4557`: registered already; what our pipeline would still change.
- `15600`, `15605`: masked only; where they come to lie.

The page shows real images: it is for looking at, not for publishing.
"""

from __future__ import annotations

import argparse
import pathlib

import cv2
import numpy as np
import scipy.optimize

from boneage_jax import page
from boneage_jax.data import images
from boneage_jax.files import write_text
from boneage_jax.geometry import Similarity
from boneage_jax.hand import masks, register
from boneage_jax.hand.pipeline import Registered, Settings
from boneage_jax.hand.regions import named
from boneage_jax.workflows import pictures
from boneage_jax.workflows.hand_networks import open_pipeline

FILES = {
    "hand_1381/original.png": "as acquired",
    "hands/4556_registered.png": "registered by others",
    "hands/4557_registered.png": "registered by others",
    "hands/15600_masked.png": "masked by others",
    "hands/15605_masked.png": "masked by others",
}


def best_similarity(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, Similarity]:
    """Returns the largest IoU over similarities of `theirs`, and the similarity, found by Nelder and Mead's method."""
    soft = (theirs * 255).astype(np.uint8)
    middle = Similarity.moving(-ours.shape[1] / 2, -ours.shape[0] / 2)

    def transform(v: np.ndarray) -> Similarity:
        turn = Similarity(np.exp(v[0]) * np.cos(v[1]), np.exp(v[0]) * np.sin(v[1]), 100 * v[2], 100 * v[3])
        return middle.then(turn).then(middle.inverse())

    def loss(v: np.ndarray) -> float:
        return -masks.iou(images.warp(soft, transform(v), *ours.shape) > 127, ours)

    start = np.vstack([np.zeros(4), np.diag([0.05, 0.05, 0.1, 0.1])])
    found = scipy.optimize.minimize(loss, np.zeros(4), method="Nelder-Mead", options={"initial_simplex": start})
    return -float(found.fun), transform(found.x)


def main() -> None:
    """Measures, prints, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segmentation", type=pathlib.Path)
    parser.add_argument("landmarks", type=pathlib.Path)
    parser.add_argument("--real", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("hand_other_pipeline.html"))
    options = parser.parse_args()
    (whole,) = regions = named(["whole@1040x800"])
    found = {name: images.read(options.real / name) for name in FILES}
    with open_pipeline(
        options.segmentation, options.landmarks, Settings(tuple(regions), batch_size=len(found))
    ) as pipeline:
        hands = dict(zip(found, pipeline.register(list(found.values())), strict=True))
    rows, cards = [], []
    for name, hand in hands.items():
        rows.append([name, FILES[name], _facts(hand), ", ".join(hand.quality.flags) or "none"])
        points = hand.registration.key_points if hand.registration else None
        over = page.picture(pictures.overlay(found[name], hand.mask.inside, points, side=480), "radiograph")
        registered = page.picture(hand.regions["whole"], "on the canvas")
        cards.append(page.Card(name, [over, registered], [FILES[name], _facts(hand)], page.flags(hand.quality.flags)))
    original = hands["hand_1381/original.png"]
    flagged = sum(not hand.quality.good for hand in hands.values())
    key_figures = [page.KeyFigure("Flagged", str(flagged), f"of {len(hands)}")]
    blocks = [page.section("Hands", pictures.legend(), page.cards(cards, width=30, height=20))]
    if original.registration is not None:
        theirs = cv2.resize(images.read(options.real / "hand_1381/registered.png"), (800, 1040)) > 10
        ours = register.mask_on_canvas(original.mask.inside, original.registration, whole)
        plain = masks.iou(ours, theirs)
        aligned, transform = best_similarity(ours, theirs)
        rows.append(
            ["hand_1381", "mask against theirs", f"IoU {plain:.4f} as it lies, {aligned:.4f} aligned (bar 0.95)", ""]
        )
        moved = images.warp((theirs * 255).astype(np.uint8), transform, *ours.shape) > 127
        both = np.zeros((*ours.shape, 3), np.uint8)
        both[ours & moved] = 90
        alone = (
            page.Mark("ours alone", page.PALETTE["orange"], "square"),
            page.Mark("theirs alone", page.PALETTE["sky blue"], "square"),
        )
        for mark, members in zip(alone, (ours & ~moved, moved & ~ours), strict=True):
            both[members] = [int(mark.colour[n : n + 2], 16) for n in (1, 3, 5)]
        caption = f"Both masks of hand_1381 on the canvas: IoU {plain:.4f} as they lie, {aligned:.4f} aligned."
        shown = page.figure(page.picture(both), caption, dark=True)
        note = f"as they lie {plain:.4f}; the bar is 0.95"
        key_figures.insert(0, page.KeyFigure("IoU of our mask and theirs, aligned", f"{aligned:.4f}", note=note))
        blocks.append(page.section("Our mask and theirs", page.legend(alone), shown))
    for row in rows:
        print("  ".join(row))
    head = ["file", "prepared by", "transform to the canvas", "flags"]
    transforms = page.section("Transforms", page.table(head, rows, stack=True))
    body = "".join([page.answer(*key_figures), transforms, *blocks])
    about = {
        "Data": f"{len(hands)} real radiographs",
        "Networks": f"{options.segmentation.name}, {options.landmarks.name}",
    }
    notice = "The page shows real images: it is for looking at, not for publishing."
    write_text(options.out, page.document("The hand pipeline on real radiographs", body, about=about, notice=notice))
    print(f"page: {options.out}")


def _facts(hand: Registered) -> str:
    if hand.registration is None:
        return "no hand"
    transform = hand.registration.to_canvas
    middle = np.array([800.0, 850.0])
    shift = transform(middle) - middle
    return (
        f"scale {transform.scale:.3f}, rotation {transform.degrees:.1f} degrees, "
        f"shift of the middle {shift[0]:.0f}, {shift[1]:.0f} px{', mirrored' if transform.mirrored else ''}"
    )


if __name__ == "__main__":
    main()
