"""Annotations as the labels of a dataset's images: masks and key points by id."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from boneage_jax import anatomy
from boneage_jax.data import pairing
from boneage_jax.data.annotations.model import Annotation
from boneage_jax.data.examples import Layer


def paired(annotations: Sequence[Annotation], images: pairing.Images) -> dict[str, Annotation]:
    """Returns the annotation of each image that has one, by id; see `pairing.pair_in_split`.

    Args:
      annotations: of these images and of others.
      images: of a split of a dataset.

    Raises:
      UserError: where it is not clear which image an annotation is of, or several are of one.
    """
    rows = [pairing.Row(annotation.file, annotation.where or "annotation") for annotation in annotations]
    headline = "annotations whose image is not clear"
    files = pairing.pair_in_split(rows, images, headline).files
    return {images.ids[n]: a for a, n in zip(annotations, files, strict=True) if n is not None}


@dataclasses.dataclass(frozen=True)
class AnnotatedLabels:
    """Masks and key points by id, from annotations: the labels of `examples.View`.

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
