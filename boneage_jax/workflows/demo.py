"""The whole way on phantoms: radiographs, masks, key points, registration, regions, ages; nothing done is redone."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Sequence

import numpy as np

from boneage_jax import page, resources
from boneage_jax.analysis import evaluate, per_image, report
from boneage_jax.analysis.scores import Score
from boneage_jax.config import loading
from boneage_jax.data.sources import Dataset
from boneage_jax.files import check_writable
from boneage_jax.network_ref import NetworkRef
from boneage_jax.region_spec import parse_regions
from boneage_jax.runs import bundle, run_folder
from boneage_jax.train.loop import train
from boneage_jax.workflows import build, calibrate, pictures, register, sheets
from boneage_jax.workflows.derive import Derived
from boneage_jax.workflows.requests import BuildRequest, DemoRequest

_REGIONS = parse_regions("whole@260x200,A@250x188,B@188x188,C@150x350")
_SHOWN = 6


_TINY, _RAW = "hand_phantom/tiny", "hand_phantom/raw_tiny"
_TEST_ONLY = {"train": 0, "validation": 0, "test": 200}
"""The raw phantoms of the demo where no network is trained on them."""

_QUICK_COUNTS = {
    _TINY: {"train": 240, "validation": 40, "test": 40},
    _RAW: {"train": 96, "validation": 16, "test": 24},
}
_QUICK_STEPS = 12
_FINDERS = ("segmentation", "landmarks")
"""The networks that find hands: names of their configs, of their runs, and of their members in the shipped bundle."""


def demo(request: DemoRequest, arguments: list[str]) -> str:
    """Runs the demo in a folder and returns what it found, for people.

    Args:
      request: where everything goes, and what is trained.
      arguments: further `--config.key=value`, for the age network.
    """
    start = time.monotonic()
    folder, data_dir = request.out, request.out / "data"
    check_writable(folder)
    print("1/5 phantoms: as acquired, and registered", file=sys.stderr)
    raw, tiny = _build(request, _RAW, data_dir), _build(request, _TINY, data_dir)
    what = "masks, key points, ages" if request.train_all else "ages, from the shipped network"
    print(f"2/5 training: {what}", file=sys.stderr)
    segmentation, landmarks = finders = [
        _trained(request, f"configs/{name}.py:tiny", raw, name)
        if request.train_all
        else NetworkRef(None, name, resources.PHANTOM_BUNDLE)
        for name in _FINDERS
    ]
    recipe = "configs/tiny.py" if request.train_all else "configs/finetune.py:tiny"
    run = _trained(request, recipe, tiny, "run", arguments).place
    print("3/5 the hand pipeline", file=sys.stderr)
    # The bundle holds thresholds of its own; of networks that have learnt nothing there is nothing to take.
    thresholds = folder / "thresholds.json" if request.train_all and not request.quick else None
    if thresholds and not thresholds.exists():
        calibrate.write(calibrate.CalibrateRequest(raw, segmentation, landmarks, thresholds, data=data_dir))
    derived = register.derived_of(
        register.RegisterRequest(
            raw, segmentation, landmarks, data=data_dir, splits=("test",), regions=_REGIONS, thresholds=thresholds
        )
    )
    print("4/5 evaluation", file=sys.stderr)
    loaded, radiographs = run_folder.load(run), Dataset.open(data_dir, raw)
    exact = evaluate.evaluate(loaded, split="test", data_dir=data_dir)
    result = evaluate.evaluate(loaded, split="test", data_dir=data_dir, dataset=derived.dataset.name)
    print("5/5 report", file=sys.stderr)
    sections = [
        _found(finders, radiographs, derived, folder),
        _way(radiographs, derived, result),
        _compared(exact, result),
    ]
    report.write(result, loaded, folder / "report.html", sections=sections)
    return (
        f"{evaluate.as_text(exact)}\n\nthrough the whole pipeline: {evaluate.as_text(result)}\n\n"
        f"{sheets.as_text(derived)}\n\n"
        f"Done in {time.monotonic() - start:.0f} s. Everything lies in {folder}:\n"
        f"  page         {folder / 'report.html'}\n"
        f"  predictions  {result.folder / 'predictions.csv'}\n"
        f"  run          {run}\n"
        f"  hands        {derived.dataset.path / sheets.PAGE}, found by {' and '.join(map(str, finders))}\n"
        f"  data         {data_dir}"
    )


def _build(request: DemoRequest, name: str, data_dir: pathlib.Path) -> str:
    """Builds phantoms, or finds them built; returns the dataset's name."""
    counts = _TEST_ONLY if name == _RAW and not request.train_all else None
    if request.quick:
        counts = _QUICK_COUNTS[name]
    return build.build(BuildRequest(name, out=data_dir, workers=request.workers, counts=counts)).name


def _trained(request: DemoRequest, config: str, dataset: str, name: str, arguments: Sequence[str] = ()) -> NetworkRef:
    """Trains a network in the demo's folder, or finds it trained."""
    given = [f"--config={config}", f"--config.data.dir={request.out / 'data'}", f"--config.data.name={dataset}"]
    if request.quick:
        given.append(f"--config.train.length={_QUICK_STEPS} steps")
    train(loading.load([*given, *arguments]), request.out / name)
    return NetworkRef(request.out / name)


def _found(finders: Sequence[NetworkRef], source: Dataset, derived: Derived, folder: pathlib.Path) -> page.Markup:
    """How good masks and key points are by themselves, and what was flagged."""
    rows = []
    for name, network in zip(_FINDERS, finders, strict=True):
        loaded = bundle.load(network, name)
        scored = per_image.score(
            loaded, data_dir=folder / "data", dataset=source.name, out=folder / "evaluation" / name
        )
        values = [page.significant(value) for key, value in scored.summary.items() if key != "images"]
        rows.append([name, f"{scored.score.label}, {scored.score.unit}".removesuffix(", "), *values])
    flags = ", ".join(f"{flag} {count}" for flag, count in sorted(derived.flags["test"].items())) or "none"
    whose = (
        f"those of the shipped bundle {resources.PHANTOM_BUNDLE}" if finders[0].path is None else "trained by this demo"
    )
    return page.section(
        "Masks and key points",
        page.table(["network", "score", "mean", "median", "worst 1%"], rows, stack=True),
        page.paragraph(f"Networks: {whose}. Flagged of {derived.images['test']} images: {flags}."),
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
    """What the pipeline's own errors cost."""
    rows = []
    for name, one in (("registered by truth", exact), ("registered by the pipeline", result)):
        mae = one.table["all"]["MAE"]
        assert isinstance(mae, Score)
        rows.append([name, str(len(one.ids)), page.interval(mae.value, mae.low, mae.high, 2)])
    return page.section(
        "What the pipeline's errors cost", page.table(["hands", "images", "MAE of the age, months"], rows)
    )
