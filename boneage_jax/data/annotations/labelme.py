"""Labelme JSON (github.com/wkentaro/labelme): one file an image; polygons, points, rectangles, circles and masks."""

from __future__ import annotations

import base64
import pathlib
import posixpath
from collections.abc import Sequence
from typing import Any

import numpy as np

from boneage_jax.data import images
from boneage_jax.data.annotations import runs
from boneage_jax.data.annotations.format import Format
from boneage_jax.data.annotations.malformed import (
    Malformed,
    ellipse,
    entries_of,
    number,
    polygon,
    rectangle,
    shortened,
    side,
    within,
)
from boneage_jax.data.annotations.model import Annotation, Drawing, collected, load_json

_STRAIGHT = 0.5
"""Pixels by which the corners of an upright rectangle may be off."""


def matches(content: Any) -> bool:
    """Returns whether JSON looks like Labelme's."""
    return isinstance(content, dict) and "shapes" in content


def read(path: pathlib.Path, folder: pathlib.Path | None = None) -> list[Annotation]:
    """Reads one Labelme file.

    Args:
      path: of the file.
      folder: that its image's path is made relative to; None to leave it relative to the file.

    Raises:
      UserError: with file, shape and reason.
    """
    above = path.parent.relative_to(folder).as_posix() if folder else ""
    return collected(path, [("file", load_json(path))], lambda content: _annotation(content, path, above))


def _annotation(content: Any, path: pathlib.Path, above: str) -> Annotation | None:
    drawing = Drawing()
    width, height = (side(content.get(key), key) for key in ("imageWidth", "imageHeight"))
    for n, shape in enumerate(entries_of(content["shapes"], "shapes")):
        with within(f"shape {n}"):
            kind, label = shape.get("shape_type") or "polygon", str(shape["label"])
            corners = [(number(x, "x"), number(y, "y")) for x, y in shape["points"]]
            if not corners:
                raise Malformed(f"found a {shortened(kind)} without points")
            if kind in ("polygon", "linestrip"):
                drawing.outlines.append(polygon([x for x, _ in corners], [y for _, y in corners]))
            elif kind == "point":
                drawing.points[label] = corners[0]
            elif kind == "rectangle":
                drawing.boxes.append((label, _box(corners)))
            elif kind == "circle":
                (x, y), (xb, yb) = corners
                radius = float(np.hypot(xb - x, yb - y))
                drawing.outlines.append(ellipse(x, y, radius, radius))
            elif kind == "mask":
                drawing.runs.append(_painted(shape, corners, height, width))
            else:
                raise Malformed(
                    f"found shape_type {shortened(kind)}, expected polygon, linestrip, point, rectangle, circle or mask"
                )
    # Files that were made without the image at hand have no path; they are named as the image is.
    name = str(content.get("imagePath") or path.with_suffix(".png").name).replace("\\", "/")
    if not pathlib.PureWindowsPath(name).anchor and not pathlib.PureWindowsPath(name).drive:
        name = posixpath.normpath(posixpath.join(above, name))
    return drawing.annotation(name, width, height)


def _box(corners: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """An upright rectangle, by two opposite corners or, as newer versions write it, by all four."""
    x0, y0 = np.min(corners, 0)
    x1, y1 = np.max(corners, 0)
    if len(corners) == 4:
        right = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        off = [min(np.abs(np.subtract(one, corner)).max() for corner in corners) for one in right]
        if max(off) > _STRAIGHT:
            raise Malformed("found a rectangle that is turned, expected an upright one, or a polygon")
    elif len(corners) != 2:
        raise Malformed(f"found a rectangle of {len(corners)} points, expected 2 or 4")
    return rectangle(float(x0), float(y0), float(x1), float(y1))


def _painted(shape: Any, corners: list[tuple[float, float]], height: int, width: int) -> runs.Runs:
    """A mask, which the format stores as an image of the rectangle between its two corners."""
    if not height or not width:
        raise Malformed("found a mask, but no imageHeight and imageWidth to lay it into")
    try:
        picture = images.decode(base64.b64decode(shape["mask"], validate=True))
    except (ValueError, TypeError) as error:
        raise Malformed(f"mask: {error}") from error
    x, y = (round(value) for value in corners[0])
    h, w = picture.shape
    if x < 0 or y < 0 or x + w > width or y + h > height:
        raise Malformed(f"mask: found {h} x {w} pixels at {x}, {y}, expected them within {height} x {width}")
    inside = np.zeros((height, width), bool)
    inside[y : y + h, x : x + w] = picture > 0
    return runs.of_mask(inside)


def _read_all(paths: Sequence[pathlib.Path], folder: pathlib.Path | None) -> list[Annotation]:
    return [annotation for path in paths for annotation in read(path, folder)]


def _image_name(path: pathlib.Path, annotations: Sequence[Annotation]) -> str:
    names = [one.file for one in annotations if one.where == f"{path}: file"]
    return pathlib.PurePosixPath(names[0].replace("\\", "/")).name if names else ""


FORMAT = Format(
    name="Labelme ('shapes', 'imagePath')",
    suffix=".json",
    matches=lambda file: matches(file.json),
    read=_read_all,
    image_name=_image_name,
)
