"""Labelme JSON: one file an image with polygons, points and rectangles (github.com/wkentaro/labelme)."""

from __future__ import annotations

import pathlib
from typing import Any

from boneage_jax.data.annotations.model import (
    Annotation,
    Drawing,
    Malformed,
    collected,
    load_json,
    number,
    polygon,
    rectangle,
    within,
)


def matches(content: Any) -> bool:
    """Returns whether JSON looks like Labelme's."""
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read(path: pathlib.Path) -> list[Annotation]:
    """Reads one Labelme file. Raises `UserError` with file, shape and reason."""
    return collected(path, [("file", load_json(path))], _annotation)


def _annotation(content: Any) -> Annotation | None:
    drawing = Drawing()
    for n, shape in enumerate(content["shapes"]):
        with within(f"shape {n}"):
            kind, label = shape.get("shape_type") or "polygon", str(shape["label"])
            corners = [(number(x, "x"), number(y, "y")) for x, y in shape["points"]]
            if kind in ("polygon", "linestrip"):
                drawing.outlines.append(polygon([x for x, _ in corners], [y for _, y in corners]))
            elif kind == "point":
                drawing.points[label] = corners[0]
            elif kind == "rectangle":
                (xa, ya), (xb, yb) = corners
                drawing.boxes.append((label, rectangle(min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))))
            else:
                raise Malformed(f"found shape_type {kind!r}, expected polygon, linestrip, point or rectangle")
    width, height = (int(content.get(key) or 0) for key in ("imageWidth", "imageHeight"))
    return drawing.annotation(str(content["imagePath"]), width, height)
