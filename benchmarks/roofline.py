"""The least time that a program takes on a chip: each of its matrix operations at the chip's published rates.

A compiler's own count is no floor to hold two frameworks against: it changes with what the compiler fused, and XLA's
for GPUs says little of convolutions that a library does. So operations are counted in the program as it is written:
convolutions, matrix products and poolings read their operands once and write their results once; all that stands
between them (normalisation, activations, sums) is taken as fused into them, for nothing; and the program reads its
arguments and writes its results once. No version of the program that does these operations one by one is faster.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend
import numpy as np

from boneage_jax.planning.chips import Chip

_POOLINGS = ("reduce_window", "reduce_window_max", "reduce_window_sum", "select_and_scatter_add")


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a program.

    Attributes:
      name: of JAX's primitive.
      flops: a multiplication and an addition counted as two; those with the zeros of a border or of a dilation are not
        counted, as XLA does.
      bytes: of its operands and results.
    """

    name: str
    flops: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Floor:
    """What a program has to do at least.

    Attributes:
      operations: matrix operations and poolings, in order.
      arguments: bytes of what goes in and what comes out.
    """

    operations: tuple[Operation, ...]
    arguments: float

    @property
    def flops(self) -> float:
        """Of all operations."""
        return sum(one.flops for one in self.operations)

    @property
    def bytes(self) -> float:
        """Of all operations, and of what goes in and out."""
        return sum(one.bytes for one in self.operations) + self.arguments

    def seconds(self, chip: Chip) -> float:
        """Returns the least seconds: operation by operation, the longer of arithmetic and memory.

        Williams et al. 2009, "Roofline".
        """
        each = (max(one.flops / chip.flops, one.bytes / chip.bandwidth) for one in self.operations)
        return sum(each) + self.arguments / chip.bandwidth


def floor_of(function: Callable[..., Any], *arguments: Any) -> Floor:
    """Returns what a function has to do for these arguments, or for others of their shapes; it is traced, not run.

    What it works out and does not return counts too.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    atoms = [*closed.jaxpr.invars, *closed.jaxpr.outvars]
    return Floor(tuple(_operations(closed.jaxpr)), float(sum(map(_bytes, atoms))))


def _operations(jaxpr: Any, times: int = 1) -> Iterator[Operation]:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "conv_general_dilated":
            flops = _convolution(equation)
        elif name == "dot_general":
            (left, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            flops = 2.0 * _size(equation.outvars[0]) * math.prod(shape[axis] for axis in left)
        elif name in _POOLINGS:
            flops = 0.0
        else:
            repeated = times * equation.params["length"] if name == "scan" else times
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from _operations(inner, repeated)
            continue
        moved = sum(map(_bytes, [*equation.invars, *equation.outvars]))
        yield Operation(name, times * flops, float(times * moved))


def _convolution(equation: Any) -> float:
    """Operations of a convolution: two for each tap of its window that falls on a value."""
    images, kernel = (atom.aval.shape for atom in equation.invars)
    params = equation.params
    numbers = params["dimension_numbers"]
    taps = 1
    for axis, (low, _) in enumerate(params["padding"]):
        made = equation.outvars[0].aval.shape[numbers.out_spec[2 + axis]]
        window, there = kernel[numbers.rhs_spec[2 + axis]], images[numbers.lhs_spec[2 + axis]]
        first = np.arange(made)[:, None] * params["window_strides"][axis] - low
        place = first + np.arange(window) * params["rhs_dilation"][axis]
        spread = params["lhs_dilation"][axis]
        taps *= int(((place >= 0) & (place <= (there - 1) * spread) & (place % spread == 0)).sum())
    out = equation.outvars[0].aval.shape
    others = out[numbers.out_spec[0]] * out[numbers.out_spec[1]]
    return 2.0 * taps * others * kernel[numbers.rhs_spec[1]]


def _size(atom: Any) -> int:
    return math.prod(atom.aval.shape)


def _bytes(atom: Any) -> int:
    return _size(atom) * atom.aval.dtype.itemsize
