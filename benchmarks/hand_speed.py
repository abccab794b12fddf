"""Speed of the hand pipeline, the share of each stage, and peak memory, which does not grow with the number of images.

    python -m benchmarks.hand_speed runs/segmentation runs/landmarks --data data [--size 2044x1514]

From decoded images to registered regions, batches of 16, all regions of the paper. `--size` enlarges images first, to
the size of real ones. Each number of images is measured in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import cv2
import jax

from benchmarks.common import hand_options, hardware, versions
from boneage_jax.data.sources import Dataset
from boneage_jax.hand.pipeline import Settings
from boneage_jax.hand.regions import named
from boneage_jax.workflows.hand_networks import open_pipeline

NUMBERS = (64, 256)
BATCH = 16


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Returns images a second, seconds by stage, and peak memory in MiB."""
    records = Dataset.open(options.data, options.dataset).split(options.split)
    settings = Settings(tuple(named(["A", "B", "C"])), batch_size=BATCH, views=options.views)
    with open_pipeline(options.segmentation, options.landmarks, settings) as pipeline:

        def batch(start: int) -> list:
            found = [records.image((start + n) % len(records)) for n in range(BATCH)]
            if options.size:
                height, width = map(int, options.size.split("x"))
                found = [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in found]
            return found

        pipeline.register(batch(0))  # compiles
        pipeline.seconds.clear()
        seconds = 0.0
        for start in range(0, options.images, BATCH):
            images = batch(start)
            began = time.perf_counter()
            pipeline.register(images)
            seconds += time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        stages = {name: round(value / seconds, 3) for name, value in pipeline.seconds.items()}
    return {"images": options.images, "per_second": options.images / seconds, "stages": stages, "peak_mib": round(peak)}


def main() -> None:
    """Measures each number of images in a process of its own and prints them."""
    parser = hand_options(__doc__)
    parser.add_argument("--size", default="", help="HEIGHTxWIDTH")
    parser.add_argument("--views", type=int, default=6, choices=(1, 2, 6))
    parser.add_argument("--images", type=int, default=0, help="one number only; prints JSON")
    options = parser.parse_args()
    if options.images:
        print(json.dumps(measure(options)))
        return
    print(f"{hardware()}; {jax.default_backend()}; {versions('jax', 'opencv-python-headless')}")
    for number in NUMBERS:
        command = [sys.executable, "-m", "benchmarks.hand_speed", *sys.argv[1:], "--images", str(number)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        stages = ", ".join(f"{name} {100 * part:.0f}%" for name, part in result["stages"].items())
        print(f"{number:>5} images: {result['per_second']:.1f} a second, peak {result['peak_mib']} MiB; {stages}")


if __name__ == "__main__":
    main()
