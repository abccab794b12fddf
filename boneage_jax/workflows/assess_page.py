"""The page of all ages: what came out, a picture of each of the first radiographs, and a table that leads to each."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax import page
from boneage_jax.files import write_text
from boneage_jax.workflows import assess_text, pictures
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE, Assessment, Seen, as_years_and_months

MOST_PICTURES = 200
"""Most radiographs with a picture on the page, of 4 KB each; chosen by eye."""

_SIDE = 150
"""Longest side of a picture, in pixels; chosen by eye."""

_QUALITY = 75


@dataclasses.dataclass(frozen=True)
class Row:
    """A radiograph of the page.

    Attributes:
      assessment: of it.
      address: of its own page, from this one.
      picture: small JPEG of it; None for none.
    """

    assessment: Assessment
    address: str
    picture: bytes | None = None


def picture(seen: Seen | None, *, keep_identifiers: bool = False) -> page.Picture | None:
    """Returns the small picture of a radiograph, or of the hand in it alone; None where nothing was seen."""
    if seen is None:
        return None
    if keep_identifiers:
        return page.picture(pictures.overlay(seen.image, seen.mask, seen.key_points, side=_SIDE), quality=_QUALITY)
    shown = pictures.covered(seen.image, seen.mask)
    return page.picture(pictures.reduced(shown.image, _SIDE), quality=_QUALITY)


def write(rows: Sequence[Row], path: pathlib.Path, *, networks: Sequence[str], remarks: Sequence[str]) -> None:
    """Writes the page, whole or not at all. Raises `UserError` where that is impossible."""
    assessments = [row.assessment for row in rows]
    count = len(rows)
    title = "Bone age of one radiograph" if count == 1 else f"Bone ages of {count:,} radiographs"
    notices = list(remarks)
    if not all(one.calibrated for one in assessments if not one.problem):
        notices.append(UNCALIBRATED_NOTICE)
    files = page.links(
        [("ages.csv", "ages.csv"), ("ages.json", "ages.json"), ("manifest.json", "manifest.json")], name="files"
    )
    body = page.Markup(_answer(assessments) + _table(rows, path.parent) + page.section("The same as files", files))
    models = "; ".join(place_of(line, path.parent) for line in networks)
    write_text(path, page.document(title, body, about={"Networks": models}, notice=" ".join(notices)))


def place_of(line: str, beside: pathlib.Path) -> str:
    """Returns the place of a line of `Assessor.networks`, as `page.place` writes it; the manifest says the rest."""
    place, _, _ = line.partition(": ")
    return page.place(place, beside) if pathlib.PurePath(place).is_absolute() else place


def _answer(assessments: Sequence[Assessment]) -> page.Markup:
    known = [one.months for one in assessments if np.isfinite(one.months)]
    refused = sum(bool(one.refused) for one in assessments)
    flagged = sum(bool(one.flags) and not one.refused for one in assessments)
    problems = sum(bool(one.problem) for one in assessments)
    span = f"{as_years_and_months(min(known))} to {as_years_and_months(max(known))}" if known else ""
    return page.answer(
        page.KeyFigure("Ages read", f"{len(known):,}", f"of {len(assessments):,}", span),
        page.KeyFigure("Flagged", f"{flagged:,}", note="look at them before you use them" if flagged else ""),
        page.KeyFigure("Refused", f"{refused:,}", note="no whole hand was found" if refused else ""),
        page.KeyFigure("Could not be used", f"{problems:,}", note="reasons stand in the table" if problems else ""),
    )


def _table(rows: Sequence[Row], beside: pathlib.Path) -> page.Markup:
    cells = []
    for row in rows:
        one = row.assessment
        name = page.link(assess_text.legible(_file(one.file, beside)), row.address)
        shown = page.small_picture(page.Picture(row.picture, 0, 0, "radiograph")) if row.picture else "-"
        cells.append([name, shown, _age(one), one.sex or "-", _score(one), _raised(one), one.problem or "-"])
    head = ["radiograph", "picture", "bone age", "sex", "SD score", "flags", "problem"]
    pictured = sum(row.picture is not None for row in rows)
    lead = "Each name leads to the radiograph's own page."
    if len(rows) > MOST_PICTURES and pictured:
        lead += f" The first {MOST_PICTURES} have a picture here."
    return page.section("All ages", page.table(head, cells, stack=True), lead=lead)


def _age(one: Assessment) -> page.Markup:
    if not np.isfinite(one.months):
        return page.Markup("none")
    below = [f"{one.months:.1f} months"]
    if one.intervals:
        widest = one.intervals[-1]
        below.append(f"{100 * widest.level:.0f}%: {widest.low:.0f} to {widest.high:.0f} months")
    small = "".join(f"<small>{page.text(line)}</small>" for line in below)
    return page.Markup(f"{page.text(as_years_and_months(one.months))}{small}")


def _score(one: Assessment) -> str:
    return page.rounded(one.sd_score, 1) if one.sd_score is not None else "-"


def _raised(one: Assessment) -> page.Markup:
    if one.problem:
        return page.badges(page.badge("not used", "failed"))
    if not one.flags:
        return page.flags(())
    return page.badges(
        *(
            page.badge(marked, "failed" if name in one.refused else "flag")
            for name, marked in zip(one.flags, one.marked_flags, strict=True)
        )
    )


def _file(name: str, beside: pathlib.Path) -> str:
    return page.place(name, beside) if pathlib.PurePath(name).is_absolute() else name
