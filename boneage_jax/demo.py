"""The whole way on phantoms: build, train, evaluate, report; what is done is not done again."""

from __future__ import annotations

import pathlib
import sys
import time

from boneage_jax import experiment
from boneage_jax.analysis import evaluate, report
from boneage_jax.data import build
from boneage_jax.files import check_writable
from boneage_jax.train import run
from boneage_jax.train.loop import train


def demo(folder: pathlib.Path, *, workers: int, arguments: list[str]) -> str:
    """Runs the demo in a folder and returns what it found, for people.

    Args:
      folder: where everything goes.
      workers: that render.
      arguments: further `--config.key=value`.
    """
    start = time.monotonic()
    check_writable(folder)
    data_dir = folder / "data"
    own = ["--config=configs/tiny.py", f"--config.data.dir={data_dir}"]
    config = experiment.load([*own, *arguments])

    print(f"1/4 phantoms: {config.data.name}", file=sys.stderr)
    build.build(config.data.name, data_dir, workers=workers)
    print("2/4 training", file=sys.stderr)
    train(config, folder / "run")
    print("3/4 evaluation", file=sys.stderr)
    loaded = run.load(folder / "run")
    result = evaluate.evaluate(loaded, split="test", data_dir=data_dir)
    print("4/4 report", file=sys.stderr)
    report.write(result, loaded, folder / "report.html")

    return (
        f"{evaluate.as_text(result)}\n\nDone in {time.monotonic() - start:.0f} s. Everything lies in {folder}:\n"
        f"  page         {folder / 'report.html'}\n"
        f"  predictions  {result.folder / 'predictions.csv'}\n"
        f"  run          {folder / 'run'}\n"
        f"  data         {data_dir}"
    )
