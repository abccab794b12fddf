"""What every annotation format comes down to."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data import images
from boneage_jax.errors import UserError, fail_if_any, reason

Outline = Float[np.ndarray, "n 2"]
"""Corners x, y of a polygon in pixels."""


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What somebody has drawn on one image. Places are x, y in the image's pixels, pixel centres at whole numbers.

    Attributes:
      file: name of the image, as the format has it.
      width: of the image in pixels; 0 where the format does not say.
      height: likewise.
      outlines: polygons around the hand; together they are its mask.
      points: by name.
      boxes: name and x0, y0, x1, y1 of each, in order; a name may stand more than once.
      mask_file: picture of the mask, where the format keeps one; then there are no outlines.
    """

    file: str
    width: int = 0
    height: int = 0
    outlines: tuple[Outline, ...] = ()
    points: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()
    mask_file: pathlib.Path | None = None

    @property
    def id(self) -> str:
        """The image's name without folder and ending."""
        return pathlib.PurePath(self.file.replace("\\", "/")).stem

    @property
    def has_mask(self) -> bool:
        """Whether it says where the hand is."""
        return bool(self.outlines) or self.mask_file is not None

    def mask(self, shape: tuple[int, int] | None = None) -> Bool[np.ndarray, "h w"]:
        """Returns where the hand is.

        Args:
          shape: height and width of the image; None for the annotation's own.

        Raises:
          UserError: for a mask file that cannot be read or is of another size, or where no size is known.
        """
        if self.mask_file is not None:
            picture = images.read(self.mask_file)
            if shape is not None and picture.shape != tuple(shape):
                raise UserError(
                    f"{self.mask_file}: found a mask of {picture.shape[0]} x {picture.shape[1]} pixels, expected the "
                    f"image's {shape[0]} x {shape[1]}; draw it on the original image"
                )
            return picture > picture.max() / 2
        height, width = shape or (self.height, self.width)
        if not height or not width:
            raise UserError(f"{self.file}: the annotation does not say how large the image is; name the images' folder")
        inside = np.zeros((height, width), np.uint8)
        for outline in self.outlines:
            cv2.drawContours(inside, [np.round(outline).astype(np.int32)], -1, 1, cv2.FILLED)
        return inside > 0


def outlines_of(mask: Bool[np.ndarray, "h w"]) -> tuple[Outline, ...]:
    """Returns the outer polygons of a mask, one a piece; `Annotation.mask` gives the mask back, its holes filled."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(outline[:, 0].astype(np.float64) for outline in outlines)


class Malformed(ValueError):
    """An entry that cannot be used; says which and why."""


@contextlib.contextmanager
def within(what: str) -> Iterator[None]:
    """Names the part of an entry that what is raised inside is about. Raises `Malformed`, for missing keys too."""
    try:
        yield
    except Malformed as error:
        raise Malformed(f"{what}: {error}") from error
    except KeyError as error:
        raise Malformed(f"{what}: found no {error.args[0]!r}") from error


@dataclasses.dataclass
class Drawing:
    """What is found on one image, as it is read.

    Attributes:
      outlines: see `Annotation`.
      points: likewise.
      boxes: likewise.
    """

    outlines: list[Outline] = dataclasses.field(default_factory=list)
    points: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    boxes: list[tuple[str, tuple[float, float, float, float]]] = dataclasses.field(default_factory=list)

    def annotation(self, file: str, width: int = 0, height: int = 0) -> Annotation | None:
        """Returns the annotation of an image; None where nothing is drawn on it."""
        if not (self.outlines or self.points or self.boxes):
            return None
        return Annotation(file, width, height, tuple(self.outlines), self.points, tuple(self.boxes))


def read_text(path: pathlib.Path) -> str:
    """Returns a file's text. Raises `UserError` for one that is not in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 ({reason(error)})") from error


def load_json(path: pathlib.Path) -> Any:
    """Returns a file's JSON. Raises `UserError` naming file and place of the error."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({reason(error)})") from error


def collected(
    path: pathlib.Path, entries: Sequence[tuple[str, Any]], parse: Callable[[Any], Annotation | None]
) -> list[Annotation]:
    """Parses entries one by one; all that cannot be used are named together.

    Args:
      path: of the file, for the message.
      entries: each with what it is called in a message.
      parse: raises `Malformed`, or what a wrong structure makes Python raise; None for an entry to leave out.

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
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            problems.append(f"{path}: {name}: {reason(error)}")
        else:
            if annotation is not None:
                found.append(annotation)
    fail_if_any(problems, "annotations that cannot be used", "Correct or remove these entries.")
    return found


def number(value: Any, what: str) -> float:
    """Returns a finite number. Raises `Malformed`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise Malformed(f"{what}: found {value!r}, expected a number")
    return float(value)


def polygon(xs: Sequence[Any], ys: Sequence[Any]) -> Outline:
    """Returns an outline from its coordinates. Raises `Malformed` for fewer than three corners or uneven lists."""
    if len(xs) != len(ys) or len(xs) < 3:
        raise Malformed(f"polygon: found {len(xs)} x and {len(ys)} y, expected three or more of each")
    return np.array([[number(x, "x"), number(y, "y")] for x, y in zip(xs, ys, strict=True)])


def rectangle(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    """Returns a box. Raises `Malformed` for one without area."""
    if not (x1 > x0 and y1 > y0):
        raise Malformed(f"box: found {x0:g}, {y0:g} to {x1:g}, {y1:g}, expected a width and a height above 0")
    return x0, y0, x1, y1
