"""The error for an entry of an annotation file that cannot be used, and the checks that all formats share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Outline = Float[np.ndarray, "_n 2"]
"""Corners x, y of a polygon in pixels."""

MAX_SIDE = 100_000
"""Largest side or coordinate of an image, in pixels; chosen by eye."""


class Malformed(ValueError):
    """An entry cannot be used; the message has the entry and the reason."""


@contextlib.contextmanager
def within(what: str) -> Iterator[None]:
    """Adds the name of an entry's part to errors raised inside. Raises `Malformed`, for missing keys too."""
    try:
        yield
    except Malformed as error:
        raise Malformed(f"{what}: {error}") from error
    except KeyError as error:
        raise Malformed(f"{what}: found no {error.args[0]!r}") from error


def entries_of(value: Any, what: str) -> list[Any]:
    """Returns a list of objects, none for null. Raises `Malformed`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(f"{what}: found {shortened(value)}, expected a list")
    for n, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise Malformed(f"{what}: found {shortened(entry)} as number {n}, expected an object")
    return value


def number(value: Any, what: str) -> float:
    """Returns a finite number that can be a coordinate or a length in an image. Raises `Malformed`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{what}: found {shortened(value)}, expected a number")
    if not abs(value) <= MAX_SIDE:
        raise Malformed(f"{what}: found {shortened(value)}, expected pixels")
    return float(value)


def side(value: Any, what: str) -> int:
    """Returns an image's height or width; 0 for null or none, which tools write for unknown sizes."""
    length = number(value or 0, what)
    if length < 0 or length != int(length):
        raise Malformed(f"{what}: found {shortened(value)}, expected a whole number of pixels")
    return int(length)


def polygon(xs: Sequence[Any], ys: Sequence[Any]) -> Outline:
    """Returns an outline from its coordinates. Raises `Malformed` for fewer than three corners or uneven lists."""
    if not (isinstance(xs, Sequence) and isinstance(ys, Sequence)) or len(xs) != len(ys) or len(xs) < 3:
        count = [len(one) if isinstance(one, Sequence) else shortened(one) for one in (xs, ys)]
        raise Malformed(f"polygon: found {count[0]} x and {count[1]} y, expected three or more of each")
    return np.array([[number(x, "x"), number(y, "y")] for x, y in zip(xs, ys, strict=True)])


def ellipse(x: float, y: float, rx: float, ry: float, theta: float = 0.0) -> Outline:
    """Returns an ellipse as an outline of 64 corners.

    Args:
      x: of the middle.
      y: likewise.
      rx: half of its length along the axis that lies in x before it is turned.
      ry: half of the other.
      theta: by which it is turned, from x to y: clockwise as seen, for y points down. In radians.

    Raises:
      Malformed: for a radius that is not above 0.
    """
    if not (rx > 0 and ry > 0):
        raise Malformed(f"ellipse: found the radii {rx:g} and {ry:g}, expected numbers above 0")
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    along, across = rx * np.cos(turn), ry * np.sin(turn)
    cos, sin = np.cos(theta), np.sin(theta)
    return np.stack([x + along * cos - across * sin, y + along * sin + across * cos], -1)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    """Returns a box. Raises `Malformed` for one without area."""
    if not (x1 > x0 and y1 > y0):
        raise Malformed(f"box: found {x0:g}, {y0:g} to {x1:g}, {y1:g}, expected a width and a height above 0")
    return x0, y0, x1, y1


def shortened(value: Any) -> str:
    """Returns a value for a message."""
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "a number beyond all sizes"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
