"""The page of a comparison of runs."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from boneage_jax import page
from boneage_jax.analysis import figures, stages
from boneage_jax.analysis.compare_report import METHOD, p_value, sentence
from boneage_jax.analysis.paired import CHILDREN, PairedDifference, RunComparison
from boneage_jax.analysis.scores import Score
from boneage_jax.files import write_text

PAGE = "comparison.html"

_MOST_PAIRS = 3
"""Differences among the key figures."""


def write(found: RunComparison, path: pathlib.Path) -> None:
    """Writes the page, whole or not at all. Raises `UserError` where that is impossible."""
    notice = "Measured on rendered phantoms, which say nothing about children." if found.is_phantom else ""
    about = {"Data": found.dataset, "Runs": ", ".join(run.name for run in found.runs)}
    body = _answer(found) + _differences(found.pairs) + _runs(found) + _by_stage(found)
    write_text(path, page.document("Bone age: runs compared", body, about=about, notice=notice))


def _answer(found: RunComparison) -> str:
    shown = [(f"MAE of {found.best.name}", found.best.mae, "")] if found.same_images else []
    if len(found.pairs) == 1 or not found.same_images:
        shown += [
            (f"{pair.first} minus {pair.second}", pair.difference, f"; p {p_value(pair.p_holm)}")
            for pair in found.pairs[:_MOST_PAIRS]
        ]
    key_figures = [
        page.KeyFigure(
            label,
            page.rounded(score.value, 2),
            "months",
            f"95% interval {page.rounded(score.low, 2)} to {page.rounded(score.high, 2)}{more}",
        )
        for label, score, more in shown
    ]
    return page.answer(*key_figures, sentence=sentence(found))


def _differences(pairs: Sequence[PairedDifference]) -> str:
    rows = [
        [
            pair.first,
            pair.second,
            f"{pair.images:,}",
            _interval(pair.difference),
            p_value(pair.p_holm),
            pair.better or "not shown",
        ]
        for pair in pairs
    ]
    return page.section(
        "Differences",
        page.figure(_forest(pairs), "Difference of MAE of each pair, with its 95% interval."),
        page.table(
            ["first", "second", "images", "difference", "p", "smaller error"],
            rows,
            caption="Difference of MAE, months",
            stack=True,
        ),
        lead=METHOD,
    )


def _runs(found: RunComparison) -> str:
    rows = [
        [
            run.name,
            f"{len(run.predictions):,}",
            CHILDREN[run.children],
            _interval(run.mae),
            _interval(run.bias),
            run.chosen,
        ]
        for run in found.runs
    ]
    return page.section(
        "Runs",
        page.table(
            ["run", "images", "children", "MAE", "bias", "checkpoint"],
            rows,
            caption="Months; bias is prediction minus reading; below each value its 95% bootstrap interval",
            stack=True,
        ),
        *map(page.paragraph, found.notes),
    )


def _by_stage(found: RunComparison) -> str:
    occurring = [name for name in stages.NAMES if any(name in run.mae_by_stage for run in found.runs)]
    scores = [[stage, *(_of_stage(run.mae_by_stage.get(stage)) for run in found.runs)] for stage in occurring]
    of_best = [pair for pair in found.pairs if found.best.name in (pair.first, pair.second)]
    differences = [
        [stage, f"{pair.first} minus {pair.second}", _of_stage(pair.by_stage.get(stage))]
        for stage in occurring
        for pair in of_best
    ]
    return page.section(
        "By stage of skeletal development",
        page.table(["stage", *(run.name for run in found.runs)], scores, caption="MAE, months"),
        page.table(["stage", "runs", "difference"], differences, caption="Difference of MAE, months", stack=True),
        lead=f"Differences of {found.best.name} and the other runs; those of all pairs lie in stages.csv. Intervals by "
        "stage are not corrected for the number of stages and pairs.",
    )


def _interval(score: Score) -> str:
    return page.interval(score.value, score.low, score.high, 2)


def _of_stage(value: tuple[int, Score] | None) -> str:
    """A score over its interval and the number of its images."""
    if value is None:
        return "-"
    images, score = value
    return page.Markup(_interval(score).replace("</small>", f"; {images:,} images</small>"))


def _forest(pairs: Sequence[PairedDifference]) -> bytes:
    """Differences with their intervals, one line each, and the line of no difference."""
    figure, (axes,) = figures.panels()
    figure.set_size_inches(figures.SIZE[0], max(1.6, 0.9 + 0.38 * len(pairs)))
    rows = range(len(pairs))
    value = [pair.difference.value for pair in pairs]
    below = [pair.difference.value - pair.difference.low for pair in pairs]
    above = [pair.difference.high - pair.difference.value for pair in pairs]
    axes.axvline(0, color=figures.GUIDE, linewidth=1)
    axes.errorbar(value, rows, xerr=(below, above), fmt="o", color=figures.FIRST, markersize=5, capsize=3)
    axes.set_yticks(rows, [f"{pair.first}\nminus {pair.second}" for pair in pairs], fontsize=8)
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_xlabel("difference of MAE, months")
    return figures.as_png(figure)
