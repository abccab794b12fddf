"""Thickness of bone along each pixel's ray, drawn part by part.

Each pixel of a small patch about a part looks up the part's table (see `shapes`) at its own place and adds the length
of its ray inside the bone. So the work grows with the bones' area, not with the image's.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from boneage_jax import anatomy
from boneage_jax.phantoms import shapes, texture
from boneage_jax.phantoms.bone_templates import FOREARM_LENGTH, MAX_LENGTHS
from boneage_jax.phantoms.camera import Camera, Pose
from boneage_jax.phantoms.growth import Hand
from boneage_jax.phantoms.parts import Parts

LONGEST_PIECE = 240.0
"""Shafts are drawn in pieces of at most this many canvas pixels, so that patches of any direction stay small."""

PATCH_WIDTHS = {"digit shafts": 190.0, "others": 270.0, "forearm": 320.0}
"""Canvas pixels that a patch is larger than the longest piece of its group, so that it holds the piece's width too."""

TRABECULAR_CONTRAST = 0.22
"""By how much the trabecular texture changes the filling of bone; chosen by eye, see docs/explanation/lab-notes.md."""


@dataclasses.dataclass(frozen=True)
class PieceGroup:
    """Pieces of parts that are drawn with patches of one size; arrays have one entry for each piece.

    Attributes:
      parts: numbers of the parts, from 0, in the order of `anatomy.INSTANCES`.
      starts: where each piece begins, as a fraction of its part's extent.
      shares: its length, likewise.
      reach: side of the patch, in canvas pixels.
    """

    parts: Int[np.ndarray, " pieces"]
    starts: Float[np.ndarray, " pieces"]
    shares: Float[np.ndarray, " pieces"]
    reach: float


def _piece_groups() -> list[PieceGroup]:
    """All parts, cut into pieces. Three sizes of patch: fewer would waste pixels, more would take longer to compile."""
    Piece = tuple[int, float, float, float]
    pieces: dict[str, list[Piece]] = {name: [] for name in PATCH_WIDTHS}
    for n, name in enumerate(anatomy.INSTANCES):
        bone = anatomy.TUBULAR_BONES[n] if n < len(anatomy.TUBULAR_BONES) else None
        if bone:
            longest = MAX_LENGTHS.get(bone.kind, FOREARM_LENGTH)
            count = math.ceil(longest / LONGEST_PIECE)
            cut = [(n, piece / count, 1 / count, longest / count) for piece in range(count)]
            pieces["forearm" if bone.kind == "forearm" else "digit shafts"] += cut
        else:
            pieces["forearm" if name.endswith((" radius", " ulna")) else "others"].append((n, 0.0, 1.0, 0.0))
    groups = []
    for group, width in PATCH_WIDTHS.items():
        parts, starts, shares, lengths = (np.array(column) for column in zip(*pieces[group], strict=True))
        reach = float(lengths.max()) + width
        groups.append(PieceGroup(parts, starts.astype(np.float32), shares.astype(np.float32), reach))
    return groups


PIECE_GROUPS = _piece_groups()


class _Drawn(NamedTuple):
    """What has been drawn so far.

    Attributes:
      thickness: of bone along each ray, in canvas pixels.
      thickest: that of the thickest part.
      instances: number of that part in `anatomy.INSTANCES`, from 1; 0 for no bone.
    """

    thickness: Float[Array, "h w"]
    thickest: Float[Array, "h w"]
    instances: UInt8[Array, "h w"]


class _Piece(NamedTuple):
    """A piece that is to be drawn, placed in the image; `along` and `aside` give canvas pixels per pixel."""

    origin: Array
    along: Array
    aside: Array
    extent: Array
    flatness: Array
    density: Array
    table: Array
    name: Array
    start: Array
    share: Array
    middle: Array
    texture_offset: Array


def draw_bones(hand: Hand, pose: Pose, camera: Camera) -> tuple[Float[Array, "h w"], UInt8[Array, "h w"]]:
    """Returns the thickness of bone along each ray, in canvas pixels, and the instance that is thickest there.

    Args:
      hand: on the canvas.
      pose: how it lies in the image.
      camera: gives the size of the image.
    """
    shape = (camera.height, camera.width)
    drawn = _Drawn(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape, jnp.uint8))
    parts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), hand.shafts, hand.round_bones, hand.epiphyses)
    for group in PIECE_GROUPS:
        chosen = jax.tree.map(lambda leaf, group=group: leaf[group.parts], parts)
        drawn = _draw_group(drawn, chosen, group, pose, camera)
    return drawn.thickness, drawn.instances


def _draw_group(drawn: _Drawn, parts: Parts, group: PieceGroup, pose: Pose, camera: Camera) -> _Drawn:
    """Draws the pieces of a group; `parts` has one row for each of them."""
    side = int(group.reach * camera.largest_scale) + 4
    patch = (min(side, camera.height), min(side, camera.width))
    rows = jnp.arange(patch[0], dtype=jnp.float32)[:, None]
    columns = jnp.arange(patch[1], dtype=jnp.float32)[None, :]
    texel = max(texture.FINEST, 1 / camera.largest_scale)
    mesh = jnp.asarray(texture.trabeculae(texel)).reshape(-1)
    scale = pose.scale

    def draw_one(drawn: _Drawn, piece: _Piece) -> tuple[_Drawn, None]:
        corner = jnp.round(piece.middle[::-1] - jnp.array(patch) / 2).astype(jnp.int32)
        corner = jnp.clip(corner, 0, jnp.array([camera.height - patch[0], camera.width - patch[1]]))
        y, x = rows + corner[0] - piece.origin[1], columns + corner[1] - piece.origin[0]
        u, v = x * piece.along[0] + y * piece.along[1], x * piece.aside[0] + y * piece.aside[1]
        place = u / jnp.maximum(piece.extent, 1e-3)
        samples = piece.table.shape[0]
        index = jnp.clip(jnp.round(place * (samples - 1)), 0, samples - 1).astype(jnp.int32)
        centre, half2, depth, inner_centre, inner_half2, inner_depth, filling = (
            piece.table[:, n][index] for n in range(len(shapes.COLUMNS))
        )
        # A piece ends where the next begins; only the part's own ends are soft.
        start, end = piece.start, piece.start + piece.share
        mine = (place >= start) & (place < end)
        mine = mine | ((start == 0) & (place < 0)) | ((end > 0.999) & (place >= 1))
        ends = jnp.clip(u * scale + 0.5, 0, 1) * jnp.clip((piece.extent - u) * scale + 0.5, 0, 1)
        outer = _chord(v - centre, half2, depth, piece.flatness, scale)
        inner = _chord(v - inner_centre, inner_half2, inner_depth, piece.flatness, scale)
        line = jnp.floor(u / texel).astype(jnp.int32) + 3 * piece.texture_offset
        column = jnp.floor(v / texel).astype(jnp.int32) + piece.texture_offset
        trabeculae = mesh[(line % texture.SIDE) * texture.SIDE + column % texture.SIDE]
        filled = jnp.clip(filling * (1 + TRABECULAR_CONTRAST * trabeculae), 0.0, 1.0)
        solid = outer - jnp.minimum(inner, outer) * (1 - filled)
        thickness = jnp.where(mine, piece.density * ends * solid, 0.0)
        here = mine & ((v - centre) ** 2 < half2) & (u >= 0) & (u <= piece.extent) & (piece.extent > 1e-2)
        before = _Drawn(*(lax.dynamic_slice(plane, corner, patch) for plane in drawn))
        wins = here & (outer >= before.thickest)
        after = _Drawn(
            before.thickness + thickness,
            jnp.where(wins, outer, before.thickest),
            jnp.where(wins, piece.name, before.instances),
        )
        return _Drawn(
            *(lax.dynamic_update_slice(plane, new, corner) for plane, new in zip(drawn, after, strict=True))
        ), None

    return lax.scan(draw_one, drawn, _placed(parts, group, pose))[0]


def _placed(parts: Parts, group: PieceGroup, pose: Pose) -> _Piece:
    """The pieces of a group in the image, one row for each."""
    origins = pose.to_pixels(parts.origin)
    # Unit vectors of each part's own coordinates, over the scale, so that places come out in canvas pixels.
    along = (pose.to_pixels(parts.origin + parts.axis) - origins) / pose.scale**2
    upright = jnp.stack([-parts.axis[:, 1], parts.axis[:, 0]], -1)
    aside = (pose.to_pixels(parts.origin + upright) - origins) / pose.scale**2
    along_part = parts.extent * (group.starts + group.shares / 2)
    names = group.parts + 1
    return _Piece(
        origin=origins,
        along=along,
        aside=aside,
        extent=parts.extent,
        flatness=parts.flatness,
        density=parts.density,
        table=parts.table,
        name=jnp.array(names, jnp.uint8),
        start=jnp.array(group.starts),
        share=jnp.array(group.shares),
        middle=pose.to_pixels(parts.origin + parts.axis * along_part[:, None]),
        # Any step that is prime to the texture's side gives each bone a place of its own in it.
        texture_offset=jnp.array(names) * 37 % texture.SIDE,
    )


def _chord(v: Array, half2: Array, depth: Array, flatness: Array, scale: Array) -> Array:
    """Thickness of a cross section at a distance `v` from its middle, in canvas pixels.

    A half width below a pixel is drawn wider and fainter instead, so that thin plates do not break up.
    """
    blurred2 = half2 + (0.4 / scale) ** 2
    q = v**2 / blurred2
    fainter = jnp.sqrt(half2 / blurred2)
    return 2 * depth * fainter * jnp.sqrt(jnp.maximum(1 - q * (1 - flatness + flatness * q), 0.0))
