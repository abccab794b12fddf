"""Radiographs that stand on their heads or lie on their side: tried again, turned, where a hand looks implausible.

The networks have learnt from hands that stand upright, give or take the turns of their training. Of 48 hands upside
down every one is flagged (and would be read as an infant's), of those on their side a third to a half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from boneage_jax.canvas import CAPITATE, FINGERTIP
from boneage_jax.data.images import Grey
from boneage_jax.hand.pipeline import Registered
from boneage_jax.hand.quality import CUT_OFF, IMPLAUSIBLE, NO_HAND, TWO_HANDS, UNCERTAIN_MASK, WRONG_SIDE

TURNS = (90, 180, 270)
"""Degrees, counterclockwise. Mirror images need no try of their own: key points tell left hands from right ones."""


TURNED_AWAY = frozenset({NO_HAND, UNCERTAIN_MASK, CUT_OFF, WRONG_SIDE, IMPLAUSIBLE})
"""Flags that hands raise which do not stand upright: 48 real ones upside down and on their sides raised these, and two
of them `TWO_HANDS`."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A hand as it was found.

    Attributes:
      image: the radiograph, turned.
      hand: that was found in it, in the pixels of the turned radiograph.
      turned: degrees that the radiograph was turned by, counterclockwise: 0, 90, 180 or 270.
    """

    image: Grey
    hand: Registered
    turned: int = 0


def found_upright(register: Callable[[Sequence[Grey]], list[Registered]], images: Sequence[Grey]) -> list[Found]:
    """Returns the hands of radiographs, each turned so that it raises the fewest flags.

    Radiographs with flags that a turn may take away (`TURNED_AWAY`) are tried three times more, unless they show two
    hands: whatever is found in a turned one, the second hand is still there. A turned one counts where it raises fewer
    flags; of several the one whose hand stands most upright.

    Args:
      register: finds the hands of any number of images: `HandPipeline.register`.
      images: radiographs.
    """
    best = [Found(image, hand) for image, hand in zip(images, register(images), strict=True)]
    flags = [set(one.hand.quality.flags) for one in best]
    doubtful = [n for n, raised in enumerate(flags) if raised & TURNED_AWAY and TWO_HANDS not in raised]
    if not doubtful:
        return best
    for degrees in TURNS:
        turned = [np.ascontiguousarray(np.rot90(images[n], degrees // 90)) for n in doubtful]
        for n, image, hand in zip(doubtful, turned, register(turned), strict=True):
            found = Found(image, hand, degrees)
            if _flags(hand) < _flags(best[n].hand) or (best[n].turned and _rank(found) < _rank(best[n])):
                best[n] = found
    return best


def _flags(hand: Registered) -> tuple[bool, int]:
    """Whether no hand was found, and the number of flags: less is better."""
    return NO_HAND in hand.quality.flags, len(hand.quality.flags)


def _rank(found: Found) -> tuple[bool, int, float]:
    """The same, and how far the hand leans: less is better."""
    return *_flags(found.hand), _lean(found.hand)


def _lean(hand: Registered) -> float:
    """Angle between the axis of the hand, from capitate to middle fingertip, and the upright, in radians, 0 to pi."""
    if hand.registration is None:
        return np.pi
    x, y = hand.registration.key_points[FINGERTIP] - hand.registration.key_points[CAPITATE]
    return abs(float(np.arctan2(x, -y)))
