"""Quality control of a registered hand: flags with reasons, from what the pipeline measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.canvas import FINGERTIP, THUMB, Canvas, hand_length
from boneage_jax.data import input_layout
from boneage_jax.data.images import Grey
from boneage_jax.geometry import Similarity
from boneage_jax.hand import outline
from boneage_jax.hand.masks import Mask, on_the_edge
from boneage_jax.hand.register import Registration


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Values of the measures beyond which a hand is flagged.

    Thresholds belong to the networks that they were chosen for (see `thresholds`), and a bundle holds those of its own.
    The defaults are those of the bundle `phantom_only`: chosen on 2,000 phantoms (`hand_phantom/raw_0-2000-0`,
    split `validation`) so that most failures and at most 4% of the good hands are flagged, and rounded to four digits.
    `area`, `hand`, `second`, `side`, `thumb`, `contrast` and `pixels` are chosen by eye, see
    docs/explanation/lab-notes.md.

    Lengths are fractions of the hand's length, from middle fingertip to capitate.

    Attributes:
      area: smallest fraction of the image that a hand covers.
      hand: smallest expected IoU of a mask; less is no hand at all.
      expected: smallest expected IoU of a mask; less is an uncertain mask.
      agreement: smallest IoU of a single view's mask with the mask of all views.
      change: smallest IoU of the masks of the coarse and of the fine stage.
      faint: largest fraction of the mask's outline without a step of grey levels; see `outline.faint`.
      second: largest area of the mask's second piece, as a fraction of the hand's area.
      cut: largest length of fingers and palm along the image's edge.
      beyond: largest distance of a key point from the image, where it lies outside.
      disagreement: largest distance of a key point in one view of the last stage from the mean over its views.
      moved: largest distance of a key point in the coarse stage from that in the last.
      spread: largest width of a key point's heat map, as a multiple of the width of its training target.
      side: smallest distance of the thumb's tip from the axis of the hand.
      thumb: x, y ranges of the thumb's tip on the paper's canvas, in its pixels.
      outside: largest distance of a key point from the mask.
      inside: largest distance of a fingertip from the mask's outline, where it lies within: a mask that has lost the
        finger's end stops short of it, one that has taken background for hand goes on beyond.
      contrast: smallest range of the hand's grey levels, 1st to 99th percentile.
      pixels: smallest length of the hand, in pixels of the radiograph. Where 64 real hands were reduced to 94, 63 and
        47 pixels (median), their mean error grew from 7.2 months to 8.0, 9.2 and 9.9.
    """

    area: float = 0.03
    hand: float = 0.60
    expected: float = 0.955
    agreement: float = 0.9563
    change: float = 0.8524
    faint: float = 0.1696
    second: float = 0.20
    cut: float = 0.2334
    beyond: float = 0.0726
    disagreement: float = 0.0428
    moved: float = 0.279
    spread: float = 4.405
    side: float = 0.12
    thumb: tuple[tuple[float, float], tuple[float, float]] = ((1000.0, 1950.0), (450.0, 1400.0))
    outside: float = 0.0329
    inside: float = 0.0147
    contrast: float = 6.0
    pixels: float = 60.0


@dataclasses.dataclass(frozen=True)
class KeyPointViews:
    """The key points of one hand as the network places them in each view, in pixels of the original.

    Attributes:
      coarse: x, y of the key points at the coarse stage.
      points: x, y at the last stage, view by view.
      spreads: widths of the last stage's heat maps, as multiples of the width of their training targets.
    """

    coarse: Float[np.ndarray, "3 2"]
    points: Float[np.ndarray, "views 3 2"]
    spreads: Float[np.ndarray, "views 3"]

    @property
    def mean(self) -> Float[np.ndarray, "3 2"]:
        """The key points: x, y, the mean over the views of the last stage."""
        return self.points.mean(0)


@dataclasses.dataclass(frozen=True)
class QualityReport:
    """The quality of one registered hand.

    Attributes:
      flags: reasons to look at the hand before it is used; empty where there are none.
      measures: measured values by name; see `Thresholds`.
      calibrated: whether the thresholds behind the flags were chosen for the networks that found the hand.
    """

    flags: tuple[str, ...]
    measures: dict[str, float]
    calibrated: bool = False

    @property
    def good(self) -> bool:
        """Whether there are no flags."""
        return not self.flags


NO_HAND = "no hand"
UNCERTAIN_MASK = "uncertain mask"
TWO_HANDS = "two hands"
LOW_CONTRAST = "low contrast"
FEW_PIXELS = "few pixels"
CUT_OFF = "cut off"
WRONG_SIDE = "wrong side"
IMPLAUSIBLE = "implausible key points"

MEANINGS: dict[str, tuple[str, str]] = {
    NO_HAND: ("No hand was found.", "Check that the picture is a radiograph of a hand."),
    UNCERTAIN_MASK: ("The outline of the hand is uncertain.", "Look whether the outline follows the hand."),
    TWO_HANDS: ("The picture shows a second hand, or a large other part.", "Cut it to one hand."),
    LOW_CONTRAST: ("The hand spans few grey levels.", "Look whether bones can be told apart; export it anew."),
    FEW_PIXELS: ("The hand has too few pixels.", "Export the picture at a higher resolution."),
    CUT_OFF: ("Fingers or palm reach beyond the picture.", "Take or export the whole hand."),
    WRONG_SIDE: ("Left and right cannot be told.", "Look whether the thumb was found."),
    IMPLAUSIBLE: ("Fingertip, thumb and wrist do not lie as in a hand.", "Look whether they were found."),
}
"""What each flag means, and what to do, in a sentence each."""

REFUSING = frozenset({NO_HAND, TWO_HANDS, FEW_PIXELS, CUT_OFF, WRONG_SIDE, IMPLAUSIBLE})
"""Flags of pictures that get no age (`benchmarks.wrong_inputs` measures how many wrong inputs carry one)."""

MEASURES = (
    "area", "expected", "agreement", "change", "faint", "second", "contrast", "cut", "disagreement", "moved", "spread",
    "side", "thumb_x", "thumb_y", "outside", "inside", "beyond", "pixels",
)  # fmt: skip
"""Names of all measures; those that need a registration are left out where there is none."""

BLANK = 1.0
"""Contrast (see `Thresholds`) below which an image shows nothing, whatever a network finds in it: less than one grey
level."""


def check(
    image: Grey,
    mask: Mask,
    views: KeyPointViews | None,
    registration: Registration | None,
    *,
    thresholds: Thresholds = Thresholds(),
    calibrated: bool = False,
) -> QualityReport:
    """Returns the quality report of one image.

    Args:
      image: the radiograph, at its own size.
      mask: the hand in it.
      views: its key points; None where no hand was found.
      registration: None where no hand was found.
      thresholds: beyond which a measure raises a flag.
      calibrated: whether they were chosen for the networks that found the hand.
    """
    measures = measure(image, mask, views, registration)
    return QualityReport(flags_of(measures, thresholds), measures, calibrated)


def measure(
    image: Grey, mask: Mask, views: KeyPointViews | None, registration: Registration | None
) -> dict[str, float]:
    """Returns the measures of one image by name: all of `MEASURES`, or fewer where no hand was found.

    Args:
      image: see `check`, and so the rest.
      mask: the hand in it.
      views: its key points.
      registration: None where no hand was found.
    """
    measures = {
        "area": mask.area,
        "expected": mask.expected,
        "agreement": mask.agreement,
        "change": mask.change,
        "faint": outline.faint(image, mask.inside),
        "second": mask.second,
    }
    if mask.area:
        low, high = np.percentile(image[mask.inside], (1, 99))
        measures["contrast"] = float(high - low)
    if views is None or registration is None:
        return measures

    # Always on the paper's canvas, so that one set of thresholds fits hands on any canvas.
    upright = Canvas().transform(registration.key_points)
    length = max(float(hand_length(registration.key_points)), 1e-6)
    measures["pixels"] = length
    measures["cut"] = _along_the_edge(mask.inside, upright) / length
    measures["disagreement"] = float(np.linalg.norm(views.points - views.mean, axis=-1).max() / length)
    measures["moved"] = float(np.linalg.norm(views.coarse - views.mean, axis=-1).max() / length)
    measures["spread"] = float(views.spreads.max())
    measures["side"] = registration.side
    measures["thumb_x"], measures["thumb_y"] = (float(value) for value in upright(registration.key_points)[THUMB])
    measures["outside"] = max(_distance(mask.inside, point) for point in registration.key_points) / length
    measures["inside"] = _deepest(mask.inside, registration.key_points[[FINGERTIP, THUMB]]) / length
    measures["beyond"] = _beyond(registration.key_points, image.shape) / length
    return measures


def flags_of(measures: Mapping[str, float], thresholds: Thresholds) -> tuple[str, ...]:
    """Returns the flags of a hand.

    Args:
      measures: from `measure`. Without those of key points no hand was found: `NO_HAND` is flagged if nothing else is.
      thresholds: beyond which a measure raises a flag.
    """
    found = []
    contrast = measures.get("contrast", 0.0)
    if measures["area"] < thresholds.area or measures["expected"] < thresholds.hand or contrast < BLANK:
        found.append(NO_HAND)
    uncertain = (
        measures["expected"] < thresholds.expected
        or measures["agreement"] < thresholds.agreement
        or measures["change"] < thresholds.change
        or measures["faint"] > thresholds.faint
    )
    if uncertain:
        found.append(UNCERTAIN_MASK)
    if measures["second"] > thresholds.second:
        found.append(TWO_HANDS)
    if measures["area"] and contrast < thresholds.contrast:
        found.append(LOW_CONTRAST)
    if "side" not in measures:
        return tuple(found or [NO_HAND])

    # Older tables of measures have none of this one.
    if measures.get("pixels", np.inf) < thresholds.pixels:
        found.append(FEW_PIXELS)
    if measures["cut"] > thresholds.cut or measures["beyond"] > thresholds.beyond:
        found.append(CUT_OFF)
    if abs(measures["side"]) < thresholds.side:
        found.append(WRONG_SIDE)
    (left, right), (top, bottom) = thresholds.thumb
    implausible = (
        measures["disagreement"] > thresholds.disagreement
        or measures["moved"] > thresholds.moved
        or measures["spread"] > thresholds.spread
        or measures["outside"] > thresholds.outside
        or measures["inside"] > thresholds.inside
        or not (left <= measures["thumb_x"] <= right and top <= measures["thumb_y"] <= bottom)
    )
    if implausible:
        found.append(IMPLAUSIBLE)
    return tuple(found)


def _along_the_edge(inside: Bool[np.ndarray, "h w"], upright: Similarity) -> float:
    """Pixels of the image's edge that show the hand above the wrist; the forearm leaves every image."""
    y, x = np.nonzero(on_the_edge(inside))
    if not len(x):
        return 0.0
    along = upright(np.stack([x, y], -1))[:, 1]
    return float(np.count_nonzero(along < Canvas().capitate[1]))


def _beyond(points: Float[np.ndarray, "3 2"], shape: tuple[int, ...]) -> float:
    """Pixels from the image to the key point that lies farthest outside it; 0 where all lie within."""
    h, w = shape[:2]
    return float(np.linalg.norm(points - np.clip(points, 0, (w - 1, h - 1)), axis=1).max())


def _distance(inside: Bool[np.ndarray, "h w"], point: Float[np.ndarray, " 2"]) -> float:
    """Pixels from a point to the nearest pixel of the mask."""
    h, w = inside.shape
    x, y = round(float(point[0])), round(float(point[1]))
    if 0 <= x < w and 0 <= y < h and inside[y, x]:
        return 0.0
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return float(max(h, w))
    return float(np.sqrt(((columns - point[0]) ** 2 + (rows - point[1]) ** 2).min()))


def _deepest(inside: Bool[np.ndarray, "h w"], points: Float[np.ndarray, "n 2"]) -> float:
    """Largest distance, over the points, to the nearest pixel outside the mask; outside the image nothing is hand."""
    x0, y0, x1, y1 = input_layout.box(inside)
    # A pixel of border: what lies outside the box, as outside the image, is not hand, and so has no depth.
    first, last = (x0 - 1, y0 - 1), (x1, y1)
    x, y = (np.clip(np.rint(points), first, last) - first).astype(int).T
    padded = np.pad(inside[y0:y1, x0:x1].astype(np.uint8), 1)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[y, x].max())
