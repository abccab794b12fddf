"""Reference plates: one child of each sex as a phantom, registered, at bone ages from birth to 20 years.

Rendering needs a compilation of many seconds, so the plates lie ready in two files. They are made anew by

    python -m boneage_jax.phantoms.plates boneage_jax/bundles
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from boneage_jax.data import images
from boneage_jax.data.images import Grey

STEP = 3
"""Months between plates."""

AGES = tuple(range(0, 241, STEP))
"""Bone ages of the plates, in months."""

HEIGHT, WIDTH = 260, 200
"""Of a plate, in pixels: the canvas at an eighth of its size."""

SEED = 0
"""Of both children; the same at all ages, so that plates differ by age alone."""

_COLUMNS = 9
_QUALITY = 80
"""Of the JPEG; chosen by eye."""

_FOLDER = pathlib.Path(__file__).parent.parent / "bundles"


@dataclasses.dataclass(frozen=True)
class Plate:
    """A phantom of a known bone age.

    Attributes:
      months: bone age that it was drawn for.
      sex: `M` or `F`.
      image: the registered hand on the canvas, uint8 of shape (260, 200).
    """

    months: int
    sex: str
    image: Grey


def plate(months: float, sex: str) -> Plate:
    """Returns the plate that is nearest to a bone age.

    Args:
      months: bone age; outside 0 to 240 the first or the last plate is nearest.
      sex: `M` or `F`.
    """
    number = int(np.argmin(np.abs(np.array(AGES) - months)))
    row, column = divmod(number, _COLUMNS)
    image = _sheet(sex)[row * HEIGHT : (row + 1) * HEIGHT, column * WIDTH : (column + 1) * WIDTH]
    return Plate(AGES[number], sex, image)


def around(months: float, sex: str) -> tuple[Plate, ...]:
    """Returns the plate nearest to a bone age between one younger and one older, each once.

    A step is 12 months, below 24 months 6: about what the atlas of Greulich and Pyle leaves between its plates.

    Args:
      months: bone age.
      sex: `M` or `F`.
    """
    step = 6 if months < 24 else 12
    found = {one.months: one for one in (plate(months + by, sex) for by in (-step, 0, step))}
    return tuple(found.values())


def file_of(sex: str, folder: pathlib.Path = _FOLDER) -> pathlib.Path:
    """Returns the file of a sex's plates, which lie row by row in one picture."""
    return folder / f"plates_{sex}.jpg"


def sheet(images: Sequence[Grey]) -> Grey:
    """Returns one picture of the plates of all `AGES`, row by row."""
    rows = -(-len(images) // _COLUMNS)
    made = np.zeros((rows * HEIGHT, _COLUMNS * WIDTH), np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, _COLUMNS)
        made[row * HEIGHT : (row + 1) * HEIGHT, column * WIDTH : (column + 1) * WIDTH] = image
    return made


def drawn(months: float, sex: str) -> Grey:
    """Renders a plate: uint8 of shape (260, 200). Compiles for many seconds when it is first called."""
    from boneage_jax.phantoms import export

    # At twice the size, and reduced: edges and texture come out as in a photograph.
    subject = export.Subject(sex, SEED, 2 * HEIGHT, 2 * WIDTH, "registered")
    large = export.grey(export.draw(subject, months))
    return np.asarray(cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))


@functools.cache
def _sheet(sex: str) -> Grey:
    return images.read(file_of(sex))


def _write(folder: pathlib.Path) -> None:
    for sex in "FM":
        made = sheet([drawn(months, sex) for months in AGES])
        cv2.imwrite(str(file_of(sex, folder)), made, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


if __name__ == "__main__":
    _write(pathlib.Path(sys.argv[1]))
