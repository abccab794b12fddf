"""The page of a derived dataset: how much was flagged and why, and pictures of what came out."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from boneage_jax import anatomy, page
from boneage_jax.data import images
from boneage_jax.data.annotations import Annotation, mask_folder, outlines_of, write
from boneage_jax.data.sources import Dataset, Records, as_str
from boneage_jax.files import write_text
from boneage_jax.region_spec import WHOLE
from boneage_jax.workflows import derive, pictures
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE
from boneage_jax.workflows.derive import Derived, Flagged

PAGE = "register.html"

_GOOD_SHOWN, _FLAGGED_SHOWN = 24, 48
"""Most hands without and with flags on the page; chosen by eye."""
_SIDE = 320
"""Longest side of a picture, in pixels; chosen by eye."""


def as_text(derived: Derived) -> str:
    """Returns how many images were registered, and how many have which flags."""
    lines = [f"{derived.dataset.name}: {sum(derived.images.values())} images"]
    for split, flags in derived.flags.items():
        shown = ", ".join(f"{flag} {count}" for flag, count in sorted(flags.items())) or "none"
        lines.append(f"  {split:<12}{derived.images[split]:>7} images   flags: {shown}")
    return "\n".join(lines)


def write_page(source: Dataset, derived: Derived) -> pathlib.Path:
    """Writes `PAGE` beside the records; returns its path."""
    pairs = {split: _Pair(source.split(split), derived.dataset.split(split)) for split in derived.images}
    table = derive.read_flags(derived.dataset)
    kept = [row for row in table if row.id in pairs[row.split].numbers]
    good = [row for row in kept if not row.flags][:_GOOD_SHOWN]
    flagged = [row for row in kept if row.flags][:_FLAGGED_SHOWN]
    kinds = sorted({flag for flags in derived.flags.values() for flag in flags})
    rows = [
        [split, f"{derived.images[split]:,}", *(f"{derived.flags.get(split, {}).get(kind, 0):,}" for kind in kinds)]
        for split in derived.images
    ]

    def shown(chosen: Sequence[Flagged]) -> page.Markup:
        return page.cards([_card(*pairs[row.split].of(row.id)) for row in chosen], width=18, height=11)

    body = [_answer(derived, [row for row in table if row.flags])]
    if kinds:
        body.append(
            page.section("Flags", page.table(["split", "images", *kinds], rows), lead="How many images have each.")
        )
    if flagged:
        body.append(
            page.section(
                f"Flagged, the first {len(flagged)}",
                pictures.legend(),
                shown(flagged),
                lead="To be looked at before they are used.",
            )
        )
    if good:
        body.append(
            page.section(
                f"Without flags, the first {len(good)}",
                pictures.legend(),
                shown(good),
                lead="Each radiograph with the outline and the key points found, and the same hand on the canvas.",
            )
        )
    path = derived.dataset.path / PAGE
    kind = "rendered phantoms" if source.is_phantom else "radiographs"
    about = {"Data": f"{source.name}, {sum(derived.images.values()):,} {kind}", "Written as": derived.dataset.name}
    notice = f"Every image and all that was measured on it stand in {derive.FLAGS} beside this page."
    if not derived.calibrated:
        notice += f" {UNCALIBRATED_NOTICE}"
    write_text(path, page.document(f"Registered hands of {source.name}", "".join(body), about=about, notice=notice))
    return path


def _answer(derived: Derived, flagged: Sequence[Flagged]) -> page.Markup:
    total = sum(derived.images.values())
    share = f"{page.rounded(100 * len(flagged) / max(1, total))}% of the images"
    frequent = Counter(flag for row in flagged for flag in row.flags).most_common(1)
    figures = [
        page.KeyFigure("Images registered", f"{total:,}", note=", ".join(derived.images)),
        page.KeyFigure("Without flags", f"{total - len(flagged):,}"),
        page.KeyFigure("Flagged", f"{len(flagged):,}", note=share),
    ]
    if frequent:
        ((flag, count),) = frequent
        figures.append(page.KeyFigure("Most frequent flag", flag, note=f"{count:,} images"))
    return page.answer(*figures)


def way(source: Dataset, derived: Derived, split: str, lines: Mapping[str, str]) -> page.Markup:
    """Returns the way of some hands as cards: radiograph, what was found on it, regions and canvas.

    Args:
      source: radiographs.
      derived: the same, registered.
      split: of both.
      lines: text below each hand, by id, in order.
    """
    pair = _Pair(source.split(split), derived.dataset.split(split))
    members = []
    for image_id, line in lines.items():
        original, row = pair.of(image_id)
        names = sorted(name for name in row if name.startswith("region_"))
        regions = {name.removeprefix("region_"): images.decode(row[name]) for name in names}
        labels = {WHOLE: "canvas"} | {name: f"region {name}" for name in regions if name != WHOLE}
        drawn = [
            page.picture(pictures.reduced(original, _SIDE), "radiograph"),
            page.picture(_overlay(original, row), "outline and key points"),
            *(page.picture(pictures.reduced(regions[name], _SIDE), labels[name]) for name in regions),
        ]
        members.append(page.Card(image_id, drawn, [line], page.flags(_flags_of(row))))
    return page.cards(members, width=60, height=9)


class _Pair:
    """A split as it came and as it was registered, by id."""

    def __init__(self, source: Records, registered: Records):
        self._source, self._registered = source, registered
        self._of_source, self.numbers = source.numbers(), registered.numbers()

    def of(self, image_id: str) -> tuple[images.Grey, dict[str, Any]]:
        """Returns the radiograph and the features of the registered hand."""
        return self._source.image(self._of_source[image_id]), self._registered.row(self.numbers[image_id])


def _overlay(original: images.Grey, row: dict[str, Any]) -> np.ndarray:
    return pictures.overlay(original, images.decode(row["mask"]) > 127, np.asarray(row["key_points"]))


def _card(original: images.Grey, row: dict[str, Any]) -> page.Card:
    registered = page.picture(pictures.reduced(images.decode(row["image"]), _SIDE), "on the canvas")
    drawn = [page.picture(_overlay(original, row), "radiograph"), registered]
    return page.Card(as_str(row["id"]), drawn, badges=page.flags(_flags_of(row)))


def _flags_of(row: dict[str, Any]) -> list[str]:
    flags = as_str(row["flags"])
    return flags.split(", ") if flags else []


def write_annotations(derived: Derived, folder: pathlib.Path) -> None:
    """Writes masks and key points as `coco.json` and `masks/ID.png`, for people to correct in their own tools.

    Raises:
      UserError: for a folder that cannot be written.
    """
    write(list(_annotations(derived, folder / "masks")), folder / "coco.json")


def _annotations(derived: Derived, masks: pathlib.Path) -> Iterator[Annotation]:
    for split in derived.images:
        records = derived.dataset.split(split)
        for n in range(len(records)):
            row = records.row(n)
            mask, points = images.decode(row["mask"]) > 127, np.asarray(row["key_points"], np.float64)
            mask_folder.write_one(as_str(row["id"]), mask, masks)
            named = {}
            if np.isfinite(points).all():
                named = {name: (float(x), float(y)) for name, (x, y) in zip(anatomy.KEY_POINTS, points, strict=True)}
            yield Annotation(
                f"{as_str(row['id'])}.png",
                int(row["width"]),
                int(row["height"]),
                outlines_of(mask),
                named,
                boxes=(),
            )
