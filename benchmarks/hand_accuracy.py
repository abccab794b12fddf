"""How accurate the hand pipeline is on held-out phantoms with all disturbances on, against their truth.

    python -m benchmarks.hand_accuracy runs/segmentation runs/landmarks --data data [--images 500]

Prints the bars of the project beside what was reached. Figures on phantoms, not on children.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from benchmarks.common import hand_options, versions
from boneage_jax.data.images import Grey
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.hand import outline
from boneage_jax.hand.accuracy import against_truth
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.regions import named
from boneage_jax.parallel import in_batches, progress, read_ahead
from boneage_jax.workflows.hand_networks import open_networks

LOST = 0.05
"""Share of a hand's outline that may be invisible; with more its mask is a guess. Chosen by eye, see
docs/explanation/lab-notes.md."""

NEAR = 3
"""Pixels from the exposed hand within which a key point counts as visible; chosen by eye likewise."""

VISIBLE_STEP = 0.5
"""Grey levels between both sides of an outline below which it is lost in eight bits."""


def in_sight(points: Float[np.ndarray, "3 2"], mask: Bool[np.ndarray, "h w"]) -> list[bool]:
    """Returns which key points can be seen: those within `NEAR` pixels of the hand as far as it was exposed."""
    padded = np.pad(mask, 4)
    distance = cv2.distanceTransform((~padded).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    places = np.clip(np.rint(points).astype(int)[:, ::-1] + 4, 0, np.array(padded.shape) - 1)
    return [bool(distance[y, x] <= NEAR) for y, x in places]


def outline_lost(image: Grey, mask: Bool[np.ndarray, "h w"]) -> float:
    """Returns the share of a hand's outline that cannot be seen, as both sides of it have one grey level."""
    found = outline.steps(image, mask)
    return float((np.abs(found) < VISIBLE_STEP).mean()) if len(found) else 1.0


def measure(records: Records, pipeline: HandPipeline) -> list[dict[str, Any]]:
    """Returns accuracy, flags and measures of each image."""
    rows: list[dict[str, Any]] = []
    batches = in_batches(len(records), pipeline.settings.batch_size)
    read = progress(read_ahead(records.image, batches), total=len(batches), label="measuring", unit=" batches")
    for numbers, images in read:
        for n, image, hand in zip(numbers, images, pipeline.register(images), strict=True):
            truth, points = records.mask(n), np.asarray(records.key_points(n), np.float64)
            accuracy = against_truth(hand, truth, points)
            rows.append(
                {"n": n, **dataclasses.asdict(accuracy), "failed": accuracy.failed, "flags": hand.quality.flags}
                | hand.quality.measures
                | {"in_sight": in_sight(points, truth), "lost": outline_lost(image, truth)}
            )
    return rows


def main() -> None:
    """Measures and prints."""
    parser = hand_options(__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--json", type=pathlib.Path, help="where each image's figures go")
    parser.add_argument("--views", type=int, default=6, choices=(1, 2, 6))
    parser.add_argument(
        "--thresholds", type=pathlib.Path, help="file of boneage calibrate quality (default: the bundle's, if any)"
    )
    parser.add_argument("--single", action="store_true", help="coarse stages only")
    options = parser.parse_args()
    records = Dataset.open(options.data, options.dataset).split(f"{options.split}[:{options.images}]")
    networks = open_networks(options.segmentation, options.landmarks, options.thresholds)
    settings = Settings(
        tuple(named(["whole@260x200"])),
        thresholds=networks.thresholds(),
        calibrated=networks.calibration is not None,
        views=options.views,
        fine_stage=not options.single,
        threads=2,
    )
    with HandPipeline(networks.segmentation, networks.landmarks, settings) as pipeline:
        rows = measure(records, pipeline)
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
