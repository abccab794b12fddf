"""Latency of one radiograph: from `boneage assess hand.png --sex F` to its age, and in a process that stays.

    python -m benchmarks.latency [RADIOGRAPH] [--bundle rsna] [--rounds 5] [--one-core]

- `cold`: a command with an empty cache, as the first one after an installation.
- `warm`: the same command again.
- `off`: the same with `BONEAGE_CACHE=off`: every program traced and compiled again.
- `resident`: `Assessor` kept open, one radiograph at a time, the median of 7 after the first.

Commands run in processes of their own, in turn. Besides wall time there is the processor time of each process: on a
machine with other load it says what an idle core would take. Without a radiograph a phantom is drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks.common import hardware, median, save, use_one_core, versions

RESIDENT_ROUNDS = 7

_RESIDENT = """
import json, pathlib, sys, time
from boneage_jax import environment
environment.prepare()
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.requests import AssessRequest
from boneage_jax import resources
path, bundle, rounds = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with Assessor(AssessRequest((path,), bundle=resources.shipped_bundle(bundle), sex="F")) as assessor:
    times = []
    for _ in range(rounds + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        ((assessment, _),) = assessor.assess(progress=False)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
print(json.dumps({"times": times[1:], "months": assessment.months}))
"""

_PHASES = """
import json, pathlib, sys, time
at = [("interpreter", time.process_time())]
def mark(name):
    at.append((name, time.process_time()))
from boneage_jax import environment
environment.prepare()
import boneage_jax.cli
mark("command line")
import jax
jax.devices()
mark("JAX")
from boneage_jax.workflows import assess_command
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.requests import AssessRequest
from boneage_jax import resources
mark("other imports")
path, bundle = pathlib.Path(sys.argv[1]), sys.argv[2]
assessor = Assessor(AssessRequest((path,), bundle=resources.shipped_bundle(bundle), sex="F"))
mark("weights")
list(assessor.assess(progress=False))
mark("first radiograph")
list(assessor.assess(progress=False))
mark("second radiograph")
print(json.dumps([(name, end - start) for (_, start), (name, end) in zip([("", 0.0), *at], at)]))
"""
"""Processor time by what it went to; the first radiograph holds all that is made once for the programs."""


def command(radiograph: pathlib.Path, bundle: str, cache: str) -> tuple[float, float]:
    """Runs `boneage assess` and returns its wall and processor time, in seconds.

    Args:
      radiograph: to read.
      bundle: name of a shipped one.
      cache: value of `BONEAGE_CACHE`.
    """
    words = [sys.executable, "-m", "boneage_jax.cli", "assess", str(radiograph), "--sex", "F", "--bundle", bundle]
    before, began = os.times(), time.perf_counter()
    subprocess.run(words, env=_environment(cache), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used


def _environment(cache: str) -> dict[str, str]:
    """Returns the environment of a process with another cache, without a folder that JAX has been told to use."""
    return {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")} | {
        "BONEAGE_CACHE": cache
    }


def script(text: str, radiograph: pathlib.Path, bundle: str, cache: str, *words: str) -> object:
    """Runs a script in a process of its own and returns what it prints as JSON."""
    arguments = [sys.executable, "-c", text, str(radiograph), bundle, *words]
    done = subprocess.run(arguments, env=_environment(cache), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def phantom(folder: pathlib.Path) -> pathlib.Path:
    """Draws a radiograph of a phantom, of about the size of a film at 100 dots an inch, and returns its file."""
    path = folder / "hand.png"
    words = ["phantom", "--age", "96", "--sex", "F", "--view", "raw", "--size", "1040x832", "--out", str(path)]
    subprocess.run([sys.executable, "-m", "boneage_jax.cli", *words], check=True, stdout=subprocess.DEVNULL)
    return path


def shown(times: list[tuple[float, float]]) -> str:
    """Returns medians and ranges for people."""
    walls, used = [one[0] for one in times], [one[1] for one in times]
    return (
        f"{median(walls):.2f} s [{min(walls):.2f}, {max(walls):.2f}], "
        f"processor {median(used):.2f} s [{min(used):.2f}, {max(used):.2f}]"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("radiograph", type=pathlib.Path, nargs="?")
    parser.add_argument("--bundle", default="rsna")
    parser.add_argument("--rounds", type=int, default=5, help="of `warm`; `cold` and `off` take a third of them")
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if options.one_core:
        use_one_core()
    print(f"{hardware()}; {versions('jax', 'jaxlib', 'flax')}; Python {sys.version.split()[0]}")
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        radiograph = options.radiograph or phantom(folder)
        few = max(1, options.rounds // 3)
        cold = [command(radiograph, options.bundle, str(folder / f"cache{n}")) for n in range(few)]
        cache = str(folder / "cache0")
        warm, off = [], []
        for n in range(options.rounds):
            warm.append(command(radiograph, options.bundle, cache))
            if n < few:
                off.append(command(radiograph, options.bundle, "off"))
        for name, times in {"cold": cold, "warm": warm, "off": off}.items():
            print(f"{name:<9} {shown(times)}, {len(times)} commands", flush=True)
            results[name] = times
        resident = script(_RESIDENT, radiograph, options.bundle, cache, str(RESIDENT_ROUNDS))
        assert isinstance(resident, dict)
        print(f"resident  {shown(resident['times'])}, {RESIDENT_ROUNDS} radiographs; {resident['months']:.4f} months")
        results["resident"] = resident["times"]
        for name in ("warm", "off"):
            phases = script(_PHASES, radiograph, options.bundle, cache if name == "warm" else "off")
            assert isinstance(phases, list)
            print(f"processor time, {name}: " + ", ".join(f"{what} {seconds:.2f}" for what, seconds in phases))
            results[f"phases {name}"] = phases
        stored = [path for path in pathlib.Path(cache).rglob("*") if path.is_file()]
        print(f"cache: {len(stored)} files, {sum(path.stat().st_size for path in stored) / 1e6:.2f} MB")
    save(options.json, results)


if __name__ == "__main__":
    main()
