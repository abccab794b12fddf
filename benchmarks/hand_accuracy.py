"""How exact the hand pipeline is on held-out phantoms with all disturbances on, against their truth.

    python -m benchmarks.hand_accuracy runs/segmentation runs/landmarks --data data [--images 500]

Prints the bars of the project beside what was reached. Figures on phantoms, not on children.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from benchmarks.common import hand_options, versions
from boneage_jax.canvas import Canvas, hand_length, thumb_side
from boneage_jax.data.images import Grey
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.hand import masks, outline
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.quality import Thresholds
from boneage_jax.hand.regions import named
from boneage_jax.parallel import in_batches, progress, read_ahead
from boneage_jax.runs import bundle
from boneage_jax.workflows import calibrate

FAILED_IOU = 0.95
FAILED_ERROR = 3.0
FAILED_CANVAS = 45.0
"""A failure: a mask below this IoU, a key point off by more percent of the hand's length, a fingertip or capitate
farther from its place on the canvas in pixels (three times the bar), or the thumb on the wrong side."""

LOST = 0.05
"""Part of a hand's outline without which its mask is a guess."""


def in_sight(points: Float[np.ndarray, "3 2"], mask: Bool[np.ndarray, "h w"]) -> list[bool]:
    """Returns which key points a reader could see: those within 3 pixels of the hand as far as it was exposed."""
    padded = np.pad(mask, 4)
    distance = cv2.distanceTransform((~padded).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    places = np.clip(np.rint(points).astype(int)[:, ::-1] + 4, 0, np.array(padded.shape) - 1)
    return [bool(distance[y, x] <= 3) for y, x in places]


def outline_lost(picture: Grey, mask: Bool[np.ndarray, "h w"]) -> float:
    """Returns the share of a hand's outline that no reader could find: where both sides of it have one grey level.

    Less than half a grey level between them is lost in eight bits.
    """
    found = outline.steps(picture, mask)
    return float((np.abs(found) < 0.5).mean()) if len(found) else 1.0


def measure(records: Records, chain: HandPipeline) -> list[dict[str, Any]]:
    """Returns what can be said of each image."""
    canvas = Canvas()
    rows: list[dict[str, Any]] = []
    batches = in_batches(len(records), chain.settings.batch_size)
    read = progress(read_ahead(records.image, batches), total=len(batches), label="measuring", unit=" batches")
    for numbers, decoded in read:
        for n, picture, hand in zip(numbers, decoded, chain.register(decoded), strict=True):
            truth, points = records.mask(n), np.asarray(records.row(n)["key_points"], np.float64)
            row: dict[str, Any] = {"n": n, "iou": masks.iou(hand.mask.inside, truth), "flags": hand.quality.flags}
            row |= hand.quality.measures
            row["in_sight"] = in_sight(points, truth)
            row["lost"] = outline_lost(picture, truth)
            length = hand_length(points)
            if hand.placed is None:
                row |= {"errors": [100.0] * 3, "canvas": 1500.0, "side_right": False}
            else:
                row["errors"] = (100 * np.linalg.norm(hand.placed.key_points - points, axis=1) / length).tolist()
                on_canvas = hand.placed.to_canvas(points)[[0, 2]]
                row["canvas"] = float(np.linalg.norm(on_canvas - (canvas.fingertip, canvas.capitate), axis=1).max())
                row["side_right"] = bool(hand.placed.side * thumb_side(points) > 0)
            row["failed"] = bool(
                row["iou"] < FAILED_IOU
                or max(row["errors"]) > FAILED_ERROR
                or row["canvas"] > FAILED_CANVAS
                or not row["side_right"]
            )
            rows.append(row)
    return rows


def main() -> None:
    """Measures and prints."""
    parser = hand_options(__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--json", type=pathlib.Path, help="where each image's figures go")
    parser.add_argument("--views", type=int, default=6, choices=(1, 2, 6))
    parser.add_argument(
        "--thresholds", type=pathlib.Path, help="file of boneage calibrate (default: those of the code)"
    )
    parser.add_argument("--single", action="store_true", help="coarse stages only")
    options = parser.parse_args()
    records = Dataset.open(options.data, options.dataset).split(f"{options.split}[:{options.images}]")
    segmentation = bundle.load(options.segmentation, "segmentation")
    landmarks = bundle.load(options.landmarks, "landmarks")
    thresholds = Thresholds()
    if options.thresholds:
        pair = calibrate.networks(segmentation, landmarks)
        thresholds = calibrate.read(options.thresholds).for_networks(pair, options.thresholds)
    settings = Settings(
        tuple(named(["whole@260x200"])),
        thresholds=thresholds,
        views=options.views,
        fine_stage=not options.single,
        threads=2,
    )
    with HandPipeline(segmentation, landmarks, settings) as chain:
        rows = measure(records, chain)
    if options.json:
        options.json.write_text(json.dumps(rows))
    iou = np.array([row["iou"] for row in rows])
    errors = np.array([row["errors"] for row in rows])
    canvas = np.array([row["canvas"] for row in rows])
    side = np.array([row["side_right"] for row in rows])
    failed = np.array([row["failed"] for row in rows])
    flagged = np.array([bool(row["flags"]) for row in rows])
    used = versions("boneage-jax", "jax", "opencv-python-headless")
    print(f"{options.dataset} {options.split}, {len(rows)} phantoms; {used}")
    low = np.percentile(iou, 1)
    print(f"mask IoU              mean {iou.mean():.4f} (bar 0.98)   1st percentile {low:.4f} (bar 0.95)")
    shown = iou[np.array([row["lost"] < LOST for row in rows])]
    print(
        f"  outline in sight      {len(shown)} of {len(iou)}   mean {shown.mean():.4f}   "
        f"1st percentile {np.percentile(shown, 1):.4f}"
    )
    print(
        f"key point error       median {np.median(errors):.2f}% (bar 1%)   99th percentile "
        f"{np.percentile(errors, 99):.2f}% (bar 3%) of the hand's length"
    )
    in_view = np.array([row["in_sight"] for row in rows])
    print(
        f"  in the exposed part   {in_view.sum()} of {in_view.size}   median {np.median(errors[in_view]):.2f}%   "
        f"99th percentile {np.percentile(errors[in_view], 99):.2f}%"
    )
    for name, values in zip(("fingertip", "thumb", "capitate"), errors.T, strict=True):
        print(f"  {name:<12} median {np.median(values):.2f}%   99th percentile {np.percentile(values, 99):.2f}%")
    within, far = 100 * (canvas <= 15).mean(), np.percentile(canvas, 99)
    print(f"within 15 canvas px   {within:.1f}% (bar 99%)   99th percentile {far:.1f} px")
    print(f"thumb's side          {100 * side.mean():.1f}% (bar 99.5%)")
    caught = f"{100 * flagged[failed].mean():.0f}% of {failed.sum()}" if failed.any() else "there are none"
    print(f"failures flagged      {caught} (bar 90%)   good ones flagged {100 * flagged[~failed].mean():.1f}% (bar 5%)")
    counts: dict[str, int] = {}
    for row in rows:
        for flag in row["flags"]:
            counts[flag] = counts.get(flag, 0) + 1
    print(f"flags                 {counts}")


if __name__ == "__main__":
    main()
