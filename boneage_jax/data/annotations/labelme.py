"""Labelme JSON: one file an image with polygons, points and rectangles (github.com/wkentaro/labelme)."""

from __future__ import annotations

import pathlib
from typing import Any

from boneage_jax.data.annotations.model import (
    Annotation,
    Malformed,
    Outline,
    collected,
    load_json,
    number,
    polygon,
    rectangle,
)


def matches(content: Any) -> bool:
    """Returns whether JSON looks like Labelme's."""
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read(path: pathlib.Path) -> list[Annotation]:
    """Reads one Labelme file. Raises `UserError` with file, shape and reason."""
    return collected(path, [("file", load_json(path))], _annotation)


def _annotation(content: Any) -> Annotation | None:
    outlines: list[Outline] = []
    points: dict[str, tuple[float, float]] = {}
    boxes: list[tuple[str, tuple[float, float, float, float]]] = []
    for n, shape in enumerate(content["shapes"]):
        try:
            kind, label = shape.get("shape_type") or "polygon", str(shape["label"])
            corners = [(number(x, "x"), number(y, "y")) for x, y in shape["points"]]
            if kind in ("polygon", "linestrip"):
                outlines.append(polygon([x for x, _ in corners], [y for _, y in corners]))
            elif kind == "point":
                points[label] = corners[0]
            elif kind == "rectangle":
                (xa, ya), (xb, yb) = corners
                boxes.append((label, rectangle(min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))))
            else:
                raise Malformed(f"found shape_type {kind!r}, expected polygon, linestrip, point or rectangle")
        except Malformed as error:
            raise Malformed(f"shape {n}: {error}") from error
        except KeyError as error:
            raise Malformed(f"shape {n}: found no {error.args[0]!r}") from error
    if not (outlines or points or boxes):
        return None
    return Annotation(
        str(content["imagePath"]),
        int(content.get("imageWidth") or 0),
        int(content.get("imageHeight") or 0),
        tuple(outlines),
        points,
        tuple(boxes),
    )
