"""Masks as COCO's run lengths: lengths of background and hand, alternating, background first, column by column.

Plain, or packed into text (cocodataset/cocoapi, common/maskApi.c, rleFrString): numbers of 5 bits a character, each
after the third as its difference to the last but one. That library does not check lengths in its C code, so they are
read here; the tests compare both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from boneage_jax.data.annotations.malformed import MAX_SIDE, Malformed

_FIRST_CHARACTER = 48
"""Code of the character that stands for 0 (as all below, of rleFrString)."""
_MORE, _SIGN, _BITS = 0x20, 0x10, 5
"""Bit of a character after which the number goes on, sign bit of its last character, bits of it in each character."""
_MAX_CHARACTERS = 7
"""Most characters of a number: 35 bits, for lengths of 32."""


@dataclasses.dataclass(frozen=True)
class Runs:
    """A mask.

    Attributes:
      height: in pixels.
      width: likewise.
      counts: lengths, which add up to all pixels.
    """

    height: int
    width: int
    counts: Int64[np.ndarray, " n"]

    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Returns where the hand is."""
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.width, self.height).T


def of_mask(mask: Bool[np.ndarray, "h w"]) -> Runs:
    """Returns a mask's run lengths."""
    height, width = mask.shape
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels)) + 1
    starts = np.concatenate([[0], edges, [pixels.size]] if not pixels[:1].any() else [[0, 0], edges, [pixels.size]])
    return Runs(height, width, np.diff(starts).astype(np.int64))


def parse(segmentation: Any) -> Runs:
    """Reads `{"size": [height, width], "counts": ...}`. Raises `Malformed`."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not (
        isinstance(size, list) and len(size) == 2 and all(_is_whole(side) and 0 < side <= MAX_SIDE for side in size)
    ):
        raise Malformed(f"segmentation: found the size {size!r}, expected height and width of the mask")
    if isinstance(counts, str):
        lengths = _unpacked(counts)
    elif isinstance(counts, list) and all(_is_whole(count) and abs(count) < 2**32 for count in counts):
        lengths = np.array(counts, np.int64)
    else:
        raise Malformed("segmentation: found no run lengths under 'counts', expected a list of numbers or packed text")
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise Malformed(
            f"segmentation: found run lengths that add up to {lengths.sum()}, expected the {size[0] * size[1]} pixels "
            f"of {size[0]} x {size[1]}"
        )
    return Runs(size[0], size[1], lengths)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _unpacked(text: str) -> Int64[np.ndarray, " n"]:
    """The lengths of packed text."""
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    except UnicodeEncodeError:
        codes = np.array([-1])
    if not len(codes):
        return np.zeros(0, np.int64)
    last = (codes & _MORE) == 0
    ends = np.flatnonzero(last)
    lengths = np.diff(np.concatenate([[-1], ends]))
    if codes.min() < 0 or codes.max() >= 2 * _MORE or not last[-1] or lengths.max() > _MAX_CHARACTERS:
        raise Malformed("segmentation: found text under 'counts' that is not packed run lengths")
    place = np.arange(len(codes)) - np.repeat(ends - lengths + 1, lengths)
    values = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * place), ends - lengths + 1)
    values -= np.where(codes[ends] & _SIGN, np.int64(1) << (_BITS * lengths), 0)
    # Differences to the last but one, from the fourth number on.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def as_json(runs: Runs) -> dict[str, Sequence[Any]]:
    """Returns run lengths as plain numbers, in the form that `parse` reads."""
    return {"size": [runs.height, runs.width], "counts": runs.counts.tolist()}
