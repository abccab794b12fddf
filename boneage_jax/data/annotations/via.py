"""VGG Image Annotator, versions 1 and 2: project or annotation JSON, and CSV. VIA does not store image sizes.

Format: www.robots.ox.ac.uk/~vgg/software/via.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from boneage_jax.data import tables
from boneage_jax.data.annotations.format import Format
from boneage_jax.data.annotations.malformed import (
    Malformed,
    ellipse,
    entries_of,
    number,
    polygon,
    rectangle,
    shortened,
    within,
)
from boneage_jax.data.annotations.model import Annotation, Drawing, collected, load_json
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
        regions = entries_of(list(regions.values()) if isinstance(regions, dict) else regions, "regions")
        return _annotation(
            str(entry["filename"]), [(r["shape_attributes"], r.get("region_attributes") or {}) for r in regions]
        )

    return collected(path, [(f"entry {key!r}", entry) for key, entry in entries.items()], parse)


def is_csv(path: pathlib.Path) -> bool:
    """Returns whether a file begins as a VIA CSV file does."""
    try:
        with path.open("rb") as file:
            return b"region_shape_attributes" in file.read(4096).replace(b"\0", b"")
    except OSError:
        return False


def read_csv(path: pathlib.Path) -> list[Annotation]:
    """Reads a VIA CSV file, one row a region. Raises `UserError` with file, row and reason."""
    try:
        rows = tables.csv_rows(str(path), path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or reason(error)}") from error
    header = [name.lstrip("#").strip() for name in rows[0][1]] if rows else []
    missing = [name for name in _HEADER if name not in header]
    if missing:
        raise UserError(f"{path}: found no column {missing[0]!r}, expected VIA's {', '.join(_HEADER)}")
    files: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for n, cells in rows[1:]:
        row = dict(zip(header, cells, strict=False))
        files.setdefault(row.get("filename", ""), []).append((n, row))

    def parse(rows: list[tuple[int, dict[str, str]]]) -> Annotation | None:
        regions = []
        for n, row in rows:
            try:
                shape = json.loads(row["region_shape_attributes"] or "{}")
                regions.append((shape, json.loads(row["region_attributes"] or "{}")))
            except (KeyError, ValueError) as error:
                why = f"found no {error}" if isinstance(error, KeyError) else reason(error)
                raise Malformed(f"row {n}: {why}") from error
        return _annotation(rows[0][1]["filename"], [region for region in regions if region[0]])

    return collected(path, [(f"file {name!r}", rows) for name, rows in files.items()], parse)


def _annotation(file: str, regions: list[tuple[Any, Any]]) -> Annotation | None:
    drawing = Drawing()
    for n, (shape, attributes) in enumerate(regions):
        with within(f"region {n}"):
            if not isinstance(shape, dict) or not isinstance(attributes, dict):
                raise Malformed(f"found {shortened(shape)} and {shortened(attributes)}, expected objects")
            kind, label = shape["name"], _label(attributes)
            if kind in ("polygon", "polyline"):
                drawing.outlines.append(polygon(shape["all_points_x"], shape["all_points_y"]))
            elif kind == "point":
                drawing.points[label or str(n + 1)] = (number(shape["cx"], "cx"), number(shape["cy"], "cy"))
            elif kind == "rect":
                x, y, w, h = (number(shape[key], key) for key in ("x", "y", "width", "height"))
                drawing.boxes.append((label or "hand", rectangle(x, y, x + w, y + h)))
            elif kind in ("circle", "ellipse"):
                keys = ("cx", "cy", "r", "r") if kind == "circle" else ("cx", "cy", "rx", "ry")
                x, y, rx, ry = (number(shape[key], key) for key in keys)
                # Turned as HTML's canvas turns: VIA draws with its `ellipse`.
                drawing.outlines.append(ellipse(x, y, rx, ry, number(shape.get("theta") or 0, "theta")))
            else:
                raise Malformed(
                    f"found shape {shortened(kind)}, expected polygon, polyline, point, rect, circle or ellipse"
                )
    return drawing.annotation(file)


def _label(attributes: Mapping[str, Any]) -> str:
    """A region's label: the attribute of such a name, or the only one."""
    for key in (*_LABEL_KEYS, *attributes):
        value = attributes.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def _read_all_json(paths: Sequence[pathlib.Path], folder: pathlib.Path | None) -> list[Annotation]:
    del folder
    return [annotation for path in paths for annotation in read_json(path)]


def _read_all_csv(paths: Sequence[pathlib.Path], folder: pathlib.Path | None) -> list[Annotation]:
    del folder
    return [annotation for path in paths for annotation in read_csv(path)]


JSON_FORMAT = Format(
    name="VIA ('regions')", suffix=".json", matches=lambda file: matches(file.json), read=_read_all_json
)
CSV_FORMAT = Format(
    name="VIA ('region_shape_attributes')", suffix=".csv", matches=lambda file: is_csv(file.path), read=_read_all_csv
)
