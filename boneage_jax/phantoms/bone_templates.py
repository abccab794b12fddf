"""The template that every phantom's bones are made from: widths, outlines and the shapes of the families of bones.

Lengths are in canvas pixels unless stated. Widths and outlines were measured on four registered radiographs of girls of
50, 82, 129 and 168 months, outlines on the oldest; `python -m benchmarks.phantom_realism` holds the result against real
hands. The numbers of the families of bones (`BoneTemplate`) were chosen by eye beside the same four radiographs, see
docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from boneage_jax import anatomy
from boneage_jax.phantoms import shapes

MAX_LENGTHS = {"metacarpal": 640.0, "proximal phalanx": 520.0, "middle phalanx": 370.0, "distal phalanx": 290.0}
"""Longest shaft of each family; a longer draw is cut, so that the image patches that bones are drawn in hold them."""

FOREARM_LENGTH = 1150.0
"""How far radius and ulna are drawn below their growth plates: beyond the image's edge in every pose."""

FOREARM_WIDTHS = ((128, 232, 128), (84, 132, 88))
"""Full width of radius and ulna at the waist, the metaphysis and the other end."""

WIDTHS: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((80, 118, 122), (66, 112, 90), (38, 98, 60)),
    2: ((58, 108, 128), (64, 118, 86), (52, 98, 76), (31, 78, 58)),
    3: ((56, 112, 112), (66, 122, 90), (56, 106, 82), (33, 84, 62)),
    4: ((44, 94, 98), (60, 112, 84), (52, 98, 76), (31, 76, 58)),
    5: ((50, 92, 110), (52, 102, 72), (44, 84, 60), (27, 64, 50)),
}
"""Full width of each digit's bones at the waist, the metaphysis and the other end, from the metacarpal outwards."""

# fmt: off
CARPALS: dict[str, tuple[tuple[float, float], ...]] = {
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
"""Adult outlines of the carpals: corners x, y on the canvas, traced on the girl of 168 months."""

CARPAL_OUTLINES = [shapes.radial(np.array(CARPALS[bone.name], np.float64)) for bone in anatomy.CARPAL_BONES]
"""Centre and polar outline of each of `anatomy.CARPAL_BONES`; see `shapes.radial`."""

SESAMOID_PLACE = (78.0, 5.0)
"""Where the sesamoid lies from the thumb's metacarpophalangeal joint: towards the palm, and along the thumb."""

SESAMOID_OUTLINE = shapes.ellipse(17.0, 12.0)
"""Polar outline of the grown sesamoid."""

Numbers = shapes.Scalar
"""One number, or one for each bone."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        *("metaphysis_flare", "end_flare", "end_sharpness", "end_reach", "neck", "flatness", "half_height", "zone"),
        *("dome", "hollow", "cap", "wedge", "spike", "spike_at", "square", "longest"),
    ],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class BoneTemplate:
    """What the shafts and epiphyses of one family of tubular bones have in common; or arrays with a row for each bone.

    Attributes:
      metaphysis_flare: part of the shaft's length over which it widens to the metaphysis.
      end_flare: likewise to the other end.
      end_sharpness: 2 for a round other end, more for a square one.
      end_reach: over how much of its half width the other end rounds off.
      neck: how much of the other end's half width is missing just before it.
      flatness: depth over half width, of shaft and epiphysis.
      half_height: half the height of the grown epiphysis, over the metaphysis' full width.
      zone: length that cartilage and epiphysis take at birth, over the metaphysis' full width.
      dome: 0 for an epiphysis with a flat joint side, 1 for the round head of a metacarpal.
      hollow: depth of the joint side's hollow, over the epiphysis' half height.
      cap: how far the rims of the epiphysis reach over the metaphysis, over its half height.
      wedge: how much higher the epiphysis is at its end towards the thumb than in its middle, as a fraction.
      spike: height of the styloid process, over the epiphysis' half height.
      spike_at: where it stands across the bone, from -1 to 1.
      square: how square the ends of the grown epiphysis are; 0 is an ellipse.
      longest: longest shaft, in canvas pixels.
    """

    metaphysis_flare: Numbers
    end_flare: Numbers
    end_sharpness: Numbers = 3.0
    end_reach: Numbers = 0.3
    neck: Numbers = 0.0
    flatness: Numbers = 0.8
    half_height: Numbers
    zone: Numbers = 0.46
    dome: Numbers = 0.0
    hollow: Numbers = 0.25
    cap: Numbers = 0.9
    wedge: Numbers = 0.0
    spike: Numbers = 0.0
    spike_at: Numbers = 0.0
    square: Numbers = 2.6
    longest: Numbers


_FAMILIES: dict[str, BoneTemplate] = {
    "distal phalanx": BoneTemplate(
        metaphysis_flare=0.75,
        end_flare=0.42,
        end_sharpness=2.2,
        end_reach=0.85,
        neck=0.16,
        half_height=0.095,
        zone=0.42,
        hollow=0.3,
        longest=MAX_LENGTHS["distal phalanx"],
    ),
    "middle phalanx": BoneTemplate(
        metaphysis_flare=0.78, end_flare=0.28, half_height=0.105, longest=MAX_LENGTHS["middle phalanx"]
    ),
    "proximal phalanx": BoneTemplate(
        metaphysis_flare=0.78, end_flare=0.25, half_height=0.12, longest=MAX_LENGTHS["proximal phalanx"]
    ),
    "metacarpal": BoneTemplate(
        metaphysis_flare=0.36,
        end_flare=0.42,
        half_height=0.44,
        zone=1.0,
        dome=1.0,
        hollow=0.0,
        cap=0.12,
        square=5.0,
        longest=MAX_LENGTHS["metacarpal"],
    ),
    "metacarpal 1": BoneTemplate(
        metaphysis_flare=0.40,
        end_flare=0.42,
        end_sharpness=2.2,
        end_reach=0.75,
        half_height=0.14,
        hollow=0.1,
        longest=MAX_LENGTHS["metacarpal"],
    ),
    "radius": BoneTemplate(
        metaphysis_flare=0.24,
        end_flare=0.3,
        flatness=0.62,
        half_height=0.165,
        zone=0.44,
        hollow=0.12,
        cap=0.15,
        wedge=0.85,
        square=6.0,
        longest=FOREARM_LENGTH,
    ),
    "ulna": BoneTemplate(
        metaphysis_flare=0.22,
        end_flare=0.3,
        flatness=0.72,
        half_height=0.17,
        zone=0.50,
        hollow=0.1,
        cap=0.2,
        spike=1.7,
        spike_at=-0.55,
        square=4.0,
        longest=FOREARM_LENGTH,
    ),
}
"""By bone, and for all others by kind. Chosen by eye, see docs/explanation/lab-notes.md."""


def tubular_templates() -> BoneTemplate:
    """Returns the templates of `anatomy.TUBULAR_BONES` as one, each field an array of shape (21,)."""
    chosen = [_FAMILIES.get(bone.name) or _FAMILIES[bone.kind] for bone in anatomy.TUBULAR_BONES]
    return jax.tree.map(lambda *values: np.array(values, np.float32), *chosen)


PROGRESS = (0.0, 0.2, 0.51, 0.83, 1.0)
"""Progress of an epiphysis, 0 at appearance and 1 at fusion, at which the five numbers below hold.

Its width is half the metaphysis' at 4.5 and 3 years (boys and girls), equal to it at about 9 and 7, and capping begins
at 13.5 and 11 (summaries of Greulich and Pyle's plates): for phalanges these are the fractions 0.2, 0.51 and 0.83.
"""

WIDTH_RATIO = (0.12, 0.52, 1.00, 1.09, 1.10)
"""Width of the epiphysis over the metaphysis', at `PROGRESS`."""

HEIGHT_RATIO = (0.30, 0.70, 0.92, 1.00, 1.00)
"""Height of the epiphysis over the grown one's, at `PROGRESS`; this and all below chosen by eye, see
docs/explanation/lab-notes.md."""

PLATE_PIXELS = (14.0, 10.0, 6.0, 2.5, 0.0)
"""Thickness of the growth plate in canvas pixels, at `PROGRESS`."""

SQUARENESS = (0.0, 0.3, 0.8, 1.0, 1.0)
"""How square the epiphysis is, at `PROGRESS`: 0 for a dot, 1 for a plate."""

CAPPING = (0.0, 0.0, 0.05, 0.75, 1.0)
"""How far the epiphysis caps the metaphysis, at `PROGRESS`."""
