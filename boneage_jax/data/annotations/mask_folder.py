"""Folders of mask images named by the radiograph's id, nested or not, as in Zenodo record 7611677."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax.data import images, pairing
from boneage_jax.data.annotations.model import MAX_GREY_SHARE, Annotation, grey_share
from boneage_jax.errors import UserError, fail_if_any, printable
from boneage_jax.files import replacing

_LOOKED_AT = 12
"""Images of a folder that are read in search of a mask; chosen by eye."""


def pictures(files: Sequence[tuple[str, pathlib.Path]]) -> list[Annotation]:
    """Returns an annotation for each mask image, which is opened only when its mask is needed.

    Args:
      files: path below the folder of masks, and where the file is.

    Raises:
      UserError: where two files of one folder are named alike, as `1.png` and `1.jpg`.
    """
    first: dict[str, pathlib.Path] = {}
    twice = []
    for shown, path in files:
        folder, _, name = shown.rpartition("/")
        stem = f"{folder}/{pairing.stem_of(name)}"
        if (earlier := first.setdefault(stem, path)) != path:
            twice.append(f"{path}: found another mask of {pairing.stem_of(name)!r} at {earlier}")
    fail_if_any(twice, "masks that stand twice", "Keep one of each.")
    return [Annotation(shown, mask_file=path, where=printable(str(path))) for shown, path in files]


def mask_among(files: Sequence[tuple[str, pathlib.Path]]) -> str:
    """Returns the path of an image that may be a mask, by its name or its grey levels; empty where there is none.

    A dozen images of each folder are read, in an order that does not follow their names.

    Args:
      files: path below the folder of annotations, and where the file is.
    """
    by_folder: dict[str, list[tuple[str, pathlib.Path]]] = {}
    for shown, path in sorted(files, key=lambda file: hashlib.sha256(file[0].encode()).digest()):
        if "mask" in shown.lower():
            return shown
        by_folder.setdefault(shown.rpartition("/")[0], []).append((shown, path))
    for some in by_folder.values():
        for shown, path in some[:_LOOKED_AT]:
            try:
                if grey_share(images.read(path)) <= MAX_GREY_SHARE:
                    return shown
            except UserError:
                return shown
    return ""


def write(annotations: Sequence[Annotation], folder: pathlib.Path) -> None:
    """Writes the mask of each annotation that has one as `ID.png`, 255 inside.

    Images of one name in different folders keep their folders.

    Raises:
      UserError: for a size that is not known, or a file that cannot be written.
    """
    drawn = [annotation for annotation in annotations if annotation.has_mask]
    files = ["/".join(pairing.parts_of(annotation.file)) for annotation in drawn]
    for annotation, image_id in zip(drawn, pairing.ids_of(files), strict=True):
        write_one(image_id, annotation.mask(), folder)


def write_one(image_id: str, mask: np.ndarray, folder: pathlib.Path) -> None:
    """Writes one mask as `ID.png`, in folders where the id has some.

    Raises:
      UserError: for an id that is no file name, or a folder that cannot be written.
    """
    if not image_id or "/".join(pairing.parts_of(image_id)) != image_id:
        raise UserError(f"id {image_id!r}: expected one that can be a file's name")
    with replacing(folder / f"{image_id}.png") as scratch:
        scratch.write_bytes(images.encode(images.of_mask(mask), "png"))
