"""Folders of mask pictures named by the image's id, nested or not, as in Zenodo record 7611677."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax.data import images
from boneage_jax.data.annotations.model import Annotation
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import replacing


def read(folder: pathlib.Path) -> list[Annotation]:
    """Returns an annotation for each mask picture, which is opened only where it is asked for.

    Raises:
      UserError: where two files are named alike.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in images.IMAGE_SUFFIXES]
    by_id: dict[str, pathlib.Path] = {}
    twice = []
    for path in files:
        if path.name.startswith("."):
            continue
        if path.stem in by_id:
            twice.append(f"{path}: found another mask of {path.stem!r} at {by_id[path.stem]}")
        by_id[path.stem] = path
    fail_if_any(twice, "masks that stand twice", "Keep one of each.")
    return [Annotation(path.name, mask_file=path) for path in by_id.values()]


def write(annotations: Sequence[Annotation], folder: pathlib.Path) -> None:
    """Writes the mask of each annotation that has one as `ID.png`, 255 inside.

    Raises:
      UserError: for a size that is not known, or a file that cannot be written.
    """
    for annotation in annotations:
        if annotation.has_mask:
            write_one(annotation.id, annotation.mask(), folder)


def write_one(image_id: str, mask: np.ndarray, folder: pathlib.Path) -> None:
    """Writes one mask as `ID.png`. Raises `UserError` for an id that is no file name, or an unwritable folder."""
    if pathlib.PurePath(image_id).name != image_id:
        raise UserError(f"id {image_id!r}: expected one that can be a file's name")
    with replacing(folder / f"{image_id}.png") as scratch:
        scratch.write_bytes(images.encode(images.of_mask(mask), "png"))
