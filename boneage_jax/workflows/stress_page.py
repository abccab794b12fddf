"""The page of `boneage stress`: the table, a chart, and one hand after each change."""

from __future__ import annotations

import json

import numpy as np

from boneage_jax import page
from boneage_jax.analysis.figures import FIRST, GUIDE, SIZE, as_png, panels
from boneage_jax.data.sources import Dataset
from boneage_jax.files import write_text
from boneage_jax.workflows import pictures, stress
from boneage_jax.workflows.stress import LARGE, Row, Stress

PAGE = "stress.html"

_SIDE = 240
"""Longest side of a picture, in pixels; chosen by eye."""


def write(found: Stress) -> str:
    """Writes the page and `stress.json` into the study's folder; returns the result for people."""
    out = found.request.out
    write_text(out / "stress.json", json.dumps(stress.facts(found), indent=2) + "\n")
    kind = "phantoms" if found.is_phantom else "radiographs"
    text = page.document(
        "How ages change when radiographs change",
        _answer(found) + _chart(found) + _table(found) + _pictures(found),
        about={
            "Data": f"{found.request.dataset} {found.request.split}, {found.images:,} {kind}",
            "Networks": "; ".join(page.place(line, out) for line in found.networks),
        },
        notice=" ".join(found.remarks),
    )
    write_text(out / PAGE, text)
    return f"{stress.as_text(found)}\npage      {out / PAGE}"


def _answer(found: Stress) -> page.Markup:
    plain = found.unchanged.mae
    figures = [
        page.KeyFigure(
            "Mean absolute error, unchanged",
            page.rounded(plain.value, 2),
            "months",
            f"95% interval {page.rounded(plain.low, 2)} to {page.rounded(plain.high, 2)}",
        )
    ]
    measured = [row for row in found.rows if np.isfinite(row.large.value)]
    if measured:
        worst = max(measured, key=lambda row: row.large.value)
        figures += [
            page.KeyFigure(
                f"Ages changed by over {LARGE:.0f} months, all changes",
                page.rounded(float(np.mean([row.large.value for row in measured]))),
                "%",
                f"mean of {len(measured)} changes",
            ),
            page.KeyFigure(
                "Hardest change",
                worst.transformation.name,
                note=f"{page.rounded(worst.large.value)}% of ages change so",
            ),
        ]
    return page.answer(*figures)


def _chart(found: Stress) -> page.Markup:
    rows = [row for row in reversed(found.rows) if np.isfinite(row.mae.value)]
    if not rows:
        return page.Markup("")
    figure, (axes,) = panels()
    figure.set_size_inches(SIZE[0], 0.8 + 0.24 * len(rows))
    places = np.arange(len(rows))
    values = np.array([row.mae.value for row in rows])
    ends = np.array([[row.mae.value - row.mae.low, row.mae.high - row.mae.value] for row in rows]).T
    axes.errorbar(values, places, xerr=ends, fmt="o", color=FIRST, markersize=4, linewidth=1)
    axes.axvline(found.unchanged.mae.value, color=GUIDE, linewidth=1, linestyle="--")
    axes.set_yticks(places, [row.transformation.name for row in rows])
    axes.set(xlabel="mean absolute error, months", xlim=(0, None))
    caption = "Error after each change, with its 95% bootstrap interval; dashed: of the unchanged radiographs."
    return page.section("Error after each change", page.figure(as_png(figure), caption))


def _cells(row: Row) -> list[str]:
    if not np.isfinite(row.mae.value):
        return ["", "", "", f"{page.rounded(row.flagged)}", f"{page.rounded(row.without_age)}"]
    return [
        page.interval(row.mae.value, row.mae.low, row.mae.high, 2),
        page.rounded(row.change, 2),
        page.interval(row.large.value, row.large.low, row.large.high),
        page.rounded(row.flagged),
        page.rounded(row.without_age),
    ]


def _table(found: Stress) -> page.Markup:
    head = [
        "change",
        "kind",
        "MAE, months",
        "mean change, months",
        f"changed by over {LARGE:.0f} months, %",
        "flagged, %",
        "no age, %",
    ]
    rows = [["none", "", *_cells(found.unchanged)]]
    rows += [[row.transformation.name, row.transformation.kind, *_cells(row)] for row in found.rows]
    lead = "Below a value its 95% bootstrap interval. Hands that get no age count in the last two columns alone."
    return page.section("All changes", page.table(head, rows), lead=lead)


def _pictures(found: Stress) -> page.Markup:
    """One hand after each change."""
    request = found.request
    records = Dataset.open(request.data, request.dataset).split(f"{request.split}[:{request.images}]")
    image, image_id = records.image(0), records.ids()[0]
    cards = []
    for row in found.rows:
        changed = row.transformation.change(image, stress.draws_of(image_id))
        cards.append(page.Card(row.transformation.name, [page.picture(pictures.reduced(changed, _SIDE), "radiograph")]))
    return page.section("The changes", page.cards(cards, width=10, height=9))
