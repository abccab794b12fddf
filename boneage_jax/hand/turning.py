"""Radiographs that stand on their heads or lie on their side: tried again, turned, where a hand looks implausible.

The networks have learnt from hands that stand upright, give or take the turns of their training. Of 48 hands upside
down every one is flagged (and would be read as an infant's), of those on their side a third to a half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from boneage_jax.data.images import Grey
from boneage_jax.hand.pipeline import Registered
from boneage_jax.hand.quality import LOW_CONTRAST, NO_HAND

TURNS = (90, 180, 270)
"""Degrees, counterclockwise. Mirror images need no try of their own: key points tell left hands from right ones."""


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

    Radiographs without flags, or with a low contrast alone, are taken as they are; the others are tried three times
    more. A turned one counts only where it raises fewer flags.

    Args:
      register: finds the hands of any number of images: `HandPipeline.register`.
      images: radiographs.
    """
    best = [Found(image, hand) for image, hand in zip(images, register(images), strict=True)]
    doubtful = [n for n, one in enumerate(best) if set(one.hand.quality.flags) - {LOW_CONTRAST}]
    if not doubtful:
        return best
    for degrees in TURNS:
        turned = [np.ascontiguousarray(np.rot90(images[n], degrees // 90)) for n in doubtful]
        for n, image, hand in zip(doubtful, turned, register(turned), strict=True):
            if _rank(hand) < _rank(best[n].hand):
                best[n] = Found(image, hand, degrees)
    return best


def _rank(hand: Registered) -> tuple[bool, int]:
    """Whether no hand was found, and the number of flags: less is better."""
    return NO_HAND in hand.quality.flags, len(hand.quality.flags)
