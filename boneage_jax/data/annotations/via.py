"""VGG Image Annotator, versions 1 and 2: project or annotation JSON, and CSV. VIA does not store image sizes.

Format: www.robots.ox.ac.uk/~vgg/software/via.
"""

from __future__ import annotations

import csv
import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from boneage_jax.data.annotations.model import (
    Annotation,
    Drawing,
    Malformed,
    collected,
    load_json,
    number,
    polygon,
    read_text,
    rectangle,
    within,
)
from boneage_jax.errors import UserError, reason

_HEADER = ("filename", "region_shape_attributes", "region_attributes")
_LABEL_KEYS = ("label", "name", "class", "type")


def matches(content: Any) -> bool:
    """Returns whether JSON looks like VIA's."""
    if not isinstance(content, dict):
        return False
    entries = content.get("_via_img_metadata", content)
    return isinstance(entries, dict) and any(isinstance(e, dict) and "regions" in e for e in entries.values())


def read_json(path: pathlib.Path) -> list[Annotation]:
    """Reads a VIA project or annotation file. Raises `UserError` with file, entry and reason."""
    content = load_json(path)
    if not matches(content):
        raise UserError(f"{path}: expected VIA JSON, whose entries have 'filename' and 'regions'")
    entries = content.get("_via_img_metadata", content)

    def parse(entry: Any) -> Annotation | None:
        regions = entry["regions"]
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        return _annotation(
            entry["filename"], [(r["shape_attributes"], r.get("region_attributes", {})) for r in regions]
        )

    return collected(path, [(f"entry {key!r}", entry) for key, entry in entries.items()], parse)


def read_csv(path: pathlib.Path) -> list[Annotation]:
    """Reads a VIA CSV file, one row a region. Raises `UserError` with file, row and reason."""
    rows = list(csv.reader(io.StringIO(read_text(path))))
    header = [name.lstrip("#").strip() for name in rows[0]] if rows else []
    missing = [name for name in _HEADER if name not in header]
    if missing:
        raise UserError(f"{path}: found no column {missing[0]!r}, expected VIA's {', '.join(_HEADER)}")
    files: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for n, cells in enumerate(rows[1:], 2):
        row = dict(zip(header, cells, strict=False))
        files.setdefault(row.get("filename", ""), []).append((n, row))

    def parse(rows: list[tuple[int, dict[str, str]]]) -> Annotation | None:
        regions = []
        for n, row in rows:
            try:
                shape = json.loads(row["region_shape_attributes"] or "{}")
                regions.append((shape, json.loads(row["region_attributes"] or "{}")))
            except (KeyError, ValueError) as error:
                raise Malformed(f"row {n}: {reason(error)}") from error
        return _annotation(rows[0][1]["filename"], [region for region in regions if region[0]])

    return collected(path, [(f"file {name!r}", rows) for name, rows in files.items()], parse)


def _annotation(file: str, regions: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Annotation | None:
    drawing = Drawing()
    for n, (shape, attributes) in enumerate(regions):
        with within(f"region {n}"):
            kind, label = shape["name"], _label(attributes)
            if kind in ("polygon", "polyline"):
                drawing.outlines.append(polygon(shape["all_points_x"], shape["all_points_y"]))
            elif kind == "point":
                drawing.points[label or str(n + 1)] = (number(shape["cx"], "cx"), number(shape["cy"], "cy"))
            elif kind == "rect":
                x, y, w, h = (number(shape[key], key) for key in ("x", "y", "width", "height"))
                drawing.boxes.append((label or "hand", rectangle(x, y, x + w, y + h)))
            elif kind in ("circle", "ellipse"):
                rx = number(shape["r" if kind == "circle" else "rx"], "radius")
                ry = rx if kind == "circle" else number(shape["ry"], "radius")
                turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
                x, y = number(shape["cx"], "cx"), number(shape["cy"], "cy")
                drawing.outlines.append(np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], -1))
            else:
                raise Malformed(f"found shape {kind!r}, expected polygon, polyline, point, rect, circle or ellipse")
    return drawing.annotation(file)


def _label(attributes: Mapping[str, Any]) -> str:
    """What a region is called: the attribute that says so, or the only one."""
    for key in (*_LABEL_KEYS, *attributes):
        value = attributes.get(key)
        if isinstance(value, str) and value:
            return value
    return ""
