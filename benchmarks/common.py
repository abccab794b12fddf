"""What every benchmark prints: versions, hardware, medians and a ratio."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
from collections.abc import Callable
from typing import Any


def hand_options(doc: str | None) -> argparse.ArgumentParser:
    """Returns a parser of what benchmarks of the hand pipeline have in common: two runs, and data."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segmentation", type=pathlib.Path)
    parser.add_argument("landmarks", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--dataset", default="hand_phantom/raw")
    parser.add_argument("--split", default="test")
    return parser


def hardware() -> str:
    """Returns the processor's name and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} {'core' if cores == 1 else 'cores'}"


def use_one_core() -> None:
    """Keeps this process on one processor, where the system can; before a library starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def versions(*packages: str) -> str:
    """Returns `name version` of each package, as far as installed."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def run_options(doc: str | None) -> argparse.ArgumentParser:
    """Returns a parser of what benchmarks of short runs have in common."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--dataset", default="hand_phantom/tiny")
    parser.add_argument("--config", default="configs/tiny.py")
    parser.add_argument("--batch", type=int, default=32, help="images a process and step")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    return parser


def run_settings(data: pathlib.Path, dataset: str, batch: int, steps: int) -> list[str]:
    """Returns arguments of `boneage train` for a short run that writes what `images_a_second` reads."""
    settings = {
        "data.dir": data,
        "data.name": dataset,
        "train.batch_size": batch,
        "train.length": f"{steps} steps",
        "eval.every": f"{steps} steps",
        "checkpoint.every": f"{steps} steps",
        "data.eval_split": "validation[:64]",
        "log.every": "5 steps",
        "log.tensorboard": False,
    }
    return [f"--config.{key}={value}" for key, value in settings.items()]


def images_a_second(run: pathlib.Path) -> float:
    """Returns the median rate of a run by its log, without the first lines: they hold compiling and reading ahead."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return median([line["images_per_second"] for line in lines if "images_per_second" in line][2:])


def measure_alternately(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Calls each side once a round, one after the other, so that a machine that drifts drifts for all."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            values[name].append(measure())
    return values


def median(values: list[float]) -> float:
    """Returns the median."""
    return statistics.median(values)


def paired_ratio(values: dict[str, list[float]], a: str, b: str) -> float:
    """Returns the median over rounds of a / b."""
    return statistics.median(x / y for x, y in zip(values[a], values[b], strict=True))


def save(path: pathlib.Path | None, results: dict[str, Any]) -> None:
    """Writes the results as JSON where a path is given."""
    if path:
        path.write_text(json.dumps(results, indent=2) + "\n")
        print(f"results lie in {path}")
