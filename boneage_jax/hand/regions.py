"""Regions of the registered canvas, cut out in the one resampling that registers the hand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from boneage_jax import anatomy
from boneage_jax.canvas import Canvas
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity

SIZES = {"A": (500, 375), "B": (375, 375), "C": (300, 700)}
"""Heights and widths that models want the paper's regions at, in pixels (A: paper; B and C: proposed)."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of the canvas and the size at which it is wanted.

    Attributes:
      name: letters, digits, `_`; a derived dataset stores it as `region_NAME`.
      rows: first and last row (exclusive) on the canvas, in pixels.
      columns: likewise.
      height: of the picture that is cut, in pixels.
      width: likewise.
    """

    name: str
    rows: tuple[float, float]
    columns: tuple[float, float]
    height: int
    width: int

    @property
    def transform(self) -> Similarity:
        """From canvas pixels to those of the cut picture; what is wanted in other proportions is centred."""
        return Similarity.framing(self.rows, self.columns, self.height, self.width)


def named(texts: Sequence[str], canvas: Canvas = Canvas()) -> list[Region]:
    """Returns regions by name, or by name and place.

    Args:
      texts: `A`, `B`, `C`, `whole` (the canvas at a quarter of its size), or `NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH`
        in canvas pixels, as in `wrist=1500:2000,400:1200@250x400`; `A@250x188` for another size.
      canvas: that they are cut from; A, B and C are known on the paper's alone.

    Raises:
      UserError: for anything else, and for names that stand twice.
    """
    regions = [_region(text.strip(), canvas) for text in texts]
    names = [region.name for region in regions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"region {twice[0]!r}: found twice, expected names that differ")
    return regions


def split_names(text: str) -> list[str]:
    """Returns the parts of `A,B,wrist=1500:2000,400:1200@250x400`: commas within a place do not separate."""
    return [part for part in re.split(r",(?!\s*-?\d)", text) if part.strip()]


def _region(text: str, canvas: Canvas) -> Region:
    known = {
        region.name: Region(region.name, region.rows, region.columns, *SIZES[region.name])
        for region in anatomy.CANVAS_REGIONS
    }
    known["whole"] = Region("whole", (0, canvas.height), (0, canvas.width), canvas.height // 4, canvas.width // 4)
    expected = f"one of {', '.join(known)}, perhaps with @HEIGHTxWIDTH, or NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH"
    number = r"(-?\d+(?:\.\d+)?)"
    match = re.fullmatch(rf"(\w+)(?:={number}:{number},{number}:{number})?(?:@(\d+)x(\d+))?", text)
    if not match:
        raise UserError(f"region {text!r}: expected {expected}")
    name, place, size = match[1], match.groups()[1:5], match.groups()[5:7]
    if place[0] is None:
        if name not in known:
            raise UserError(f"region {text!r}: expected {expected}")
        region = known[name]
        if name != "whole" and canvas != Canvas():
            raise UserError(
                f"region {text!r}: {Canvas().height} x {Canvas().width} is the paper's canvas, found one "
                f"of {canvas.height} x {canvas.width}; name its place there, {name}=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH"
            )
    else:
        if size[0] is None:
            raise UserError(f"region {text!r}: found no size, expected @HEIGHTxWIDTH at its end")
        top, bottom, left, right = (float(value) for value in place)
        if bottom <= top or right <= left:
            raise UserError(f"region {text!r}: expected rows and columns that grow, as in 1225:1975,425:1175")
        region = Region(name, (top, bottom), (left, right), 0, 0)
    if size[0] is not None:
        region = dataclasses.replace(region, height=int(size[0]), width=int(size[1]))
    if min(region.height, region.width) < 16:
        raise UserError(f"region {text!r}: expected a height and a width of at least 16 pixels")
    return region
