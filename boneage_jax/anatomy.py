"""The vocabulary of the hand: bones, epiphyses, joints, regions, stages, and the ages of appearance and fusion.

Ages are skeletal, in months. Sources, by the letters used below:

- G: Gilsanz and Ratib, Hand Bone Age (2005): order and ages of carpal ossification, development stages.
- R: after Garn, Rohmann and Silverman (1967), medians of first appearance, quoted from memory: defaults, not
  measurements.
- S: summaries of Greulich and Pyle's plates: fusion of the distal phalanges, of the digits, maturity.
- I: interpolated between the above, or read off a few radiographs.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from boneage_jax.errors import UserError

MAX_MONTHS = 240.0
"""Oldest bone age in the project: every growth plate has closed before (S); the paper has 240 classes."""

Kind = Literal["distal phalanx", "middle phalanx", "proximal phalanx", "metacarpal", "carpal", "forearm", "sesamoid"]
End = Literal["proximal", "distal"]
Region = Literal["phalanges", "metacarpals", "carpals", "forearm"]

REGIONS: tuple[Region, ...] = ("phalanges", "metacarpals", "carpals", "forearm")
"""The parts of a hand that may mature at different paces; each bone belongs to one."""

_REGION: dict[Kind, Region] = {
    "distal phalanx": "phalanges",
    "middle phalanx": "phalanges",
    "proximal phalanx": "phalanges",
    "metacarpal": "metacarpals",
    "sesamoid": "metacarpals",
    "carpal": "carpals",
    "forearm": "forearm",
}


@dataclasses.dataclass(frozen=True)
class Bone:
    """One bone of the hand or the distal forearm.

    Attributes:
      name: the field's own, as in `proximal phalanx 3`; digit 1 is the thumb.
      kind: which family it belongs to.
      digit: 1 to 5, or 0 for carpals and forearm; the sesamoid is the thumb's.
      epiphysis: the end that carries the growth plate; None for bones that ossify from one centre.
      appears: months at which the ossification centre (of the epiphysis, or of the bone) appears, male and female.
      fuses: months at which the epiphysis is fused, male and female; for carpals and the sesamoid, at which their
        outline is adult.
      source: letters of the module's list, for `appears` and `fuses`.
    """

    name: str
    kind: Kind
    digit: int
    epiphysis: End | None
    appears: tuple[float, float]
    fuses: tuple[float, float]
    source: str

    @property
    def region(self) -> Region:
        """The region it belongs to."""
        return _REGION[self.kind]


def _bone(name: str, kind: Kind, digit: int, epiphysis: End | None, years: tuple[float, ...], source: str) -> Bone:
    """`years`: appearance male, female, then fusion male, female."""
    months = [12.0 * year for year in years]
    return Bone(name, kind, digit, epiphysis, (months[0], months[1]), (months[2], months[3]), source)


_DIGIT_KINDS: tuple[Kind, ...] = ("metacarpal", "proximal phalanx", "middle phalanx", "distal phalanx")

# Fusion of digits goes from distal to proximal, male and female years: S for the first and the last, I between.
_DIGIT_FUSES: dict[Kind, tuple[float, float]] = {
    "metacarpal": (16.8, 14.8),
    "proximal phalanx": (16.3, 14.3),
    "middle phalanx": (16.0, 14.0),
    "distal phalanx": (15.5, 13.5),
}


def _digit(digit: int, *appears: tuple[float, float]) -> list[Bone]:
    """The bones of one digit, proximal to distal, from years of appearance; the thumb has no middle phalanx."""
    kinds = [kind for kind in _DIGIT_KINDS if digit > 1 or kind != "middle phalanx"]
    bones = []
    for kind, years in zip(kinds, appears, strict=True):
        end: End = "distal" if kind == "metacarpal" and digit > 1 else "proximal"
        bones.append(_bone(f"{kind} {digit}", kind, digit, end, (*years, *_DIGIT_FUSES[kind]), "R, S, I"))
    return bones


DIGIT_BONES: tuple[Bone, ...] = (
    *_digit(1, (2.6, 1.6), (3.0, 1.7), (1.6, 1.0)),
    *_digit(2, (1.6, 1.1), (1.4, 0.9), (2.2, 1.4), (3.2, 2.5)),
    *_digit(3, (1.7, 1.1), (1.4, 0.9), (2.0, 1.3), (2.4, 1.5)),
    *_digit(4, (2.0, 1.3), (1.4, 0.9), (2.0, 1.3), (2.4, 1.5)),
    *_digit(5, (2.2, 1.4), (1.8, 1.2), (3.4, 1.8), (3.3, 2.0)),
)
"""The 19 tubular bones of the digits, thumb first, each digit from proximal to distal."""

FOREARM_BONES: tuple[Bone, ...] = (
    _bone("radius", "forearm", 0, "distal", (1.0, 1.0, 18.0, 16.3), "G, I"),
    _bone("ulna", "forearm", 0, "distal", (5.5, 5.0, 17.0, 15.5), "G, I"),
)
"""Radius and ulna."""

CARPAL_BONES: tuple[Bone, ...] = tuple(
    _bone(name, "carpal", 0, None, (*appears, 15.0, 13.0), "G, I")
    for name, appears in (
        ("capitate", (0.25, 0.17)),
        ("hamate", (0.33, 0.25)),
        ("triquetrum", (2.0, 1.5)),
        ("lunate", (4.0, 2.5)),
        ("scaphoid", (5.5, 4.0)),
        ("trapezium", (6.0, 4.0)),
        ("trapezoid", (6.0, 4.0)),
        ("pisiform", (11.0, 9.5)),
    )
)
"""The eight carpals, in the order in which they appear."""

SESAMOID: Bone = _bone("sesamoid", "sesamoid", 1, None, (12.8, 10.1, 15.0, 13.0), "R, I")
"""The adductor sesamoid, beside the head of the thumb's metacarpal; its appearance marks puberty."""

TUBULAR_BONES: tuple[Bone, ...] = DIGIT_BONES + FOREARM_BONES
"""The 21 bones with a growth plate."""

ROUND_BONES: tuple[Bone, ...] = (*CARPAL_BONES, SESAMOID)
"""The nine bones that ossify from one centre."""

BONES: tuple[Bone, ...] = TUBULAR_BONES + ROUND_BONES
"""All 30 bones; the order of every per-bone array in the project."""

INSTANCES: tuple[str, ...] = (
    *(bone.name for bone in BONES),
    *(f"epiphysis of {bone.name}" for bone in TUBULAR_BONES),
)
"""Classes of an instance map: value n is `INSTANCES[n - 1]`, 0 is no bone; 1 to 21 are shafts."""

KEY_POINTS: tuple[str, ...] = ("middle fingertip", "thumb tip", "capitate")
"""The three points that registration uses; the order of every key point array."""

JOINTS: tuple[str, ...] = (
    *("carpometacarpal 1", "metacarpophalangeal 1", "interphalangeal 1", "tip 1"),
    *(
        f"{joint} {digit}"
        for digit in (2, 3, 4, 5)
        for joint in (
            "carpometacarpal",
            "metacarpophalangeal",
            "proximal interphalangeal",
            "distal interphalangeal",
            "tip",
        )
    ),
    *("radiocarpal", "ulnocarpal"),
)
"""The 26 joint centres, digit by digit from the wrist outwards, then where radius and ulna meet it."""

OSSIFICATION_AREAS: tuple[str, ...] = (
    *(f"DIP {digit}" for digit in (2, 3, 4, 5)),
    *(f"PIP {digit}" for digit in (1, 2, 3, 4, 5)),
    *(f"MCP {digit}" for digit in (1, 2, 3, 4, 5)),
    *("Radius", "Ulna", "Wrist"),
)
"""The 17 areas that radiologists compare, as Koitka et al. (2018) box them; `PIP 1` is the thumb's one such joint."""


@dataclasses.dataclass(frozen=True)
class CanvasRegion:
    """A rectangle of the registered canvas of 2080 x 1600 pixels that a network can be trained on.

    Attributes:
      name: letters, digits and `_`: the paper's letter, or a name of your own.
      content: the anatomy that it shows, for tables.
      rows: first and last row (exclusive) on the canvas, in pixels.
      columns: first and last column (exclusive) on the canvas, in pixels.
      size: height and width of the image that is cut from it where no other is asked for, in pixels.
      bones: bones whose growth plates, or all of which, lie in it, as `select` reads them.
    """

    name: str
    content: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    size: tuple[int, int]
    bones: str

    def __post_init__(self) -> None:
        # Settings and options join names with + and @, and `whole` is the canvas itself: see `region_spec`.
        if not self.name.isidentifier() or self.name == "whole":
            raise ValueError(f"region {self.name!r}: expected letters, digits and _, and not 'whole'")


CANVAS = (2080, 1600)
"""Height and width of the registered canvas."""

CANVAS_FINGERTIP = (800.0, 100.0)
"""x, y of the middle fingertip on the registered canvas."""

CANVAS_CAPITATE = (800.0, 1600.0)
"""x, y of the capitate's centre on the registered canvas."""

CANVAS_REGIONS: tuple[CanvasRegion, ...] = (
    CanvasRegion("A", "whole hand", (40, 2040), (50, 1550), size=(500, 375), bones="all"),
    CanvasRegion(
        "B", "carpals", (1225, 1975), (425, 1175), size=(375, 375), bones="carpals, radius, ulna, metacarpal 1"
    ),
    CanvasRegion(
        "C",
        "metacarpals and proximal phalanges",
        (685, 1285),
        (100, 1500),
        size=(300, 700),
        bones="metacarpal, proximal phalanx",
    ),
)
"""All regions; a new one is a line here. A to C are the paper's (Iglovikov et al. 2017, arXiv 1712.05053): it gives the
places of B and C approximately; the size of A is the paper's, those of B and C are ours."""


def canvas_region(name: str) -> CanvasRegion:
    """Returns the region of a name. Raises `UserError` with the known names for others."""
    for region in CANVAS_REGIONS:
        if region.name == name:
            return region
    known = ", ".join(region.name for region in CANVAS_REGIONS)
    raise UserError(f"region {name!r}: expected one of {known}")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of skeletal development after Gilsanz and Ratib.

    Attributes:
      name: of the stage.
      starts: months at which it starts, male and female.
      ends: months at which it ends, male and female; the last stage includes all older ages.
      indicators: the best signs of maturity in this stage.
    """

    name: str
    starts: tuple[float, float]
    ends: tuple[float, float]
    indicators: str


STAGES: tuple[Stage, ...] = (
    Stage("infancy", (0, 0), (14, 10), "presence of capitate, hamate, distal radial epiphysis"),
    Stage("toddlers", (14, 10), (36, 24), "number of epiphyses of phalanges and metacarpals"),
    Stage("pre-puberty", (36, 24), (108, 84), "width of the epiphyses of distal, then middle phalanges"),
    Stage(
        "early and mid-puberty", (108, 84), (168, 156), "epiphyses wider than metaphyses, capping; pisiform, sesamoid"
    ),
    Stage("late puberty", (168, 156), (192, 180), "fusion of the phalanges, distal first"),
    Stage("post-puberty", (192, 180), (228, 204), "fusion of ulna, then radius"),
)
"""The six stages in order; together they cover every age of either sex."""


def stage_of(months: float, male: bool) -> Stage:
    """Returns the stage of a bone age.

    Args:
      months: bone age, 0 to 240.
      male: sex; girls pass each stage earlier.

    Raises:
      UserError: for ages outside 0 to 240 months.
    """
    check_age(months)
    column = 0 if male else 1
    return next((stage for stage in STAGES if months < stage.ends[column]), STAGES[-1])


def check_age(months: float) -> float:
    """Returns an age of 0 to 240 months. Raises `UserError` for others, NaN included."""
    if not 0 <= months <= MAX_MONTHS:
        raise UserError(f"age {months:g}: expected 0 to {MAX_MONTHS:g} months")
    return months


def is_male(sex: str) -> bool:
    """Returns whether `M`, `F`, `male` or `female`, in any case, is male. Raises `UserError` for other words."""
    known = {"m": True, "male": True, "f": False, "female": False}
    if sex.strip().lower() not in known:
        raise UserError(f"sex {sex!r}: expected M or F")
    return known[sex.strip().lower()]


def select(names: str) -> np.ndarray:
    """Returns which of `BONES` the names select, as bool of shape (30,).

    Args:
      names: bones (`capitate`), families (`distal phalanx`), regions (`carpals`) or `all`, separated by commas.

    Raises:
      UserError: for a name that is none of these.
    """
    chosen = np.zeros(len(BONES), bool)
    for name in (part.strip().lower() for part in names.split(",")):
        found = [name in ("all", bone.name, bone.kind, bone.region) for bone in BONES]
        if not any(found):
            raise UserError(
                f"bone {name!r}: expected a bone as in {BONES[1].name!r} or 'capitate', a family as in 'metacarpal', "
                f"a region ({', '.join(REGIONS)}) or 'all'"
            )
        chosen |= np.array(found)
    return chosen
