"""The page of predicted ages: each radiograph with what was found on it, and what the networks saw."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Sequence

from boneage_jax import NOT_A_MEDICAL_DEVICE, page
from boneage_jax.files import write_text
from boneage_jax.workflows import assess, pictures
from boneage_jax.workflows.assess import Assessment, Seen

_MOST = 60


class Drawn:
    """Pictures of the first radiographs; small, so that memory does not grow with their number."""

    def __init__(self) -> None:
        self.tiles: list[pictures.Colour] = []

    def add(self, assessment: Assessment, seen: Seen | None) -> None:
        """Draws one more, up to a number; nothing where nothing was seen."""
        if seen is None or len(self.tiles) == _MOST:
            return
        over = pictures.overlay(seen.picture, seen.mask, seen.key_points)
        # OpenCV's letters know no plus-minus.
        name = assess.legible(pathlib.PurePath(assessment.file).stem)
        caption = f"{name}: {assess.shown(assessment).replace('±', '+-')}"
        # Several networks may have seen the same region: each once.
        shapes = {(region.shape, region.tobytes()): region for region in seen.regions}
        self.tiles.append(pictures.tile([over, *shapes.values()], caption, good=not assessment.flags, height=300))


def write(
    assessments: Sequence[Assessment],
    drawn: Drawn,
    path: pathlib.Path,
    *,
    phantoms_only: bool,
    networks: Sequence[str],
) -> None:
    """Writes the page, whole or not at all. Raises `UserError` where that is impossible."""
    notice = f"{assess.PHANTOMS_ONLY} " * phantoms_only + NOT_A_MEDICAL_DEVICE
    rows = [
        [assess.legible(a.file), assess.shown(a), a.sex or "-", ", ".join(a.flags) or "-", a.problem or "-"]
        for a in assessments
    ]
    sheet = page.figure(
        pictures.contact_sheet(drawn.tiles),
        "Radiograph with the outline found, middle fingertip (red), thumb's tip (green) and capitate (blue); beside it "
        "what the age networks saw. LaidOut red where something speaks against it.",
        kind="jpeg",
    )
    left_out = len(assessments) - len(drawn.tiles)
    more = f"<p>{left_out} more without pictures, in the table alone.</p>" if left_out else ""
    body = (
        f'<h1>Bone ages</h1><p class="notice">{notice}</p>{sheet}{more}'
        f"<p>Networks of {html.escape('; of '.join(networks))}.</p>"
        f"<h2>Table</h2>{page.table(['radiograph', 'bone age', 'sex', 'flags', 'problem'], rows)}"
    )
    write_text(path, page.document("Bone ages", body))
