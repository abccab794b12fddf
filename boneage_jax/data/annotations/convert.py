"""From one annotation format to another."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

from boneage_jax.data import annotations as drawn
from boneage_jax.data import images, pairing
from boneage_jax.data.annotations.model import Annotation
from boneage_jax.data.tree import Tree
from boneage_jax.errors import UserError, fail_if_any


def convert(
    source: pathlib.Path,
    out: pathlib.Path,
    *,
    folder: pathlib.Path | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """Reads annotations and writes them as COCO (`.json`) or as a folder of masks; returns a summary as text.

    Args:
      source: file or folder, in any format that `drawn.read` knows.
      out: where they go.
      folder: of the images, for formats that do not keep sizes.
      names: old names of points by new name.

    Raises:
      UserError: for files that cannot be read, sizes that are not known, or files that cannot be written.
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
    """The same annotations with the sizes of their images."""
    with Tree() as tree:
        files = [ref for ref in tree.files(folder) if ref.suffix in images.IMAGE_SUFFIXES]
        ids = pairing.ids_of([ref.shown for ref in files])
        paths = tuple(ref.shown for ref in files)
        by_id = drawn.paired(found, pairing.Images(tuple(ids), paths))
        file_of = {id(a): ref for ref, image_id in zip(files, ids, strict=True) if (a := by_id.get(image_id))}
        fail_if_any(
            [a.file for a in found if id(a) not in file_of],
            f"{folder}: images that are not there",
            "Name their folder.",
        )
        sized, problems = [], []
        for a in found:
            ref = file_of[id(a)]
            try:
                height, width = images.decode(ref.read()).shape
                a.check_size((height, width))
            except (UserError, ValueError) as error:
                problems.append(f"{ref.shown}: {error}")
                continue
            sized.append(dataclasses.replace(a, height=height, width=width))
    fail_if_any(problems, f"{folder}: images that do not fit", "Name the folder of the images that were annotated.")
    return sized
