"""Boxes that human readers drew around the ossification areas of 329 RSNA images (Koitka et al. 2018), digit by digit.

Boxes: https://github.com/razorx89/rsna-boneage-ossification-roi-detection (MIT). They name the joint but not the digit,
which is found here from their places. Ages and sexes come from the RSNA training table by image id.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
import xml.etree.ElementTree as ElementTree

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from boneage_jax.anatomy import OSSIFICATION_AREAS
from boneage_jax.errors import UserError

_COUNTS = {"DIP": 4, "PIP": 5, "MCP": 5, "Radius": 1, "Ulna": 1, "Wrist": 1}

ALIGNED_AREAS = tuple(OSSIFICATION_AREAS.index(name) for name in ("DIP 3", "PIP 3", "MCP 3", "MCP 2", "MCP 4", "Wrist"))
"""The areas that hands are aligned by: those that the spread of the fingers moves least."""

TEMPLATE = np.array([(802, 275), (804, 512), (806, 928), (1015, 930), (628, 985), (802, 1620)], np.float64)
"""About where `ALIGNED_AREAS` lie on the registered canvas of a girl of 129 months; it only fixes the place,
size and turn of all hands together."""


@dataclasses.dataclass(frozen=True)
class Hands:
    """Boxes of many hands.

    Attributes:
      boxes: x0, y0, x1, y1 of `anatomy.OSSIFICATION_AREAS`, thumb on the right.
      ages: bone age in months.
      males: sex.
      by_training_reader: whether the boxes are the training reader's; the expert of the evaluation draws tighter ones.
    """

    boxes: Float[np.ndarray, "n 17 4"]
    ages: Float[np.ndarray, " n"]
    males: Bool[np.ndarray, " n"]
    by_training_reader: Bool[np.ndarray, " n"]

    def chosen(self, which: Bool[np.ndarray, " n"]) -> Hands:
        """Returns some of the hands."""
        return Hands(self.boxes[which], self.ages[which], self.males[which], self.by_training_reader[which])


def read(folder: pathlib.Path, table: pathlib.Path) -> Hands:
    """Reads the training boxes and the expert's of the evaluation; hands without all 17 areas are left out.

    Args:
      folder: the one that holds `annotations/train` and `annotations/eval/expert`.
      table: `train.csv` of RSNA.

    Raises:
      UserError: where there are no annotations.
    """
    with table.open(newline="") as file:
        labels = {row["id"]: (float(row["boneage"]), row["male"].lower() == "true") for row in csv.DictReader(file)}
    files = [*folder.glob("annotations/train/*.xml"), *folder.glob("annotations/eval/expert/*.xml")]
    if not files:
        raise UserError(f"{folder}: found no annotations/train/*.xml; expected the folder of Koitka's boxes")
    files = sorted(files)
    boxes = [_boxes(file) for file in files]
    kept = [(file, found) for file, found in zip(files, boxes, strict=True) if found is not None]
    ages, males = np.array([labels[file.stem] for file, _ in kept]).T
    by_training_reader = np.array([file.parent.name == "train" for file, _ in kept])
    return Hands(np.array([found for _, found in kept]), ages, males > 0.5, by_training_reader)


def reader_scatter(folder: pathlib.Path) -> float:
    """Returns the scatter of one human reader's boxes: standard deviation of log width and height, median of all areas.

    From the images that both an expert and a non-expert annotated, their mean difference subtracted.
    """
    pairs = []
    for file in sorted(folder.glob("annotations/eval/expert/*.xml")):
        both = [_boxes(file), _boxes(folder / "annotations/eval/nonexpert" / file.name)]
        if all(found is not None for found in both):
            pairs.append([np.log(found[:, 2:] - found[:, :2]) for found in both if found is not None])
    first, second = np.swapaxes(np.array(pairs), 0, 1)
    return float(np.median((first - second).std(0)) / np.sqrt(2))


def _boxes(file: pathlib.Path) -> np.ndarray | None:
    """The boxes of one image in order, or None where some are missing."""
    found: dict[str, list[list[float]]] = {name: [] for name in _COUNTS}
    for item in ElementTree.parse(file).getroot().iter("object"):
        corners = [float(item.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax")]
        found[item.findtext("name", "")].append(corners)
    if {name: len(items) for name, items in found.items()} != _COUNTS:
        return None
    return _in_order({name: np.array(items) for name, items in found.items()})


def centres(boxes: np.ndarray) -> np.ndarray:
    """Returns x, y of the centres of boxes, shape (..., 2)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _in_order(found: dict[str, np.ndarray]) -> np.ndarray:
    """Boxes in the order of `OSSIFICATION_AREAS`, mirrored where the thumb lies left."""
    knuckles, wrist = centres(found["MCP"]), centres(found["Wrist"])[0]
    ahead = knuckles.mean(0) - wrist
    forearm = centres(found["Radius"])[0] - centres(found["Ulna"])[0]
    if ahead[0] * forearm[1] - ahead[1] * forearm[0] < 0:
        found = {name: items[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] for name, items in found.items()}
        return _in_order(found)
    origin = wrist - 0.3 * ahead
    toward = knuckles - origin
    angle = np.arctan2(ahead[0] * toward[:, 1] - ahead[1] * toward[:, 0], toward @ ahead)
    mcp = found["MCP"][np.argsort(-angle)]
    pip = _next(centres(mcp), centres(mcp) - origin, found["PIP"])
    dip = _next(centres(pip)[1:], (centres(pip) - centres(mcp))[1:], found["DIP"])
    return np.concatenate([dip, pip, mcp, found["Radius"], found["Ulna"], found["Wrist"]])


def _next(origins: np.ndarray, directions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The boxes that follow `origins` in their `directions`: near, and ahead rather than aside."""
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    away = centres(boxes)[None] - origins[:, None]
    cost = np.linalg.norm(away, axis=2) - 0.6 * np.sum(away * directions[:, None], axis=2)
    return boxes[linear_sum_assignment(cost)[1]]


def align(points: Float[np.ndarray, "n 17 2"]) -> tuple[np.ndarray, np.ndarray]:
    """Aligns hands by the similarities that bring `ALIGNED_AREAS` nearest to their mean over all hands (least squares).

    Returns:
      The points on the canvas, and the zoom of each hand (canvas pixels per pixel).
    """
    z = points[..., 0] + 1j * points[..., 1]
    mean = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
    for _ in range(5):
        source = z[:, ALIGNED_AREAS]
        source = source - source.mean(1, keepdims=True)
        turn = source.conj() @ (mean - mean.mean()) / np.sum(np.abs(source) ** 2, axis=1)
        laid = turn[:, None] * (z - z[:, ALIGNED_AREAS].mean(1, keepdims=True)) + mean.mean()
        # The mean keeps the template's own place, size and turn, so that the alignment converges.
        new = laid[:, ALIGNED_AREAS].mean(0)
        anchor = TEMPLATE[:3, 0] + 1j * TEMPLATE[:3, 1]
        back = np.vdot(new[:3] - new[:3].mean(), anchor - anchor.mean()) / np.sum(np.abs(new[:3] - new[:3].mean()) ** 2)
        mean = back * (new - new[:3].mean()) + anchor.mean()
    return np.stack([laid.real, laid.imag], -1), np.abs(turn)
