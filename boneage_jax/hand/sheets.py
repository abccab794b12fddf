"""The page of a derived dataset: contact sheets of what came out, and the table of flags."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy, page
from boneage_jax.data import images
from boneage_jax.data.annotations import Annotation, mask_folder, outlines_of, write
from boneage_jax.data.sources import Dataset, as_str
from boneage_jax.files import replacing, write_text
from boneage_jax.hand import pictures
from boneage_jax.hand.derive import Derived

PAGE = "register.html"

_GOOD_SHOWN, _FLAGGED_SHOWN = 24, 48


def as_text(derived: Derived) -> str:
    """Returns how many images were registered, and how many have which flags."""
    lines = [f"{derived.dataset.name}: {sum(derived.images.values())} images"]
    for split, flags in derived.flags.items():
        shown = ", ".join(f"{flag} {count}" for flag, count in sorted(flags.items())) or "none"
        lines.append(f"  {split:<12}{derived.images[split]:>7} images   flags: {shown}")
    return "\n".join(lines)


def write_page(source: Dataset, derived: Derived) -> pathlib.Path:
    """Writes `PAGE` and its contact sheets beside the records; returns its path."""
    good: list[np.ndarray] = []
    flagged: list[np.ndarray] = []
    for split in derived.images:
        records, of_source = derived.dataset.split(split), source.split(split)
        numbers = {image_id: n for n, image_id in enumerate(of_source.ids())}
        for n in range(len(records)):
            row = records.row(n)
            shown, most = (good, _GOOD_SHOWN) if row["good"] else (flagged, _FLAGGED_SHOWN)
            if len(shown) < most:
                original = of_source.image(numbers[as_str(row["id"])])
                shown.append(_tile(original, row))
        if len(good) >= _GOOD_SHOWN and len(flagged) >= _FLAGGED_SHOWN:
            break
    sheets = {"registered": pictures.contact_sheet(good)}
    if flagged:
        sheets["flagged"] = pictures.contact_sheet(flagged)
    folder = derived.dataset.path
    for name, data in sheets.items():
        with replacing(folder / f"{name}.jpg") as scratch:
            scratch.write_bytes(data)
    captions = {
        "registered": "Left: the radiograph with the outline found, and middle fingertip (red), thumb's tip (green) "
        "and capitate (blue). Right: the same hand on the canvas.",
        "flagged": "Flagged: to be looked at before they are used.",
    }
    kinds = sorted({flag for flags in derived.flags.values() for flag in flags})
    rows = [
        [split, str(derived.images[split]), *(str(derived.flags.get(split, {}).get(kind, 0)) for kind in kinds)]
        for split in derived.images
    ]
    body = (
        f"<h1>Registered hands: {derived.dataset.name}</h1>"
        f'<p class="notice">{NOT_A_MEDICAL_DEVICE} Every image and all that was measured on it stand in flags.csv.</p>'
        f"<h2>Flags</h2>{page.table(['split', 'images', *kinds], rows)}<h2>Hands</h2>"
        + "".join(page.figure(data, captions[name], kind="jpeg") for name, data in sheets.items())
    )
    path = folder / PAGE
    write_text(path, page.document(f"Registered hands: {derived.dataset.name}", body))
    return path


def way(source: Dataset, derived: Derived, split: str, captions: Mapping[str, str]) -> bytes:
    """Returns the way of some hands as JPEG: radiograph with what was found, whole canvas, regions; a row each.

    Args:
      source: radiographs.
      derived: the same, registered.
      split: of both.
      captions: by id, in order.
    """
    records, of_source = derived.dataset.split(split), source.split(split)
    at, original_at = ({image_id: n for n, image_id in enumerate(r.ids())} for r in (records, of_source))
    rows = []
    for image_id, caption in captions.items():
        row = records.row(at[image_id])
        original = of_source.image(original_at[image_id])
        over = pictures.overlay(original, images.decode(row["mask"]) > 127, np.asarray(row["key_points"]))
        regions = [images.decode(row[name]) for name in sorted(row) if name.startswith("region_")]
        rows.append(pictures.tile([original, over, *regions], caption, good=bool(row["good"]), height=220))
    return pictures.contact_sheet(rows, width=max(row.shape[1] for row in rows))


def _tile(original: images.Grey, row: dict[str, Any]) -> np.ndarray:
    mask = images.decode(row["mask"]) > 127
    over = pictures.overlay(original, mask, np.asarray(row["key_points"]))
    flags = as_str(row["flags"])
    caption = as_str(row["id"]) + (f": {flags}" if flags else "")
    return pictures.tile([over, images.decode(row["image"])], caption, good=bool(row["good"]))


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
