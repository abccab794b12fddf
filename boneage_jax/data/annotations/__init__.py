"""Masks, points and boxes that people have drawn, in the formats of their tools.

`read` detects the format; `write` writes COCO or a folder of masks. The formats are listed in `reading.FORMATS`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from boneage_jax.data.annotations import coco, mask_folder
from boneage_jax.data.annotations.labels import AnnotatedLabels, paired
from boneage_jax.data.annotations.model import Annotation, outlines_of
from boneage_jax.data.annotations.reading import read

__all__ = ["AnnotatedLabels", "Annotation", "outlines_of", "paired", "read", "renamed", "write"]


def write(annotations: Sequence[Annotation], path: pathlib.Path) -> None:
    """Writes COCO where the path ends in `.json`, else a folder of masks. Raises `UserError`."""
    if path.suffix.lower() == ".json":
        coco.write(annotations, path)
    else:
        mask_folder.write(annotations, path)


def renamed(annotations: Sequence[Annotation], names: Mapping[str, str]) -> list[Annotation]:
    """Returns annotations whose points are called by other names.

    Args:
      annotations: to be changed.
      names: old name by new name, as in `{"capitate": "17"}`.
    """
    new = {old: name for name, old in names.items()}
    return [
        dataclasses.replace(a, points={new.get(name, name): place for name, place in a.points.items()})
        for a in annotations
    ]
