"""Training on CPU with pages of 2 MiB against pages of 4 KiB, the same command, in turn.

    boneage data build hand_phantom/tiny --out data
    python -m benchmarks.huge_pages --data data [--rounds 3] [--config configs/tiny.py]

What `boneage_jax.environment.start_again` brings. It needs Linux with glibc 2.35 or newer whose transparent huge
pages wait for advice; elsewhere both sides are the same.
"""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from benchmarks.common import (
    hardware,
    images_a_second,
    measure_alternately,
    median,
    run_options,
    run_settings,
    save,
    versions,
)

SIDES = {"pages of 4 KiB": "glibc.malloc.hugetlb=0", "pages of 2 MiB": "glibc.malloc.hugetlb=1"}


def rate(tunables: str, options: argparse.Namespace, run: pathlib.Path) -> float:
    """Returns the images a second of one run."""
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "boneage_jax.cli", "train", f"--config={options.config}", f"--run={run}"]
    command += run_settings(options.data, options.dataset, options.batch, options.steps)
    environment = {**os.environ, "GLIBC_TUNABLES": tunables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return images_a_second(run)


def main() -> None:
    """Measures and prints."""
    options = run_options(__doc__).parse_args()
    print(f"{hardware()}; {versions('jax', 'jaxlib')}; {options.config}, {options.batch} images a step")
    with tempfile.TemporaryDirectory() as scratch:
        run = pathlib.Path(scratch) / "run"
        values = measure_alternately(
            options.rounds, {side: functools.partial(rate, tunables, options, run) for side, tunables in SIDES.items()}
        )
    first, second = (median(values[side]) for side in SIDES)
    for side in SIDES:
        print(f"{side:<16}{median(values[side]):>8.1f} images/s   {[round(v, 1) for v in values[side]]}")
    print(f"{second / first:.2f} times as many with large pages")
    save(options.json, {"images_a_second": values})


if __name__ == "__main__":
    main()
