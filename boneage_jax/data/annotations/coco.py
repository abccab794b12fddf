"""COCO JSON: polygons, run lengths, boxes and key points; so are the key points of BoNet and RHPE (17 a hand).

Format: cocodataset.org/#format-data. Key points are x, y, v triples with v = 0 for "not labelled". A region that is
marked `iscrowd` is read like any other: tools set the mark on masks that they write as run lengths.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from boneage_jax import anatomy
from boneage_jax.data.annotations import runs
from boneage_jax.data.annotations.format import Format
from boneage_jax.data.annotations.malformed import (
    Malformed,
    Outline,
    entries_of,
    number,
    polygon,
    rectangle,
    shortened,
    side,
    within,
)
from boneage_jax.data.annotations.model import Annotation, Drawing, collected, load_json, outlines_of
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import write_text


def matches(content: Any) -> bool:
    """Returns whether JSON looks like COCO."""
    return isinstance(content, dict) and "images" in content and "annotations" in content


def read(path: pathlib.Path) -> list[Annotation]:
    """Reads a COCO file. Annotations of one image are put together.

    Raises:
      UserError: with file, entry and reason of all that cannot be used.
    """
    content = load_json(path)
    if not matches(content):
        raise UserError(f"{path}: expected COCO JSON with 'images' and 'annotations'")
    try:
        images = entries_of(content["images"], "images")
        annotations = entries_of(content["annotations"], "annotations")
        categories = {_key(entry.get("id")): entry for entry in entries_of(content.get("categories"), "categories")}
        drawn: dict[str, list[tuple[int, Any]]] = {_key(image.get("id")): [] for image in images}
        unusable = []
        for n, entry in enumerate(annotations):
            key = _key(entry.get("image_id"))
            if key in drawn:
                drawn[key].append((n, entry))
            else:
                unusable.append(
                    f"annotation {n}: found image_id {shortened(entry.get('image_id'))}, expected one of the "
                    f"{len(drawn)} under 'images'"
                )
    except Malformed as error:
        raise UserError(f"{path}: {error}") from error
    first: dict[str, int] = {}
    for n, image in enumerate(images):
        if (earlier := first.setdefault(_key(image.get("id")), n)) != n:
            unusable.append(f"image {n}: found the id {shortened(image.get('id'))} of image {earlier} again")
    fail_if_any(unusable, f"{path}: annotations that cannot be used", "Correct or remove these entries.")

    def parse(image: Any) -> Annotation | None:
        drawing = Drawing()
        for n, entry in drawn[_key(image["id"])]:
            category = categories.get(_key(entry.get("category_id")), {})
            with within(f"annotation {n}"):
                _add_segmentation(drawing, entry.get("segmentation"))
                drawing.points.update(_points(entry.get("keypoints"), category.get("keypoints")))
                if bbox := entry.get("bbox"):
                    if not isinstance(bbox, list) or len(bbox) != 4:
                        raise Malformed(f"bbox: found {shortened(bbox)}, expected x, y, width and height")
                    x, y, w, h = (number(value, "bbox") for value in bbox)
                    drawing.boxes.append((str(category.get("name", "hand")), rectangle(x, y, x + w, y + h)))
        width, height = (side(image.get(key), key) for key in ("width", "height"))
        return drawing.annotation(str(image.get("file_name") or image["id"]), width, height)

    return collected(path, [(f"image {n}", image) for n, image in enumerate(images)], parse)


def _key(value: Any) -> str:
    """An id as it is compared: some tools write `1` in one place and `"1"` or `1.0` in another."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value.strip() if isinstance(value, str) else shortened(value)


def _add_segmentation(drawing: Drawing, segmentation: Any) -> None:
    if not segmentation:
        return
    if isinstance(segmentation, dict):
        drawing.runs.append(runs.parse(segmentation))
        return
    if not isinstance(segmentation, list):
        raise Malformed(f"segmentation: found {shortened(segmentation)}, expected polygons or run lengths")
    # Some tools leave the outer list away where there is one polygon.
    nested = segmentation if isinstance(segmentation[0], list) else [segmentation]
    drawing.outlines += [polygon(flat[0::2], flat[1::2]) for flat in nested]


def _points(flat: Any, names: Any) -> dict[str, tuple[float, float]]:
    if not flat:
        return {}
    if not isinstance(flat, list) or len(flat) % 3:
        found = f"{len(flat)} numbers" if isinstance(flat, list) else shortened(flat)
        raise Malformed(f"keypoints: found {found}, expected x, y, v for each point")
    names = names or [str(n + 1) for n in range(len(flat) // 3)]
    if not isinstance(names, list) or len(names) != len(flat) // 3:
        expected = len(names) if isinstance(names, list) else shortened(names)
        raise Malformed(f"keypoints: found {len(flat) // 3} points, expected the category's {expected}")
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
        image = {"id": n + 1, "file_name": annotation.file, "width": annotation.width, "height": annotation.height}
        content["images"].append(image)
        hand = [box for name, box in annotation.boxes if name == "hand"]
        others = [(name, box) for name, box in annotation.boxes if name != "hand"]
        entry: dict[str, Any] = {"image_id": n + 1, "category_id": 1, "iscrowd": 0}
        if annotation.has_mask:
            drawn = _segmentation(annotation)
            entry |= {"segmentation": drawn.segmentation, "area": drawn.area}
            if not hand and drawn.extent != _NOTHING:
                hand = [drawn.extent]
            if drawn.size is not None:
                image["height"], image["width"] = drawn.size
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


@dataclasses.dataclass(frozen=True)
class _Segmentation:
    """A mask as COCO has it: polygons, or run lengths where it has holes.

    Attributes:
      segmentation: the entry of that name.
      area: in pixels.
      extent: x0, y0, x1, y1 of the pixels inside; all 0 where there are none.
      size: height and width of the mask, where it was drawn pixel by pixel.
    """

    segmentation: Any
    area: float
    extent: tuple[float, float, float, float]
    size: tuple[int, int] | None = None


_NOTHING = (0.0, 0.0, 0.0, 0.0)


def _segmentation(annotation: Annotation) -> _Segmentation:
    outlines, size = annotation.outlines, None
    if annotation.mask_file or annotation.runs:
        mask = annotation.mask()
        height, width = size = mask.shape
        outlines = outlines_of(mask)
        filled = Annotation(annotation.file, width, height, outlines).mask()
        if min(map(len, outlines), default=0) < 3 or (filled != mask).any():
            y, x = np.nonzero(mask)
            extent = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else _NOTHING
            return _Segmentation(runs.as_json(runs.of_mask(mask)), float(mask.sum()), extent, size)
    (x0, y0), (x1, y1) = np.concatenate(outlines).min(0), np.concatenate(outlines).max(0)
    flat = [np.round(outline, 2).ravel().tolist() for outline in outlines]
    return _Segmentation(flat, float(sum(_area(outline) for outline in outlines)), (x0, y0, x1, y1), size)


def _as_xywh(box: tuple[float, ...]) -> list[float]:
    x0, y0, x1, y1 = (round(float(value), 3) for value in box)
    return [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]


def _area(outline: Outline) -> float:
    """Area of a polygon, by the shoelace formula."""
    x, y = outline.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _read_all(paths: Sequence[pathlib.Path], folder: pathlib.Path | None) -> list[Annotation]:
    del folder
    return [annotation for path in paths for annotation in read(path)]


FORMAT = Format(
    name="COCO ('images', 'annotations')", suffix=".json", matches=lambda file: matches(file.json), read=_read_all
)
