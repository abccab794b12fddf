"""What a run writes while it trains: JSON lines, TensorBoard event files, and a progress bar."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import time
from typing import Any, Protocol

import tqdm

from boneage_jax.environment import no_semaphores
from boneage_jax.files import write_text


class RunLog:
    """Scalars of a run by step, in `metrics.jsonl` and, if wanted, TensorBoard event files.

    A resumed run drops the lines written after the checkpoint that it resumes from, so each step stands there once.
    """

    def __init__(self, folder: pathlib.Path, *, from_step: int, tensorboard: bool, enabled: bool = True):
        self._writer = None
        self._lines = None
        self._charts: dict[str, list[Any]] = {}
        if not enabled:
            return
        path = folder / "metrics.jsonl"
        if path.exists():
            # A damaged byte spoils its line alone.
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step_of(line) <= from_step]
            write_text(path, "".join(line + "\n" for line in kept))
        self._lines = path.open("a", buffering=1, encoding="utf-8")
        if tensorboard and (why := no_semaphores()):  # SummaryWriter has a queue of processes
            print(f"boneage: no TensorBoard files, metrics.jsonl alone: {why}", file=sys.stderr)
        elif tensorboard:
            import tensorboardX  # here, for it brings PyTorch with it where that is installed: two seconds

            # The whole path: it takes one that begins with `gs:` or `s3:` for a bucket.
            place = str((folder / "tensorboard").absolute())
            self._writer = tensorboardX.SummaryWriter(place, purge_step=from_step + 1)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line."""
        if self._lines is not None:
            self._lines.write(json.dumps({"step": step, "time": round(time.time(), 3), **scalars}) + "\n")
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(tag_of(name), value, step)
            shared = [name for name in scalars if name.startswith(_EVALUATION)]
            if shared and not self._charts:
                self._charts = {name: ["Multiline", _both(name)] for name in shared}
                self._writer.add_custom_scalars({"training and evaluation": self._charts})

    def close(self) -> None:
        """Closes the files."""
        if self._lines is not None:
            self._lines.close()
        if self._writer is not None:
            self._writer.close()


_EVALUATION = "eval_"
"""Prefix of the names in `metrics.jsonl` that come from an evaluation."""


def tag_of(name: str) -> str:
    """Returns the TensorBoard tag of a scalar: `eval/...` for an evaluation, `train/...` for all others."""
    return f"eval/{name.removeprefix(_EVALUATION)}" if name.startswith(_EVALUATION) else f"train/{name}"


def _both(name: str) -> list[str]:
    """The tags of a score in training and in evaluation: one chart of TensorBoard's custom scalars."""
    return [tag_of(name.removeprefix(_EVALUATION)), tag_of(name)]


def scalars_of(folder: pathlib.Path) -> list[dict[str, float]]:
    """Returns the lines of a run's `metrics.jsonl`, but for any that a kill has cut short; none where it has none."""
    path = folder / "metrics.jsonl"
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


def _step_of(line: str) -> int:
    """The step of a line; a line cut short by a kill counts as after everything."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize


def progress_bar(*, total_steps: int, done: int, enabled: bool) -> tqdm.tqdm:
    """Returns a bar over steps that shows rate and time left on standard error."""
    interval = 0.5 if sys.stderr.isatty() else 10.0
    return tqdm.tqdm(
        total=total_steps,
        initial=done,
        desc="training",
        unit=" steps",
        file=sys.stderr,
        mininterval=interval,
        dynamic_ncols=True,
        disable=not enabled,
    )


class Waiter(Protocol):
    """Counts the seconds spent waiting for data."""

    waited: float


class Window:
    """Means of the metrics, and rates, since the last line of the log."""

    def __init__(self, batch_size: int, feed: Waiter):
        self._batch_size, self._feed = batch_size, feed
        self._sums: dict[str, float] = {}
        self.count = 0
        self._timed = 0
        self.restart()

    def restart(self) -> None:
        """Starts the clock anew, so that evaluations and checkpoints do not count as training time."""
        self._start, self._waited, self._timed = time.perf_counter(), self._feed.waited, 0

    def add(self, values: dict[str, float]) -> None:
        """Adds the metrics of one step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._last = values
        self.count += 1
        self._timed += 1

    def close(self) -> dict[str, float]:
        """Returns means of loss, MAE and gradient norm, the newest learning rate, and rates; starts anew."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        scalars = {name: total / self.count for name, total in self._sums.items()}
        scalars["learning_rate"] = self._last["learning_rate"]
        scalars["images_per_second"] = self._timed * self._batch_size / seconds
        scalars["waiting_for_data"] = (self._feed.waited - self._waited) / seconds
        self._sums, self.count = {}, 0
        self.restart()
        return scalars
