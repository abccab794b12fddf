"""The vocabulary of the hand: its bones, where their epiphyses lie, and when these appear and fuse.

Ages are skeletal, in months. Sources, by the letters used below:

- G: Gilsanz and Ratib, Hand Bone Age (2005), order and ages of carpal ossification.
- R: after Garn et al. (1967), medians of first appearance, as recalled; a default rather than a measurement.
- S: summaries of Greulich and Pyle's plates (fusion of the distal phalanges, of the digits, maturity).
- I: interpolated between the above.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["distal phalanx", "middle phalanx", "proximal phalanx", "metacarpal", "carpal", "forearm"]


@dataclasses.dataclass(frozen=True)
class Bone:
    """One bone of the hand or the distal forearm.

    Attributes:
      name: the field's own, as in `proximal phalanx 3`; digit 1 is the thumb.
      kind: which family it belongs to.
      digit: 1 to 5, or 0 for carpals and forearm.
      epiphysis: the end that carries the growth plate; None for carpals, which ossify from one centre.
      appears: months at which the ossification centre (of the epiphysis, or of the carpal) appears, male and female.
      fuses: months at which the epiphysis is fused, male and female; for carpals, at which their outline is adult.
      source: letters of the module's list, for `appears` and `fuses`.
    """

    name: str
    kind: Kind
    digit: int
    epiphysis: Literal["proximal", "distal"] | None
    appears: tuple[float, float]
    fuses: tuple[float, float]
    source: str


def _bone(
    name: str,
    kind: Kind,
    digit: int,
    epiphysis: Literal["proximal", "distal"] | None,
    years: tuple[float, ...],
    source: str,
) -> Bone:
    """`years`: appearance male, female, then fusion male, female."""
    months = [12.0 * year for year in years]
    return Bone(name, kind, digit, epiphysis, (months[0], months[1]), (months[2], months[3]), source)


def _digit(digit: int, appears: dict[str, tuple[float, float]]) -> list[Bone]:
    """The bones of one digit, proximal to distal, from years of appearance; fusion goes from distal to proximal."""
    fuses = {
        "metacarpal": (16.8, 14.8),
        "proximal phalanx": (16.3, 14.3),
        "middle phalanx": (16.0, 14.0),
        "distal phalanx": (15.5, 13.5),
    }
    bones = []
    kinds: tuple[Kind, ...] = ("metacarpal", "proximal phalanx", "middle phalanx", "distal phalanx")
    for kind in kinds:
        if kind in appears:
            end: Literal["proximal", "distal"] = "distal" if kind == "metacarpal" and digit > 1 else "proximal"
            bones.append(_bone(f"{kind} {digit}", kind, digit, end, (*appears[kind], *fuses[kind]), "R, S, I"))
    return bones


DIGIT_BONES: tuple[Bone, ...] = (
    *_digit(1, {"metacarpal": (2.6, 1.6), "proximal phalanx": (3.0, 1.7), "distal phalanx": (1.6, 1.0)}),
    *_digit(
        2,
        {
            "metacarpal": (1.6, 1.1),
            "proximal phalanx": (1.4, 0.9),
            "middle phalanx": (2.2, 1.4),
            "distal phalanx": (3.2, 2.5),
        },
    ),
    *_digit(
        3,
        {
            "metacarpal": (1.7, 1.1),
            "proximal phalanx": (1.4, 0.9),
            "middle phalanx": (2.0, 1.3),
            "distal phalanx": (2.4, 1.5),
        },
    ),
    *_digit(
        4,
        {
            "metacarpal": (2.0, 1.3),
            "proximal phalanx": (1.4, 0.9),
            "middle phalanx": (2.0, 1.3),
            "distal phalanx": (2.4, 1.5),
        },
    ),
    *_digit(
        5,
        {
            "metacarpal": (2.2, 1.4),
            "proximal phalanx": (1.8, 1.2),
            "middle phalanx": (3.4, 1.8),
            "distal phalanx": (3.3, 2.0),
        },
    ),
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

TUBULAR_BONES: tuple[Bone, ...] = DIGIT_BONES + FOREARM_BONES
"""The 21 bones with a growth plate."""

BONES: tuple[Bone, ...] = TUBULAR_BONES + CARPAL_BONES
"""All 29 bones; the order of every per-bone array in the project."""

KEY_POINTS: tuple[str, ...] = ("middle fingertip", "thumb tip", "capitate")
"""The three points that registration rests on; the order of every key point array."""
