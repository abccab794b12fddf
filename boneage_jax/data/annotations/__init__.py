"""Masks, points and boxes that people have drawn, in the formats of their tools; out again as COCO and mask folders."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from boneage_jax import anatomy
from boneage_jax.data.annotations import coco, labelme, mask_folder, via, voc
from boneage_jax.data.annotations.model import Annotation, load_json, outlines_of
from boneage_jax.data.examples import Layer
from boneage_jax.errors import UserError, fail_if_any

__all__ = ["AnnotatedLabels", "Annotation", "outlines_of", "read", "renamed", "write"]


def read(path: pathlib.Path) -> list[Annotation]:
    """Reads annotations of any known format, which is told from the content.

    Args:
      path: a COCO or VIA file (JSON), a VIA file (CSV), a Labelme file or a folder of them, a Pascal VOC file or a
        folder of them, or a folder of mask pictures by id.

    Returns:
      One annotation an image, sorted by id.

    Raises:
      UserError: for a path that is not there, an unknown format, or entries that cannot be used: file, entry, reason.
    """
    if path.is_dir():
        found = _folder(path)
    elif not path.is_file():
        raise UserError(f"{path}: no such file or folder; expected annotations")
    elif path.suffix.lower() == ".csv":
        found = via.read_csv(path)
    elif path.suffix.lower() == ".xml":
        found = voc.read([path])
    elif path.suffix.lower() == ".json":
        found = _json(path)
    else:
        raise UserError(f"{path}: expected a .json, .csv or .xml file, or a folder of masks, .json or .xml files")
    ids = [annotation.id for annotation in found]
    twice = sorted({image_id for image_id in ids if ids.count(image_id) > 1}) if len(set(ids)) < len(ids) else []
    fail_if_any([f"{path}: image {image_id!r}" for image_id in twice], "images that stand twice", "Keep one of each.")
    return sorted(found, key=lambda annotation: annotation.id)


def _json(path: pathlib.Path) -> list[Annotation]:
    content = load_json(path)
    for format_ in (coco, via, labelme):
        if format_.matches(content):
            return via.read_json(path) if format_ is via else (coco if format_ is coco else labelme).read(path)
    raise UserError(
        f"{path}: JSON of an unknown kind; expected COCO ('images', 'annotations'), VIA ('regions') or Labelme "
        "('shapes', 'imagePath')"
    )


def _folder(path: pathlib.Path) -> list[Annotation]:
    xml, json_files = sorted(path.rglob("*.xml")), sorted(path.rglob("*.json"))
    if xml:
        return voc.read(xml)
    if json_files:
        return [annotation for file in json_files for annotation in _json(file)]
    found = mask_folder.read(path)
    if not found:
        raise UserError(f"{path}: found no masks (.png, .jpg), Labelme (.json) or Pascal VOC (.xml) files")
    return found


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


@dataclasses.dataclass(frozen=True)
class AnnotatedLabels:
    """Masks and key points by id, from annotations: what `sources.View.labels` takes.

    Attributes:
      masks: annotations to take masks from; None to leave them to the dataset.
      points: annotations to take key points from; None likewise.
      left_out: ids that are not used.
    """

    masks: tuple[Annotation, ...] | None = None
    points: tuple[Annotation, ...] | None = None
    left_out: frozenset[str] = frozenset()

    @functools.cached_property
    def _masks(self) -> dict[str, Annotation]:
        return {a.id: a for a in self.masks or () if a.has_mask and a.id not in self.left_out}

    @functools.cached_property
    def _points(self) -> dict[str, np.ndarray]:
        found = {}
        for a in self.points or ():
            places = {name.lower().replace("_", " "): place for name, place in a.points.items()}
            if a.id not in self.left_out and all(name in places for name in anatomy.KEY_POINTS):
                found[a.id] = np.array([places[name] for name in anatomy.KEY_POINTS])
        return found

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes whenever an id, an outline, a mask file's size and time, or a point does."""
        digest = hashlib.sha256()
        for image_id, a in sorted(self._masks.items()):
            state = a.mask_file.stat() if a.mask_file else None
            digest.update(f"{image_id}:{state and (state.st_size, state.st_mtime_ns)}".encode())
            for outline in a.outlines:
                digest.update(np.ascontiguousarray(outline).tobytes())
        for image_id, points in sorted(self._points.items()):
            digest.update(image_id.encode() + points.tobytes())
        return digest.hexdigest()[:16]

    def ids(self, layer: Layer) -> frozenset[str] | None:
        """Returns the ids that have a layer; None where it is left to the dataset."""
        if layer == "hand":
            return None if self.masks is None else frozenset(self._masks)
        return None if self.points is None else frozenset(self._points)

    def mask(self, image_id: str, shape: tuple[int, int]) -> np.ndarray:
        """Returns where the hand is in an image of a shape."""
        return self._masks[image_id].mask(shape)

    def key_points(self, image_id: str) -> np.ndarray:
        """Returns x, y of `anatomy.KEY_POINTS`, (3, 2)."""
        return self._points[image_id]
