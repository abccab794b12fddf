"""Tables, figures and page of a scaling study."""

from __future__ import annotations

import html
import json
import pathlib
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from boneage_jax import NOT_A_MEDICAL_DEVICE, page
from boneage_jax.analysis.figures import as_png
from boneage_jax.analysis.tables import Table
from boneage_jax.data.sources import Dataset
from boneage_jax.files import write_text
from boneage_jax.scaling import law
from boneage_jax.scaling.study import Outcome, Study, facts

PAGE = "scaling.html"
FACTS = "scaling.json"

_NAMES = {
    "floor": "E",
    "of_weights": "A",
    "weights_exponent": "a",
    "of_images": "B",
    "images_exponent": "b",
}


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
    for one in found.held:
        inside = "within" if one.low <= one.outcome.error <= one.high else "outside"
        lines.append(
            f"held out: {one.outcome.kind.name}: {one.outcome.error:.2f} {found.unit}, foretold {one.expected:.2f} "
            f"[{one.low:.2f}, {one.high:.2f}], {inside}"
        )
    return "\n".join([*lines, f"the study lies in {found.request.out}: {PAGE}, {FACTS}, tables/, runs/"])


def _what(found: Study) -> str:
    data = found.request.config.data
    phantom = Dataset.open(pathlib.Path(data.dir).expanduser(), data.name).is_phantom
    of = " of rendered phantoms, which say nothing about children" if phantom else ""
    return f"{data.name}, evaluation on {data.eval_split}{of}"


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
        for name, letter in _NAMES.items():
            low, high = found.fitted.interval(name)
            rows.append((letter, f"{getattr(found.fitted.law, name):.3g} [{low:.3g}, {high:.3g}]"))
        rows.append(("scatter", f"{100 * found.fitted.scatter:.1f}%"))
    caption = "L = E + A / N^a + B / D^b: error L, N weights, D training images; 95% bootstrap intervals."
    return Table("law", caption, ("", "value"), tuple(rows))


def _held_out(found: Study) -> Table:
    rows = tuple(
        (
            one.outcome.kind.name,
            f"{one.outcome.error:.2f}",
            f"{one.expected:.2f} [{one.low:.2f}, {one.high:.2f}]",
            "yes" if one.low <= one.outcome.error <= one.high else "no",
        )
        for one in found.held
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


def _page(found: Study, tables: list[Table]) -> str:
    pictures = [
        page.figure(_curves(found), "Error by images and by weights; lines: the law. Open: held out, not shown to it.")
    ]
    if found.fitted is not None:
        pictures.append(page.figure(_spending(found), "Error by operations; red: the best use of them after the law."))
    if found.alone:
        pictures.append(page.figure(_alone(found), "One setting varied alone, at all images and width 1."))
    sections = "".join(
        f"<h2>{html.escape(table.name.replace('_', ' ').capitalize())}</h2><p>{html.escape(table.caption)}</p>"
        + page.table(list(table.head), [list(row) for row in table.rows])
        for table in tables
    )
    body = f"""<h1>How the error falls</h1>
<p class="lead">{html.escape(_what(found))}.</p>
<p class="notice">{NOT_A_MEDICAL_DEVICE} A law of a few small runs; what it says beyond them has not been seen.</p>
{"".join(pictures)}{sections}"""
    return page.document("Scaling study", body)


def _curves(found: Study) -> bytes:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.8), sharey=True)
    hidden = {one.outcome.kind for one in found.held}
    colours = plt.get_cmap("viridis")

    def draw(axes: Axes, of: Callable[[Outcome], float], others: Callable[[Outcome], int], label: str) -> None:
        values = sorted({others(one) for one in found.grid})
        for n, value in enumerate(values):
            members = sorted((one for one in found.grid if others(one) == value), key=of)
            colour = colours(n / max(1, len(values)))
            for one in members:
                face = "none" if one.kind in hidden else colour
                axes.scatter(of(one), one.error, s=22, color=colour, facecolors=face)
            if found.shown is not None:
                at = np.geomspace(min(map(of, members)), max(map(of, members)), 40)
                same = np.full(40, float(value))
                pair = (same, at) if axes is left else (at, same)
                axes.plot(at, found.shown.law(*pair), color=colour, linewidth=1)
            axes.plot([], [], color=colour, label=f"{value:,} {label}")
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=7)

    draw(left, lambda one: one.kind.images, lambda one: one.weights, "weights")
    draw(right, lambda one: one.weights, lambda one: one.kind.images, "images")
    left.set(xlabel="training images", ylabel=f"error, {found.unit}")
    right.set(xlabel="weights")
    return as_png(figure)


def _spending(found: Study) -> bytes:
    assert found.fitted is not None
    figure, axes = plt.subplots(figsize=(6.0, 3.8))
    spent = np.array([one.operations for one in found.grid])
    axes.scatter(spent, [one.error for one in found.grid], s=22, color="#1f6f8b")
    line = np.geomspace(spent.min(), 10 * spent.max(), 60)
    weights, images = law.frontier(found.fitted.law, found.compute, line)
    low, high = found.fitted.band(weights, images)
    axes.fill_between(line, low, high, color="#c8553d", alpha=0.15, linewidth=0)
    axes.plot(line, found.fitted.law(weights, images), color="#c8553d")
    axes.set(xscale="log", yscale="log", xlabel="operations of training", ylabel=f"error, {found.unit}")
    return as_png(figure)


def _alone(found: Study) -> bytes:
    figure, columns = plt.subplots(
        1, len(found.alone), figsize=(3.4 * len(found.alone), 3.2), squeeze=False, sharey=True
    )
    for axes, (axis, outcomes) in zip(columns[0], found.alone.items(), strict=True):
        outcomes = sorted(outcomes, key=lambda one: getattr(one.kind, axis))
        axes.plot([getattr(one.kind, axis) for one in outcomes], [one.error for one in outcomes], "o-", color="#1f6f8b")
        axes.set(xlabel=axis)
    columns[0][0].set(ylabel=f"error, {found.unit}")
    return as_png(figure)
