"""How regions of the registered canvas are named: in the options of commands and in the settings of an experiment."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

from boneage_jax import anatomy
from boneage_jax.errors import UserError

WHOLE = "whole"
"""The canvas at a quarter of its size."""

KNOWN: tuple[str, ...] = (*(region.name for region in anatomy.CANVAS_REGIONS), WHOLE)
"""Regions whose place needs not be given."""

SMALLEST = 16
"""Least height and width of a region's image, in pixels."""

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_PLACE = rf"({_NUMBER}):({_NUMBER}),({_NUMBER}):({_NUMBER})"
_FORM = re.compile(rf"(\w+)(?:={_PLACE})?(?:@([0-9]+)x([0-9]+))?")
_SEPARATOR = re.compile(rf",(?!\s*{_NUMBER}:)")
_EXPECTED = f"one of {', '.join(KNOWN)}, perhaps with @HEIGHTxWIDTH, or NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH"


@dataclasses.dataclass(frozen=True)
class RegionSpec:
    """A rectangle of the canvas as it is asked for; `str` of it is a text that `parse` reads as the same.

    Attributes:
      name: one of `KNOWN`, or letters, digits and `_`; a derived dataset stores its images as `region_NAME`.
      rows: first and last row (exclusive) on the canvas, in pixels; None for those of the region of that name.
      columns: likewise; None where `rows` are None.
      size: height and width of the image that is cut, in pixels; None for the usual one of the region of that name.
    """

    name: str
    rows: tuple[float, float] | None = None
    columns: tuple[float, float] | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> RegionSpec:
        """Reads `A`, `A@HEIGHTxWIDTH` or `NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH`, with spaces around it or none.

        Args:
          text: as in `wrist=1500:2000,400:1200@250x400`.

        Raises:
          UserError: for anything else.
        """
        text = text.strip()
        match = _FORM.fullmatch(text)
        if not match or (match[2] is None and match[1] not in KNOWN):
            raise UserError(f"region {text!r}: expected {_EXPECTED}")
        size = None if match[6] is None else (int(match[6]), int(match[7]))
        if match[2] is None:
            spec = cls(match[1], size=size)
        else:
            if size is None:
                raise UserError(f"region {text!r}: found no size, expected @HEIGHTxWIDTH at its end")
            top, bottom, left, right = (float(match[n]) for n in (2, 3, 4, 5))
            if not (np.isfinite((top, bottom, left, right)).all() and bottom > top and right > left):
                raise UserError(f"region {text!r}: expected rows and columns that grow, as in 1225:1975,425:1175")
            spec = cls(match[1], (top, bottom), (left, right), size)
        if size is not None:
            check_size(text, *size)
        return spec

    def __str__(self) -> str:
        place = ""
        if self.rows is not None and self.columns is not None:
            ends = [np.format_float_positional(end, trim="-") for end in (*self.rows, *self.columns)]
            place = "={}:{},{}:{}".format(*ends)
        size = f"@{self.size[0]}x{self.size[1]}" if self.size is not None else ""
        return f"{self.name}{place}{size}"


def check_size(region: object, height: int, width: int) -> None:
    """Raises `UserError` where a region's image is too small for a network.

    Args:
      region: as it was asked for.
      height: of its image, in pixels.
      width: likewise.
    """
    if min(height, width) < SMALLEST:
        raise UserError(f"region {str(region)!r}: expected a height and a width of at least {SMALLEST} pixels")


def parse_regions(text: str) -> tuple[RegionSpec, ...]:
    """Reads regions with commas between them, as in `A,B@188x188,wrist=1500:2000,400:1200@250x400`.

    A comma before columns, as in `,400:1200`, is one within a place and separates nothing.

    Args:
      text: regions as `RegionSpec.parse` reads them.

    Raises:
      UserError: for a region that cannot be read, and for a name that stands twice.
    """
    specs = tuple(RegionSpec.parse(part) for part in _SEPARATOR.split(text) if part.strip())
    check_names(spec.name for spec in specs)
    return specs


def check_names(names: Iterator[str]) -> None:
    """Raises `UserError` for a name of a region that stands twice."""
    listed = list(names)
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise UserError(f"region {twice[0]!r}: found twice, expected names that differ")


@dataclasses.dataclass(frozen=True)
class RegionNames:
    """Regions that a network sees together, as the setting `data.regions` names them: `A`, `A+B+C`, or none.

    `str` of it is a text that `parse` reads as the same.

    Attributes:
      names: of `anatomy.CANVAS_REGIONS`; empty where an image is seen whole.
    """

    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> RegionNames:
        """Reads names joined by +, or an empty text. Raises `ValueError` with what was expected for other texts."""
        if not text:
            return cls()
        names = tuple(text.split("+"))
        known = [region.name for region in anatomy.CANVAS_REGIONS]
        if not set(names) <= set(known) or len(set(names)) < len(names):
            raise ValueError(f"of {', '.join(known)}, joined by +, each once")
        return cls(names)

    def __str__(self) -> str:
        return "+".join(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
