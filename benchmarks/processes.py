"""Two processes on two cores against one on one core, the same images a process; and what is lost.

    boneage data build hand_phantom/tiny --out data
    python -m benchmarks.processes --data data [--rounds 3] [--config configs/tiny.py]

Three sides in turn, each process kept on a core of its own: one process alone; two that know nothing of each other,
which share the machine's memory and caches; two that train one network together. What the second side loses is the
machine's, what the third loses beyond it is the price of talking: collectives, and waiting for the slower one.
"""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
import shutil
import socket
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

SIDES = ("one", "two apart", "two together")


def rate(side: str, options: argparse.Namespace, scratch: pathlib.Path) -> float:
    """Returns the images a second and process of a side: the median over its log, all processes alike."""
    shutil.rmtree(scratch, ignore_errors=True)
    together, count = side == "two together", 1 if side == "one" else 2
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    batch = options.batch * (2 if together else 1)
    started = []
    for n in range(count):
        run = scratch / ("run" if together else f"run{n}")
        command = [sys.executable, "-m", "boneage_jax.cli", "train", f"--config={options.config}", f"--run={run}"]
        command += run_settings(options.data, options.dataset, batch, options.steps)
        if together:
            command += ["--coordinator", f"localhost:{port}", "--processes", "2", "--process", str(n)]
        core = sorted(os.sched_getaffinity(0))[n]
        started.append(
            subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        )
    for process in started:
        _, error = process.communicate()
        if process.returncode:
            sys.exit(error.decode())
    return sum(images_a_second(run) for run in sorted(scratch.iterdir())) / count


def main() -> None:
    """Measures and prints."""
    options = run_options(__doc__).parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are wanted")
    print(f"{hardware()}; {versions('jax', 'jaxlib')}; {options.config}, {options.batch} images a process")
    with tempfile.TemporaryDirectory() as scratch:
        place = pathlib.Path(scratch) / "runs"
        values = measure_alternately(
            options.rounds, {side: functools.partial(rate, side, options, place) for side in SIDES}
        )
    one = median(values["one"])
    for side in SIDES:
        found = median(values[side])
        print(f"{side:<14}{found:>8.1f} images/s a process, {100 * found / one:.0f}% of one alone")
    save(options.json, {"images_a_second_and_process": values})


if __name__ == "__main__":
    main()
