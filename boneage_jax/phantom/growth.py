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

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from boneage_jax import anatomy
from boneage_jax.phantom import layout, shapes, skeleton, soft_tissue
from boneage_jax.phantom.maturity import Variation, maturity
from boneage_jax.phantom.random_draws import RandomDraws
from boneage_jax.phantom.skeleton import FOREARM_LENGTH, FOREARM_WIDTHS, Skeleton, unit

MAX_LENGTHS = {"metacarpal": 640.0, "proximal phalanx": 520.0, "middle phalanx": 370.0, "distal phalanx": 290.0}
"""Longest shaft of each family on the canvas; a draw beyond it is cut, so that pictures know how far one reaches."""

# Full width of each bone at the waist, the metaphysis and the other end, digit by digit from the metacarpal outwards.
_WIDTHS: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((80, 118, 122), (66, 112, 90), (38, 98, 60)),
    2: ((58, 108, 128), (64, 118, 86), (52, 98, 76), (31, 78, 58)),
    3: ((56, 112, 112), (66, 122, 90), (56, 106, 82), (33, 84, 62)),
    4: ((44, 94, 98), (60, 112, 84), (52, 98, 76), (31, 76, 58)),
    5: ((50, 92, 110), (52, 102, 72), (44, 84, 60), (27, 64, 50)),
}

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
    data_fields=["shafts", "epiphyses", "rounds", "soft_tissue", "folds", "joints", "key_points", "areas", "maturity"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Hand:
    """One hand on the canvas, lengths in canvas pixels.

    Attributes:
      shafts: of `anatomy.TUBULAR_BONES`, u from the metaphysis to the other end.
      epiphyses: of `anatomy.TUBULAR_BONES`, u across the bone; all halves are 0 where one has not appeared.
      rounds: `anatomy.ROUND_BONES`, u along x.
      soft_tissue: capsules of soft tissue that melt into one another: x, y, radius of one end and of the other.
      folds: capsules of soft tissue that lie upon the others with an edge of their own: the ball of the thumb.
      joints: x, y of `anatomy.JOINTS`.
      key_points: x, y of `anatomy.KEY_POINTS`.
      areas: `anatomy.OSSIFICATION_AREAS` as middle x, y, width and height.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    shafts: Parts
    epiphyses: Parts
    rounds: Parts
    soft_tissue: Float[Array, "n 6"]
    folds: Float[Array, "m 6"]
    joints: Float[Array, "26 2"]
    key_points: Float[Array, "3 2"]
    areas: Float[Array, "17 4"]
    maturity: Float[Array, " 30"]


@functools.partial(jax.jit, static_argnames=("variation", "samples"))
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
    draws = RandomDraws(of_shape, 512)
    appears, fuses = (
        jnp.where(male > 0.5, table[:, 0], table[:, 1])
        for table in (jnp.array([b.appears for b in anatomy.BONES]), jnp.array([b.fuses for b in anatomy.BONES]))
    )
    progress = (months - appears) / (fuses - appears)
    density = (1 + variation.density * draws.uniform(-1.0)) * (1 + draws.normal(0.06, (len(anatomy.BONES),)))
    bones = skeleton.draw(draws, layout.sample(of_layout, age, male, variation.layout), age, male, variation)
    n = len(anatomy.TUBULAR_BONES)
    shafts, epiphyses = _tubular(
        draws, bones, progress[:n], months[:n] - appears[:n], months[:n] - fuses[:n], density[:n], samples
    )
    rounds = _rounds(draws, bones, progress[n:], months[n:] - appears[n:], density[n:], samples)
    capsules, folds = soft_tissue.grow(draws, bones, age, variation)
    joints = [points[np.array([*range(len(points) - 2), -1])] for points in bones.digits.values()]
    return Hand(
        shafts=shafts,
        epiphyses=epiphyses,
        rounds=rounds,
        soft_tissue=capsules,
        folds=folds,
        joints=jnp.concatenate([*joints, bones.forearm[:, 0]]),
        key_points=jnp.stack([bones.digits[3][-1], bones.digits[1][-1], bones.capitate]),
        areas=skeleton.reader_boxes(bones),
        maturity=months,
    )


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
    names = [bone.name if bone.name in _FAMILIES else bone.kind for bone in anatomy.TUBULAR_BONES]
    rows = [dataclasses.asdict(_FAMILIES[name]) for name in names]
    table = {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}
    longest = [MAX_LENGTHS.get(bone.kind, FOREARM_LENGTH) for bone in anatomy.TUBULAR_BONES]
    return {**table, "longest": np.array(longest, np.float32)}


def _tubular(
    draws: RandomDraws,
    bones: Skeleton,
    progress: Array,
    since_appearance: Array,
    since_fusion: Array,
    density: Array,
    samples: int,
) -> tuple[Parts, Parts]:
    """Shafts and epiphyses of all tubular bones."""
    count = len(anatomy.TUBULAR_BONES)
    own = {
        "bend": draws.normal(0.012, (count,)),
        "skew": draws.normal(0.03, (count,)),
        "cortex": draws.uniform(0.75, 1.25) * jnp.ones(count),
        "height": 1 + draws.normal(0.08, (count,)),
    }
    near, far, widths = _tubular_places(bones)
    widths = widths * bones.breadth * (1 + draws.normal(0.03, (count, 3)))
    family = {name: jnp.array(values) for name, values in _by_bone().items()}
    return jax.vmap(functools.partial(_tubular_bone, samples=samples))(
        near, far, widths, progress, since_appearance, since_fusion, density, own, family
    )


def _tubular_places(bones: Skeleton) -> tuple[Array, Array, Array]:
    """Per tubular bone: the joint at its epiphysis, the joint at its other end, and its template's widths."""
    near, far, widths = [], [], []
    for bone in anatomy.DIGIT_BONES:
        points = bones.digits[bone.digit]
        place = [b.name for b in anatomy.DIGIT_BONES if b.digit == bone.digit].index(bone.name)
        ends = (points[place], points[place + 1])
        near.append(ends[1] if bone.epiphysis == "distal" else ends[0])
        far.append(ends[0] if bone.epiphysis == "distal" else ends[1])
        widths.append(_WIDTHS[bone.digit][place])
    near += [*bones.forearm[:, 0]]
    far += [*bones.forearm[:, 2]]
    return jnp.stack(near), jnp.stack(far), jnp.array([*widths, *FOREARM_WIDTHS], jnp.float32)


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

    def ratio(values: tuple[float, ...]) -> Array:
        return jnp.interp(inside, jnp.array(_PROGRESS), jnp.array(values))

    # A centre grows out of nothing over the first months.
    emerged = jnp.sqrt(jnp.clip(since_appearance / 5.0, 0.0, 1.0))
    fused = jnp.clip(1 + since_fusion / 14.0, 0.0, 1.0)
    half_height = metaphysis * family["half_height"] * ratio(_HEIGHT_RATIO) * own["height"]
    half_width = 0.5 * metaphysis * ratio(_WIDTH_RATIO)
    growth_plate = ratio(_PLATE_PIXELS)
    cartilage = metaphysis * (0.02 + 0.12 * (1 - inside) ** 1.3)
    # Until bone fills it the cartilage keeps the grown epiphysis' place, so that the shaft does not jump.
    zone = jnp.maximum(cartilage + 2 * half_height + growth_plate, metaphysis * family["zone"] * (1 - inside))
    axis = unit(far - near)
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
    # Across runs towards the thumb in an upright hand: there the radius is high, and away from there the ulna's spike.
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
    draws: RandomDraws, bones: Skeleton, progress: Array, since_appearance: Array, density: Array, samples: int
) -> Parts:
    """Carpals and the sesamoid, from dots to facetted outlines."""
    count = len(anatomy.ROUND_BONES)
    inside = jnp.clip(progress, 0.0, 1.0)
    emerged = jnp.sqrt(jnp.clip(since_appearance / 4.0, 0.0, 1.0))
    size = emerged * (0.08 + 0.92 * jnp.maximum(inside, 1e-4) ** _CARPAL_GROWTH)
    size = 1.09 * size * (0.92 + 0.08 * bones.breadth) * (1 + draws.normal(0.05, (count,)))
    sharpness = jnp.clip((inside - 0.15) / 0.7, 0.0, 1.0)
    sharpness = sharpness * sharpness * (3 - 2 * sharpness)

    # Centres lie farther apart while they are small; the capitate's is a key point and stays.
    away = jnp.array([centre for centre, _ in _OUTLINES]) + bones.shift - bones.capitate
    # The proximal row keeps between capitate and radius, however far apart these are.
    room = jnp.clip((bones.forearm[0, 1, 1] - bones.capitate[1] + 22.0) / 240.0, 0.85, 1.15)
    away = away * jnp.where(away > 0, jnp.stack([jnp.ones(()), room]), 1.0)
    away = away * (1 + 0.12 * (1 - inside[:-1, None])) + draws.normal(5.0, (count - 1, 2))
    carpals = (bones.capitate + away).at[0].set(bones.capitate)
    thumb = bones.digits[1]
    axis = unit(thumb[2] - thumb[1])
    beside = jnp.stack([axis[1], -axis[0]])
    beside = jnp.where(beside[0] < 0, beside, -beside)
    sesamoid = thumb[1] + _SESAMOID_PLACE[0] * beside + _SESAMOID_PLACE[1] * axis + draws.normal(4.0, (2,))
    middles = jnp.concatenate([carpals, sesamoid[None]])

    reaches = jnp.array([*(reach for _, reach in _OUTLINES), shapes.ellipse(17.0, 12.0)])
    polygons = jax.vmap(shapes.grown_outline)(
        reaches,
        size,
        jnp.clip(inside / 0.3, 0.0, 1.0).at[-1].set(1.0),
        sharpness.at[-1].set(0.0),
        draws.normal(0.07, (count,)),
        draws.normal(0.03, (count, 4)),
    )
    depth = 0.72 * reaches.mean(1) * size
    table, first, extent = jax.vmap(functools.partial(shapes.outline, samples))(
        polygons, depth=depth, wall=jnp.minimum(5.0, 0.25 * depth)
    )
    origins = middles + jnp.stack([first, jnp.zeros(count)], -1)
    flatness = (0.25 + 0.5 * sharpness).at[-1].set(0.0)
    return Parts(origins, jnp.tile(jnp.array([[1.0, 0.0]]), (count, 1)), extent, flatness, density, table)
