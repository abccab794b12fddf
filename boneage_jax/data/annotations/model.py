"""Annotations, independent of the format of their file."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from boneage_jax.data import images, pairing
from boneage_jax.data.annotations.fill import fill
from boneage_jax.data.annotations.malformed import Malformed, Outline
from boneage_jax.data.annotations.runs import Runs
from boneage_jax.errors import UserError, fail_if_any, reason

MAX_GREY_SHARE = 0.1
"""Largest share of a mask image's pixels that are neither dark nor bright: JPEG and smoothing leave some at edges.
Chosen by eye, see docs/explanation/lab-notes.md."""


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The annotation of one image. Points are x, y in the image's pixels, pixel centres at whole numbers.

    Attributes:
      file: name or path of the image, as the format has it.
      width: of the image in pixels; 0 where the format does not say.
      height: likewise.
      outlines: polygons around the hand.
      points: by name.
      boxes: name and x0, y0, x1, y1 of each, in order; a name may stand more than once.
      mask_file: image file of the mask, where the format has one; then there are no outlines and no runs.
      runs: masks pixel by pixel; outlines and runs together are the hand's mask.
      where: file and entry that it comes from, for messages.
    """

    file: str
    width: int = 0
    height: int = 0
    outlines: tuple[Outline, ...] = ()
    points: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()
    mask_file: pathlib.Path | None = None
    runs: tuple[Runs, ...] = ()
    where: str = ""

    @property
    def id(self) -> str:
        """The image's name without folder and ending."""
        return pairing.stem_of(self.file.replace("\\", "/"))

    @property
    def has_mask(self) -> bool:
        """Whether it holds a mask of the hand."""
        return bool(self.outlines or self.runs) or self.mask_file is not None

    def check_size(self, shape: tuple[int, int]) -> None:
        """Raises `UserError` where the annotation states another size than the image's height and width."""
        if self.height and self.width and (self.height, self.width) != tuple(shape):
            raise UserError(
                f"{self.where or 'annotation'}: {self.file}: states an image of {self.height} x {self.width} pixels, "
                f"expected the image's {shape[0]} x {shape[1]}; annotate the original image, or scale the annotation"
            )

    def mask(self, shape: tuple[int, int] | None = None) -> Bool[np.ndarray, "h w"]:
        """Returns where the hand is.

        Args:
          shape: height and width of the image; None for the annotation's own.

        Raises:
          UserError: for a mask file that cannot be read or is none, for one or an annotation of another size, or where
            no size is known.
        """
        if self.mask_file is not None:
            return _read_mask(self.mask_file, shape)
        if shape is not None:
            self.check_size(shape)
        height, width = shape or (self.height, self.width)
        if not height or not width:
            raise UserError(f"{self.file}: the annotation does not say how large the image is; name the images' folder")
        inside = np.zeros((height, width), bool)
        for outline in self.outlines:
            inside |= fill(outline, (height, width))
        for runs in self.runs:
            if (runs.height, runs.width) != (height, width):
                raise UserError(
                    f"{self.where or 'annotation'}: {self.file}: found run lengths of {runs.height} x {runs.width} "
                    f"pixels, expected the image's {height} x {width}"
                )
            inside |= runs.mask()
        return inside


def _read_mask(path: pathlib.Path, shape: tuple[int, int] | None) -> Bool[np.ndarray, "h w"]:
    picture = images.read(path)
    if shape is not None and picture.shape != tuple(shape):
        raise UserError(
            f"{path}: found a mask of {picture.shape[0]} x {picture.shape[1]} pixels, expected the "
            f"image's {shape[0]} x {shape[1]}; draw it on the original image"
        )
    grey = grey_share(picture)
    if grey > MAX_GREY_SHARE:
        raise UserError(
            f"{path}: found {grey:.0%} of the pixels of a middle grey, expected a mask: dark outside and bright inside "
            "the hand"
        )
    return picture > picture.max() / 2


def grey_share(picture: images.Grey) -> float:
    """Returns the share of pixels that are neither dark nor bright; see `MAX_GREY_SHARE`."""
    most = float(picture.max())
    return float(((picture > most / 4) & (picture < most * 3 / 4)).mean())


def outlines_of(mask: Bool[np.ndarray, "h w"]) -> tuple[Outline, ...]:
    """Returns the outer polygons of a mask, one a piece; `Annotation.mask` gives the mask back, its holes filled."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(outline[:, 0].astype(np.float64) for outline in outlines)


@dataclasses.dataclass
class Drawing:
    """The annotation of one image while its file is read.

    Attributes:
      outlines: see `Annotation`.
      points: likewise.
      boxes: likewise.
      runs: likewise.
    """

    outlines: list[Outline] = dataclasses.field(default_factory=list)
    points: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    boxes: list[tuple[str, tuple[float, float, float, float]]] = dataclasses.field(default_factory=list)
    runs: list[Runs] = dataclasses.field(default_factory=list)

    def annotation(self, file: str, width: int = 0, height: int = 0) -> Annotation | None:
        """Returns the annotation of an image; None where nothing is drawn on it. Raises `Malformed` for odd sizes."""
        for runs in self.runs:
            if height and width and (runs.height, runs.width) != (height, width):
                raise Malformed(
                    f"found run lengths of {runs.height} x {runs.width} pixels, expected the image's {height} x {width}"
                )
        if not (self.outlines or self.points or self.boxes or self.runs):
            return None
        return Annotation(
            file, width, height, tuple(self.outlines), self.points, tuple(self.boxes), runs=tuple(self.runs)
        )


def load_json(path: pathlib.Path) -> Any:
    """Returns a file's JSON, in UTF-8, 16 or 32. Raises `UserError` naming file and place of the error."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({reason(error)})") from error


def collected(
    path: pathlib.Path, entries: Sequence[tuple[str, Any]], parse: Callable[[Any], Annotation | None]
) -> list[Annotation]:
    """Parses entries one by one; all that cannot be used are named together.

    Args:
      path: of the file, for the message.
      entries: each with its name for messages.
      parse: returns None for an entry to leave out; raises `Malformed`, or any error that a wrong structure causes.

    Raises:
      UserError: with file, entry and reason of each.
    """
    found, problems = [], []
    for name, entry in entries:
        try:
            annotation = parse(entry)
        except Malformed as error:
            problems.append(f"{path}: {name}: {error}")
        except KeyError as error:
            problems.append(f"{path}: {name}: found no {error.args[0]!r}")
        except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            problems.append(f"{path}: {name}: {reason(error)}")
        else:
            if annotation is not None:
                found.append(dataclasses.replace(annotation, where=f"{path}: {name}"))
    fail_if_any(problems, "annotations that cannot be used", "Correct or remove these entries.")
    return found
