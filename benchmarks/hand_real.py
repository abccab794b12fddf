"""How true the hand pipeline is on real radiographs: masks and key points against those that people drew and set.

    boneage register rsna_bone_age/full --segmentation shipped --landmarks shipped --regions whole@520x400
    python -m benchmarks.hand_real registered_hands/rsna_bone_age-full --annotations downloads/rsna299/annotations

The folder of annotations holds `masks/ID.png`, `key_points.json` (any format that `boneage annotations` reads) and
`by_hand.txt`, the ids whose points a person set; all others were set by a network and accepted by a person.

Distances are percent of the hand's length (middle fingertip to capitate, as a person set them). A person's points have
a habit: fingertips lie a little beyond the tip. The median difference in the hand's own directions (towards the wrist,
towards the thumb), measured on the training hands whose points a person set, is stated and taken out. A gross failure
is a point more than 10% off, or a hand that was not found.

With `--beside` and the same images registered by other networks, the scatter of people's points is told from the
networks': what two networks' differences from a person have in common is the person's, or the task's, not theirs.

Writes `hand_real.json`, `hand_real.csv` (a row a hand) and `hand_real.html` with the worst fifty. The page shows real
images: it is for looking at, not for publishing.
"""

from __future__ import annotations

import argparse
import collections
import csv
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.common import versions
from boneage_jax import anatomy, page
from boneage_jax.canvas import CAPITATE, FINGERTIP, thumb_side
from boneage_jax.data import annotations as annotation_files
from boneage_jax.data import pairing
from boneage_jax.data.annotations import Annotation
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.files import write_text
from boneage_jax.hand import masks
from boneage_jax.parallel import progress
from boneage_jax.workflows import derive, pictures

GROSS = 10.0
"""A point farther off is a gross failure, in percent of the hand's length."""

HABIT = "habit (towards the thumb's side, towards the wrist), %"
"""Key of the figures that were taken out."""

WORST = 50
"""Hands on the page."""


@dataclasses.dataclass(frozen=True)
class Hand:
    """A registered hand beside what people made of it.

    Attributes:
      split: of the dataset.
      id: of the image.
      flags: of quality control.
      by_hand: whether a person set its points.
      off: each key point's difference from a person's, (3, 2): towards the thumb's side and towards the wrist, in
        percent of the hand's length; NaN where the hand was not found, None where no points are known.
      iou: of the mask with a person's outline; None where there is none.
    """

    split: str
    id: str
    flags: tuple[str, ...]
    by_hand: bool
    off: Float[np.ndarray, "3 2"] | None
    iou: float | None


def axes_of(person: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "2 2"]:
    """Returns 1% of the hand's length towards the thumb's side and towards the wrist, as x, y in pixels."""
    down = (person[CAPITATE] - person[FINGERTIP]) / 100.0
    return np.stack([np.array([-down[1], down[0]]) * -np.sign(thumb_side(person)), down])


def in_hand(found: Float[np.ndarray, "3 2"], person: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "3 2"]:
    """Returns how far points lie from a person's, towards the thumb's side and the wrist, in % of the hand's length."""
    axes = axes_of(person)
    return (found - person) @ axes.T / (axes[1] @ axes[1])


def compared(
    dataset: Dataset, points: dict[str, np.ndarray], outlines: dict[str, Annotation], set_by_hand: set[str]
) -> list[Hand]:
    """Returns every hand of a registered dataset that people have annotated."""
    flags = {(row.split, row.id): row.flags for row in derive.read_flags(dataset)}
    hands = []
    for split in dataset.splits:
        records = dataset.split(split)
        wanted = [(n, one) for n, one in enumerate(records.ids()) if one in points or one in outlines]
        for n, image_id in progress(wanted, total=len(wanted), label=f"{split}: comparing"):
            found = np.asarray(records.key_points(n), np.float64)
            off = in_hand(found, points[image_id]) if image_id in points else None
            iou = None
            if image_id in outlines:
                inside = records.mask(n)
                iou = float(masks.iou(inside, outlines[image_id].mask(inside.shape)))
            hands.append(Hand(split, image_id, flags[split, image_id], image_id in set_by_hand, off, iou))
    return hands


def habit_of(hands: list[Hand]) -> Float[np.ndarray, "3 2"]:
    """Returns the median difference of the training hands whose points a person set: a person's habit, and ours."""
    return np.nanmedian(
        [hand.off for hand in hands if hand.off is not None and hand.by_hand and hand.split == "train"], axis=0
    )


def errors_of(hands: list[Hand], habit: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "n 3"]:
    """Returns each point's distance from a person's, the habit taken out, in % of its length; 100 if not found."""
    off = np.array([hand.off for hand in hands]).reshape(-1, 3, 2) - habit
    return np.nan_to_num(np.linalg.norm(off, axis=-1), nan=100.0)


def in_common(one: list[Hand], other: list[Hand]) -> dict[str, dict[str, float]]:
    """Returns how much of two networks' differences from the same people's points is common to both, by key point.

    Of the validation hands whose points a person set, gross failures left out. `in common, %` is the covariance of the
    differences over the mean of their variances (both directions together), in percent: 100 where the networks agree,
    and only the person's points scatter.
    """
    by_id = {hand.id: hand for hand in other}
    both = [
        (hand, by_id[hand.id])
        for hand in one
        if hand.split == "validation" and hand.by_hand and hand.id in by_id and hand.off is not None
    ]
    differences, near = [], np.ones(len(both), bool)
    for hands in map(list, zip(*both, strict=True)):
        off = np.array([hand.off for hand in hands], np.float64)
        habit = np.nanmedian(off, axis=0)
        differences.append(off - habit)
        near &= (errors_of(hands, habit) <= GROSS).all(1)
    off = np.stack(differences, axis=1)[near]
    found = {}
    for n, name in enumerate(anatomy.KEY_POINTS):
        first, second = off[:, 0, n], off[:, 1, n]
        squares = ((first**2).sum(-1).mean() + (second**2).sum(-1).mean()) / 2
        found[name] = {
            "hands": float(len(off)),
            "in common, %": 100.0 * float((first * second).sum(-1).mean() / squares),
            "between the networks, median": float(np.median(np.linalg.norm(first - second, axis=-1))),
        }
    return found


def of_points(hands: list[Hand], habit: Float[np.ndarray, "3 2"]) -> dict[str, Any]:
    """Returns the figures of a group of hands whose points are known."""
    errors = errors_of(hands, habit)
    gross = errors.max(1) > GROSS
    flagged = np.array([bool(hand.flags) for hand in hands])
    return {
        "hands": len(hands),
        "median": dict(zip(anatomy.KEY_POINTS, np.median(errors, 0).tolist(), strict=True)),
        "95th percentile": dict(zip(anatomy.KEY_POINTS, np.percentile(errors, 95, axis=0).tolist(), strict=True)),
        "gross failures": int(gross.sum()),
        "gross failures not flagged": int((gross & ~flagged).sum()),
        "gross, %": 100.0 * float(gross.mean()),
        "gross and not flagged, %": 100.0 * float((gross & ~flagged).mean()),
        "flagged, %": 100.0 * float(flagged.mean()),
    }


def of_masks(values: np.ndarray) -> dict[str, float]:
    """Returns the figures of IoUs."""
    percentiles = {f"{q}th percentile": float(np.percentile(values, q)) for q in (5, 50)}
    return {"hands": len(values), "mean": float(values.mean()), **percentiles, "least": float(values.min())}


def of_flags(dataset: Dataset) -> dict[str, Any]:
    """Returns the share of flagged hands of the whole dataset, and how often each flag stands."""
    rows = derive.read_flags(dataset)
    counts = collections.Counter(flag for row in rows for flag in row.flags)
    return {
        "hands": len(rows),
        "flagged, %": 100.0 * sum(bool(row.flags) for row in rows) / len(rows),
        "by flag": dict(counts.most_common()),
    }


def figures_of(dataset: Dataset, hands: list[Hand]) -> dict[str, Any]:
    """Returns all figures."""
    habit = habit_of(hands)
    pointed = [hand for hand in hands if hand.off is not None]
    groups = {
        "all": pointed,
        "by hand": [hand for hand in pointed if hand.by_hand],
        "validation": [hand for hand in pointed if hand.split == "validation"],
        "validation, by hand": [hand for hand in pointed if hand.split == "validation" and hand.by_hand],
    }
    iou = np.array([hand.iou for hand in hands if hand.iou is not None])
    return {
        "dataset": dataset.name,
        HABIT: dict(zip(anatomy.KEY_POINTS, habit.round(3).tolist(), strict=True)),
        "masks": of_masks(iou) if len(iou) else None,
        "key points": {name: of_points(members, habit) for name, members in groups.items() if members},
        "flags": of_flags(dataset),
        "versions": versions("boneage-jax", "jax", "opencv-python-headless"),
    }


def as_text(found: dict[str, Any]) -> str:
    """Returns the figures for people, with the bars of the project."""
    lines = [f"{found['dataset']}; {found['versions']}"]
    if found["masks"]:
        of = found["masks"]
        lines.append(
            f"mask IoU, {of['hands']} outlines: mean {of['mean']:.4f} (bar 0.975), 5th percentile "
            f"{of['5th percentile']:.4f} (bar 0.95), least {of['least']:.4f}"
        )
    habit = "; ".join(f"{name} {x:+.2f}, {y:+.2f}" for name, (x, y) in found[HABIT].items())
    lines.append(f"taken out, % towards the thumb's side, towards the wrist: {habit}")
    for name, of in found["key points"].items():
        lines.append(f"{name}: {of['hands']} hands")
        for point in anatomy.KEY_POINTS:
            lines.append(
                f"  {point:<18} median {of['median'][point]:.2f}%   95th percentile {of['95th percentile'][point]:.2f}%"
            )
        lines.append(
            f"  gross failures {of['gross failures']} ({of['gross, %']:.2f}%, bar 0.2), not flagged "
            f"{of['gross failures not flagged']} ({of['gross and not flagged, %']:.2f}%, bar 0.05), "
            f"flagged {of['flagged, %']:.1f}% (bar 3)"
        )
    lines.append(
        f"flags of all {found['flags']['hands']}: {found['flags']['flagged, %']:.2f}% {found['flags']['by flag']}"
    )
    return "\n".join(lines)


def _write_csv(hands: list[Hand], habit: np.ndarray, path: pathlib.Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "id", "by_hand", *anatomy.KEY_POINTS, "iou", "flags"])
        for hand in hands:
            errors = errors_of([hand], habit)[0] if hand.off is not None else ["", "", ""]
            shown = [f"{value:.3f}" if value != "" else "" for value in errors]
            iou = "" if hand.iou is None else f"{hand.iou:.4f}"
            writer.writerow([hand.split, hand.id, int(hand.by_hand), *shown, iou, ", ".join(hand.flags)])


def _sheet(
    source: Dataset,
    dataset: Dataset,
    worst: list[tuple[Hand, str]],
    points: dict[str, np.ndarray],
    outlines: dict[str, Annotation],
) -> page.Markup:
    """Cards of hands: what was found, and what a person drew and set."""
    opened: dict[str, tuple[Records, Records]] = {}
    cards = []
    for hand, line in worst:
        if hand.split not in opened:
            opened[hand.split] = source.split(hand.split), dataset.split(hand.split)
        originals, registered = opened[hand.split]
        picture = originals.image(originals.numbers()[hand.id])
        n = registered.numbers()[hand.id]
        person = outlines[hand.id].mask(picture.shape) if hand.id in outlines else None
        both = [
            page.picture(pictures.overlay(picture, registered.mask(n), registered.key_points(n)), "found"),
            page.picture(pictures.overlay(picture, person, points.get(hand.id)), "by a person"),
        ]
        cards.append(page.Card(f"{hand.id}, {hand.split}", both, [line], page.flags(hand.flags)))
    return page.cards(cards, width=20, height=14)


def _write_page(
    out: pathlib.Path,
    found: dict[str, Any],
    dataset: Dataset,
    data: pathlib.Path,
    hands: list[Hand],
    points: dict[str, np.ndarray],
    outlines: dict[str, Annotation],
) -> None:
    source, habit = Dataset.open(data, dataset.origin), habit_of(hands)
    pointed = [hand for hand in hands if hand.off is not None]
    errors = errors_of(pointed, habit).max(1)
    by_points = [(pointed[n], f"a point {errors[n]:.1f}% off") for n in np.argsort(-errors)[:WORST]]
    outlined = sorted((hand for hand in hands if hand.iou is not None), key=lambda hand: hand.iou or 0.0)
    by_masks = [(hand, f"IoU {hand.iou:.3f}") for hand in outlined[: WORST // 2]]
    validation = found["key points"].get("validation") or found["key points"]["all"]
    key_figures = [
        page.KeyFigure(f"Median error, {point}", page.rounded(value, 2), "% of the hand's length")
        for point, value in validation["median"].items()
    ]
    key_figures.append(page.KeyFigure("Gross failures", page.rounded(validation["gross, %"], 2), "%"))
    if found["masks"]:
        key_figures.insert(0, page.KeyFigure("Mask IoU, mean", page.rounded(found["masks"]["mean"], 4)))
    body = [page.answer(*key_figures)]
    for title, worst in (
        (f"Key points, the worst {len(by_points)}", by_points),
        (f"Masks, the worst {len(by_masks)}", by_masks),
    ):
        if worst:
            body.append(page.section(title, pictures.legend(), _sheet(source, dataset, worst, points, outlines)))
    body.append(page.details("All figures", json.dumps(found, indent=2)))
    notice = "The page shows real images: it is for looking at, not for publishing."
    about = {"Data": f"{dataset.origin}, {len(hands):,} hands that people annotated", "Registered as": dataset.name}
    title = "Masks and key points against those of people"
    write_text(out, page.document(title, "".join(body), about=about, notice=notice))


def read_annotations(
    folder: pathlib.Path, dataset: Dataset
) -> tuple[dict[str, np.ndarray], dict[str, Annotation], set[str]]:
    """Returns people's key points and outlines by id, and the ids whose points a person set."""
    ids = tuple(one for split in dataset.splits for one in dataset.split(split).ids())
    known = pairing.Images(ids, (), ())
    points = annotation_files.paired(annotation_files.read(folder / "key_points.json"), known)
    outlines = annotation_files.paired(annotation_files.read(folder / "masks"), known)
    as_arrays = {
        one: np.array([annotation.points[name] for name in anatomy.KEY_POINTS]) for one, annotation in points.items()
    }
    return as_arrays, outlines, set((folder / "by_hand.txt").read_text().split())


def main() -> None:
    """Measures, prints, and writes table and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="registered hands, as in registered_hands/rsna_bone_age-full")
    parser.add_argument("--annotations", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--beside", help="the same images, registered by other networks")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("hand_real"))
    options = parser.parse_args()
    dataset = Dataset.open(options.data, options.dataset)
    points, outlines, set_by_hand = read_annotations(options.annotations, dataset)
    hands = compared(dataset, points, outlines, set_by_hand)
    found = figures_of(dataset, hands)
    print(as_text(found))
    if options.beside:
        other = compared(Dataset.open(options.data, options.beside), points, {}, set_by_hand)
        found["beside"] = {"dataset": options.beside, "key points": in_common(hands, other)}
        for name, of in found["beside"]["key points"].items():
            print(
                f"  {name:<18} {of['in common, %']:.0f}% of the squared differences from {of['hands']:.0f} people's "
                f"points are common with {options.beside}; the networks differ by "
                f"{of['between the networks, median']:.2f}% (median)"
            )
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "hand_real.json", json.dumps(found, indent=2) + "\n")
    _write_csv(hands, habit_of(hands), options.out / "hand_real.csv")
    _write_page(options.out / "hand_real.html", found, dataset, options.data, hands, points, outlines)
    print(f"page: {options.out / 'hand_real.html'}")


if __name__ == "__main__":
    main()
