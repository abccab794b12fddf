"""The page of a derived dataset: contact sheets of what came out, and the table of flags."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy, page
from boneage_jax.data import images
from boneage_jax.data.annotations import Annotation, mask_folder, outlines_of, write
from boneage_jax.data.sources import Dataset, Records, as_str
from boneage_jax.files import replacing, write_text
from boneage_jax.workflows import derive, pictures
from boneage_jax.workflows.derive import Derived

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
    pairs = {split: _Pair(source.split(split), derived.dataset.split(split)) for split in derived.images}
    table = [row for row in derive.read_flags(derived.dataset) if row.id in pairs[row.split].numbers]
    good = [row for row in table if not row.flags][:_GOOD_SHOWN]
    flagged = [row for row in table if row.flags][:_FLAGGED_SHOWN]
    sheets = {
        name: pictures.contact_sheet([_tile(*pairs[row.split].of(row.id)) for row in rows])
        for name, rows in (("registered", good), ("flagged", flagged))
        if rows
    }
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
    pair = _Pair(source.split(split), derived.dataset.split(split))
    rows = []
    for image_id, caption in captions.items():
        original, row = pair.of(image_id)
        over = _overlay(original, row)
        regions = [images.decode(row[name]) for name in sorted(row) if name.startswith("region_")]
        rows.append(pictures.tile([original, over, *regions], caption, good=bool(row["good"]), height=220))
    return pictures.contact_sheet(rows, width=max(row.shape[1] for row in rows))


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


def _tile(original: images.Grey, row: dict[str, Any]) -> np.ndarray:
    over, flags = _overlay(original, row), as_str(row["flags"])
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
