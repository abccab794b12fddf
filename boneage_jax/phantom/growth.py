"""From bone age, sex and an individual to the shapes of all bones and of the soft tissue.

Lengths are in canvas pixels: of the registered canvas of 2080 x 1600 on which the middle fingertip lies at (800, 100)
and the capitate at (800, 1600). Where the joints lie comes from a model fitted to real hands (`layout`); widths and
outlines were read off four registered radiographs of girls of 50 to 168 months. Hands of all ages fill the same
canvas, as real radiographs fill their frame, so size tells nothing; but toddlers' bones and fingers are wider for their
length. Age shows above all in the epiphyses, the growth plates and the carpals.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from boneage_jax import anatomy
from boneage_jax.phantom import layout, shapes
from boneage_jax.phantom.dice import Dice

MAX_LENGTHS = {"metacarpal": 640.0, "proximal phalanx": 520.0, "middle phalanx": 370.0, "distal phalanx": 290.0}
"""Longest shaft of each family on the canvas; a draw beyond it is cut, so that pictures know how far one reaches."""

FOREARM_LENGTH = 1150.0
"""How far radius and ulna are drawn below their growth plates."""

MAX_WIDTH = 420.0
"""Nothing that is drawn as one part is wider than this."""

# Full width of each bone at the waist, the metaphysis and the other end, digit by digit from the metacarpal outwards.
_WIDTHS: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((80, 118, 122), (66, 112, 90), (38, 98, 60)),
    2: ((58, 108, 128), (64, 118, 86), (52, 98, 76), (31, 78, 58)),
    3: ((56, 112, 112), (66, 122, 90), (56, 106, 82), (33, 84, 62)),
    4: ((44, 94, 98), (60, 112, 84), (52, 98, 76), (31, 76, 58)),
    5: ((50, 92, 110), (52, 102, 72), (44, 84, 60), (27, 64, 50)),
}
_FOREARM_WIDTHS = ((128, 232, 128), (84, 132, 88))

_CARPOMETACARPAL = {1: (1054, 1531), 2: (917, 1485), 3: (802, 1475), 4: (709, 1478), 5: (630, 1502)}
_TIP_LENGTHS = {1: (184, 46), 2: (143, 50), 3: (141, 40), 4: (146, 46), 5: (141, 41)}
"""From the last joint to the tip of the bone, and from there to that of the skin."""

_WRIST = (803.0, 1592.0)
"""Where the middle of the wrist's area lies when carpals and bases of metacarpals lie as above and below."""

# Adult outlines of the carpals, traced from a girl of 168 months.
# fmt: off
_CARPALS: dict[str, tuple[tuple[float, float], ...]] = {
    "capitate": (
        (745, 1490), (772, 1480), (805, 1489), (830, 1504), (843, 1530), (846, 1560), (862, 1600), (852, 1645),
        (840, 1680), (815, 1697), (790, 1696), (760, 1686), (736, 1666), (731, 1640), (741, 1600), (736, 1570),
        (738, 1520),
    ),
    "hamate": (
        (597, 1535), (615, 1514), (645, 1502), (680, 1497), (714, 1499), (727, 1520), (735, 1555), (738, 1582),
        (729, 1615), (718, 1650), (705, 1654), (680, 1631), (655, 1606), (625, 1578), (600, 1556),
    ),
    "triquetrum": (
        (583, 1640), (600, 1612), (628, 1598), (650, 1611), (670, 1639), (698, 1664), (701, 1685), (688, 1706),
        (655, 1709), (625, 1690), (600, 1668),
    ),
    "lunate": (
        (661, 1755), (690, 1715), (710, 1690), (726, 1677), (760, 1690), (795, 1703), (804, 1720), (797, 1745),
        (785, 1779), (745, 1786), (700, 1778), (672, 1770),
    ),
    "scaphoid": (
        (808, 1746), (802, 1720), (806, 1700), (848, 1690), (860, 1660), (869, 1620), (880, 1600), (900, 1596),
        (925, 1620), (946, 1645), (958, 1662), (940, 1690), (915, 1711), (885, 1740), (860, 1760), (830, 1766),
        (812, 1759),
    ),
    "trapezium": (
        (935, 1570), (945, 1512), (960, 1492), (980, 1486), (1000, 1500), (1030, 1530), (1054, 1560), (1048, 1590),
        (1030, 1612), (990, 1626), (965, 1629), (940, 1616), (929, 1590),
    ),
    "trapezoid": (
        (847, 1520), (860, 1503), (900, 1496), (930, 1509), (949, 1525), (945, 1560), (935, 1592), (900, 1583),
        (870, 1573), (855, 1555),
    ),
    "pisiform": (
        (612, 1690), (622, 1660), (648, 1640), (676, 1655), (690, 1688), (678, 1718), (650, 1733), (624, 1722),
    ),
}
# fmt: on
_OUTLINES = [shapes.radial(np.array(_CARPALS[bone.name], np.float64)) for bone in anatomy.CARPAL_BONES]

_SESAMOID_PLACE = (78.0, 5.0)
"""From the thumb's knuckle towards the palm and onward, in canvas pixels."""

# Progress of an epiphysis, 0 at appearance and 1 at fusion. Its width over the metaphysis' is half at 4.5/3 years,
# equal at about 9/7, capping from 13.5/11 (boys/girls), which for phalanges are these fractions of progress.
_PROGRESS = (0.0, 0.2, 0.51, 0.83, 1.0)
_WIDTH_RATIO = (0.12, 0.52, 1.00, 1.09, 1.10)
_HEIGHT_RATIO = (0.30, 0.70, 0.92, 1.00, 1.00)
_PLATE_PIXELS = (14.0, 10.0, 6.0, 2.5, 0.0)
_SQUARENESS = (0.0, 0.3, 0.8, 1.0, 1.0)
_CAPPING = (0.0, 0.0, 0.05, 0.75, 1.0)

_LINE_FADES_MONTHS = 20.0
"""How long after fusion its line stays visible, twice the standard deviation of a bell curve (I)."""

_CARPAL_GROWTH = 0.28
"""Exponent of a carpal's size over its progress: centres grow fast at first (read off four radiographs)."""


@dataclasses.dataclass(frozen=True)
class Variation:
    """How much children of one bone age differ. All draws are independent of age.

    Attributes:
      region_sd: standard deviation of a region's maturity about the child's bone age, in months: carpals, say, may lag.
        For ages below six years it is less, down to a quarter at birth; so is the next.
      bone_sd: standard deviation of one bone's maturity about its region's, in months.
      layout: factor on the spread of proportions and pose, where 1 is that of real hands.
      breadth_sd: standard deviation of the breadth of all bones, as a fraction.
      flesh_sd: standard deviation of the thickness of the soft tissue, as a fraction.
      density: largest deviation of a child's bone density, as a fraction.
    """

    region_sd: float = 4.0
    bone_sd: float = 3.0
    layout: float = 1.0
    breadth_sd: float = 0.07
    flesh_sd: float = 0.10
    density: float = 0.25


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["origin", "axis", "extent", "flatness", "density", "table"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Parts:
    """Parts of bones in their own frames; v = (-axis y, axis x), to the right of an axis that points up.

    Attributes:
      origin: x, y on the canvas where u = v = 0.
      axis: unit vector of u.
      extent: of u; a part lies between 0 and this.
      flatness: 0 for the cross section of a rod, 1 for that of a plate.
      density: of this bone.
      table: rows of `shapes.COLUMNS` at even steps of u.
    """

    origin: Float[Array, "p 2"]
    axis: Float[Array, "p 2"]
    extent: Float[Array, " p"]
    flatness: Float[Array, " p"]
    density: Float[Array, " p"]
    table: Float[Array, "p n 7"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["shafts", "epiphyses", "rounds", "flesh", "folds", "joints", "key_points", "areas", "maturity"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Hand:
    """One hand on the canvas, lengths in canvas pixels.

    Attributes:
      shafts: of `anatomy.TUBULAR_BONES`, u from the metaphysis to the other end.
      epiphyses: of `anatomy.TUBULAR_BONES`, u across the bone; all halves are 0 where one has not appeared.
      rounds: `anatomy.ROUND_BONES`, u along x.
      flesh: capsules of soft tissue that melt into one another: x, y, radius of one end and of the other.
      folds: capsules of soft tissue that lie upon the others with an edge of their own: the ball of the thumb.
      joints: x, y of `anatomy.JOINTS`.
      key_points: x, y of `anatomy.KEY_POINTS`.
      areas: `anatomy.OSSIFICATION_AREAS` as middle x, y, width and height.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    shafts: Parts
    epiphyses: Parts
    rounds: Parts
    flesh: Float[Array, "n 6"]
    folds: Float[Array, "m 6"]
    joints: Float[Array, "26 2"]
    key_points: Float[Array, "3 2"]
    areas: Float[Array, "17 4"]
    maturity: Float[Array, " 30"]


def maturity(
    key: Key[Array, ""],
    age: Float[Array, ""],
    variation: Variation = Variation(),
    ages: Float[Array, " 30"] | None = None,
) -> Float[Array, " 30"]:
    """Returns the bone age of each bone of one child, in months.

    Args:
      key: source of the individual.
      age: the child's bone age in months.
      variation: how far regions and bones stray from it.
      ages: bone ages that are set for single bones, NaN where they are not: the handle for counterfactuals.
    """
    dice = Dice(key, len(anatomy.REGIONS) + len(anatomy.BONES))
    places = np.array([anatomy.REGIONS.index(bone.region) for bone in anatomy.BONES])
    # Infants cannot lag by months: the scatter grows up to the age of six, as that of skeletal ages at large does.
    calm = jnp.clip(0.25 + 0.75 * age / 72.0, 0.25, 1.0)
    offsets = dice.normal(variation.region_sd, (len(anatomy.REGIONS),))[places]
    offsets = offsets + dice.normal(variation.bone_sd, (len(anatomy.BONES),))
    own = jnp.clip(age + calm * offsets, 0.0, anatomy.MAX_MONTHS)
    return own if ages is None else jnp.where(jnp.isnan(ages), own, ages)


def grow(
    key: Key[Array, ""],
    age: Float[Array, ""],
    male: Float[Array, ""],
    variation: Variation = Variation(),
    ages: Float[Array, " 30"] | None = None,
    samples: int = 64,
) -> Hand:
    """Grows one hand.

    Args:
      key: source of all individual variation.
      age: bone age in months, 0 to 240.
      male: 1 for a boy, 0 for a girl.
      variation: how much children differ.
      ages: bone ages set for single bones, NaN where they are not; the rest of the hand stays exactly as it was.
      samples: rows of each part's table.
    """
    of_age, of_layout, of_shape = jax.random.split(key, 3)
    months = maturity(of_age, age, variation, ages)
    dice = Dice(of_shape, 512)
    appears, fuses = (
        jnp.where(male > 0.5, table[:, 0], table[:, 1])
        for table in (jnp.array([b.appears for b in anatomy.BONES]), jnp.array([b.fuses for b in anatomy.BONES]))
    )
    progress = (months - appears) / (fuses - appears)
    since_fusion = months - fuses
    density = (1 + variation.density * dice.uniform(-1.0)) * (1 + dice.normal(0.06, (len(anatomy.BONES),)))
    skeleton = _skeleton(dice, layout.sample(of_layout, age, male, variation.layout), age, male, variation)
    n = len(anatomy.TUBULAR_BONES)
    shafts, epiphyses = _tubular(
        dice, skeleton, progress[:n], months[:n] - appears[:n], since_fusion[:n], density[:n], samples
    )
    rounds = _rounds(dice, skeleton, progress[n:], months[n:] - appears[n:], density[n:], samples)
    flesh, folds = _flesh(dice, skeleton, age, variation)
    key_points = jnp.stack([skeleton.digits[3][-1], skeleton.digits[1][-1], skeleton.capitate])
    joints = jnp.concatenate(
        [
            *(jnp.concatenate([points[:-2], points[-1:]]) for points in skeleton.digits.values()),
            skeleton.forearm[:, 0],
        ]
    )
    return Hand(shafts, epiphyses, rounds, flesh, folds, joints, key_points, _areas(skeleton), months)


@dataclasses.dataclass(frozen=True)
class _Skeleton:
    """Where bones go, before they have shapes.

    Attributes:
      digits: per digit x, y of its joints from the base of the metacarpal outwards, of the tip of bone and of skin.
      forearm: of radius and ulna, x, y of the growth plate's place and of the far end.
      capitate: x, y of its centre.
      shift: from the template's wrist to this one's.
      breadth: factor on the widths of bones.
      areas: x, y of the middle of `anatomy.OSSIFICATION_AREAS`.
    """

    digits: dict[int, Array]
    forearm: Array
    capitate: Array
    shift: Array
    breadth: Array
    areas: Array


def _skeleton(dice: Dice, areas: Array, age: Array, male: Array, variation: Variation) -> _Skeleton:
    """Draws joints and turns the hand so that fingertip and capitate lie where the canvas wants them."""
    dip, pip, mcp, (radius, ulna, wrist) = areas[:4], areas[4:9], areas[9:14], areas[14:]
    shift = wrist - jnp.array(_WRIST)
    bases = jnp.array(list(_CARPOMETACARPAL.values()), jnp.float32) + shift + dice.normal(7.0, (5, 2))
    lengths = jnp.exp(dice.normal(0.06, (5, 2)))
    bends = dice.normal(0.05, (5,))
    digits = {}
    for digit in range(1, 6):
        last = [pip[0]] if digit == 1 else [pip[digit - 1], dip[digit - 2]]
        chain = [bases[digit - 1], mcp[digit - 1], *last]
        onward = _turned(_unit(chain[-1] - chain[-2]), bends[digit - 1])
        bone, skin = (length * factor for length, factor in zip(_TIP_LENGTHS[digit], lengths[digit - 1], strict=True))
        digits[digit] = jnp.stack([*chain, chain[-1] + bone * onward, chain[-1] + (bone + skin) * onward])
    lean = jnp.array([0.02, 0.012]) + dice.normal(0.05)
    capitate = jnp.array(_OUTLINES[0][0]) + shift
    # The wrist's bones need room: the few draws that leave them less are moved.
    plates = jnp.stack([radius, ulna])
    plates = plates.at[:, 1].max(capitate[1] + 195.0)
    ends = plates + FOREARM_LENGTH * jnp.stack([jnp.sin(lean), jnp.cos(lean)], -1)
    forearm = jnp.stack([plates, ends], 1)

    # Registered: a similarity brings the middle fingertip and the capitate to their places on the canvas.
    tip, goal = digits[3][-1], jnp.array(anatomy.CANVAS_CAPITATE)
    reach = jnp.array(anatomy.CANVAS_FINGERTIP) - goal
    old = tip - capitate
    a = jnp.sum(reach * old) / jnp.sum(old**2)
    b = (reach[1] * old[0] - reach[0] * old[1]) / jnp.sum(old**2)
    turn = jnp.array([[a, b], [-b, a]])

    def place(points: Array) -> Array:
        return (points - capitate) @ turn + goal

    # Toddlers' bones are wider for their length, and boys' a little (boxes of Koitka et al.).
    seen = jnp.clip(age, 6.0, 216.0)
    young = jnp.exp(
        0.12 * (120 - seen) / 100 + 0.09 * jnp.maximum(60 - seen, 0) / 60 + 0.04 * jnp.maximum(seen - 140, 0) / 60
    )
    breadth = young * (1 + dice.normal(variation.breadth_sd))
    digits = {digit: place(points) for digit, points in digits.items()}
    wrist_shift = place(wrist) - jnp.array(_WRIST)
    return _Skeleton(digits, place(forearm), goal, wrist_shift, breadth * (1 + 0.02 * male), place(areas))


def _unit(vector: Array) -> Array:
    return vector / jnp.linalg.norm(vector, axis=-1, keepdims=True)


def _turned(vector: Array, angle: Array) -> Array:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


@dataclasses.dataclass(frozen=True)
class _Family:
    """What the shafts and epiphyses of one family share; heights over the metaphysis' full width."""

    flares: tuple[float, float]
    end_sharpness: float
    end_reach: float
    neck: float = 0.0
    flatness: float = 0.8
    half_height: float = 0.13
    zone: float = 0.46
    dome: float = 0.0
    hollow: float = 0.25
    cap: float = 0.9
    wedge: float = 0.0
    spike: float = 0.0
    spike_at: float = 0.0
    square: float = 2.6


_FAMILIES: dict[str, _Family] = {
    "distal phalanx": _Family((0.75, 0.42), 2.2, 0.85, neck=0.16, half_height=0.095, hollow=0.3, zone=0.42),
    "middle phalanx": _Family((0.78, 0.28), 3.0, 0.30, half_height=0.105),
    "proximal phalanx": _Family((0.78, 0.25), 3.0, 0.30, half_height=0.12),
    "metacarpal": _Family(
        (0.36, 0.42), 3.0, 0.30, half_height=0.44, zone=1.0, dome=1.0, hollow=0.0, cap=0.12, square=5.0
    ),
    "metacarpal 1": _Family((0.40, 0.42), 2.2, 0.75, half_height=0.14, zone=0.46, hollow=0.1),
    "radius": _Family(
        *((0.24, 0.3), 3.0, 0.3),
        flatness=0.62,
        half_height=0.165,
        zone=0.44,
        hollow=0.12,
        wedge=0.85,
        cap=0.15,
        square=6.0,
    ),
    "ulna": _Family(
        *((0.22, 0.3), 3.0, 0.3),
        flatness=0.72,
        half_height=0.17,
        zone=0.50,
        hollow=0.1,
        cap=0.2,
        spike=1.7,
        spike_at=-0.55,
        square=4.0,
    ),
}


def _by_bone() -> dict[str, np.ndarray]:
    """The families' numbers, one row for each of `anatomy.TUBULAR_BONES`."""
    families = [_FAMILIES.get(bone.name, _FAMILIES.get(bone.kind)) for bone in anatomy.TUBULAR_BONES]
    rows = [dataclasses.asdict(family) for family in families if family]
    table = {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}
    longest = [MAX_LENGTHS.get(bone.kind, FOREARM_LENGTH) for bone in anatomy.TUBULAR_BONES]
    return {**table, "longest": np.array(longest, np.float32)}


def _tubular(
    dice: Dice,
    skeleton: _Skeleton,
    progress: Array,
    since_appearance: Array,
    since_fusion: Array,
    density: Array,
    samples: int,
) -> tuple[Parts, Parts]:
    """Shafts and epiphyses of all tubular bones."""
    count = len(anatomy.TUBULAR_BONES)
    own = {
        "bend": dice.normal(0.012, (count,)),
        "skew": dice.normal(0.03, (count,)),
        "cortex": dice.uniform(0.75, 1.25) * jnp.ones(count),
        "height": 1 + dice.normal(0.08, (count,)),
    }
    near, far, widths = _tubular_places(skeleton)
    widths = widths * skeleton.breadth * (1 + dice.normal(0.03, (count, 3)))
    family = {name: jnp.array(values) for name, values in _by_bone().items()}
    return jax.vmap(functools.partial(_tubular_bone, samples=samples))(
        near, far, widths, progress, since_appearance, since_fusion, density, own, family
    )


def _tubular_places(skeleton: _Skeleton) -> tuple[Array, Array, Array]:
    """Per tubular bone: the joint at its epiphysis, the joint at its other end, and its template's widths."""
    near, far, widths = [], [], []
    for bone in anatomy.DIGIT_BONES:
        points = skeleton.digits[bone.digit]
        place = [b.name for b in anatomy.DIGIT_BONES if b.digit == bone.digit].index(bone.name)
        ends = (points[place], points[place + 1])
        near.append(ends[1] if bone.epiphysis == "distal" else ends[0])
        far.append(ends[0] if bone.epiphysis == "distal" else ends[1])
        widths.append(_WIDTHS[bone.digit][place])
    for (plate, end), width in zip(skeleton.forearm, _FOREARM_WIDTHS, strict=True):
        # The area's middle is given here, not the joint's: that lies most of a grown epiphysis before it.
        near.append(plate - _unit(end - plate) * (skeleton.breadth * width[1] * 0.36 - 22.0))
        far.append(end)
        widths.append(width)
    return jnp.stack(near), jnp.stack(far), jnp.array(widths, jnp.float32)


def _tubular_bone(
    near: Array,
    far: Array,
    widths: Array,
    progress: Array,
    since_appearance: Array,
    since_fusion: Array,
    density: Array,
    own: dict[str, Array],
    family: dict[str, Array],
    *,
    samples: int,
) -> tuple[Parts, Parts]:
    """One bone: along its axis from `near` follow cartilage, epiphysis, growth plate, shaft, cartilage, `far`."""
    waist, metaphysis, other = widths
    inside = jnp.clip(progress, 0.0, 1.0)
    ratio = lambda values: jnp.interp(inside, jnp.array(_PROGRESS), jnp.array(values))  # noqa: E731
    # A centre grows out of nothing over the first months.
    emerged = jnp.sqrt(jnp.clip(since_appearance / 5.0, 0.0, 1.0))
    fused = jnp.clip(1 + since_fusion / 14.0, 0.0, 1.0)
    half_height = metaphysis * family["half_height"] * ratio(_HEIGHT_RATIO) * own["height"]
    half_width = 0.5 * metaphysis * ratio(_WIDTH_RATIO)
    growth_plate = ratio(_PLATE_PIXELS)
    cartilage = metaphysis * (0.02 + 0.12 * (1 - inside) ** 1.3)
    # Until bone fills it the cartilage keeps the grown epiphysis' place, so that the shaft does not jump.
    zone = jnp.maximum(cartilage + 2 * half_height + growth_plate, metaphysis * family["zone"] * (1 - inside))
    axis = _unit(far - near)
    start = near + axis * zone
    length = jnp.clip(jnp.linalg.norm(far - near) - zone - cartilage, 0.3 * metaphysis, family["longest"])
    capped = ratio(_CAPPING)
    shaft = shapes.shaft(
        samples,
        length,
        (metaphysis / 2, waist / 2, other / 2),
        flares=(family["flares"][0], family["flares"][1]),
        end_sharpness=family["end_sharpness"],
        end_reach=family["end_reach"],
        neck=family["neck"],
        flatness=family["flatness"],
        capped=capped * (1 - 0.7 * family["dome"]),
        fused=fused,
        bend=own["bend"] * length,
        skew=own["skew"],
        cortex=own["cortex"],
        line=jnp.exp(-0.5 * (since_fusion / (_LINE_FADES_MONTHS / 2)) ** 2),
    )
    plate = shapes.plate(
        samples,
        half_width * emerged,
        half_height * emerged,
        squareness=ratio(_SQUARENESS),
        dome=family["dome"],
        hollow=family["hollow"],
        cap=family["cap"] * capped,
        wedge=family["wedge"] * ratio(_SQUARENESS),
        spike=family["spike"] * ratio(_CAPPING),
        spike_at=family["spike_at"],
        square=family["square"],
        flatness=family["flatness"],
        fused=fused,
    )
    # At fusion the two overlap a little, so that no dark line is left between them.
    middle = start - axis * (growth_plate + half_height - 2.0 * fused)
    # v points away from the shaft, so u = (v turned back by a right angle) runs towards the thumb in an upright hand.
    across = jnp.stack([-axis[1], axis[0]])
    across = jnp.where(across[0] < 0, -across, across)
    return (
        Parts(start, axis, length, jnp.zeros(()), density, shaft),
        Parts(
            middle - across * half_width * emerged,
            across,
            2 * half_width * emerged,
            0.9 * ratio(_SQUARENESS),
            0.85 * density,
            _facing(plate, across, -axis),
        ),
    )


def _facing(table: Array, axis: Array, v: Array) -> Array:
    """Turns a table over where the frame's own v, at right angles to its axis, points against the v that was meant."""
    sign = jnp.sign(-axis[1] * v[0] + axis[0] * v[1])
    flip = np.array([name in ("centre", "inner centre") for name in shapes.COLUMNS])
    return jnp.where(flip, sign * table, table)


def _rounds(
    dice: Dice, skeleton: _Skeleton, progress: Array, since_appearance: Array, density: Array, samples: int
) -> Parts:
    """Carpals and the sesamoid, from dots to facetted outlines."""
    count = len(anatomy.ROUND_BONES)
    inside = jnp.clip(progress, 0.0, 1.0)
    emerged = jnp.sqrt(jnp.clip(since_appearance / 4.0, 0.0, 1.0))
    size = emerged * (0.08 + 0.92 * jnp.maximum(inside, 1e-4) ** _CARPAL_GROWTH)
    size = 1.09 * size * (0.92 + 0.08 * skeleton.breadth) * (1 + dice.normal(0.05, (count,)))
    sharpness = jnp.clip((inside - 0.15) / 0.7, 0.0, 1.0)
    sharpness = sharpness * sharpness * (3 - 2 * sharpness)

    # Centres lie farther apart while they are small; the capitate's is a key point and stays.
    away = jnp.array([centre for centre, _ in _OUTLINES]) + skeleton.shift - skeleton.capitate
    # The proximal row keeps between capitate and radius, however far apart these are.
    room = jnp.clip((skeleton.forearm[0, 0, 1] - skeleton.capitate[1] + 22.0) / 240.0, 0.85, 1.15)
    away = away * jnp.where(away > 0, jnp.stack([jnp.ones(()), room]), 1.0)
    away = away * (1 + 0.12 * (1 - inside[:-1, None])) + dice.normal(5.0, (count - 1, 2))
    carpals = (skeleton.capitate + away).at[0].set(skeleton.capitate)
    thumb = skeleton.digits[1]
    axis = _unit(thumb[2] - thumb[1])
    beside = jnp.stack([axis[1], -axis[0]])
    beside = jnp.where(beside[0] < 0, beside, -beside)
    sesamoid = thumb[1] + _SESAMOID_PLACE[0] * beside + _SESAMOID_PLACE[1] * axis + dice.normal(4.0, (2,))
    middles = jnp.concatenate([carpals, sesamoid[None]])

    reaches = jnp.array([*(reach for _, reach in _OUTLINES), shapes.ellipse(17.0, 12.0)])
    polygons = jax.vmap(shapes.grown_outline)(
        reaches,
        size,
        jnp.clip(inside / 0.3, 0.0, 1.0).at[-1].set(1.0),
        sharpness.at[-1].set(0.0),
        dice.normal(0.07, (count,)),
        dice.normal(0.03, (count, 4)),
    )
    depth = 0.72 * reaches.mean(1) * size
    table, first, extent = jax.vmap(functools.partial(shapes.outline, samples))(
        polygons, depth=depth, wall=jnp.minimum(5.0, 0.25 * depth)
    )
    origins = middles + jnp.stack([first, jnp.zeros(count)], -1)
    flatness = (0.25 + 0.5 * sharpness).at[-1].set(0.0)
    return Parts(origins, jnp.tile(jnp.array([[1.0, 0.0]]), (count, 1)), extent, flatness, density, table)


def _flesh(dice: Dice, skeleton: _Skeleton, age: Array, variation: Variation) -> tuple[Array, Array]:
    """Capsules along digits, palm and forearm, and the ball of the thumb."""
    # Chubby to slim: finger widths of girls of 50, 82, 129 and 168 months; the rest follows the shape of a baby's hand.
    young = jnp.interp(
        age, jnp.array([0.0, 24.0, 50.0, 84.0, 130.0, 168.0, 228.0]), jnp.array([1.5, 1.36, 1.22, 1.06, 1.0, 0.9, 0.88])
    )
    own = jnp.exp(dice.normal(variation.flesh_sd))
    fat = young * own
    rows: list[tuple[Array, Array, Array, Array]] = []
    for digit, points in skeleton.digits.items():
        base, tip = {1: (96.0, 66.0), 2: (90.0, 60.0), 3: (92.0, 62.0), 4: (86.0, 58.0), 5: (74.0, 50.0)}[digit]
        # The tip is thick for the bone that it covers, whatever else; it never reaches past its own bone.
        start_radius, tip_radius = base * fat, tip * (0.4 + 0.6 * fat)
        radii = [start_radius + (tip_radius - start_radius) * r for r in np.linspace(0.0, 1.0, len(points) - 2)]
        axis = _unit(points[-1] - points[-3])
        # The skin ends at the last point, so the last capsule's centre lies one radius before it.
        centres = [*points[1:-2], points[-1] - axis * tip_radius]
        for a, b, ra, rb in zip(centres[:-1], centres[1:], radii[:-1], radii[1:], strict=True):
            rows.append((a, ra, b, rb))
        palm = (120.0 if digit > 1 else 96.0) * (0.55 + 0.45 * fat)
        rows.append((points[0], palm, points[1], start_radius * 1.02))
    thick = 0.75 + 0.25 * fat
    wrist = skeleton.shift + jnp.array([-28.0, 0.0])
    plates, ends = skeleton.forearm[:, 0].mean(0), skeleton.forearm[:, 1].mean(0)
    slim = 232.0 * thick * (1 + dice.normal(0.05))
    knuckles = [skeleton.digits[digit][1] for digit in range(1, 6)]
    palm_middle = 0.4 * (knuckles[2] + knuckles[3]) + 0.2 * skeleton.digits[3][0]
    capsules: list[tuple[Array, Array, Array, Array]] = [
        (palm_middle, 235.0 * thick, jnp.array([775.0, 1540.0]) + wrist, 215.0 * thick),
        (jnp.array([720.0, 1545.0]) + wrist, 185.0 * thick, jnp.array([900.0, 1545.0]) + wrist, 190.0 * thick),
        (jnp.array([790.0, 1600.0]) + wrist, 260.0 * thick, plates, slim),
        (plates, slim, ends, 1.18 * slim),
        (0.75 * knuckles[4] + 0.25 * knuckles[3], 95.0 * thick, 0.7 * knuckles[1] + 0.3 * knuckles[2], 95.0 * thick),
        (knuckles[1] + jnp.array([20.0, 330.0]), 130.0 * thick, knuckles[0] + jnp.array([-110.0, 60.0]), 80.0 * thick),
        (knuckles[4] + jnp.array([40.0, 140.0]), 110.0 * thick, jnp.array([640.0, 1560.0]) + wrist, 150.0 * thick),
    ]
    # The webs between the fingers reach over a good third of the proximal phalanges.
    along = [0.64 * points[1] + 0.36 * points[2] for digit, points in skeleton.digits.items() if digit > 1]
    for (a, b), (c, d) in zip(itertools.pairwise(along), itertools.pairwise(knuckles[1:]), strict=True):
        capsules.append((a, 42.0 * thick, b, 42.0 * thick))
        capsules.append(((a + b) / 2, 48.0 * thick, (c + d) / 2, 90.0 * thick))
    thumb_base = 0.5 * (skeleton.digits[1][0] + skeleton.digits[1][1])
    capsules.append((thumb_base, 100.0 * thick, 0.6 * skeleton.digits[2][0] + 0.4 * knuckles[1], 110.0 * thick))
    ball = 0.45 * skeleton.digits[1][0] + 0.55 * skeleton.digits[1][1]
    toward = skeleton.digits[2][0] + jnp.array([70.0, -60.0])
    fold = (0.7 * ball + 0.3 * toward, 135.0 * thick, 0.4 * ball + 0.6 * toward, 150.0 * thick)
    return _capsules(rows + capsules), _capsules([fold])


def _capsules(rows: list[tuple[Array, Array, Array, Array]]) -> Float[Array, "n 6"]:
    """Capsules from one end, its radius, the other end and its radius."""
    a, ra, b, rb = (jnp.stack(column) for column in zip(*rows, strict=True))
    return jnp.concatenate([a, ra[:, None], b, rb[:, None]], axis=1)


# Width and height of the boxes that one reader drew around 238 hands, at 120 months (training boxes of Koitka et al.).
_BOXES = (
    *((130, 163), (137, 172), (129, 158), (132, 162)),
    *((156, 186), (155, 177), (156, 192), (148, 182), (125, 160)),
    *((179, 195), (194, 224), (173, 217), (171, 219), (164, 203)),
    *((309, 230), (200, 199), (621, 405)),
)


def _areas(skeleton: _Skeleton) -> Array:
    """The boxes that a reader would draw around the ossification areas: they widen with the bones."""
    return jnp.concatenate([skeleton.areas, jnp.array(_BOXES, jnp.float32) * skeleton.breadth], -1)
