"""Outlines of bones as tables: what a bone's outer and inner surface are at each place along it.

Every part of a bone has coordinates of its own: u runs along it (or across it, for an epiphysis), v at right angles.
At each u the part reaches from v = centre - half to v = centre + half and is 2 x depth thick towards the viewer; the
inner surface, within the cortex, has a centre, half and depth of its own, and what fills it is partly bone. A shape is
therefore a table of `COLUMNS` numbers at each of n places, from which every part is drawn in the same way.
Lengths are in canvas pixels. The curves are chosen by eye beside registered radiographs, see
docs/explanation/lab-notes.md.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

COLUMNS = ("centre", "half squared", "depth", "inner centre", "inner half squared", "inner depth", "filling")
"""Halves are squared because a round end is then a straight line; filling is the part of the inside that is bone."""

Table = Float[Array, "n 7"]

Scalar = Array | float
"""A number."""


def places(n: int) -> Float[np.ndarray, " n"]:
    """Returns where along a part the rows of its table lie, from 0 to 1."""
    return np.linspace(0.0, 1.0, n, dtype=np.float32)


def _end(distance: Array | np.ndarray, reach: Scalar, sharpness: Scalar) -> Array:
    """How much of the squared half width is left at a distance from an end: 0 there, 1 from `reach` on."""
    return 1 - jnp.clip(1 - distance / reach, 0.0, 1.0) ** sharpness


def shaft(
    n: int,
    length: Array,
    halves: tuple[Array, Array, Array],
    *,
    flares: tuple[Scalar, Scalar],
    end_sharpness: Scalar,
    end_reach: Scalar,
    neck: Scalar,
    flatness: Scalar,
    capped: Scalar,
    fused: Scalar,
    bend: Scalar,
    skew: Scalar,
    cortex: Scalar,
    line: Scalar,
) -> Table:
    """Returns the shaft of a tubular bone, from its metaphysis (u = 0) to its other end (u = 1).

    Args:
      n: rows of the table.
      length: of the shaft.
      halves: half widths at the metaphysis, at the waist and at the other end.
      flares: part of the length over which the metaphysis and the other end widen.
      end_sharpness: 2 for a round other end, more for a square one.
      end_reach: over how much of its half width the other end rounds off.
      neck: how much of the other end's half width is missing just before it: below the tuft of a distal phalanx.
      flatness: depth over half width.
      capped: 0 to 1, how much the corners of the metaphysis have rounded under the cap of the epiphysis.
      fused: 0 to 1, how much of the bright end of the metaphysis has gone into the epiphysis.
      bend: sideways bow over the length.
      skew: difference of the two sides' width, as a fraction.
      cortex: factor on the thickness of the wall.
      line: brightness of the line that fusion leaves.
    """
    u = places(n)
    meta, waist, far = halves
    along = u * length
    half = waist + (meta - waist) * (1 - jnp.clip(u / flares[0], 0, 1)) ** 1.4
    half = half + (far - waist) * jnp.clip(1 - (1 - u) / flares[1], 0, 1) ** 1.3
    half = half - neck * far * np.exp(-0.5 * ((u - 0.66) / 0.13) ** 2)
    # The metaphysis is cut nearly square; under the cap its corners round off.
    rounded = _end(along, (0.05 + 0.25 * capped) * meta, 3.0)
    rounded = jnp.where(fused > 0.99, jnp.maximum(rounded, _end(along, 0.05 * meta, 3.0)), rounded)
    rounded = rounded * _end(length - along, end_reach * far, end_sharpness)
    middle = np.sin(np.pi * u).clip(0) ** 1.5
    wall = cortex * waist * (0.10 + 0.36 * middle)
    thin_end = 5.0 + 3.0 * middle
    inside = (along > thin_end * (1 - fused)) & (length - along > 5.0)
    centre = bend * 4 * u * (1 - u) + skew * half
    inner_half = jnp.where(inside, jnp.maximum(half - wall, 0.0), 0.0)
    inner_rounded = _end(along + 10 * fused - 3.0, (0.05 + 0.25 * capped) * meta, 3.0)
    inner_rounded = inner_rounded * _end(length - along - 5.0, end_reach * far, end_sharpness)
    depth = flatness * half * jnp.sqrt(jnp.maximum(rounded, 0.0))
    # Seen from the side the walls are thick, towards the viewer thin: what lies behind the middle is mostly marrow.
    inner_depth = jnp.maximum(flatness * half - 0.45 * wall, 0.0)
    # Spongy bone fills the ends, marrow the middle; a dense zone lies under the growth plate, a line where it was.
    filling = 0.06 + 0.34 * (1 - middle) + 0.30 * (1 - fused) * jnp.exp(-along / 12.0)
    filling = filling + 0.45 * line * jnp.exp(-0.5 * ((along - 6.0) / 6.0) ** 2)
    return jnp.stack(
        [centre, half**2 * rounded, depth, centre, inner_half**2 * jnp.maximum(inner_rounded, 0), inner_depth, filling],
        -1,
    )


def plate(
    n: int,
    half_width: Array,
    half_height: Array,
    *,
    squareness: Scalar,
    dome: Scalar,
    hollow: Scalar,
    cap: Scalar,
    wedge: Scalar,
    spike: Scalar,
    spike_at: Scalar,
    square: Scalar,
    flatness: Scalar,
    fused: Scalar,
    wall: Scalar = 5.0,
) -> Table:
    """Returns an epiphysis, across the bone (u = 0 to 1), with v away from the shaft.

    Args:
      n: rows of the table.
      half_width: across the bone.
      half_height: along it.
      squareness: 0 for a dot, 1 for a plate with square ends.
      dome: 0 for a flat joint side, 1 for the round head of a metacarpal.
      hollow: depth of the joint side's hollow, over the half height.
      cap: how far the rims reach down over the metaphysis, over the half height.
      wedge: how much higher the far side (u = 1) is than the near one: the radius.
      spike: height of the styloid process over the half height.
      spike_at: where it stands, from -1 to 1.
      square: how square the ends of a grown plate are; 0 is an ellipse.
      flatness: depth over half width.
      fused: 0 to 1, how much of the bright edge towards the shaft has gone.
      wall: thickness of the bright rim.
    """
    s = 2 * places(n) - 1
    size = jnp.abs(s)
    ends = jnp.sqrt(jnp.maximum(1 - size ** (2 + square * squareness), 0.0))
    round_ends = jnp.sqrt(jnp.maximum(1 - size**2.3, 0.0))

    def edges(inset: Scalar, below: Scalar) -> tuple[Array, Array]:
        high = half_height * ((1 - dome) * ends + dome * round_ends) * (1 + wedge * s) - inset
        high = high - hollow * half_height * (1 - s**2) * squareness
        high = high + spike * half_height * jnp.exp(-0.5 * ((s - spike_at) / 0.13) ** 2)
        low = (
            -half_height * jnp.maximum(ends, dome * (1 - size**14)) * (1 + 0.2 * wedge * s)
            - cap * half_height * size**5 * ends
            + below
        )
        return high, low

    high, low = edges(0.0, 0.0)
    thin = jnp.minimum(wall, 0.45 * half_height)
    inner_high, inner_low = edges(thin, thin * (1 - fused) - 3.0 * fused)
    within = jnp.abs(s) < 1 - thin / jnp.maximum(half_width, 1e-3)
    depth = flatness * half_width * jnp.sqrt(jnp.maximum(1 - 0.9 * s**2, 0.0))
    outer = _Surface(high + low, high - low, depth)
    inner = _Surface(inner_high + inner_low, jnp.where(within, inner_high - inner_low, 0.0), depth - thin)
    return _rows(outer, inner, filling=0.34)


class _Surface(NamedTuple):
    """A surface of a part at each place along it.

    Attributes:
      total: sum of the v of its two edges: twice its middle.
      width: difference of the v of its two edges; nothing where negative.
      depth: half thickness towards the viewer.
    """

    total: Array
    width: Array
    depth: Array


def _rows(outer: _Surface, inner: _Surface, *, filling: float) -> Table:
    """A table from a part's surfaces and the fraction of bone inside."""
    half, inner_half = jnp.maximum(outer.width, 0.0) / 2, jnp.maximum(inner.width, 0.0) / 2
    inner_depth = jnp.maximum(inner.depth, 0.0)
    filled = jnp.full_like(outer.depth, filling)
    columns = (outer.total / 2, half**2, outer.depth, inner.total / 2, inner_half**2, inner_depth, filled)
    return jnp.stack(columns, -1)


def outline(n: int, polygon: Float[Array, "k 2"], *, depth: Array, wall: Array) -> tuple[Table, Array, Array]:
    """Returns a part whose outline is a polygon: u along x, v along y.

    Args:
      n: rows of the table.
      polygon: corners in order; a vertical line crosses it twice (dents are filled).
      depth: half thickness at its thickest.
      wall: thickness of the bright rim.

    Returns:
      The table, the x of its first row and the extent of its rows in x.
    """
    first, extent = jnp.min(polygon[:, 0]), jnp.ptp(polygon[:, 0])
    high, low = _crossings(polygon, first + extent * places(n))
    middle = jnp.mean(polygon, axis=0)
    shrink = 1 - wall / jnp.maximum(jnp.ptp(polygon, axis=0) / 2, wall + 1e-3)
    inner_high, inner_low = _crossings((polygon - middle) * shrink + middle, first + extent * places(n))
    s = 2 * places(n) - 1
    thick = depth * jnp.sqrt(jnp.maximum(1 - 0.75 * s**2, 0.0))
    outer = _Surface(high + low, high - low, thick)
    inner = _Surface(inner_high + inner_low, inner_high - inner_low, thick - wall)
    return _rows(outer, inner, filling=0.30), first, extent


def _crossings(polygon: Array, x: Array) -> tuple[Array, Array]:
    """Highest and lowest y at which vertical lines cross a polygon; where they miss it, both are 0."""

    def cross(carry: tuple[Array, Array], edge: Array) -> tuple[tuple[Array, Array], None]:
        high, low = carry
        (ax, ay), (bx, by) = edge
        run = bx - ax
        t = (x - ax) / jnp.where(jnp.abs(run) < 1e-6, 1e-6, run)
        y = ay + t * (by - ay)
        meets = (t >= 0) & (t <= 1)
        return (jnp.where(meets, jnp.maximum(high, y), high), jnp.where(meets, jnp.minimum(low, y), low)), None

    # Edge by edge: one reduction over all edges at once takes compilers for processors ten times as long.
    edges = jnp.stack([polygon, jnp.roll(polygon, -1, axis=0)], 1)
    (high, low), _ = lax.scan(cross, (jnp.full_like(x, -1e6), jnp.full_like(x, 1e6)), edges)
    missed = high < low
    return jnp.where(missed, 0.0, high), jnp.where(missed, 0.0, low)


def radial(corners: np.ndarray, n: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Returns a polygon's centroid and its distance from there in n directions, for shapes that must grow."""
    moments = cv2.moments(corners.astype(np.float32))
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    angles = np.arange(n) * 2 * np.pi / n
    rays = np.stack([np.cos(angles), np.sin(angles)], -1)
    a = corners - centre
    edge = np.roll(a, -1, axis=0) - a
    cross = rays[:, None, 0] * edge[None, :, 1] - rays[:, None, 1] * edge[None, :, 0]
    reach = (a[None, :, 0] * edge[None, :, 1] - a[None, :, 1] * edge[None, :, 0]) / np.where(cross == 0, 1e-9, cross)
    along = (a[None, :, 0] * rays[:, None, 1] - a[None, :, 1] * rays[:, None, 0]) / np.where(cross == 0, 1e-9, cross)
    hit = (along >= -1e-6) & (along <= 1 + 1e-6) & (reach > 0)
    return centre.astype(np.float32), np.where(hit, reach, 0).max(1).astype(np.float32)


def grown_outline(
    reaches: Float[Array, " k"], size: Array, stretch: Array, sharpness: Array, turn: Array, wobble: Float[Array, " 4"]
) -> Float[Array, "k 2"]:
    """Returns the outline of a carpal about its centroid, on its way from a dot to its adult, facetted shape.

    Args:
      reaches: the adult outline's distance from its centroid in k even directions.
      size: over the adult's.
      stretch: 0 for a circle, 1 for an oval of the adult's proportions.
      sharpness: 0 for such an oval, 1 for the adult outline.
      turn: in radians.
      wobble: individual deviations: second and third harmonic, cosine and sine.
    """
    k = reaches.shape[0]
    angles = jnp.arange(k) * (2 * jnp.pi / k)
    waves = jnp.stack([jnp.ones(k), *(wave(n * angles) for n in (1, 2) for wave in (jnp.cos, jnp.sin))])
    smooth = (
        jnp.array([1.0, 2, 2, 2, 2]) / k * (waves @ reaches) * jnp.where(jnp.arange(5) == 0, 1.0, stretch)
    ) @ waves
    ripple = wobble[0] * jnp.cos(2 * angles) + wobble[1] * jnp.sin(2 * angles)
    ripple = ripple + wobble[2] * jnp.cos(3 * angles) + wobble[3] * jnp.sin(3 * angles)
    reach = size * ((1 - sharpness) * smooth + sharpness * reaches) * (1 + ripple)
    return reach[:, None] * jnp.stack([jnp.cos(angles + turn), jnp.sin(angles + turn)], -1)


def ellipse(half_width: float, half_height: float, k: int = 32) -> Float[np.ndarray, " k"]:
    """Returns an ellipse's distance from its middle in k directions, as `radial` does of other outlines."""
    angles = np.arange(k) * 2 * np.pi / k
    return (1 / np.hypot(np.cos(angles) / half_width, np.sin(angles) / half_height)).astype(np.float32)
