"""Pascal VOC XML: boxes with names, one file an image."""

from __future__ import annotations

import pathlib
import xml.etree.ElementTree as ElementTree

from boneage_jax.data.annotations.model import Annotation, Malformed, collected, rectangle, within
from boneage_jax.errors import UserError, fail_if_any


def read(paths: list[pathlib.Path]) -> list[Annotation]:
    """Reads Pascal VOC files. Raises `UserError` with file, object and reason of everything that cannot be used."""
    found: list[Annotation] = []
    problems: list[str] = []
    for path in paths:
        try:
            found += collected(path, [("file", path)], _file)
        except UserError as error:
            problems += [line.strip() for line in str(error).splitlines()[1:-1]]
    fail_if_any(problems, "annotations that cannot be used", "Correct or remove these entries.")
    return found


def _file(path: pathlib.Path) -> Annotation:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise Malformed(f"not XML ({error})") from error
    if root.tag != "annotation":
        raise Malformed(f"found <{root.tag}>, expected Pascal VOC's <annotation>")
    boxes = []
    for n, entry in enumerate(root.findall("object")):
        with within(f"object {n}"):
            x0, y0, x1, y1 = (_number(entry, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append((_text(entry, "name"), rectangle(x0, y0, x1, y1)))
    width, height = (int(float(root.findtext(f"size/{key}") or 0)) for key in ("width", "height"))
    # What the file calls its image is often a path on somebody's disk; the file's own name is what ids go by.
    return Annotation(path.with_suffix(".png").name, width, height, boxes=tuple(boxes))


def _text(entry: ElementTree.Element, key: str) -> str:
    text = entry.findtext(key)
    if not text:
        raise Malformed(f"found no <{key}>")
    return text.strip()


def _number(entry: ElementTree.Element, key: str) -> float:
    text = _text(entry, key)
    try:
        return float(text)
    except ValueError:
        raise Malformed(f"<{key}>: found {text!r}, expected a number") from None
