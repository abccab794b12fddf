"""Training steps of several frameworks in turn, each in a process of its own, on one device.

Processes, so that no framework's libraries, threads or memory are in another's way; in turn, block by block, so that a
device whose clock drifts drifts for all of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.common import median
from benchmarks.gpu_report import Context, Row

EAGER, COMPILED = "torch, channels last", "torch.compile, channels last"
SIDES = ("jax", EAGER, COMPILED)

BLOCK = 0.3
"""Seconds of steps in a block: long enough that waiting for its end costs nothing."""

_RESERVE = 12.0
"""Seconds that are kept for measuring, whatever the preparation of a side takes."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
      network: a key of `step_jax.CONFIGS`.
      batch: images a step.
      size: height and width in pixels.
      dtype: of activations.
    """

    network: str
    batch: int
    size: tuple[int, int]
    dtype: str = "bfloat16"


class Side:
    """A framework in a process of its own."""

    def __init__(self, name: str, case: Case):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, case), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, what: str, *arguments: Any, seconds: float) -> Any:
        """Returns what the other process answers. Raises `SideFailed` where it does not, or says why it cannot."""
        try:
            self._connection.send((what, arguments))
            if not self._connection.poll(max(seconds, 0.0)):
                raise SideFailed(f"{what}: no answer after {seconds:.0f} s")
            answer, reason = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise SideFailed(f"{what}: its process ended with {self._process.exitcode}") from error
        if reason:
            raise SideFailed(reason)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


class SideFailed(Exception):
    """A side cannot be measured."""


def _serve(connection: Connection, name: str, case: Case) -> None:
    """Answers `prepare` with facts and `block` with seconds, until it is ended."""
    steps: Callable[[int], float] | None = None
    while True:
        what, arguments = connection.recv()
        try:
            if what == "prepare":
                facts, steps = _prepare_jax(case) if name == "jax" else _prepare_torch(case, compiled=name == COMPILED)
                facts["first"] = steps(3)
                connection.send((facts, ""))
            else:
                assert steps is not None
                connection.send((steps(*arguments), ""))
        except ModuleNotFoundError as error:
            connection.send((None, f"{error.name} is not installed"))
        except Exception as error:
            first, *_ = [*str(error).splitlines(), ""]
            connection.send((None, f"{type(error).__name__}: {first[:200]}"))


def _prepare_jax(case: Case) -> tuple[dict[str, Any], Callable[[int], float]]:
    import jax

    from benchmarks import roofline, step_jax
    from boneage_jax.planning import chips

    ready = step_jax.ready(
        step_jax.config_of(case.network, batch=case.batch, dtype=case.dtype, size=case.size, kernels="auto")
    )
    floor = roofline.floor_of(ready.step, ready.state, ready.batch)
    compiled = ready.compile()
    chip = chips.of_device(jax.devices()[0].device_kind)
    counted, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    facts = {
        "parameters": ready.parameters,
        "flops": floor.flops,
        "bytes": floor.bytes,
        "chip": chip.name if chip else "",
        "floor": floor.seconds(chip) if chip else None,
        "peak": chip.flops if chip else None,
        # As XLA counts them in its compiled program; for the record.
        "xla_flops": counted.get("flops"),
        "xla_bytes": counted.get("bytes accessed"),
        "temporaries": int(memory.temp_size_in_bytes) if memory else None,
    }
    return facts, ready.seconds


def _prepare_torch(case: Case, *, compiled: bool) -> tuple[dict[str, Any], Callable[[int], float]]:
    from benchmarks import step_torch

    network = step_torch.network_of(case.network, case.size)
    facts = {"parameters": step_torch.parameters(network)}
    seconds = step_torch.ready(
        network, case.size, batch=case.batch, dtype=case.dtype, channels_last=True, compiled=compiled
    )
    return facts, seconds


def compare(context: Context, case: Case, *, rounds: int = 9, block: float = BLOCK) -> None:
    """Times all sides of a case and reports a row for each; a side that fails is named with its reason."""
    with contextlib.ExitStack() as stack:
        # All of them import while the first one compiles.
        sides = [Side(name, case) for name in SIDES]
        for side in sides:
            stack.callback(side.close)
        facts: dict[str, dict[str, Any]] = {}
        failed: dict[str, str] = {}
        taken: dict[str, list[float]] = {}
        steps: dict[str, int] = {}
        for side in sides:
            # One after the other: compilers try kernels on the device, and nothing else may run there meanwhile.
            try:
                facts[side.name] = side.ask("prepare", seconds=context.left() - _RESERVE)
                # From the second block on, for the first may hold a side's last warming up.
                guess = side.ask("block", 2, seconds=context.left() - _RESERVE) / 2
                steps[side.name] = max(1, min(50, round(block / guess)))
                taken[side.name] = []
            except SideFailed as error:
                failed[side.name] = str(error)
                side.close()
            context.show(rows_of(case, facts, taken, failed))
        for _ in range(rounds):
            for side in sides:
                if side.name not in taken:
                    continue
                try:
                    count = steps[side.name]
                    taken[side.name].append(side.ask("block", count, seconds=context.left()) / count)
                except SideFailed as error:
                    failed[side.name] = str(error)
                    del taken[side.name]
            context.show(rows_of(case, facts, taken, failed))
            if context.left() < _RESERVE / 3:
                break
    if "jax" in failed:
        raise SideFailed(f"jax: {failed['jax']}")
    counts = {name: fact["parameters"] for name, fact in facts.items()}
    if len(set(counts.values())) > 1:
        raise SideFailed(f"the sides are not the same network: numbers of weights {counts}")


def rows_of(
    case: Case, facts: dict[str, dict[str, Any]], taken: dict[str, list[float]], failed: dict[str, str]
) -> list[Row]:
    """Returns a row a side.

    Args:
      case: what is timed.
      facts: of each side that could be prepared; those of `jax` hold the floor.
      taken: seconds a step of each block, by side; block n of one side came next to block n of the others.
      failed: reasons of the sides that could not be measured.
    """
    ours = facts.get("jax", {})
    rows: list[Row] = []
    for name in SIDES:
        blocks = taken.get(name)
        if name in failed:
            rows.append({"side": name, "note": failed[name]})
        elif not blocks:
            continue
        else:
            seconds = median(blocks)
            row: Row = {
                "side": name,
                "batch": case.batch,
                "ms a step": 1e3 * seconds,
                "spread": f"{100 * (max(blocks) - min(blocks)) / seconds:.1f}%",
                "images/s": case.batch / seconds,
            }
            for other in (EAGER, COMPILED):
                if taken.get(other):
                    pairs = zip(blocks, taken[other], strict=False)
                    row[f"time of {other.split(',')[0]}"] = median([a / b for a, b in pairs])
            if "flops" in ours:
                row["TFLOP/s"] = ours["flops"] / seconds / 1e12
            if ours.get("floor"):
                row["of peak"] = f"{100 * ours['flops'] / ours['peak'] / seconds:.1f}%"
                row["of roofline"] = f"{100 * ours['floor'] / seconds:.1f}%"
            rows.append(row)
    if ours:
        known = f"{1e3 * ours['floor']:.2f} ms at least on {ours['chip']}, " if ours["floor"] else ""
        note = (
            f"{known}{ours['flops'] / 1e12:.4g} TFLOP, {ours['bytes'] / 1e9:.4g} GB; XLA counts "
            f"{ours['xla_flops'] or 0:.4g} FLOP, {ours['xla_bytes'] or 0:.4g} B; temporaries "
            f"{(ours['temporaries'] or 0) / 2**30:.2f} GiB; {ours['parameters']:,} weights"
        )
        rows.append({"side": "roofline", "batch": case.batch, "note": note})
    return rows
