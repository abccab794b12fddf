"""Pascal VOC XML: boxes with names, one file an image."""

from __future__ import annotations

import functools
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from boneage_jax.data.annotations.format import Format
from boneage_jax.data.annotations.malformed import Malformed, number, rectangle, shortened, side, within
from boneage_jax.data.annotations.model import Annotation, collected
from boneage_jax.errors import UserError, fail_if_any, reason


def read(paths: Sequence[pathlib.Path], folder: pathlib.Path | None = None) -> list[Annotation]:
    """Reads Pascal VOC files.

    The image's name in a file is often a path on somebody's disk, so images go by the files' own names.

    Args:
      paths: of the files.
      folder: that their images' paths are relative to; None for names alone.

    Raises:
      UserError: with file, object and reason of all that cannot be used.
    """
    found: list[Annotation] = []
    problems: list[str] = []
    for path in paths:
        try:
            image = path.with_suffix(".png")
            name = image.relative_to(folder).as_posix() if folder else image.name
            found += collected(path, [("file", path)], functools.partial(_file, name=name))
        except UserError as error:
            problems += [line.strip() for line in str(error).splitlines()[1:-1]]
    fail_if_any(problems, "annotations that cannot be used", "Correct or remove these entries.")
    return found


def image_name(path: pathlib.Path) -> str:
    """Returns the image's name in a file, without folders; empty for a file without one."""
    try:
        text = ElementTree.parse(path).getroot().findtext("filename") or ""
    except (ElementTree.ParseError, ValueError, LookupError, OSError):
        return ""
    return pathlib.PurePosixPath(text.strip().replace("\\", "/")).name


def _file(path: pathlib.Path, name: str) -> Annotation:
    try:
        root = ElementTree.parse(path).getroot()
    # The latter three are raised for unknown encodings and unreadable files.
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        raise Malformed(f"not XML ({reason(error)})") from error
    if root.tag != "annotation":
        raise Malformed(f"found <{root.tag[:60]}>, expected Pascal VOC's <annotation>")
    boxes = []
    for n, entry in enumerate(root.findall("object")):
        with within(f"object {n}"):
            x0, y0, x1, y1 = (_number(entry, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append((_text(entry, "name"), rectangle(x0, y0, x1, y1)))
    width, height = (side(_number(root, at) if root.findtext(at) else 0, at) for at in ("size/width", "size/height"))
    return Annotation(name, width, height, boxes=tuple(boxes))


def _text(entry: ElementTree.Element, key: str) -> str:
    text = entry.findtext(key)
    if not text:
        raise Malformed(f"found no <{key}>")
    return text.strip()


def _number(entry: ElementTree.Element, key: str) -> float:
    text = _text(entry, key)
    try:
        return number(float(text), f"<{key}>")
    except Malformed:
        raise
    except ValueError:
        raise Malformed(f"<{key}>: found {shortened(text)}, expected a number") from None


FORMAT = Format(
    name="Pascal VOC (<annotation>)", suffix=".xml", read=read, image_name=lambda path, annotations: image_name(path)
)
