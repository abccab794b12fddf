"""COCO JSON: polygons, boxes and key points; the layout of BoNet's and RHPE's key points (17 a hand).

Format: cocodataset.org/#format-data. Key points are x, y, v triples with v = 0 for "not labelled".
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from boneage_jax import anatomy
from boneage_jax.data.annotations.model import (
    Annotation,
    Drawing,
    Malformed,
    Outline,
    collected,
    load_json,
    number,
    outlines_of,
    polygon,
    rectangle,
    within,
)
from boneage_jax.errors import UserError
from boneage_jax.files import write_text


def matches(content: Any) -> bool:
    """Returns whether JSON looks like COCO."""
    return isinstance(content, dict) and "images" in content and "annotations" in content


def read(path: pathlib.Path) -> list[Annotation]:
    """Reads a COCO file. Annotations of one image are put together.

    Raises:
      UserError: with file, entry and reason of everything that cannot be used.
    """
    content = load_json(path)
    if not matches(content):
        raise UserError(f"{path}: expected COCO JSON with 'images' and 'annotations'")
    names = {entry.get("id"): entry for entry in content.get("categories", []) if isinstance(entry, dict)}
    drawn: dict[Any, list[tuple[int, Any]]] = {}
    for n, entry in enumerate(content["annotations"]):
        drawn.setdefault(entry.get("image_id") if isinstance(entry, dict) else None, []).append((n, entry))
    known = {image.get("id") for image in content["images"] if isinstance(image, dict)}
    strangers = [str(key) for key in drawn if key not in known]
    if strangers:
        raise UserError(
            f"{path}: annotation {drawn[next(k for k in drawn if k not in known)][0][0]}: found image_id "
            f"{strangers[0]}, expected one of the {len(known)} under 'images'"
        )

    def parse(image: Any) -> Annotation | None:
        drawing = Drawing()
        for n, entry in drawn.get(image["id"], []):
            category = names.get(entry.get("category_id"), {})
            with within(f"annotation {n}"):
                drawing.outlines += _outlines(entry.get("segmentation"))
                drawing.points.update(_points(entry.get("keypoints"), category.get("keypoints")))
                if entry.get("bbox"):
                    x, y, w, h = (number(value, "bbox") for value in entry["bbox"])
                    drawing.boxes.append((str(category.get("name", "hand")), rectangle(x, y, x + w, y + h)))
        width, height = (int(image.get(key, 0)) for key in ("width", "height"))
        return drawing.annotation(str(image.get("file_name", image["id"])), width, height)

    return collected(path, [(f"image {n}", image) for n, image in enumerate(content["images"])], parse)


def _outlines(segmentation: Any) -> list[Outline]:
    if not segmentation:
        return []
    if isinstance(segmentation, dict):
        raise Malformed("segmentation: found run lengths, expected polygons; export them as polygons or as mask files")
    return [polygon(flat[0::2], flat[1::2]) for flat in segmentation]


def _points(flat: Any, names: Any) -> dict[str, tuple[float, float]]:
    if not flat:
        return {}
    if len(flat) % 3:
        raise Malformed(f"keypoints: found {len(flat)} numbers, expected x, y, v for each point")
    names = names or [str(n + 1) for n in range(len(flat) // 3)]
    if len(names) != len(flat) // 3:
        raise Malformed(f"keypoints: found {len(flat) // 3} points, expected the category's {len(names)}")
    points = {}
    for n, name in enumerate(names):
        x, y, visible = (number(value, f"key point {name}") for value in flat[3 * n : 3 * n + 3])
        if visible:
            points[str(name)] = (x, y)
    return points


def write(annotations: Sequence[Annotation], path: pathlib.Path) -> None:
    """Writes annotations with outlines and our three key points as COCO, whole or not at all.

    Raises:
      UserError: for a file that cannot be written.
    """
    names = list(anatomy.KEY_POINTS)
    extra = sorted({name for a in annotations for name in a.points} - set(names))
    kinds = ["hand", *sorted({name for a in annotations for name, _ in a.boxes} - {"hand"})]
    categories: list[dict[str, Any]] = [{"id": n + 1, "name": kind} for n, kind in enumerate(kinds)]
    categories[0]["keypoints"] = names + extra
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    for n, annotation in enumerate(annotations):
        content["images"].append(
            {"id": n + 1, "file_name": annotation.file, "width": annotation.width, "height": annotation.height}
        )
        hand = [box for name, box in annotation.boxes if name == "hand"]
        others = [(name, box) for name, box in annotation.boxes if name != "hand"]
        entry: dict[str, Any] = {"image_id": n + 1, "category_id": 1, "iscrowd": 0}
        outlines = annotation.outlines or (outlines_of(annotation.mask()) if annotation.mask_file else ())
        if outlines:
            entry["segmentation"] = [np.round(outline, 2).ravel().tolist() for outline in outlines]
            corners = np.concatenate(outlines)
            hand = hand or [(*corners.min(0), *corners.max(0))]
            entry["area"] = float(sum(_area(outline) for outline in outlines))
        if annotation.points:
            flat = [
                (*np.round(annotation.points[name], 3).tolist(), 2) if name in annotation.points else (0, 0, 0)
                for name in names + extra
            ]
            entry["keypoints"] = [value for triple in flat for value in triple]
            entry["num_keypoints"] = len(annotation.points)
        if hand:
            entry["bbox"] = _as_xywh(hand[0])
        rows = [entry] if len(entry) > 3 else []
        rows += [{"image_id": n + 1, "category_id": kinds.index(name) + 1, "bbox": _as_xywh(b)} for name, b in others]
        for row in rows:
            content["annotations"].append({"id": len(content["annotations"]) + 1, **row})
    write_text(path, json.dumps(content) + "\n")


def _as_xywh(box: tuple[float, ...]) -> list[float]:
    x0, y0, x1, y1 = (round(float(value), 3) for value in box)
    return [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]


def _area(outline: Outline) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = outline.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
