"""Masks, points and boxes that people have drawn, in the formats of their tools; out again as COCO and mask folders."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from boneage_jax import anatomy
from boneage_jax.data import images, pairing
from boneage_jax.data.annotations import coco, labelme, mask_folder, via, voc
from boneage_jax.data.annotations.model import Annotation, load_json, outlines_of
from boneage_jax.data.examples import Layer
from boneage_jax.data.tree import Tree
from boneage_jax.errors import UserError, fail_if_any

__all__ = ["AnnotatedLabels", "Annotation", "outlines_of", "paired", "read", "renamed", "write"]


def read(path: pathlib.Path) -> list[Annotation]:
    """Reads annotations of any known format, which is told from the content.

    Args:
      path: a COCO, VIA or Labelme file (JSON), a VIA file (CSV), a Pascal VOC file, a folder of any of these, or a
        folder of mask pictures by id.

    Returns:
      One annotation an image, sorted by id.

    Raises:
      UserError: for a path that is not there, an unknown format, folders that hold masks beside other annotations, or
        entries that cannot be used: file, entry, reason.
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
    first: dict[str, Annotation] = {}
    twice = []
    for annotation in found:
        earlier = first.setdefault("/".join(pairing.parts_of(annotation.file)), annotation)
        if earlier is not annotation:
            twice.append(f"{path}: image {annotation.file!r}: {earlier.where} and {annotation.where}")
    fail_if_any(twice, "images that stand twice", "Keep one of each.")
    return sorted(found, key=lambda annotation: (annotation.id, annotation.file))


def _json(path: pathlib.Path, folder: pathlib.Path | None = None) -> list[Annotation]:
    content = load_json(path)
    if coco.matches(content):
        return coco.read(path)
    if via.matches(content):
        return via.read_json(path)
    if labelme.matches(content):
        return labelme.read(path, folder)
    raise UserError(
        f"{path}: JSON of an unknown kind; expected COCO ('images', 'annotations'), VIA ('regions') or Labelme "
        "('shapes', 'imagePath')"
    )


def _folder(path: pathlib.Path) -> list[Annotation]:
    with Tree() as tree:
        refs = tree.files(path)
        packed = {ref.shown[: ref.shown.lower().find(".zip/") + 4] for ref in refs if ref.member}
        fail_if_any(
            [f"{shown}: {why}" for shown, why in tree.problems] + [f"{name}: a zip" for name in sorted(packed)],
            f"{path}: folders, links and zips that cannot be looked into",
            "Unpack, mend or remove them.",
        )
    files = [(ref.shown, pathlib.Path(ref.path), ref.suffix) for ref in refs]
    xml = [file for _, file, suffix in files if suffix == ".xml"]
    drawn = [file for _, file, suffix in files if suffix == ".json"]
    csv = [file for _, file, suffix in files if suffix == ".csv" and via.is_csv(file)]
    pictures = [(shown, file) for shown, file, suffix in files if suffix in images.IMAGE_SUFFIXES]
    if not (xml or drawn or csv):
        if not pictures:
            raise UserError(f"{path}: found no masks (.png, .jpg), Labelme (.json) or Pascal VOC (.xml) files")
        return mask_folder.pictures(pictures)
    found = voc.read(xml, path)
    for file in drawn:
        found += _json(file, path)
    for file in csv:
        found += via.read_csv(file)
    # Labelme and Pascal VOC files often lie beside the picture that they were drawn on, and beside others that nobody
    # has drawn on yet. Pictures that may be masks are not passed over.
    own = {file.parent / pathlib.PurePath(a.file.replace("\\", "/")).name for file in drawn for a in _of(found, file)}
    own |= {file.parent / voc.image_name(file) for file in xml}
    others = [(shown, file) for shown, file in pictures if file not in own]
    if mask := mask_folder.mask_among(others):
        raise UserError(
            f"{path}: found {len(others)} pictures, among them {mask}, which may be a mask, beside "
            f"{len(xml + drawn + csv)} annotation files, such as {(xml + drawn + csv)[0].name}; name the file, or put "
            "the masks into a folder of their own and name that"
        )
    return found


def _of(found: Sequence[Annotation], file: pathlib.Path) -> list[Annotation]:
    """What a file that annotates one image says."""
    said = [annotation for annotation in found if annotation.where == f"{file}: file"]
    return said if len(said) == 1 else []


def paired(annotations: Sequence[Annotation], images: pairing.Images) -> dict[str, Annotation]:
    """Returns the annotation of each image that has one, by id; see `pairing.pair_in_split`.

    Args:
      annotations: of these images and of others.
      images: of a split of a dataset.

    Raises:
      UserError: where it is not clear which image an annotation is of, or several are of one.
    """
    rows = [pairing.Row(annotation.file, annotation.where or "annotation") for annotation in annotations]
    headline = "annotations of which it is not clear what images they are of"
    files = pairing.pair_in_split(rows, images, headline).files
    return {images.ids[n]: a for a, n in zip(annotations, files, strict=True) if n is not None}


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
      among_images: the split's images, which annotations are paired with; None to take each by its image's name.
    """

    masks: tuple[Annotation, ...] | None = None
    points: tuple[Annotation, ...] | None = None
    left_out: frozenset[str] = frozenset()
    among_images: pairing.Images | None = None

    def among(self, images: pairing.Images) -> AnnotatedLabels:
        """Returns the same, by the ids of these images."""
        return dataclasses.replace(self, among_images=images)

    def _by_id(self, annotations: Sequence[Annotation]) -> dict[str, Annotation]:
        found = {a.id: a for a in annotations} if self.among_images is None else paired(annotations, self.among_images)
        return {image_id: a for image_id, a in found.items() if image_id not in self.left_out}

    @functools.cached_property
    def _masks(self) -> dict[str, Annotation]:
        return self._by_id([a for a in self.masks or () if a.has_mask])

    @functools.cached_property
    def _points(self) -> dict[str, Annotation]:
        return self._by_id([a for a in self.points or () if _key_points_of(a) is not None])

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes whenever an image's name, an outline, a mask file's size and time, or a point does."""
        digest = hashlib.sha256()
        for a in sorted(self.masks or (), key=lambda a: (a.id, a.file)):
            if not a.has_mask or a.id in self.left_out:
                continue
            state = a.mask_file.stat() if a.mask_file else None
            digest.update(f"{a.id}:{state and (state.st_size, state.st_mtime_ns)}".encode())
            for outline in a.outlines:
                digest.update(np.ascontiguousarray(outline).tobytes())
            for runs in a.runs:
                digest.update(runs.counts.tobytes())
        for a in sorted(self.points or (), key=lambda a: (a.id, a.file)):
            points = _key_points_of(a)
            if points is not None and a.id not in self.left_out:
                digest.update(a.id.encode() + points.tobytes())
        return digest.hexdigest()[:16]

    def ids(self, layer: Layer) -> frozenset[str] | None:
        """Returns the ids that have a layer; None where it is left to the dataset."""
        if layer == "hand":
            return None if self.masks is None else frozenset(self._masks)
        return None if self.points is None else frozenset(self._points)

    def mask(self, image_id: str, shape: tuple[int, int]) -> np.ndarray:
        """Returns where the hand is in an image of a shape. Raises `UserError` for annotations of another size."""
        return self._masks[image_id].mask(shape)

    def key_points(self, image_id: str, shape: tuple[int, int]) -> np.ndarray:
        """Returns x, y of `anatomy.KEY_POINTS`, (3, 2), in an image of a shape. Raises `UserError` likewise."""
        annotation = self._points[image_id]
        annotation.check_size(shape)
        points = _key_points_of(annotation)
        assert points is not None
        return points


def _key_points_of(annotation: Annotation) -> np.ndarray | None:
    """Places of `anatomy.KEY_POINTS`; None where one is missing."""
    places = {name.lower().replace("_", " "): place for name, place in annotation.points.items()}
    if any(name not in places for name in anatomy.KEY_POINTS):
        return None
    return np.array([places[name] for name in anatomy.KEY_POINTS])
