"""Figure, tables and page of a learning curve."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import NullFormatter, ScalarFormatter

from boneage_jax import NOT_A_MEDICAL_DEVICE, page
from boneage_jax.analysis import scores
from boneage_jax.analysis.figures import as_png, panels
from boneage_jax.files import write_text
from boneage_jax.scaling.learning_curve import LINES, Equivalent, LearningCurve, Point, facts

PAGE = "learning_curve.html"
FACTS = "learning_curve.json"

_MARKERS = "osD^v"
_COLOURS = ("blue", "vermillion", "bluish green", "reddish purple", "orange")
"""Names of the colours of the starts in `page.PALETTE`, in order."""


def write(found: LearningCurve) -> str:
    """Writes page and JSON into the study's folder; returns the result for people."""
    out = found.request.out
    write_text(out / FACTS, json.dumps(facts(found), indent=2) + "\n")
    kind = "phantoms" if found.is_phantom else "radiographs"
    caption = (
        "Mean absolute error by number of training images, with its 95% bootstrap interval over the evaluation images; "
        "lines: the law L = E + B / D^b with one floor E for all starts."
    )
    body = [
        _answer(found),
        page.section("Error by number of training images", page.figure(_curves(found), caption)),
        page.section("All runs", page.table(*_rows(found)), lead="Below each error its 95% bootstrap interval."),
    ]
    if found.equivalents:
        body.append(
            page.section(
                f"What {found.request.starts[0]} needs to come as far",
                page.table(*_equivalent_rows(found)),
                lead="Training images by the law, with the 95% interval over evaluation images.",
            )
        )
    text = page.document(
        "What a start is worth in labelled images",
        "".join(body),
        about={
            "Data": f"{found.evaluated} ({kind})",
            "Model": f"{found.request.config.model.name}, {found.request.config.data.height} x "
            f"{found.request.config.data.width}",
        },
        notice=f"Measured on {'rendered phantoms' if found.is_phantom else 'the named radiographs'}.",
    )
    write_text(out / PAGE, text)
    return f"{as_text(found)}\npage      {out / PAGE}"


def as_text(found: LearningCurve) -> str:
    """Returns errors and equivalents for people."""
    lines = [f"{found.evaluated}", f"{'start':<44}{'images':>8}{'seeds':>7}{'MAE, months':>24}{'seeds from, to':>18}"]
    for point in found.points:
        lines.append(
            f"{point.start:<44}{point.images:>8,}{point.seeds:>7}{scores.shown(point.mae):>24}"
            f"{f'{point.lowest:.2f}, {point.highest:.2f}':>18}"
        )
    for start, law in found.laws.items():
        lines.append(f"{start}: error = {law.floor:.2f} + {law.factor:.3g} / images^{law.exponent:.3f}")
    for one in found.equivalents:
        lines.append(f"{_named(one)} equal {_count(one.needed)} [{_count(one.low)}, {_count(one.high)}] of {one.other}")
    lines.append(NOT_A_MEDICAL_DEVICE)
    return "\n".join(lines)


def _named(one: Equivalent) -> str:
    return f"{one.images:,} images of {one.start}"


def _count(images: float) -> str:
    return f"{images:,.0f}" if math.isfinite(images) and images < 1e9 else "more than any number"


def _answer(found: LearningCurve) -> page.Markup:
    best = min(found.points, key=lambda point: point.mae.value)
    figures = [
        page.KeyFigure(
            "Smallest error",
            page.rounded(best.mae.value, 2),
            "months",
            f"{best.start}, {best.images:,} images; 95% interval {page.rounded(best.mae.low, 2)} to "
            f"{page.rounded(best.mae.high, 2)}",
        )
    ]
    trained = [one for one in found.equivalents if one.images and LINES not in one.start]
    for one in trained[:3]:
        note = f"of {one.other}; 95% interval {_count(one.low)} to {_count(one.high)}"
        figures.append(page.KeyFigure(f"{_named(one)} equal", _count(one.needed), "images", note))
    return page.answer(*figures)


def _series(found: LearningCurve) -> dict[str, list[Point]]:
    """The points of each start; those without training apart."""
    return {
        start: [point for point in found.points if point.start == start and point.images]
        for start in dict.fromkeys(point.start for point in found.points if point.images)
    }


def _curves(found: LearningCurve) -> bytes:
    figure, (axes,) = panels()
    for n, (start, points) in enumerate(_series(found).items()):
        colour, marker = page.PALETTE[_COLOURS[n % len(_COLOURS)]], _MARKERS[n % len(_MARKERS)]
        images = np.array([point.images for point in points], float)
        values = np.array([point.mae.value for point in points])
        ends = np.array([[p.mae.value - p.mae.low, p.mae.high - p.mae.value] for p in points]).T
        axes.errorbar(images, values, yerr=ends, fmt=marker, color=colour, markersize=5, linewidth=1, label=start)
        if start in found.laws:
            at = np.geomspace(images.min(), images.max(), 60)
            axes.plot(at, found.laws[start](at), color=colour, linewidth=1)
    untrained = [point for point in found.points if not point.images]
    for point in untrained:
        axes.axhline(point.mae.value, color=page.PALETTE["grey"], linewidth=1, linestyle="--")
        axes.text(axes.get_xlim()[0], point.mae.value, f" {point.start}, untrained", va="bottom", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="training images", ylabel="mean absolute error, months")
    places = sorted({point.images for point in found.points if point.images})
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.xaxis.set_minor_formatter(NullFormatter())
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(ScalarFormatter())
    axes.tick_params(axis="y", which="minor", labelsize=8)
    axes.legend(fontsize=8)
    return as_png(figure)


def _rows(found: LearningCurve) -> tuple[Sequence[str], list[list[str]]]:
    head = ["start", "images", "seeds", "MAE, months", "of the best seed", "of the worst seed"]
    rows = [
        [
            point.start,
            f"{point.images:,}",
            str(point.seeds),
            page.interval(point.mae.value, point.mae.low, point.mae.high, 2),
            page.rounded(point.lowest, 2),
            page.rounded(point.highest, 2),
        ]
        for point in found.points
    ]
    return head, rows


def _equivalent_rows(found: LearningCurve) -> tuple[Sequence[str], list[list[str]]]:
    head = ["start", "images", f"images that {found.request.starts[0]} needs", "from", "to"]
    rows = [
        [one.start, f"{one.images:,}", _count(one.needed), _count(one.low), _count(one.high)]
        for one in found.equivalents
    ]
    return head, rows
