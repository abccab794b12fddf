"""Accelerators, their published rates, and how slices of them are wired."""

from __future__ import annotations

import dataclasses
import math
import re

from boneage_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published rates of an accelerator.

    Attributes:
      name: of the chip.
      flops: matrix operations a second in bfloat16, a multiplication and an addition counted as two.
      bandwidth: bytes a second from and to its memory.
      memory: bytes.
      links: bytes a second that it can send to its neighbours, over all links together; 0 where that is not known.
      axes: of the torus that connects a slice; 0 for chips that a switch connects.
      wraps_from: least length of an axis that is closed to a ring.
      source: of these rates.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    links: float = 0.0
    axes: int = 0
    wraps_from: int = 2
    source: str = ""


_CLOUD = "Google Cloud documentation, TPU system architecture"

V5E = Chip("TPU v5e", 197e12, 819e9, 16 * 2**30, 1600e9 / 8, 2, 16, f"{_CLOUD}, v5e: 1,600 Gbit/s between chips")
H200 = Chip("H200 SXM", 989e12, 4.8e12, 141e9, 450e9, 0, 2, "NVIDIA H200 datasheet; NVLink 900 GB/s, both ways")

TPUS = {
    "v4": Chip("TPU v4", 275e12, 1228e9, 32 * 2**30, 2400e9 / 8, 3, 4, f"{_CLOUD}, v4: 2,400 Gbit/s between chips"),
    "v5e": V5E,
    "v5p": Chip("TPU v5p", 459e12, 2765e9, 95 * 2**30, 4800e9 / 8, 3, 4, f"{_CLOUD}, v5p: 4,800 Gbit/s between chips"),
    "v6e": Chip("TPU v6e", 918e12, 1640e9, 32 * 2**30, 3584e9 / 8, 2, 16, f"{_CLOUD}, v6e: 3,584 Gbit/s between chips"),
}

GPUS = {
    "H200": H200,
    "H100": Chip("H100 SXM", 989e12, 3.35e12, 80e9, 450e9, 0, 2, "NVIDIA H100 datasheet; NVLink 900 GB/s, both ways"),
    "A100": Chip("A100 SXM", 312e12, 2.039e12, 80e9, 300e9, 0, 2, "NVIDIA A100 datasheet; NVLink 600 GB/s, both ways"),
}

SLICES = {
    "v5e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v6e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v4": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16"),
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16"),
}
"""Usual slices; others can be had of v4 and v5p."""

HOP_SECONDS = 1e-6
"""Time that a message takes from a chip to the next: about a microsecond (Austin et al. 2025, "How to Scale Your
Model", part 3)."""


def known_topologies() -> str:
    """Returns the names of the usual slices, for messages."""
    return "; ".join(f"{kind}: {', '.join(f'{kind}:{size}' for size in sizes)}" for kind, sizes in SLICES.items())


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice of TPUs.

    Attributes:
      kind: key of `TPUS`.
      sides: chips along each axis.
    """

    kind: str
    sides: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Topology:
        """Parses a name as in `v5e:16x16`. Raises `UserError`, naming the usual slices."""
        match = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", text)
        kind = match[1] if match else ""
        sides = tuple(map(int, match[2].split("x"))) if match else ()
        if kind not in TPUS or len(sides) != TPUS[kind].axes or 0 in sides:
            raise UserError(f"topology {text!r}: not known; expected one as in {known_topologies()}")
        return cls(kind, sides)

    def __str__(self) -> str:
        return f"{self.kind}:{'x'.join(map(str, self.sides))}"

    @property
    def chip(self) -> Chip:
        """The chips of the slice."""
        return TPUS[self.kind]

    @property
    def count(self) -> int:
        """Number of chips."""
        return math.prod(self.sides)

    @property
    def single(self) -> Topology:
        """The smallest slice of the same chips."""
        return Topology.parse(f"{self.kind}:{SLICES[self.kind][0]}")

    def bandwidth(self) -> float:
        """Returns the bytes a second that a chip can send in an all-reduce over the slice.

        Every link of it at once, one way: two an axis that is closed to a ring, one an axis that is not, for there the
        chips at the ends have one neighbour.
        """
        link = self.chip.links / (2 * self.chip.axes)
        return sum(link * (2 if side >= self.chip.wraps_from else 1) for side in self.sides if side > 1)

    def hops(self) -> int:
        """Returns the hops of a message to the farthest chip."""
        return sum(side // 2 if side >= self.chip.wraps_from else side - 1 for side in self.sides)


def of_device(kind: str) -> Chip | None:
    """Returns the chip of a device's kind, as JAX names it; None where its rates are not known."""
    for name, chip in GPUS.items():
        if name in kind:
            return chip
    found = {
        "TPU v4": "v4",
        "TPU v5 lite": "v5e",
        "TPU v5e": "v5e",
        "TPU v5": "v5p",
        "TPU v5p": "v5p",
        "TPU v6 lite": "v6e",
    }
    return TPUS[found[kind]] if kind in found else None
