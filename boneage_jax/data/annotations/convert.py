"""From one annotation format to another."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

from boneage_jax.data import annotations as drawn
from boneage_jax.data import images
from boneage_jax.data.annotations.model import Annotation
from boneage_jax.errors import UserError, fail_if_any


def convert(
    source: pathlib.Path,
    out: pathlib.Path,
    *,
    folder: pathlib.Path | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """Reads annotations and writes them as COCO (`.json`) or as a folder of masks; returns what was done, for people.

    Args:
      source: file or folder, in any format that `drawn.read` knows.
      out: where they go.
      folder: of the images, for formats that do not keep sizes.
      names: old names of points by new name.

    Raises:
      UserError: for what cannot be read, sizes that are not known, or files that cannot be written.
    """
    found = drawn.renamed(drawn.read(source), names or {})
    if folder is not None:
        found = _sized(found, folder)
    unknown = [a.file for a in found if a.outlines and not (a.width and a.height)]
    fail_if_any(unknown, f"{source}: images whose size the annotations do not say", "Name their folder with --images.")
    if out.suffix.lower() != ".json" and not any(a.has_mask for a in found):
        raise UserError(f"{source}: found no masks to write as a folder; write points and boxes to a .json file")
    drawn.write(found, out)
    masks, points = sum(a.has_mask for a in found), sum(bool(a.points) for a in found)
    boxes = sum(len(a.boxes) for a in found)
    return f"{len(found)} images, {masks} with masks, {points} with points, {boxes} boxes: {out}"


def _sized(found: list[Annotation], folder: pathlib.Path) -> list[Annotation]:
    """The same annotations with their images' sizes."""
    files = {path.stem: path for path in images.find([folder])}
    fail_if_any(
        [a.file for a in found if a.id not in files], f"{folder}: images that are not there", "Name their folder."
    )
    sized = []
    for a in found:
        height, width = images.read(files[a.id]).shape
        sized.append(dataclasses.replace(a, height=height, width=width))
    return sized
