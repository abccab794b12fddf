"""From bone age, sex and an individual to the shapes of all bones and of the soft tissue.

Lengths are in canvas pixels: of the registered canvas of 2080 x 1600 on which the middle fingertip lies at (800, 100)
and the capitate at (800, 1600). The template below was read off real registered hands of that canvas (a girl of 129
months) and holds for all ages: real radiographs fill their frame at any age, so size tells nothing, and growth shows
in the epiphyses, the growth plates and the carpals alone.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from boneage_jax import anatomy

_DIGIT_JOINTS: dict[int, tuple[tuple[float, float], ...]] = {
    1: ((1056, 1531), (1292, 1209), (1445, 1010), (1567, 872), (1592, 833)),
    2: ((927, 1485), (1015, 930), (1095, 575), (1142, 386), (1166, 245), (1169, 195)),
    3: ((815, 1475), (812, 925), (808, 506), (804, 270), (801, 130), (800, 90)),
    4: ((722, 1475), (660, 985), (590, 610), (548, 390), (528, 245), (521, 200)),
    5: ((637, 1500), (505, 1085), (385, 800), (310, 640), (268, 505), (258, 465)),
}
"""x, y of each digit's joints from the base of the metacarpal outwards, then of the tip of bone and of skin."""

_DIGIT_WIDTHS: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((80, 118, 112), (66, 110, 88), (42, 96, 56)),
    2: ((64, 106, 108), (70, 120, 94), (56, 98, 76), (32, 76, 46)),
    3: ((62, 106, 98), (72, 126, 98), (60, 106, 84), (34, 84, 50)),
    4: ((52, 92, 84), (66, 114, 90), (56, 98, 78), (32, 76, 46)),
    5: ((56, 90, 92), (58, 102, 78), (48, 82, 62), (28, 64, 38)),
}
"""Full width of each bone at mid-shaft, at the metaphysis and at the other end, proximal bone first."""

_FOREARM: tuple[tuple[tuple[float, float], tuple[float, float], tuple[float, float, float]], ...] = (
    ((828, 1768), (850, 2900), (150, 262, 150)),
    ((606, 1782), (620, 2900), (92, 120, 96)),
)
"""Radius and ulna: distal joint surface, far end, widths as above."""

_CARPALS: dict[str, tuple[float, float, float, float, float]] = {
    "capitate": (803, 1598, 52, 84, 0.0),
    "hamate": (694, 1567, 58, 70, 0.5),
    "triquetrum": (634, 1658, 42, 56, -0.3),
    "lunate": (742, 1728, 62, 42, 0.1),
    "scaphoid": (888, 1680, 44, 70, 0.6),
    "trapezium": (988, 1563, 50, 46, 0.5),
    "trapezoid": (905, 1530, 40, 42, 0.0),
    "pisiform": (612, 1690, 30, 36, 0.0),
}
"""x, y of the centre, half width, half height and turn in radians of each adult carpal."""

_EPIPHYSIS_HALF_HEIGHT = {"metacarpal": 0.30, "forearm": 0.16}
"""Half height of a full-grown epiphysis over the metaphysis' width; 0.17 for phalanges."""

# Progress of an epiphysis, 0 at appearance and 1 at fusion, and its width over the metaphysis': half at 4.5/3 years,
# equal at about 9/7, capping at 13.5/11 (boys/girls), which for phalanges are these fractions of progress.
_PROGRESS = (0.0, 0.2, 0.51, 0.83, 1.0)
_WIDTH_RATIO = (0.10, 0.50, 1.00, 1.10, 1.12)
_HEIGHT_RATIO = (0.25, 0.60, 0.85, 1.00, 1.05)
_PLATE = (0.20, 0.17, 0.13, 0.07, 0.0)
_LINE_FADES_MONTHS = 18.0


@dataclasses.dataclass(frozen=True)
class Individual:
    """How one child differs from the template; all draws are independent of age.

    Attributes:
      maturity_sd: standard deviation of one bone's maturity about the child's bone age, in months.
    """

    maturity_sd: float = 4.0


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["shafts", "epiphyses", "carpals", "soft", "key_points", "maturity"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Hand:
    """One hand on the canvas, lengths in canvas pixels.

    Attributes:
      shafts: per tubular bone, x, y of the metaphysis; x, y of the other end; half widths at the metaphysis, at
        mid-shaft and at the other end; brightness of the fusion line; density.
      epiphyses: per tubular bone, x, y of the centre; x, y of the unit vector along the bone; half width; half height
        (0 where it has not appeared); density.
      carpals: per carpal, x, y, unit vector, half width, half height (0 where not appeared), density.
      soft: capsules of soft tissue: x, y, radius of one end and of the other.
      key_points: middle fingertip, thumb tip, centre of the capitate, in x, y.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    shafts: Float[Array, "21 9"]
    epiphyses: Float[Array, "21 7"]
    carpals: Float[Array, "8 7"]
    soft: Float[Array, "n 6"]
    key_points: Float[Array, "3 2"]
    maturity: Float[Array, " 29"]


def grow(
    key: Key[Array, ""], age: Float[Array, ""], male: Float[Array, ""], individual: Individual = Individual()
) -> Hand:
    """Grows one hand.

    Args:
      key: source of all individual variation.
      age: bone age in months, 0 to 240.
      male: 1 for a boy, 0 for a girl.
      individual: how much children differ.
    """
    keys = dict(
        zip(
            ("maturity", "digits", "spread", "widths", "carpals", "soft", "density"),
            jax.random.split(key, 7),
            strict=True,
        )
    )
    offsets = individual.maturity_sd * jax.random.truncated_normal(keys["maturity"], -2.5, 2.5, (len(anatomy.BONES),))
    maturity = jnp.clip(age + offsets, 0.0, 240.0)
    appears, fuses = (
        jnp.where(male > 0.5, table[:, 0], table[:, 1])
        for table in (jnp.array([b.appears for b in anatomy.BONES]), jnp.array([b.fuses for b in anatomy.BONES]))
    )
    # One density for the child and one for each bone: bright bones must not tell the age.
    density = (1 + 0.2 * jax.random.uniform(keys["density"], (), minval=-1)) * (
        1 + 0.1 * jax.random.normal(jax.random.fold_in(keys["density"], 1), (len(anatomy.BONES),))
    )
    joints = _posed_joints(keys["digits"], keys["spread"])
    breadth = 1 + 0.08 * jax.random.normal(keys["widths"], ())
    near, far, widths, epiphysis_height = _tubular_template(joints)
    n = len(anatomy.TUBULAR_BONES)
    # Radius and ulna are oval: less deep than wide, while those of the digits are nearly round.
    flatness = jnp.array([0.55 if bone.kind == "forearm" else 1.0 for bone in anatomy.TUBULAR_BONES])
    shafts, epiphyses = jax.vmap(_tubular_bone)(
        near, far, widths * breadth, epiphysis_height, maturity[:n], appears[:n], fuses[:n], density[:n] * flatness
    )
    carpals = _carpals(keys["carpals"], maturity[n:], appears[n:], fuses[n:], density[n:])
    key_points = jnp.stack([joints[3][-1], joints[1][-1], carpals[0, :2]])
    return Hand(shafts, epiphyses, carpals, _soft_tissue(keys["soft"], joints), key_points, maturity)


def _posed_joints(lengths_key: Array, spread_key: Array) -> dict[int, Array]:
    """The template's joints with individual lengths of the digits, turned about the knuckles."""
    lengths = 1 + 0.04 * jax.random.normal(lengths_key, (5,))
    fan = jax.random.uniform(spread_key, (), minval=-0.10, maxval=0.08)
    turns = fan * jnp.array([1.0, 0.7, 0.0, -0.7, -1.4]) + 0.03 * jax.random.normal(
        jax.random.fold_in(spread_key, 1), (5,)
    )
    posed = {}
    for digit, points in _DIGIT_JOINTS.items():
        joints = jnp.array(points, jnp.float32)
        knuckle = joints[1]
        c, s = jnp.cos(turns[digit - 1]), jnp.sin(turns[digit - 1])
        turned = knuckle + lengths[digit - 1] * (joints[2:] - knuckle) @ jnp.array([[c, s], [-s, c]])
        posed[digit] = jnp.concatenate([joints[:2], turned])
    return posed


def _tubular_template(joints: dict[int, Array]) -> tuple[Array, Array, Array, Array]:
    """Per tubular bone: joint at its epiphysis, joint at its other end, widths, half height of the epiphysis."""
    near, far, widths, heights = [], [], [], []
    for bone in anatomy.DIGIT_BONES:
        points = joints[bone.digit]
        place = [b.name for b in anatomy.DIGIT_BONES if b.digit == bone.digit].index(bone.name)
        ends = (points[place], points[place + 1])
        near.append(ends[1] if bone.epiphysis == "distal" else ends[0])
        far.append(ends[0] if bone.epiphysis == "distal" else ends[1])
        widths.append(_DIGIT_WIDTHS[bone.digit][place])
        rounded = bone.kind == "metacarpal" and bone.epiphysis == "distal"
        heights.append(_EPIPHYSIS_HALF_HEIGHT["metacarpal"] if rounded else 0.17)
    for joint, end, width in _FOREARM:
        near.append(jnp.array(joint, jnp.float32))
        far.append(jnp.array(end, jnp.float32))
        widths.append(width)
        heights.append(_EPIPHYSIS_HALF_HEIGHT["forearm"])
    return jnp.stack(near), jnp.stack(far), jnp.array(widths, jnp.float32), jnp.array(heights, jnp.float32)


def _tubular_bone(
    near: Array, far: Array, widths: Array, height: Array, months: Array, appears: Array, fuses: Array, density: Array
) -> tuple[Array, Array]:
    """One bone with its epiphysis, as rows of `Hand.shafts` and `Hand.epiphyses`."""
    middle, metaphysis, other = widths
    progress = (months - appears) / (fuses - appears)
    inside = jnp.clip(progress, 0.0, 1.0)
    ratio = functools.partial(jnp.interp, inside, jnp.array(_PROGRESS))
    half_height = metaphysis * height * ratio(jnp.array(_HEIGHT_RATIO))
    half_width = 0.5 * metaphysis * ratio(jnp.array(_WIDTH_RATIO))
    plate = metaphysis * ratio(jnp.array(_PLATE))
    # The centre grows out of nothing over the first tenth of its progress.
    emerged = jnp.clip(progress / 0.03, 0.0, 1.0)
    axis = (far - near) / jnp.linalg.norm(far - near)
    cartilage = 0.05 * metaphysis * (1.6 - inside)
    # Until bone fills it the cartilage keeps the adult epiphysis' place, so that the shaft does not jump.
    zone = jnp.maximum(2 * half_height + plate, 1.5 * metaphysis * height * (1 - 0.2 * inside))
    start = near + axis * (cartilage + zone)
    centre = start - axis * (plate + half_height)
    line = jnp.exp(-0.5 * ((months - fuses) / (_LINE_FADES_MONTHS / 2)) ** 2)
    shaft = jnp.stack([*start, *(far - axis * cartilage), metaphysis / 2, middle / 2, other / 2, line, density])
    epiphysis = jnp.stack([*centre, *axis, half_width * emerged, half_height * emerged, density])
    return shaft, epiphysis


def _carpals(key: Array, months: Array, appears: Array, fuses: Array, density: Array) -> Array:
    """Rows of `Hand.carpals`: from a dot at appearance to the adult size."""
    template = jnp.array([_CARPALS[bone.name] for bone in anatomy.CARPAL_BONES], jnp.float32)
    progress = jnp.clip((months - appears) / (fuses - appears), 0.0, 1.0)
    size = jnp.where(months > appears, 0.15 + 0.85 * progress**0.7, 0.0)
    # The capitate's centre is a key point and the centre of the canvas: it stays where the template has it.
    moves = 8.0 * jax.random.normal(key, (8, 2)) * jnp.array([0.0] + [1.0] * 7)[:, None]
    shape = 1 + 0.06 * jax.random.normal(jax.random.fold_in(key, 1), (8, 2))
    turn = template[:, 4] + 0.1 * jax.random.normal(jax.random.fold_in(key, 2), (8,))
    return jnp.concatenate(
        [
            template[:, :2] + moves,
            jnp.stack([jnp.cos(turn), jnp.sin(turn)], -1),
            template[:, 2:4] * shape * size[:, None],
            density[:, None],
        ],
        axis=-1,
    )


def _soft_tissue(key: Array, joints: dict[int, Array]) -> Array:
    """Capsules along digits, palm and forearm, as rows of `Hand.soft`."""
    fat = 1 + 0.08 * jax.random.normal(key, ())
    rows = []
    for digit, points in joints.items():
        base, tip = {1: (100.0, 62.0), 2: (92.0, 62.0), 3: (92.0, 64.0), 4: (88.0, 60.0), 5: (78.0, 52.0)}[digit]
        start_radius, tip_radius = base * fat, tip * fat
        reach = np.linspace(0.0, 1.0, len(points) - 2)
        radii = [start_radius + (tip_radius - start_radius) * r for r in reach]
        axis = (points[-1] - points[-3]) / jnp.linalg.norm(points[-1] - points[-3])
        # The skin ends at the last point, so the last capsule's centre lies one radius before it.
        centres = [*points[1:-2], points[-1] - axis * tip_radius]
        for a, b, ra, rb in zip(centres[:-1], centres[1:], radii[:-1], radii[1:], strict=True):
            rows.append(jnp.stack([*a, ra, *b, rb]))
        palm = 125.0 if digit > 1 else 120.0
        rows.append(jnp.stack([*points[0], jnp.asarray(palm), *points[1], start_radius]))
    for ax, ay, ar, bx, by, br in (
        (690, 1560, 165, 930, 1560, 165),
        (730, 1620, 235, 725, 1820, 270),
        (725, 1820, 270, 735, 2900, 300),
        (980, 1440, 120, 1180, 1240, 90),
        (640, 1120, 110, 960, 1040, 110),
    ):
        rows.append(jnp.array([ax, ay, ar * 1.0, bx, by, br * 1.0], jnp.float32))
    return jnp.stack(rows)
