"""The declaration of a format of annotation files: how a file of it is detected, and how it is read."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from boneage_jax.data.annotations.model import Annotation, load_json


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """A file whose format is to be detected; its content is read once, where a format asks for it.

    Attributes:
      path: of the file.
    """

    path: pathlib.Path

    @functools.cached_property
    def json(self) -> Any:
        """Its content as JSON. Raises `UserError` for a file that is not JSON."""
        return load_json(self.path)


def _is_that(file: AnnotationFile) -> bool:
    del file
    return True


def _no_image(path: pathlib.Path, annotations: Sequence[Annotation]) -> str:
    del path, annotations
    return ""


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of annotation files. Declared at the end of its module, and listed in `reading.FORMATS`.

    Attributes:
      name: for messages, with what it is detected by.
      suffix: ending of its files, in small letters.
      matches: whether a file with that ending is of this format.
      read: returns the annotations of files of this format. Its second argument is the folder that paths of images are
        relative to; None for names alone. Raises `UserError` naming file, entry and reason of all that cannot be used.
      image_name: name of the image that a file annotates, from its path and its annotations: it may lie beside the
        file, and is no mask. Empty for a format whose files annotate many images.
    """

    name: str
    suffix: str
    read: Callable[[Sequence[pathlib.Path], pathlib.Path | None], list[Annotation]]
    matches: Callable[[AnnotationFile], bool] = _is_that
    image_name: Callable[[pathlib.Path, Sequence[Annotation]], str] = _no_image
