"""The whole way on phantoms: radiographs, masks, key points, registration, regions, ages; nothing done is redone."""

from __future__ import annotations

import pathlib
import sys
import time

import numpy as np

from boneage_jax import page
from boneage_jax.analysis import evaluate, per_image, report
from boneage_jax.analysis.scores import Score
from boneage_jax.config import loading
from boneage_jax.data.sources import Dataset
from boneage_jax.files import check_writable
from boneage_jax.region_spec import parse_regions
from boneage_jax.runs import run_folder
from boneage_jax.train.loop import train
from boneage_jax.workflows import build, calibrate, pictures, register, sheets
from boneage_jax.workflows.derive import Derived
from boneage_jax.workflows.requests import BuildRequest

_REGIONS = parse_regions("whole@260x200,A@250x188,B@188x188,C@150x350")
_SHOWN = 6


_QUICK = {
    "hand_phantom/raw_tiny": {"train": 96, "validation": 16, "test": 24},
    "hand_phantom/tiny": {"train": 240, "validation": 40, "test": 40},
}
_QUICK_STEPS = 12


def demo(folder: pathlib.Path, *, workers: int, arguments: list[str], quick: bool = False) -> str:
    """Runs the demo in a folder and returns what it found, for people.

    Args:
      folder: where everything goes.
      workers: that render.
      arguments: further `--config.key=value`, for the age network.
      quick: few phantoms and steps: shows that everything runs, and learns nothing.
    """
    start = time.monotonic()
    check_writable(folder)
    data_dir = folder / "data"
    where = f"--config.data.dir={data_dir}"
    print("1/5 phantoms: as acquired, and registered", file=sys.stderr)
    raw, tiny = (
        build.build(BuildRequest(name, out=data_dir, workers=workers, counts=counts if quick else None)).name
        for name, counts in _QUICK.items()
    )
    short = [f"--config.train.length={_QUICK_STEPS} steps"] if quick else []
    config = loading.load(["--config=configs/tiny.py", where, f"--config.data.name={tiny}", *short, *arguments])
    stages = {
        name: loading.load([f"--config=configs/{name}.py:tiny", where, f"--config.data.name={raw}", *short])
        for name in ("segmentation", "landmarks")
    }
    print("2/5 training: masks, key points, ages", file=sys.stderr)
    for name, stage in stages.items():
        train(stage, folder / name)
    train(config, folder / "run")
    print("3/5 the hand pipeline", file=sys.stderr)
    runs = (folder / "segmentation", folder / "landmarks")
    # Of networks that have learnt nothing there is nothing to take.
    thresholds = None if quick else folder / "thresholds.json"
    if thresholds and not thresholds.exists():
        calibrate.write(calibrate.CalibrateRequest(raw, *runs, thresholds, data=data_dir))
    request = register.RegisterRequest(
        raw, *runs, data=data_dir, splits=("test",), regions=_REGIONS, thresholds=thresholds
    )
    derived = register.derived_of(request)
    print("4/5 evaluation", file=sys.stderr)
    loaded = run_folder.load(folder / "run")
    exact = evaluate.evaluate(loaded, split="test", data_dir=data_dir)
    result = evaluate.evaluate(loaded, split="test", data_dir=data_dir, dataset=derived.dataset.name)
    print("5/5 report", file=sys.stderr)
    sections = [
        _found(folder, data_dir, derived),
        _way(Dataset.open(data_dir, raw), derived, result),
        _compared(exact, result),
    ]
    report.write(result, loaded, folder / "report.html", sections=sections)
    return (
        f"{evaluate.as_text(exact)}\n\nthrough the whole pipeline: {evaluate.as_text(result)}\n\n"
        f"{sheets.as_text(derived)}\n\n"
        f"Done in {time.monotonic() - start:.0f} s. Everything lies in {folder}:\n"
        f"  page         {folder / 'report.html'}\n"
        f"  predictions  {result.folder / 'predictions.csv'}\n"
        f"  runs         {folder / 'segmentation'}, {folder / 'landmarks'}, {folder / 'run'}\n"
        f"  hands        {derived.dataset.path / sheets.PAGE}\n"
        f"  data         {data_dir}"
    )


def _found(folder: pathlib.Path, data_dir: pathlib.Path, derived: Derived) -> page.Markup:
    """How good masks and key points are by themselves, and what was flagged."""
    rows = []
    for name in ("segmentation", "landmarks"):
        scored = per_image.score(run_folder.load(folder / name), data_dir=data_dir)
        values = [page.significant(value) for key, value in scored.summary.items() if key != "images"]
        rows.append([name, f"{scored.score.label}, {scored.score.unit}".removesuffix(", "), *values])
    flags = ", ".join(f"{flag} {count}" for flag, count in sorted(derived.flags["test"].items())) or "none"
    return page.section(
        "Masks and key points",
        page.table(["network", "score", "mean", "median", "worst 1%"], rows, stack=True),
        page.paragraph(f"Flagged of {derived.images['test']} images: {flags}."),
    )


def _way(source: Dataset, derived: Derived, result: evaluate.Evaluation) -> page.Markup:
    """Each stage in pictures, for hands spread over the ages."""
    order = np.argsort(result.reading)
    chosen = order[np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int)]
    lines = {
        result.ids[n]: f"{'boy' if result.male[n] else 'girl'}, read {result.reading[n]:.0f} months, "
        f"predicted {result.predicted[n]:.0f} months"
        for n in chosen
    }
    return page.section(
        "The way of a hand",
        pictures.legend(),
        sheets.way(source, derived, "test", lines),
        lead="From the radiograph to the age: outline and key points found, regions A, B and C, and the whole canvas.",
    )


def _compared(exact: evaluate.Evaluation, result: evaluate.Evaluation) -> page.Markup:
    """What the chain's own errors cost."""
    rows = []
    for name, one in (("registered by truth", exact), ("registered by the pipeline", result)):
        mae = one.table["all"]["MAE"]
        assert isinstance(mae, Score)
        rows.append([name, str(len(one.ids)), page.interval(mae.value, mae.low, mae.high, 2)])
    return page.section(
        "What the pipeline's errors cost", page.table(["hands", "images", "MAE of the age, months"], rows)
    )
