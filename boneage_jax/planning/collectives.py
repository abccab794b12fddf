"""Communication between chips in a step, read from the compiled program, and how long it takes."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Literal

from boneage_jax.planning.chips import HOP_SECONDS, Chip, Topology

Purpose = Literal["gradients", "batch norm and metrics", "resharding"]

_OPERATION = re.compile(
    r"%?([\w.-]+)\s*=\s*(\(.*?\)|\S+)\s+"
    r"(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast)(-start)?\("
)
_SHAPE = re.compile(r"(pred|[a-z]+\d+)\[([\d,]*)\]")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8}


@dataclasses.dataclass(frozen=True)
class Collective:
    """One operation of the program that all chips take part in.

    Attributes:
      kind: as the compiler names it.
      shapes: type and sizes of each operand or result.
      bytes: of all of them, on each chip.
    """

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    bytes: int


def collectives_of(program: str) -> list[Collective]:
    """Returns the collectives of a compiled program, in its order.

    Args:
      program: `compiled.as_text()`.
    """
    found = []
    for match in _OPERATION.finditer(program):
        shapes = tuple(
            (kind, tuple(int(size) for size in sizes.split(",") if size)) for kind, sizes in _SHAPE.findall(match[2])
        )
        if match[4] and match[3] != "all-reduce":
            shapes = shapes[len(shapes) // 2 :]  # a start operation lists its operands before its results
        total = sum(_BYTES.get(kind, 4) * math.prod(sizes) for kind, sizes in shapes)
        found.append(Collective(match[3], shapes, total))
    return found


@dataclasses.dataclass(frozen=True)
class Account:
    """Collectives by purpose.

    Attributes:
      operations: number of them by purpose.
      bytes: on each chip, by purpose.
      missing: gradients that no collective carries, as shapes; empty where all are summed over the chips.
    """

    operations: dict[Purpose, int]
    bytes: dict[Purpose, int]
    missing: tuple[tuple[int, ...], ...]


def account(collectives: Sequence[Collective], weights: Sequence[tuple[int, ...]]) -> Account:
    """Returns the purpose of every byte.

    A gradient has its weight's shape: numbers of elements are compared, for compilers may drop sides of 1 and merge
    others. All other all-reduces, of vectors and scalars, are sums for batch norm and metrics; collectives that are no
    sums move activations or weights between chips.

    Args:
      collectives: of the program.
      weights: shapes of all weights.
    """
    operations: collections.Counter[Purpose] = collections.Counter()
    sizes: collections.Counter[Purpose] = collections.Counter()
    wanted = collections.Counter(math.prod(shape) for shape in weights)
    sums = [one for one in collectives if one.kind == "all-reduce"]
    gradients = {id(one): 0 for one in sums}

    def take(one: Collective, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        for kind, shape in shapes:
            count = math.prod(shape)
            if shape and wanted[count] > 0:
                wanted[count] -= 1
                gradients[id(one)] += _BYTES.get(kind, 4) * count

    # First the unmistakable ones: matrices, kernels, and the large operation that gathers them with their biases.
    for one in sums:
        together = len(one.shapes) > 4 or any(len(shape) > 1 for _, shape in one.shapes)
        take(one, one.shapes if together else ())
    # Batch norm's two sums on the way back are the gradients of its scale and offset, too; those on the way there come
    # before them in the program, and are of the same size.
    for one in reversed(sums):
        if not gradients[id(one)]:
            take(one, one.shapes)
    for one in collectives:
        if one.kind != "all-reduce":
            operations["resharding"] += 1
            sizes["resharding"] += one.bytes
            continue
        mine = gradients[id(one)]
        operations["gradients" if mine else "batch norm and metrics"] += 1
        sizes["gradients"] += mine
        sizes["batch norm and metrics"] += one.bytes - mine
    missing = tuple((count,) for count, left in wanted.items() for _ in range(left))
    return Account(dict(operations), dict(sizes), missing)


def seconds_on_slice(collectives: Sequence[Collective], topology: Topology) -> float:
    """Returns the seconds of collectives on a slice, one after the other, with nothing else at the same time.

    All-reduce of n bytes over p chips: each sends 2 n (p - 1) / p, over all its links at once, and the first byte goes
    to the farthest chip and back. Others move their results once. Compilers overlap some of it with arithmetic, so this
    is an upper bound.
    """
    if topology.count == 1:
        return 0.0
    part = (topology.count - 1) / topology.count
    total = 0.0
    for one in collectives:
        twice = 2 if one.kind == "all-reduce" else 1
        total += twice * (one.bytes * part / topology.bandwidth() + topology.hops() * HOP_SECONDS)
    return total


def seconds_on_switch(collectives: Sequence[Collective], chip: Chip, count: int) -> float:
    """Returns the seconds of collectives, likewise, on chips that a switch connects, as the GPUs of a node."""
    if count == 1 or not chip.links:
        return 0.0
    part = (count - 1) / count
    return sum(
        (2 if one.kind == "all-reduce" else 1) * (one.bytes * part / chip.links + HOP_SECONDS) for one in collectives
    )
