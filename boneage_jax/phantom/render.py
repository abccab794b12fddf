"""From the shapes of a hand to a radiograph and its truth, in compiled JAX: same key, same pixels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from boneage_jax.phantom import growth

CANVAS_TIP_TO_CAPITATE = 1500.0
"""Canvas pixels from the middle fingertip to the capitate."""


ToPixels = Callable[[Array], Array]
"""From points on the canvas to points in the picture, both x, y."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """How the hand lies in the picture and how the picture was taken; ranges are drawn from evenly.

    Attributes:
      height: of the picture, in pixels.
      width: of the picture, in pixels.
      rotation: largest rotation either way, in degrees.
      size: range of the distance from middle fingertip to capitate, as a fraction of the height.
      shift: largest shift either way, as a fraction of height and width.
      mirror: probability that the picture shows the mirrored (right) hand.
      noise: range of the standard deviation of the grain, in grey levels of [0, 1].
      supersample: samples along each side of a pixel.
    """

    height: int = 192
    width: int = 144
    rotation: float = 10.0
    size: tuple[float, float] = (0.56, 0.64)
    shift: float = 0.03
    mirror: float = 0.0
    noise: tuple[float, float] = (0.01, 0.03)
    supersample: int = 2


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["image", "mask", "key_points", "maturity"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Phantom:
    """A rendered radiograph and its truth.

    Attributes:
      image: grey levels in [0, 1], bone bright.
      mask: the hand, soft tissue included.
      key_points: x, y in pixels of `anatomy.KEY_POINTS`; pixel centres lie at whole numbers.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    image: Float[Array, "h w"]
    mask: Bool[Array, "h w"]
    key_points: Float[Array, "3 2"]
    maturity: Float[Array, " 29"]


@functools.partial(jax.jit, static_argnames=("camera", "individual"))
def render(
    key: Key[Array, ""],
    age: Float[Array, ""],
    male: Float[Array, ""],
    camera: Camera = Camera(),
    individual: growth.Individual = growth.Individual(),
) -> Phantom:
    """Grows and photographs one hand.

    Args:
      key: source of everything random.
      age: bone age in months, 0 to 240.
      male: 1 for a boy, 0 for a girl.
      camera: pose and exposure.
      individual: how much children differ.
    """
    key_grow, key_pose, key_expose = jax.random.split(key, 3)
    hand = growth.grow(key_grow, age, male, individual)
    to_pixels, scale = _pose(key_pose, camera)
    fine = dataclasses.replace(
        camera, height=camera.height * camera.supersample, width=camera.width * camera.supersample
    )
    s = camera.supersample
    bone = _bone_thickness(hand, lambda p: s * to_pixels(p) + (s - 1) / 2, s * scale, fine)
    bone = bone.reshape(camera.height, s, camera.width, s).mean((1, 3)) / s
    soft, inside = _soft_thickness(hand, to_pixels, camera)
    return Phantom(
        _expose(key_expose, bone / scale, soft / scale, inside, camera),
        inside > 0,
        to_pixels(hand.key_points),
        hand.maturity,
    )


def _pose(key: Array, camera: Camera) -> tuple[ToPixels, Array]:
    """Draws a similarity from canvas to pixels; returns it and its scale (pixels per canvas pixel)."""
    k = jax.random.split(key, 4)
    angle = jnp.deg2rad(camera.rotation) * jax.random.uniform(k[0], (), minval=-1)
    reach = jax.random.uniform(k[1], (), minval=camera.size[0], maxval=camera.size[1]) * camera.height
    scale = reach / CANVAS_TIP_TO_CAPITATE
    shift = camera.shift * jax.random.uniform(k[2], (2,), minval=-1) * jnp.array([camera.width, camera.height])
    mirrored = jax.random.bernoulli(k[3], camera.mirror)
    c, s = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.array([[c, s], [-s, c]]) * jnp.where(mirrored, jnp.array([-1.0, 1.0]), jnp.ones(2))
    # The middle of the hand proper goes to the middle of the picture, a little high, as the wrist takes room below.
    anchor = jnp.array([880.0, 1020.0])
    centre = jnp.array([camera.width / 2, camera.height * 0.49]) + shift

    def to_pixels(points: Array) -> Array:
        return (points - anchor) @ turn * scale + centre

    return to_pixels, scale


def _bone_thickness(hand: growth.Hand, to_pixels: ToPixels, scale: Array, camera: Camera) -> Float[Array, "h w"]:
    """Path length through bone along the ray of each pixel, in pixels: cortex counts whole, marrow a third."""
    picture = jnp.zeros((camera.height, camera.width))
    shafts = hand.shafts
    largest_scale = camera.size[1] * camera.height / CANVAS_TIP_TO_CAPITATE
    # Patches of a fixed size a group, just large enough for its longest bone in any direction.
    # Phalanges and metacarpals differ too much in length to share one.
    for start, stop, reach in _shaft_groups():
        rows = jnp.concatenate(
            [
                to_pixels(shafts[start:stop, 0:2]),
                to_pixels(shafts[start:stop, 2:4]),
                shafts[start:stop, 4:7] * scale,
                shafts[start:stop, 7:9],
            ],
            -1,
        )
        picture = _splat(picture, rows, (rows[:, 0:2] + rows[:, 2:4]) / 2, _patch(reach, largest_scale, camera), _shaft)
    directions = to_pixels(hand.epiphyses[:, 0:2] + hand.epiphyses[:, 2:4]) - to_pixels(hand.epiphyses[:, 0:2])
    ovals = jnp.concatenate(
        [
            to_pixels(hand.epiphyses[:, 0:2]),
            directions / scale,
            hand.epiphyses[:, 4:6] * scale,
            hand.epiphyses[:, 6:7],
        ],
        -1,
    )
    picture = _splat(picture, ovals, ovals[:, :2], _patch(340.0, largest_scale, camera), _oval)
    directions = to_pixels(hand.carpals[:, 0:2] + hand.carpals[:, 2:4]) - to_pixels(hand.carpals[:, 0:2])
    # A carpal's stored direction is that of its width; an oval's is that of its height.
    upright = jnp.stack([-directions[:, 1], directions[:, 0]], -1) / scale
    ovals = jnp.concatenate(
        [to_pixels(hand.carpals[:, 0:2]), upright, hand.carpals[:, 4:6] * scale, hand.carpals[:, 6:7]], -1
    )
    return _splat(picture, ovals, ovals[:, :2], _patch(240.0, largest_scale, camera), _oval)


def _shaft_groups() -> list[tuple[int, int, float]]:
    """Ranges of `anatomy.TUBULAR_BONES` drawn with one patch size, and the length it must hold in canvas pixels."""
    groups: list[tuple[int, int, float]] = []
    for n, bone in enumerate(growth.anatomy.TUBULAR_BONES):
        reach = {"metacarpal": 700.0, "forearm": 2400.0}.get(bone.kind, 520.0)
        if groups and groups[-1][2] == reach:
            groups[-1] = (groups[-1][0], n + 1, reach)
        else:
            groups.append((n, n + 1, reach))
    return groups


def _patch(reach: float, scale: float, camera: Camera) -> tuple[int, int]:
    side = int(reach * scale) + 4
    return min(side, camera.height), min(side, camera.width)


def _splat(
    picture: Array,
    rows: Array,
    centres: Array,
    patch: tuple[int, int],
    thickness: Callable[[Array, Array, Array], Array],
) -> Array:
    """Adds `thickness(row, x, y)` of each row to the picture, computed on a patch about its centre only."""
    height, width = picture.shape
    ys, xs = jnp.arange(patch[0], dtype=jnp.float32)[:, None], jnp.arange(patch[1], dtype=jnp.float32)[None, :]

    def add(picture, row_centre):
        row, centre = row_centre
        corner = jnp.round(centre[::-1] - jnp.array(patch) / 2).astype(jnp.int32)
        corner = jnp.clip(corner, 0, jnp.array([height - patch[0], width - patch[1]]))
        old = lax.dynamic_slice(picture, corner, patch)
        drawn = thickness(row, xs + corner[1], ys + corner[0])
        return lax.dynamic_update_slice(picture, old + drawn, corner), None

    return lax.scan(add, picture, (rows, centres))[0]


def _shell(outer: Array, lateral: Array, cortex: Array) -> Array:
    """Path through a tube of half width `outer`, filled by marrow inside a wall of thickness `cortex`."""
    inner = jnp.maximum(outer - cortex, 0.0)

    def chord(radius):
        return 2 * jnp.sqrt(jnp.maximum(radius**2 - lateral**2, 0.0))

    return chord(outer) - 0.67 * chord(inner)


def _shaft(row: Array, x: Array, y: Array) -> Array:
    """A tube with flared, rounded ends; a bright line at the metaphysis while it fuses."""
    start, end, (at_start, middle, at_end), line, density = row[0:2], row[2:4], row[4:7], row[7], row[8]
    length = jnp.linalg.norm(end - start)
    axis = (end - start) / length
    along = (x - start[0]) * axis[0] + (y - start[1]) * axis[1]
    lateral = jnp.abs((x - start[0]) * axis[1] - (y - start[1]) * axis[0])
    t = jnp.clip(along / length, 0.0, 1.0)
    half = middle + (at_start - middle) * (1 - jnp.clip(t / 0.42, 0, 1)) ** 1.6
    half = half + (at_end - middle) * jnp.clip((t - 0.62) / 0.38, 0, 1) ** 1.6
    # The metaphysis is cut nearly square, the other end is rounded.
    rounded = 1 - jnp.clip(1 - along / (0.15 * at_start), 0, 1) ** 3
    rounded = rounded * jnp.sqrt(jnp.maximum(1 - jnp.clip(1 - (length - along) / (0.7 * at_end), 0, 1) ** 2, 0.0))
    inside = (along >= 0) & (along <= length)
    outer = jnp.where(inside, half * rounded, 0.0)
    cortex = middle * (0.10 + 0.30 * jnp.sin(jnp.pi * t))
    ridge = line * jnp.exp(-0.5 * (along / (0.12 * at_start)) ** 2)
    return density * _shell(outer, lateral, cortex) * (1 + 0.8 * ridge)


def _oval(row: Array, x: Array, y: Array) -> Array:
    """A flattened ball with a bright rim: an epiphysis or a carpal. Nothing where its size is 0."""
    centre, axis, half_width, half_height, density = row[0:2], row[2:4], row[4], row[5], row[6]
    along = (x - centre[0]) * axis[0] + (y - centre[1]) * axis[1]
    across = (x - centre[0]) * axis[1] - (y - centre[1]) * axis[0]
    width, height = jnp.maximum(half_width, 1e-3), jnp.maximum(half_height, 1e-3)
    # Exponent 2.5: between an ellipse and a rectangle, as these bones are.
    radius = ((jnp.abs(across) / width) ** 2.5 + (jnp.abs(along) / height) ** 2.5) ** 0.4
    depth = jnp.minimum(width, 1.6 * height)
    return jnp.where(half_width > 0, density * depth * _shell(jnp.ones(()), radius, 0.18 * jnp.ones(())), 0.0)


def _soft_thickness(hand: growth.Hand, to_pixels: ToPixels, camera: Camera) -> tuple[Array, Array]:
    """Path through soft tissue in pixels, and the signed depth inside the hand's outline (positive inside)."""
    ys = jnp.arange(camera.height, dtype=jnp.float32)[:, None]
    xs = jnp.arange(camera.width, dtype=jnp.float32)[None, :]
    scale = jnp.linalg.norm(to_pixels(jnp.array([1.0, 0.0])) - to_pixels(jnp.zeros(2)))

    def add(carry, row):
        power, depth = carry
        a, b = to_pixels(row[0:2]), to_pixels(row[3:5])
        axis = b - a
        t = jnp.clip(((xs - a[0]) * axis[0] + (ys - a[1]) * axis[1]) / jnp.sum(axis**2), 0, 1)
        radius = scale * (row[2] + (row[5] - row[2]) * t)
        distance2 = (xs - a[0] - t * axis[0]) ** 2 + (ys - a[1] - t * axis[1]) ** 2
        chord = 2 * jnp.sqrt(jnp.maximum(radius**2 - distance2, 0.0))
        return (power + chord**4, jnp.maximum(depth, radius - jnp.sqrt(distance2))), None

    start = (jnp.zeros((camera.height, camera.width)), jnp.full((camera.height, camera.width), -1e6))
    (power, depth), _ = lax.scan(add, start, hand.soft)
    # The fourth root of the sum of fourth powers: a maximum without seams.
    return power**0.25, depth


def _expose(key: Array, bone: Array, soft: Array, inside: Array, camera: Camera) -> Float[Array, "h w"]:
    """From path lengths in canvas pixels to grey levels, with exposure and grain that know nothing of age."""
    k = jax.random.split(key, 8)

    def draw(n, low, high):
        return jax.random.uniform(k[n], (), minval=low, maxval=high)

    attenuation = draw(0, 0.8, 1.2) * soft / 400.0 + draw(1, 0.8, 1.25) * bone / 90.0
    grey = 1 - jnp.exp(-draw(2, 0.6, 1.1) * attenuation)
    # Exposure is set on the picture, as the machine does: so mean brightness follows the draw, not the bone.
    tissue = (inside > 0).astype(jnp.float32)
    mean = jnp.sum(grey * tissue) / jnp.sum(tissue)
    spread = jnp.sqrt(jnp.sum(tissue * (grey - mean) ** 2) / jnp.sum(tissue))
    grey = draw(3, 0.38, 0.52) + draw(4, 0.13, 0.2) * (grey - mean) / spread
    background = draw(5, 0.02, 0.18)
    grey = jnp.where(inside > 0, jnp.maximum(grey, background), background)
    tilt = 0.06 * jax.random.uniform(k[6], (2,), minval=-1)
    y = jnp.linspace(-1, 1, camera.height)[:, None]
    x = jnp.linspace(-1, 1, camera.width)[None, :]
    grey = grey + tilt[0] * y + tilt[1] * x
    grain = jax.random.uniform(k[7], (), minval=camera.noise[0], maxval=camera.noise[1])
    return jnp.clip(grey + grain * jax.random.normal(jax.random.fold_in(k[7], 1), grey.shape), 0.0, 1.0)
