"""Regions of the registered canvas, cut out in the one resampling that registers the hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from boneage_jax import anatomy
from boneage_jax.canvas import Canvas
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity
from boneage_jax.region_spec import WHOLE, RegionSpec, check_names, check_size

_WHOLE_FACTOR = 4
"""How many times smaller than the canvas the image of all of it is."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of the canvas and the size of the image that is cut from it.

    Attributes:
      name: letters, digits, `_`; a derived dataset stores its images as `region_NAME`.
      rows: first and last row (exclusive) on the canvas, in pixels.
      columns: first and last column (exclusive) on the canvas, in pixels.
      height: of the image, in pixels.
      width: of the image, in pixels.
    """

    name: str
    rows: tuple[float, float]
    columns: tuple[float, float]
    height: int
    width: int

    @property
    def transform(self) -> Similarity:
        """From canvas pixels to those of the image; a rectangle of other proportions is centred in it."""
        return Similarity.framing(self.rows, self.columns, self.height, self.width)


def named(wanted: Sequence[str | RegionSpec], canvas: Canvas = Canvas()) -> list[Region]:
    """Returns regions by name, or by name and place.

    Args:
      wanted: as `RegionSpec.parse` reads them: `A`, `B`, `C`, `whole` (the canvas at a quarter of its size), or
        `NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH` in canvas pixels; `A@250x188` for another size.
      canvas: that they are cut from. The places of `anatomy.CANVAS_REGIONS` are of the paper's canvas: on others they
        must be given.

    Raises:
      UserError: for a text that is no region, a name that stands twice, a region without a place on this canvas, and
        an image of less than 16 x 16 pixels.
    """
    specs = [RegionSpec.parse(one) if isinstance(one, str) else one for one in wanted]
    check_names(spec.name for spec in specs)
    return [_region(spec, canvas) for spec in specs]


def _region(spec: RegionSpec, canvas: Canvas) -> Region:
    if spec.rows is not None and spec.columns is not None:
        if spec.size is None:
            raise UserError(f"region {str(spec)!r}: found no size, expected @HEIGHTxWIDTH at its end")
        region = Region(spec.name, spec.rows, spec.columns, *spec.size)
    else:
        region = _usual(spec, canvas)
        if spec.size is not None:
            region = dataclasses.replace(region, height=spec.size[0], width=spec.size[1])
    check_size(spec, region.height, region.width)
    return region


def _usual(spec: RegionSpec, canvas: Canvas) -> Region:
    """The region of a name, at its own place and size."""
    if spec.name == WHOLE:
        size = (canvas.height // _WHOLE_FACTOR, canvas.width // _WHOLE_FACTOR)
        return Region(WHOLE, (0, canvas.height), (0, canvas.width), *size)
    declared = anatomy.canvas_region(spec.name)
    if canvas != Canvas():
        raise UserError(
            f"region {str(spec)!r}: {Canvas().height} x {Canvas().width} is the paper's canvas, found one of "
            f"{canvas.height} x {canvas.width}; give its place there, {spec.name}=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH"
        )
    return Region(declared.name, declared.rows, declared.columns, *declared.size)
