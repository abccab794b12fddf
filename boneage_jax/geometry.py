"""Similarity transforms of the plane: rotation, scale, shift and, where wanted, a mirror.

Points are x, y in pixels; pixel centres lie at whole numbers.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class Similarity:
    """A similarity x -> matrix (x, 1): it keeps angles, or reverses all of them where it mirrors.

    Attributes:
      a: scale times cosine of the rotation.
      b: scale times sine of the rotation.
      x: shift in pixels, applied last.
      y: likewise.
      mirrored: whether x becomes -x first.
    """

    a: float = 1.0
    b: float = 0.0
    x: float = 0.0
    y: float = 0.0
    mirrored: bool = False

    @classmethod
    def between(cls, source: ArrayLike, target: ArrayLike, *, mirrored: bool = False) -> Similarity:
        """Returns the similarity that takes points to points with the least squared error (Umeyama 1991).

        Args:
          source: at least two different points, (n, 2).
          target: where they go, (n, 2).
          mirrored: whether the similarity mirrors.

        Raises:
          ValueError: where all points of `source` coincide, or a number is not finite.
        """
        from_points, to_points = np.asarray(source, np.float64), np.asarray(target, np.float64)
        if not (np.isfinite(from_points).all() and np.isfinite(to_points).all()):
            raise ValueError("points that are not finite have no similarity between them")
        if mirrored:
            from_points = from_points * (-1.0, 1.0)
        mean_from, mean_to = from_points.mean(0), to_points.mean(0)
        p, q = from_points - mean_from, to_points - mean_to
        norm = float((p * p).sum())
        if norm < 1e-12:
            raise ValueError("points that coincide have no similarity between them")
        a = float((p * q).sum()) / norm
        b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / norm
        x, y = mean_to - (a * mean_from[0] - b * mean_from[1], b * mean_from[0] + a * mean_from[1])
        return cls(a, b, float(x), float(y), mirrored)

    @classmethod
    def scaling(cls, scale: float) -> Similarity:
        """Returns the transform from an image's pixels to those of the same image at `scale` times its size.

        The image's edges, half a pixel before the first centre, stay the edges.
        """
        return cls(a=scale, x=0.5 * scale - 0.5, y=0.5 * scale - 0.5)

    @classmethod
    def moving(cls, x: float, y: float) -> Similarity:
        """Returns a shift by x, y pixels."""
        return cls(x=x, y=y)

    @classmethod
    def framing(cls, rows: tuple[float, float], columns: tuple[float, float], height: int, width: int) -> Similarity:
        """Returns the transform that fits a whole rectangle into the middle of an image, as large as possible.

        Args:
          rows: first and last row (exclusive) of the rectangle, in pixels.
          columns: first and last column (exclusive), in pixels.
          height: of the image, in pixels.
          width: of the image, in pixels.
        """
        scale = min(height / (rows[1] - rows[0]), width / (columns[1] - columns[0]))
        x = (width - 1) / 2 - scale * (columns[0] + columns[1] - 1) / 2
        y = (height - 1) / 2 - scale * (rows[0] + rows[1] - 1) / 2
        return cls(a=scale, x=x, y=y)

    @classmethod
    def turning(cls, degrees: float, height: int, width: int) -> Similarity:
        """Returns the rotation of an image of height x width pixels about its middle, from x towards y."""
        a, b = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        x, y = (width - 1) / 2, (height - 1) / 2
        return cls(a, b, x - (a * x - b * y), y - (b * x + a * y))

    @classmethod
    def of_matrix(cls, matrix: ArrayLike) -> Similarity:
        """Returns the similarity of a matrix of shape (2, 3) or (3, 3), in the form of `matrix`."""
        m = np.asarray(matrix, np.float64)
        # A mirror shows in the sign of the determinant.
        mirrored = bool(np.linalg.det(m[:2, :2]) < 0)
        a = -m[0, 0] if mirrored else m[0, 0]
        return cls(float(a), float(-m[0, 1]), float(m[0, 2]), float(m[1, 2]), mirrored)

    @property
    def matrix(self) -> Float[np.ndarray, "2 3"]:
        """The transform as a matrix that acts on (x, y, 1)."""
        sign = -1.0 if self.mirrored else 1.0
        return np.array([[sign * self.a, -self.b, self.x], [sign * self.b, self.a, self.y]])

    @property
    def scale(self) -> float:
        """Length of one pixel after the transform."""
        return math.hypot(self.a, self.b)

    @property
    def degrees(self) -> float:
        """Rotation, from the x axis towards the y axis, in degrees of (-180, 180]."""
        return math.degrees(math.atan2(self.b, self.a))

    def __call__(self, points: ArrayLike) -> Float[np.ndarray, "*n 2"]:
        """Returns where points of shape (..., 2) go."""
        matrix = self.matrix
        return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]

    def inverse(self) -> Similarity:
        """Returns the inverse transform. Raises `ValueError` where the scale is 0."""
        if not self.scale:
            raise ValueError("found a scale of 0, which has no inverse")
        return Similarity.of_matrix(np.linalg.inv(_square(self)))

    def then(self, other: Similarity) -> Similarity:
        """Returns this transform followed by another."""
        return Similarity.of_matrix(_square(other) @ _square(self))


def _square(transform: Similarity) -> Float[np.ndarray, "3 3"]:
    return np.vstack([transform.matrix, (0.0, 0.0, 1.0)])
