"""The page of predicted ages: each radiograph with what was found on it, and what the networks saw."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax import page
from boneage_jax.files import write_text
from boneage_jax.workflows import assess_text, pictures
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE, Assessment, Seen

_MOST = 60
"""Most radiographs on the page; chosen by eye."""


class Drawn:
    """Pictures of the first radiographs; small and encoded, so that memory does not grow with their number."""

    def __init__(self) -> None:
        self.cards: list[page.Card] = []

    def add(self, assessment: Assessment, seen: Seen | None) -> None:
        """Draws one more, up to a number; nothing where nothing was seen."""
        if seen is None or len(self.cards) == _MOST:
            return
        over = pictures.overlay(seen.image, seen.mask, seen.key_points)
        # Several networks may have seen the same region: each once.
        shapes = {(region.shape, region.tobytes()): region for region in seen.regions}
        self.cards.append(
            page.Card(
                assess_text.legible(pathlib.PurePath(assessment.file).stem),
                [
                    page.picture(over, "radiograph"),
                    *(page.picture(pictures.reduced(region, 320), "seen by a network") for region in shapes.values()),
                ],
                [assess_text.shown(assessment), *assessment.remarks],
                page.flags(assessment.marked_flags),
            )
        )


def write(
    assessments: Sequence[Assessment],
    drawn: Drawn,
    path: pathlib.Path,
    *,
    networks: Sequence[str],
    remarks: Sequence[str],
) -> None:
    """Writes the page, whole or not at all. Raises `UserError` where that is impossible."""
    body = _answer(assessments) + _radiographs(assessments, drawn) + _table(assessments, path.parent)
    count = len(assessments)
    title = "Bone age of a radiograph" if count == 1 else f"Bone ages of {count:,} radiographs"
    models = "; ".join(_network(line, path.parent) for line in networks)
    notices = list(remarks)
    if not all(one.calibrated for one in assessments if not one.problem):
        notices.append(UNCALIBRATED_NOTICE)
    write_text(path, page.document(title, body, about={"Networks": models}, notice=" ".join(notices)))


def _network(line: str, beside: pathlib.Path) -> str:
    """A line of `Assessor.networks`, its folder written as `page.place` does."""
    place, colon, chosen = line.partition(": ")
    return (page.place(place, beside) if pathlib.PurePath(place).is_absolute() else place) + colon + chosen


def _answer(assessments: Sequence[Assessment]) -> page.Markup:
    known = [one for one in assessments if np.isfinite(one.months)]
    flagged = sum(bool(one.flags) for one in assessments)
    problems = sum(bool(one.problem) for one in assessments)
    if len(assessments) == 1 and known:
        (one,) = known
        spread = f"± {one.spread:.1f} months, as the networks state it" if np.isfinite(one.spread) else ""
        figures = [
            page.KeyFigure("Bone age", f"{one.months:.1f}", "months", "" if one.intervals else spread),
            page.KeyFigure("The same", f"{one.months / 12:.1f}", "years"),
            *(
                page.KeyFigure(f"{100 * of.level:.0f}% interval", f"{of.low:.0f} to {of.high:.0f}", "months")
                for of in one.intervals
            ),
            page.KeyFigure("Flags", str(len(one.flags)), note=", ".join(one.marked_flags) or "none raised"),
        ]
        return page.answer(*figures)
    span = f"from {min(a.months for a in known):.1f} to {max(a.months for a in known):.1f} months" if known else ""
    return page.answer(
        page.KeyFigure("Ages read", f"{len(known):,}", f"of {len(assessments):,}", span),
        page.KeyFigure("Flagged", f"{flagged:,}", note="look at them before you use them" if flagged else ""),
        page.KeyFigure("Could not be used", f"{problems:,}", note="reasons stand in the table" if problems else ""),
    )


def _radiographs(assessments: Sequence[Assessment], drawn: Drawn) -> page.Markup:
    if not drawn.cards:
        return page.Markup("")
    left_out = len(assessments) - len(drawn.cards)
    more = page.paragraph(f"{left_out:,} more without pictures, in the table alone.") if left_out else ""
    columns = max(len(card.pictures) for card in drawn.cards)
    return page.section(
        "Radiographs",
        pictures.legend(),
        page.cards(drawn.cards, width=min(9.0 * columns, 30.0) if columns > 1 else 14.0, height=11.0),
        more,
        lead="Each radiograph with the outline and the key points found, and beside it what the age networks saw.",
    )


def _table(assessments: Sequence[Assessment], beside: pathlib.Path) -> page.Markup:
    rows = [
        [
            assess_text.legible(_file(one.file, beside)),
            ", ".join([assess_text.shown(one), *one.remarks]),
            one.sex or "-",
            page.badges(page.badge("not used", "failed")) if one.problem else page.flags(one.marked_flags),
            one.problem or "-",
        ]
        for one in assessments
    ]
    return page.section("All ages", page.table(["radiograph", "bone age", "sex", "flags", "problem"], rows, stack=True))


def _file(name: str, beside: pathlib.Path) -> str:
    return page.place(name, beside) if pathlib.PurePath(name).is_absolute() else name
