"""From the shapes of a hand to a radiograph and its truth, in compiled JAX: same key, same pixels.

A bone is drawn part by part: each pixel of a small patch about the part looks up the part's table (see `shapes`) at its
own place and adds the way of its ray through the bone. So the work follows the bones' area, not the picture's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from boneage_jax import anatomy
from boneage_jax.errors import UserError
from boneage_jax.phantom import exposure as exposures
from boneage_jax.phantom import growth, shapes, texture
from boneage_jax.phantom.maturity import Variation
from boneage_jax.phantom.random_draws import RandomDraws
from boneage_jax.phantom.skeleton import FOREARM_LENGTH

MIN_SIDE = 64
"""Smallest height and width of a picture, in pixels."""

CANVAS_TIP_TO_CAPITATE = anatomy.CANVAS_CAPITATE[1] - anatomy.CANVAS_FINGERTIP[1]
"""Canvas pixels from the middle fingertip to the capitate."""

_ANCHOR = (860.0, 1010.0)
"""Middle of the hand proper on the canvas; it goes near the middle of the picture."""

_SOFT_TISSUE_STEP = 4
"""Soft tissue is smooth: it is worked out at every fourth pixel and its square interpolated."""

_MELT = 9.0
"""Canvas pixels over which capsules of soft tissue melt into one another."""

_THICKEST = 130.0
"""Half thickness of palm and forearm, in canvas pixels."""

_PIECE = 240.0
"""Long shafts are drawn in pieces of at most this many canvas pixels, so that patches of any direction stay small."""

ToPixels = Callable[[Array], Array]
"""From points on the canvas to points in the picture, both x, y."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """How the hand lies in the picture; ranges are drawn from evenly.

    Attributes:
      height: of the picture, in pixels; at least 64.
      width: of the picture, in pixels; at least 64.
      rotation: largest rotation either way, in degrees.
      size: range of the distance from middle fingertip to capitate, as a fraction of the height.
      shift: largest shift either way, as a fraction of height and width.
      mirror: probability that the picture shows the mirrored (right) hand.
      lying: probability that the hand is turned by a quarter either way besides.
      registered: lay the hand on the registered canvas instead, which is fitted into the middle of the picture; all of
        the above but the size is then unused.

    Raises:
      UserError: for pictures that are too small.
    """

    height: int = 192
    width: int = 144
    rotation: float = 10.0
    size: tuple[float, float] = (0.56, 0.64)
    shift: float = 0.03
    mirror: float = 0.0
    lying: float = 0.0
    registered: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width) < MIN_SIDE:
            raise UserError(
                f"picture of {self.height} x {self.width}: expected a height and a width of at least {MIN_SIDE} pixels"
            )

    @property
    def largest_scale(self) -> float:
        """Most pixels that a canvas pixel can be wide."""
        if self.registered:
            return min(self.height / anatomy.CANVAS[0], self.width / anatomy.CANVAS[1])
        return self.size[1] * self.height / CANVAS_TIP_TO_CAPITATE


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["image", "mask", "instances", "key_points", "joints", "areas", "regions", "maturity"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Phantom:
    """A rendered radiograph and its truth. Points are x, y in pixels; pixel centres lie at whole numbers.

    Attributes:
      image: grey levels in [0, 1], bone bright unless inverted.
      mask: the hand, soft tissue included, as far as it was exposed.
      instances: n where `anatomy.INSTANCES[n - 1]` is the thickest bone, 0 where there is none.
      key_points: of `anatomy.KEY_POINTS`.
      joints: of `anatomy.JOINTS`.
      areas: boxes x0, y0, x1, y1 of `anatomy.OSSIFICATION_AREAS`, as a reader would draw them.
      regions: the corners of `anatomy.CANVAS_REGIONS`, from the top left clockwise as they lie on the canvas.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    image: Float[Array, "h w"]
    mask: Bool[Array, "h w"]
    instances: Int[Array, "h w"]
    key_points: Float[Array, "3 2"]
    joints: Float[Array, "26 2"]
    areas: Float[Array, "17 4"]
    regions: Float[Array, "3 4 2"]
    maturity: Float[Array, " 30"]


def render(
    key: Key[Array, ""],
    age: Float[Array, ""],
    male: Float[Array, ""],
    camera: Camera = Camera(),
    variation: Variation = Variation(),
    exposure: exposures.Exposure = exposures.CLEAN,
    ages: Float[Array, " 30"] | None = None,
) -> Phantom:
    """Grows and photographs one hand. Fit for `jax.jit` and `jax.vmap`; its parts are compiled in any case.

    Args:
      key: source of everything random.
      age: bone age in months, 0 to 240.
      male: 1 for a boy, 0 for a girl.
      camera: how the hand lies.
      variation: how much children differ.
      exposure: how the picture is taken.
      ages: bone ages set for single bones, NaN where they are not (`counterfactual` makes them): the same child in the
        same picture, but for these bones.
    """
    key_scene, key_expose = jax.random.split(key)
    scene, truth = lay(key_scene, age, male, camera, variation, ages)
    image, mask = exposures.expose(key_expose, scene, exposure)
    return Phantom(image=image, mask=mask, **truth)


def lay(
    key: Key[Array, ""],
    age: Float[Array, ""],
    male: Float[Array, ""],
    camera: Camera,
    variation: Variation,
    ages: Float[Array, " 30"] | None = None,
) -> tuple[exposures.Scene, dict[str, Array]]:
    """Grows a hand and lays it before the camera, as `render` does.

    Returns:
      What the rays meet, and the fields of `Phantom` that do not depend on the exposure.
    """
    key_grow, key_pose = jax.random.split(key)
    samples = int(2 ** np.clip(math.ceil(math.log2(600.0 * camera.largest_scale)), 5, 9))
    # Growing takes most of the time that compiling takes, and is the same for most sizes of picture.
    hand = growth.grow(key_grow, age, male, variation, ages, samples)
    return _lay(key_pose, hand, camera)


@functools.partial(jax.jit, static_argnames="camera")
def _lay(key: Key[Array, ""], hand: growth.Hand, camera: Camera) -> tuple[exposures.Scene, dict[str, Array]]:
    """Lays a hand before the camera."""
    to_pixels, scale, right = _pose(key, camera)
    bone, instances = _bones(hand, to_pixels, scale, camera)
    soft_tissue = _soft_tissue(hand, to_pixels, scale, camera)
    corners = _corners(hand, to_pixels, camera)
    scene = exposures.Scene(bone, jnp.sqrt(jnp.maximum(soft_tissue, 0.0)), soft_tissue > 0, corners, right)
    truth = {
        "instances": instances,
        "key_points": to_pixels(hand.key_points),
        "joints": to_pixels(hand.joints),
        "areas": _boxes(hand.areas, to_pixels),
        "regions": to_pixels(jnp.asarray(_REGION_CORNERS)),
        "maturity": hand.maturity,
    }
    return scene, truth


_REGION_CORNERS = np.array(
    [
        [(region.columns[i], region.rows[j]) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
        for region in anatomy.CANVAS_REGIONS
    ],
    np.float32,
)


def counterfactual(bones: str, months: float) -> Float[np.ndarray, " 30"]:
    """Returns `ages` for `render` that set some bones to another age.

    Args:
      bones: which, as `anatomy.select` takes them: `capitate`, `carpals`, `distal phalanx, ulna`.
      months: their new bone age, 0 to 240.

    Raises:
      UserError: for unknown bones and ages outside 0 to 240 months.
    """
    return np.where(anatomy.select(bones), anatomy.check_age(months), np.nan).astype(np.float32)


def _pose(key: Array, camera: Camera) -> tuple[ToPixels, Array, Array]:
    """Draws a similarity from canvas to pixels.

    Returns it, its scale (pixels per canvas pixel) and whether it mirrors.
    """
    if camera.registered:
        scale = jnp.float32(camera.largest_scale)
        margin = (jnp.array([camera.width, camera.height]) - scale * jnp.array(anatomy.CANVAS[::-1])) / 2
        # Pixel centres lie at whole numbers on both sides.
        return lambda points: (points + 0.5) * scale + margin - 0.5, scale, jnp.zeros((), bool)
    draws = RandomDraws(key, 7)
    angle = jnp.deg2rad(camera.rotation) * draws.uniform(-1.0)
    quarter = jnp.where(draws.chance(0.5), 1.0, -1.0) * draws.chance(camera.lying)
    angle = angle + quarter * jnp.pi / 2
    reach = draws.uniform(*camera.size) * camera.height
    reach = jnp.where(quarter == 0, reach, reach * min(1.0, camera.width / camera.height))
    scale = reach / CANVAS_TIP_TO_CAPITATE
    shift = camera.shift * draws.uniform(-1.0, 1.0, (2,)) * jnp.array([camera.width, camera.height])
    right = draws.chance(camera.mirror)
    c, s = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.where(right, jnp.array([-1.0, 1.0]), jnp.ones(2))[:, None] * jnp.array([[c, s], [-s, c]])
    centre = jnp.array([camera.width / 2, camera.height * 0.5]) + shift

    def to_pixels(points: Array) -> Array:
        return (points - jnp.array(_ANCHOR)) @ turn * scale + centre

    return to_pixels, scale, right


def _corners(hand: growth.Hand, to_pixels: ToPixels, camera: Camera) -> Float[Array, " 4"]:
    """Bounding box in pixels of the soft tissue from the fingertips to a little below the wrist."""
    forearm = hand.joints[-2:] + jnp.array([0.0, 390.0])
    points = to_pixels(jnp.concatenate([hand.joints, forearm - jnp.array([150.0, 0]), forearm + jnp.array([150.0, 0])]))
    margin = 60.0 * camera.height / anatomy.CANVAS[0]
    return jnp.concatenate([points.min(0) - margin, points.max(0) + margin])


def _boxes(areas: Array, to_pixels: ToPixels) -> Float[Array, "17 4"]:
    """Boxes along the picture's axes; what they hold counts as an ellipse, as a joint is rounder than its box."""
    middle = to_pixels(areas[:, :2])
    axes = [to_pixels(areas[:, :2] + areas[:, 2:] / 2 * jnp.array(axis)) - middle for axis in ((1, 0), (0, 1))]
    half = jnp.hypot(*axes)
    return jnp.concatenate([middle - half, middle + half], -1)


def _bones(hand: growth.Hand, to_pixels: ToPixels, scale: Array, camera: Camera) -> tuple[Array, Array]:
    """Way through bone along each pixel's ray, in canvas pixels, and which part is the thickest there."""
    shape = (camera.height, camera.width)
    state = (jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape, jnp.uint8))
    parts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), hand.shafts, hand.rounds, hand.epiphyses)
    for rows, starts, shares, reach in _GROUPS:
        chosen = jax.tree.map(lambda leaf, rows=rows: leaf[rows], parts)
        state = _draw(state, chosen, rows + 1, starts, shares, to_pixels, scale, reach, camera)
    return state[0], state[2]


def _groups() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """What is drawn with patches of one size: numbers of parts, where a piece starts and its share of them, its reach.

    Parts are numbered as in `anatomy.INSTANCES`, from 0. Three sizes: fewer would waste pixels, more cost compilation.
    """
    Piece = tuple[int, float, float, float]
    digit_shafts: list[Piece] = []
    forearm: list[Piece] = []
    small: list[Piece] = []
    for n, name in enumerate(anatomy.INSTANCES):
        bone = anatomy.TUBULAR_BONES[n] if n < len(anatomy.TUBULAR_BONES) else None
        if bone:
            longest = growth.MAX_LENGTHS.get(bone.kind, FOREARM_LENGTH)
            count = math.ceil(longest / _PIECE)
            pieces = [(n, piece / count, 1 / count, longest / count) for piece in range(count)]
            (forearm if bone.kind == "forearm" else digit_shafts).extend(pieces)
        else:
            (forearm if name.endswith((" radius", " ulna")) else small).append((n, 0.0, 1.0, 0.0))
    groups = []
    for pieces, width in ((digit_shafts, 190.0), (small, 270.0), (forearm, 320.0)):
        rows, starts, shares, lengths = (np.array(column) for column in zip(*pieces, strict=True))
        groups.append((rows, starts.astype(np.float32), shares.astype(np.float32), float(lengths.max()) + width))
    return groups


_GROUPS = _groups()


def _draw(
    state: tuple[Array, Array, Array],
    parts: growth.Parts,
    names: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    to_pixels: ToPixels,
    scale: Array,
    reach: float,
    camera: Camera,
) -> tuple[Array, Array, Array]:
    """Adds the piece from `starts` to `starts + shares` of each part's extent to the picture."""
    side = int(reach * camera.largest_scale) + 4
    patch = (min(side, camera.height), min(side, camera.width))
    rows = jnp.arange(patch[0], dtype=jnp.float32)[:, None]
    columns = jnp.arange(patch[1], dtype=jnp.float32)[None, :]
    origins = to_pixels(parts.origin)
    # Frames in the picture: unit vectors over the scale, so that places come out in canvas pixels.
    along = (to_pixels(parts.origin + parts.axis) - origins) / scale**2
    upright = jnp.stack([-parts.axis[:, 1], parts.axis[:, 0]], -1)
    aside = (to_pixels(parts.origin + upright) - origins) / scale**2
    middles = to_pixels(parts.origin + parts.axis * (parts.extent * (starts + shares / 2))[:, None])
    samples = parts.table.shape[1]
    texel = max(texture.FINEST, 1 / camera.largest_scale)
    mesh = jnp.asarray(texture.trabeculae(texel)).reshape(-1)
    offsets = jnp.array(names) * 37 % texture.SIDE

    def add(state, row):
        origin, along, aside, extent, flatness, density, table, name, start, share, middle, offset = row
        picture, thickest, instances = state
        corner = jnp.round(middle[::-1] - jnp.array(patch) / 2).astype(jnp.int32)
        corner = jnp.clip(corner, 0, jnp.array([camera.height - patch[0], camera.width - patch[1]]))
        y, x = rows + corner[0] - origin[1], columns + corner[1] - origin[0]
        u, v = x * along[0] + y * along[1], x * aside[0] + y * aside[1]
        place = u / jnp.maximum(extent, 1e-3)
        index = jnp.clip(jnp.round(place * (samples - 1)), 0, samples - 1).astype(jnp.int32)
        centre, half2, depth, inner_centre, inner_half2, inner_depth, filling = (
            table[:, n][index] for n in range(len(shapes.COLUMNS))
        )
        # A piece ends where the next begins; only the part's own ends are soft.
        mine = (place >= start) & (place < start + share)
        mine = mine | ((start == 0) & (place < 0)) | ((start + share > 0.999) & (place >= 1))
        ends = jnp.clip(u * scale + 0.5, 0, 1) * jnp.clip((extent - u) * scale + 0.5, 0, 1)
        outer = _chord(v - centre, half2, depth, flatness, scale)
        inner = _chord(v - inner_centre, inner_half2, inner_depth, flatness, scale)
        line = jnp.floor(u / texel).astype(jnp.int32) + 3 * offset
        column = jnp.floor(v / texel).astype(jnp.int32) + offset
        grain = mesh[(line % texture.SIDE) * texture.SIDE + column % texture.SIDE]
        solid = outer - jnp.minimum(inner, outer) * (1 - jnp.clip(filling * (1 + 0.22 * grain), 0.0, 1.0))
        way = jnp.where(mine, density * ends * solid, 0.0)
        here = mine & ((v - centre) ** 2 < half2) & (u >= 0) & (u <= extent) & (extent > 1e-2)
        old = lax.dynamic_slice(picture, corner, patch)
        old_thickest = lax.dynamic_slice(thickest, corner, patch)
        old_instances = lax.dynamic_slice(instances, corner, patch)
        wins = here & (outer >= old_thickest)
        return (
            lax.dynamic_update_slice(picture, old + way, corner),
            lax.dynamic_update_slice(thickest, jnp.where(wins, outer, old_thickest), corner),
            lax.dynamic_update_slice(instances, jnp.where(wins, name, old_instances), corner),
        ), None

    per_part = (
        *(origins, along, aside, parts.extent, parts.flatness, parts.density, parts.table),
        *(jnp.array(names, jnp.uint8), jnp.array(starts), jnp.array(shares), middles, offsets),
    )
    return lax.scan(add, state, per_part)[0]


def _chord(v: Array, half2: Array, depth: Array, flatness: Array, scale: Array) -> Array:
    """Way through a cross section at a distance `v` from its middle, in canvas pixels.

    A half narrower than a pixel is drawn wider and fainter instead, so that thin plates do not break up.
    """
    blurred2 = half2 + (0.4 / scale) ** 2
    q = v**2 / blurred2
    fainter = jnp.sqrt(half2 / blurred2)
    return 2 * depth * fainter * jnp.sqrt(jnp.maximum(1 - q * (1 - flatness + flatness * q), 0.0))


def _soft_tissue(hand: growth.Hand, to_pixels: ToPixels, scale: Array, camera: Camera) -> Float[Array, "h w"]:
    """Square of the way through soft tissue, in canvas pixels; negative outside the hand."""
    step = _SOFT_TISSUE_STEP if camera.height >= 256 else 2
    rows, columns = -(-camera.height // step), -(-camera.width // step)
    y = (jnp.arange(rows, dtype=jnp.float32) * step + (step - 1) / 2)[:, None]
    x = (jnp.arange(columns, dtype=jnp.float32) * step + (step - 1) / 2)[None, :]

    def depth(row: Array) -> tuple[Array, Array]:
        """How far inside a capsule a pixel lies, and the capsule's radius there, in canvas pixels."""
        a, b = to_pixels(row[0:2]), to_pixels(row[3:5])
        axis = b - a
        t = jnp.clip(((x - a[0]) * axis[0] + (y - a[1]) * axis[1]) / jnp.sum(axis**2), 0, 1)
        radius = row[2] + (row[5] - row[2]) * t
        return radius - jnp.hypot(x - a[0] - t * axis[0], y - a[1] - t * axis[1]) / scale, radius

    def add(carry, row):
        total, radii = carry
        inside, radius = depth(row)
        weight = jnp.exp(jnp.clip(inside / _MELT, -40.0, 40.0))
        return (total + weight, radii + weight * radius), None

    zeros = jnp.zeros((rows, columns))
    (total, radii), _ = lax.scan(add, (zeros + 1e-18, zeros + 1e-16), hand.soft_tissue)
    # Of one capsule this is its chord, squared; palm and forearm are wider than they are thick.
    inside, radius = _MELT * jnp.log(total), jnp.minimum(radii / total, _THICKEST)
    inside = jnp.minimum(inside, radius)
    squared = 4 * inside * (2 * radius - inside) * 0.6
    for fold in hand.folds:
        over, _ = depth(fold)
        thicker = (jnp.sqrt(jnp.maximum(squared, 0.0)) + 45.0 * jnp.clip(over / 25.0, 0.0, 1.0)) ** 2
        squared = jnp.where(squared > 0, thicker, squared)
    return exposures.enlarged(squared, step, (camera.height, camera.width))
