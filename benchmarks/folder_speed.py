"""A folder of radiographs to ages: ours against the same chain with its networks in PyTorch, and where the time goes.

    python -m benchmarks.folder_speed [FOLDER] [--bundle rsna] [--images 64] [--a-round 16] [--rounds 8] [--views 2]
        [--forms eager,folded] [--one-core] [--json results.json]

Every side is `boneage assess FOLDER --sex F` in one process, without its pages: the same `Assessor` reads the files,
prepares inputs, cleans masks, registers, cuts regions and blends ages, with OpenCV and NumPy. Only
`hand.network.Network.predict` differs: JAX on our side, the same network in PyTorch on the others (`folder_torch`: same
weights, test-time moves too). In each round our side comes first, and its answers are kept in the order of the calls.
The others compute theirs from the same arrays and then go on with ours, so that all that follows does the same work.
After the pass the answers are compared, and so are the ages. PyTorch's batches are as long as their images, ours are
padded.

Each round takes the next `--a-round` images of the folder's `--images`, round about. Besides wall time there is the
processor time of the process: on a machine with other load it says what an idle core would take. Without a folder raw
phantoms of 512 x 400 are drawn; of a folder the first radiographs by name are read, all as girls'.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import pathlib
import platform
import tempfile
import time
import types
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import cv2
import numpy as np

from benchmarks.common import hardware, measure_alternately, median, paired_ratio, save, use_one_core, versions
from boneage_jax import environment, parallel, resources
from boneage_jax.api.phantoms import phantom
from boneage_jax.data.augment import Move
from boneage_jax.data.tree import Tree
from boneage_jax.hand import age_ensemble, pipeline, segment
from boneage_jax.hand.network import Network
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.workflows import assess, radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.radiographs import Radiograph
from boneage_jax.workflows.requests import AssessRequest

OURS = "JAX"
SIZE = (512, 400)
"""Height and width of phantoms, in pixels: about those of the RSNA images of 299 pixels and of small films."""

TOLERANCE = {"segmentation": 1e-3, "landmarks": 1e-2, "bone_age": 1e-2}
"""Largest difference between the two sides' answers, by task: probability, pixels of the input, months."""


@dataclasses.dataclass
class Sides:
    """Who computes the networks now, and what has been taken down.

    Attributes:
      side: `OURS` or a form of `folder_torch.FORMS`.
      ours: our answers of the last pass of ours, with their tasks, in the order of the calls.
      others: likewise those of another side, in its last pass.
      seconds: processor time of the last pass by what it went to.
      differences: largest difference of an answer from ours so far, by side and task.
    """

    side: str = OURS
    ours: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)
    others: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    differences: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)

    def start(self, side: str) -> None:
        """Begins a pass."""
        self.side = side
        (self.ours if side == OURS else self.others).clear()
        self.seconds.clear()

    def add(self, name: str, seconds: float) -> None:
        """Adds to the time that something took."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def answer(self, task: str, found: np.ndarray) -> np.ndarray:
        """Keeps an answer; returns ours to the same call."""
        kept = self.ours if self.side == OURS else self.others
        kept.append((task, found))
        return self.ours[len(kept) - 1][1]

    def compare(self) -> None:
        """Compares the other side's answers with ours.

        Raises:
          RuntimeError: where they differ by more than `TOLERANCE`.
          ValueError: where there are not as many.
        """
        for (task, ours), (other_task, other) in zip(self.ours, self.others, strict=True):
            difference = float(np.abs(ours - other).max())
            if task != other_task or ours.shape != other.shape or not difference <= TOLERANCE[task]:
                raise RuntimeError(f"{self.side}, {task}: {other.shape} {other_task} differs from ours by {difference}")
            self.differences[self.side, task] = max(difference, self.differences.get((self.side, task), 0.0))


def switched(sides: Sides) -> type[Network]:
    """Returns the class of networks that are computed by whatever side is on."""

    class Switched(Network):
        def __init__(self, loaded: LoadedRun, batch_size: int, *, moves: Sequence[Move] = (Move(),)):
            super().__init__(loaded, batch_size, moves=moves)
            self.task = loaded.config.task.name
            of = loaded.config.data.regions
            self.label = f"network: {self.task}{f' of {of}' if of else ''}"
            self._of = functools.partial(_twin, loaded, tuple(moves))
            self._twins: dict[str, Any] = {}

        def predict(self, images: np.ndarray, male: np.ndarray) -> np.ndarray:
            began = time.process_time()
            if sides.side == OURS:
                found = super().predict(images, male)
            else:
                if sides.side not in self._twins:
                    self._twins[sides.side] = self._of(sides.side)
                found = self._twins[sides.side](images, male)
            sides.add(self.label, time.process_time() - began)
            return sides.answer(self.task, found)

    return Switched


def _twin(loaded: LoadedRun, moves: tuple[Move, ...], form: str) -> Any:
    from benchmarks import folder_torch

    return folder_torch.twin_of(loaded, moves=moves, form=form)


@contextlib.contextmanager
def opened(request: AssessRequest, sides: Sides) -> Iterator[Assessor]:
    """An assessor whose networks are those of `switched`, and whose stages are timed in processor time."""
    with contextlib.ExitStack() as stack:
        for module in (age_ensemble, pipeline, segment):
            stack.enter_context(mock.patch.object(module, "Network", switched(sides)))
        clock = types.SimpleNamespace(perf_counter=time.process_time)
        stack.enter_context(mock.patch.object(pipeline, "time", clock))
        read = radiographs.read

        def timed(*args: Any, **how: Any) -> Any:
            began = time.thread_time()  # on threads beside the rest
            found = read(*args, **how)
            sides.add("reading and decoding", time.thread_time() - began)
            return found

        stack.enter_context(mock.patch.object(assess.radiographs, "read", timed))
        yield stack.enter_context(Assessor(request))


@dataclasses.dataclass(frozen=True)
class Pass:
    """One reading of all ages of some radiographs.

    Attributes:
      wall: seconds.
      used: processor time, in seconds.
      stages: the same by what it went to.
      ages: in months.
    """

    wall: float
    used: float
    stages: dict[str, float]
    ages: list[float]


def one_pass(assessor: Assessor, found: Sequence[Radiograph], sides: Sides, side: str) -> Pass:
    """Reads all ages."""
    stages = assessor._pipeline.seconds if assessor._pipeline else {}
    sides.start(side)
    stages.clear()
    wall, used = time.perf_counter(), time.process_time()
    ages = [one.months for one, _ in assessor.assess(found, progress=False)]
    wall, used = time.perf_counter() - wall, time.process_time() - used
    _share(sides.seconds, stages, used)
    return Pass(wall, used, dict(sides.seconds), ages)


def _share(seconds: dict[str, float], stages: dict[str, float], used: float) -> None:
    """Takes the networks out of the pipeline's stages, and adds what is left of the whole as `all else`."""
    of_masks = seconds.get("network: segmentation", 0.0)
    seconds["masks from the network's maps, and its inputs"] = stages.get("segmentation", 0.0) - of_masks
    seconds["inputs of the key points' network"] = stages.get("input layouts", 0.0)
    seconds["registration, regions, quality"] = stages.get("registration and regions", 0.0)
    seconds["all else"] = used - sum(seconds.values())


def draw(folder: pathlib.Path, number: int) -> None:
    """Draws girls of 24 to 200 months as they would be acquired."""
    for n in range(number):
        image = phantom(24 + 176 * n / max(1, number - 1), "F", n, view="raw", size=SIZE).image
        cv2.imwrite(str(folder / f"{n:04}.png"), image)


def measure(folder: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures all sides on a folder; prints medians, ranges and ratios, and returns all values."""
    sides = Sides()
    forms = [one for one in options.forms.split(",") if one]
    request = AssessRequest(
        (folder,), bundle=resources.shipped_bundle(options.bundle), sex="F", views=options.views, batch_size=16
    )
    with Tree() as tree, opened(request, sides) as assessor:
        found = sorted(radiographs.found(tree, [folder]), key=lambda one: one.name)[: options.images]
        parts = itertools.cycle(parallel.in_batches(len(found), options.a_round or len(found)))
        names = [OURS, *forms]
        for side in names:  # compiles
            one_pass(assessor, found[: options.a_round or None], sides, side)
        rounds: dict[str, list[Pass]] = {side: [] for side in names}
        part: Sequence[int] = ()

        def measured(side: str) -> float:
            nonlocal part
            part = next(parts) if side == OURS else part
            done = one_pass(assessor, [found[n] for n in part], sides, side)
            if side != OURS:
                sides.compare()
                np.testing.assert_array_equal(done.ages, rounds[OURS][-1].ages)  # so the work between was the same
            rounds[side].append(done)
            print(f"round {len(rounds[side])}, {side}: {done.wall:.1f} s, processor {done.used:.2f} s", flush=True)
            return done.wall

        walls = measure_alternately(options.rounds, {side: functools.partial(measured, side) for side in names})
    for (side, task), difference in sides.differences.items():
        print(f"{side}: {task} differs from ours by at most {difference:.1e}")
    used = {side: [one.used for one in passes] for side, passes in rounds.items()}
    count = options.a_round or len(found)
    print(f"{len(found)} radiographs, {count} a round, {options.views} views, {options.rounds} rounds")
    for side in names:
        print(
            f"{side:<9} {_rates(count, walls[side])} images/s; by processor time {_rates(count, used[side])}; "
            f"ours / this: {paired_ratio(walls, side, OURS):.2f}, {paired_ratio(used, side, OURS):.2f}"
        )
    stages = {
        name: {side: [one.stages[name] for one in rounds[side]] for side in names} for name in rounds[OURS][0].stages
    }
    print("processor time, ms an image: " + ", ".join(names))
    for name, by_side in sorted(stages.items(), key=lambda item: -median(item[1][OURS])):
        print(f"  {name:<46} " + "  ".join(f"{1e3 * median(by_side[side]) / count:8.2f}" for side in names))
    return {"images": len(found), "a round": count, "walls": walls, "processor": used, "stages": stages}


def _rates(count: int, seconds: list[float]) -> str:
    """Median and range of the rates."""
    return f"{count / median(seconds):.2f} [{count / max(seconds):.2f}, {count / min(seconds):.2f}]"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    parser.add_argument("--bundle", default="rsna")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--a-round", type=int, default=0, help="images of each round; 0 for all")
    parser.add_argument("--views", type=int, default=2, choices=(1, 2, 6))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--forms", default="eager,folded", help="of PyTorch, with commas: eager, folded, compiled")
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if options.a_round and options.images % options.a_round:
        parser.error("--images must be a multiple of --a-round")
    if options.one_core:
        use_one_core()
    environment.start_again()
    environment.prepare()
    import torch

    torch.set_num_threads(1 if options.one_core else torch.get_num_threads())
    packages = versions("jax", "jaxlib", "torch", "opencv-python-headless", "numpy")
    print(f"{hardware()}; {packages}; Python {platform.python_version()}; PyTorch's threads: {torch.get_num_threads()}")
    with tempfile.TemporaryDirectory() as scratch:
        if options.folder is None:
            draw(pathlib.Path(scratch), options.images)
        results = measure(options.folder or pathlib.Path(scratch), options)
    save(options.json, results)


if __name__ == "__main__":
    main()
