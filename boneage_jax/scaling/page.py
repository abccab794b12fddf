"""Tables, figures and page of a scaling study."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, ScalarFormatter

from boneage_jax import page
from boneage_jax.analysis.figures import FIRST, SECOND, as_png, panels
from boneage_jax.analysis.tables import Table
from boneage_jax.data.sources import Dataset
from boneage_jax.files import write_text
from boneage_jax.scaling import law
from boneage_jax.scaling.study import Outcome, Study, facts

_MARKERS = "os^Dv"

_LABELS = {
    "depth": "depth, in blocks, levels or layers",
    "scale": "factor of the input's height and width",
    "batch": "batch size, images",
}
"""Labels of the settings that are varied alone, with their units."""

PAGE = "scaling.html"
FACTS = "scaling.json"

_NAMES = {
    "floor": ("E", "error that no size removes, {unit}"),
    "of_weights": ("A", "what too few weights cost"),
    "weights_exponent": ("a", "how fast more weights help"),
    "of_images": ("B", "what too few images cost"),
    "images_exponent": ("b", "how fast more images help"),
}
"""Letter and meaning of each number of the law."""


def write(found: Study) -> pathlib.Path:
    """Writes tables, `FACTS` and the page into the study's folder; returns the page's path."""
    folder = found.request.out
    tables = [_runs(found), _law(found), _held_out(found), _frontier(found)]
    tables = [table for table in tables if table.rows]
    for table in tables:
        table.write(folder / "tables")
    write_text(folder / FACTS, json.dumps(facts(found), indent=2) + "\n")
    write_text(folder / PAGE, _page(found, tables))
    return folder / PAGE


def as_text(found: Study) -> str:
    """Returns the law and how it goes on, for people."""
    lines = []
    if found.fitted is None:
        lines.append("too few runs for a law")
    else:
        lines += [f"{row[0]:<4}{row[1]}" for row in _law(found).rows]
    for one in found.held_out:
        inside = "within" if one.low <= one.outcome.error <= one.high else "outside"
        lines.append(
            f"held out: {one.outcome.kind.name}: {one.outcome.error:.2f} {found.unit}, foretold {one.expected:.2f} "
            f"[{one.low:.2f}, {one.high:.2f}], {inside}"
        )
    return "\n".join([*lines, f"the study lies in {found.request.out}: {PAGE}, {FACTS}, tables/, runs/"])


def _what(found: Study) -> str:
    data = found.request.config.data
    phantom = Dataset.of(data).is_phantom
    kind = " of rendered phantoms, which say nothing about children" if phantom else ""
    return f"{data.name}, evaluation on {data.eval_split}{kind}"


def _runs(found: Study) -> Table:
    outcomes = [*found.grid, *(one for kinds in found.alone.values() for one in kinds)]
    rows = tuple(
        (
            one.kind.name,
            f"{one.weights:,}",
            f"{one.kind.images:,}",
            f"{one.operations / 1e12:.4g}",
            f"{one.error:.2f}",
            " ".join(f"{error:.2f}" for error in one.errors),
        )
        for one in outcomes
    )
    caption = f"Runs: mean error in {found.unit} over seeds. {_what(found)}."
    return Table("runs", caption, ("run", "weights", "images", "TFLOP", "error", "by seed"), rows)


def _law(found: Study) -> Table:
    rows = []
    if found.fitted is not None:
        for name, (letter, meaning) in _NAMES.items():
            # An error is written as all errors are; the others are of any size.
            written = functools.partial(page.rounded, digits=2) if name == "floor" else page.significant
            value, low, high = map(written, (getattr(found.fitted.law, name), *found.fitted.interval(name)))
            rows.append((letter, f"{value} [{low}, {high}]", meaning.format(unit=found.unit)))
        rows.append(("scatter", f"{100 * found.fitted.scatter:.1f}%", "of a run about the law"))
    caption = "L = E + A / N^a + B / D^b: error L, N weights, D training images; 95% bootstrap intervals."
    return Table("law", caption, ("", "value", "meaning"), tuple(rows))


def _held_out(found: Study) -> Table:
    rows = tuple(
        (
            one.outcome.kind.name,
            f"{one.outcome.error:.2f}",
            f"{one.expected:.2f} [{one.low:.2f}, {one.high:.2f}]",
            "yes" if one.low <= one.outcome.error <= one.high else "no",
        )
        for one in found.held_out
    )
    caption = f"What the law of the smaller runs says of the largest ones, in {found.unit}; 95% interval of a run."
    return Table("held_out", caption, ("run", "error", "foretold", "within"), rows)


def _spent(found: Study) -> np.ndarray:
    spent = np.array([one.operations for one in found.grid])
    return np.geomspace(spent.min(), 100 * spent.max(), 7)


def _frontier(found: Study) -> Table:
    rows = []
    if found.fitted is not None:
        spent = _spent(found)
        weights, images = law.frontier(found.fitted.law, found.compute, spent)
        low, high = found.fitted.band(weights, images)
        for values in zip(spent, weights, images, found.fitted.law(weights, images), low, high, strict=True):
            c, n, d, error, least, most = values
            rows.append((f"{c / 1e12:.3g}", f"{n:,.0f}", f"{d:,.0f}", f"{error:.2f} [{least:.2f}, {most:.2f}]"))
    caption = (
        f"The best use of compute after the law: operations an image grow as N^{found.compute.exponent:.2f}, each "
        f"image seen {found.compute.passes:g} times. Beyond what was tried it is a guess."
    )
    return Table("frontier", caption, ("TFLOP", "weights", "images", f"error, {found.unit}"), tuple(rows))


_TITLES = {
    "law": "The law",
    "frontier": "The best use of compute",
    "held_out": "What was not shown to the law",
    "runs": "Runs",
}
"""Titles of the tables, in the page's order: the answer first."""


def _page(found: Study, tables: list[Table]) -> str:
    by_name = {table.name: table for table in tables}
    # What was measured stands above; the captions of the files say it again.
    measured = f" {_what(found)}."
    shown = {
        name: page.section(
            title,
            page.table(by_name[name].head, by_name[name].rows),
            lead=by_name[name].caption.removesuffix(measured),
        )
        for name, title in _TITLES.items()
        if name in by_name
    }
    pictures = [
        page.figure(
            _curves(found),
            "Error by training images and by weights; lines: the law. Open marks: held out, not shown to the law.",
        )
    ]
    if found.fitted is not None:
        caption = "Error by operations of training. Line and band: the best use of them after the law, 95% interval."
        pictures.append(page.figure(_spending(found), caption))
    if found.alone:
        pictures.append(page.figure(_alone(found), "One setting varied alone, at all images and width 1."))
    charts = page.section("Charts", page.pair(*pictures))
    config = found.request.config
    # A study of few runs has no law: its charts then come first.
    first = shown.pop("law", "")
    return page.document(
        f"How the error falls with images and weights on {config.data.name}",
        _answer(found) + first + charts + "".join(shown.values()),
        about={
            "Data": f"{config.data.name}, evaluation on {config.data.eval_split}",
            "Models": f"{config.model.name}, {len(found.grid):,} sizes of network and training set",
        },
        notice=f"Measured on {_what(found)}. A law of a few small runs; what it says beyond them has not been seen.",
    )


def _answer(found: Study) -> page.Markup:
    best = min(found.grid, key=lambda one: one.error)
    figures = [
        page.KeyFigure(
            "Smallest error measured",
            page.rounded(best.error, 2),
            found.unit,
            f"{best.weights:,} weights, {best.kind.images:,} images",
        )
    ]
    if found.fitted is not None:
        low, high = found.fitted.interval("floor")
        figures.append(
            page.KeyFigure(
                "Error that no size removes, after the law",
                page.rounded(found.fitted.law.floor, 2),
                found.unit,
                f"95% interval {page.rounded(low, 2)} to {page.rounded(high, 2)}",
            )
        )
        figures += [
            page.KeyFigure(
                f"Exponent of {name}",
                page.significant(getattr(found.fitted.law, key)),
                note="95% interval {} to {}".format(*map(page.significant, found.fitted.interval(key))),
            )
            for name, key in (("images", "images_exponent"), ("weights", "weights_exponent"))
        ]
    if found.held_out:
        inside = sum(one.low <= one.outcome.error <= one.high for one in found.held_out)
        figures.append(page.KeyFigure("Held-out runs within the interval", f"{inside}", f"of {len(found.held_out)}"))
    return page.answer(*figures)


def _curves(found: Study) -> bytes:
    figure, (above, below) = panels(2)
    hidden = {one.outcome.kind for one in found.held_out}
    colours = plt.get_cmap("viridis")

    def draw(axes: Axes, of: Callable[[Outcome], float], others: Callable[[Outcome], int], label: str) -> None:
        values = sorted({others(one) for one in found.grid})
        for n, value in enumerate(values):
            members = sorted((one for one in found.grid if others(one) == value), key=of)
            # The map's brightest end cannot be seen on white.
            colour = colours(0.85 * n / max(1, len(values) - 1))
            marker = _MARKERS[n % len(_MARKERS)]
            for one in members:
                face = "none" if one.kind in hidden else colour
                axes.scatter(of(one), one.error, s=26, color=colour, facecolors=face, marker=marker)
            if found.shown is not None:
                at = np.geomspace(min(map(of, members)), max(map(of, members)), 40)
                same = np.full(40, float(value))
                pair = (same, at) if axes is above else (at, same)
                axes.plot(at, found.shown.law(*pair), color=colour, linewidth=1)
            axes.plot([], [], color=colour, marker=marker, markersize=5, label=f"{value:,} {label}")
        axes.set(xscale="log", yscale="log", ylabel=f"error, {found.unit}")
        places = sorted({of(one) for one in found.grid})
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.tick_params(axis="x", labelsize=9)
        axes.xaxis.set_minor_formatter(NullFormatter())
        _plain(axes)
        axes.legend()

    draw(above, lambda one: one.kind.images, lambda one: one.weights, "weights")
    draw(below, lambda one: one.weights, lambda one: one.kind.images, "images")
    above.set(xlabel="training images")
    below.set(xlabel="weights of the network")
    return as_png(figure)


def _plain(axes: Axes) -> None:
    """Writes the errors on a logarithmic axis as numbers, not as powers of ten."""
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.tick_params(axis="y", which="minor", labelsize=8)


def _spending(found: Study) -> bytes:
    assert found.fitted is not None
    figure, (axes,) = panels()
    spent = np.array([one.operations for one in found.grid])
    axes.scatter(spent, [one.error for one in found.grid], s=26, color=FIRST, label="runs")
    line = np.geomspace(spent.min(), 10 * spent.max(), 60)
    weights, images = law.frontier(found.fitted.law, found.compute, line)
    low, high = found.fitted.band(weights, images)
    axes.fill_between(line, low, high, color=SECOND, alpha=0.15, linewidth=0)
    axes.plot(line, found.fitted.law(weights, images), color=SECOND, label="best use, after the law")
    axes.set(xscale="log", yscale="log", xlabel="floating-point operations of training", ylabel=f"error, {found.unit}")
    _plain(axes)
    axes.legend()
    return as_png(figure)


def _alone(found: Study) -> bytes:
    figure, every = panels(len(found.alone))
    for axes, (axis, outcomes) in zip(every, found.alone.items(), strict=True):
        outcomes = sorted(outcomes, key=lambda one: getattr(one.kind, axis))
        axes.plot([getattr(one.kind, axis) for one in outcomes], [one.error for one in outcomes], "o-", color=FIRST)
        axes.set(xlabel=_LABELS[axis], ylabel=f"error, {found.unit}")
    return as_png(figure)
