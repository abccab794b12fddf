"""A comparison of runs as text, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis import scores
from boneage_jax.analysis.paired import CHILDREN, LEVEL, RunComparison
from boneage_jax.analysis.scores import RESAMPLES, Score
from boneage_jax.files import replacing, write_text

METHOD = (
    "Months. A difference is the MAE of the first run minus the MAE of the second, on the images that both answer for: "
    f"negative where the first is better. Intervals: 95%, paired bootstrap over images, {RESAMPLES:,} resamples. p: "
    "Wilcoxon's signed-rank test of the absolute errors, two-sided, corrected for the number of pairs (Holm 1979)."
)
"""How the numbers are computed, for people."""


def write(found: RunComparison, folder: pathlib.Path) -> None:
    """Writes runs.csv, pairs.csv, stages.csv, predictions.csv, comparison.json and comparison.txt.

    Raises:
      UserError: for a folder that cannot be written to.
    """
    _write_runs(found, folder / "runs.csv")
    _write_pairs(found, folder / "pairs.csv")
    _write_stages(found, folder / "stages.csv")
    _write_predictions(found, folder / "predictions.csv")
    write_text(folder / "comparison.json", json.dumps(_summary(found), indent=2) + "\n")
    write_text(folder / "comparison.txt", as_text(found) + "\n")


def as_text(found: RunComparison) -> str:
    """Returns the comparison for people."""
    width = max(len("run"), *(len(run.name) for run in found.runs)) + 2
    lines = [
        f"{found.dataset} ({_images(found)})",
        f"{'run':<{width}}{'images':>7}  {'children':<16}{'MAE months':>22}{'bias months':>24}",
    ]
    for run in found.runs:
        lines.append(
            f"{run.name:<{width}}{len(run.predictions):>7}  {CHILDREN[run.children]:<16}"
            f"{scores.shown(run.mae):>22}{scores.shown(run.bias, sign=True):>24}"
        )
    lines += ["", f"{'MAE of':<{width}}{'minus of':<{width}}{'images':>7}{'difference':>24}{'p (Holm)':>12}"]
    for pair in found.pairs:
        lines.append(
            f"{pair.first:<{width}}{pair.second:<{width}}{pair.images:>7}"
            f"{scores.shown(pair.difference, sign=True):>24}{p_value(pair.p_holm):>12}"
        )
    return "\n".join([*lines, "", METHOD, *found.notes, sentence(found), NOT_A_MEDICAL_DEVICE])


def _images(found: RunComparison) -> str:
    return "rendered phantoms: says nothing about children" if found.is_phantom else "radiographs"


def p_value(value: float) -> str:
    """Returns a p value for people."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def sentence(found: RunComparison) -> str:
    """Returns the finding in a sentence: the run of the smallest error, and which others are shown to be worse."""
    if not found.same_images:
        return "The runs answer for different images: compare them by the differences, not by their own MAE."
    best = found.best.name
    worse = [pair.worse for pair in found.pairs if pair.better == best]
    compared = {name for pair in found.pairs if best in (pair.first, pair.second) for name in (pair.first, pair.second)}
    others = [run.name for run in found.runs if run.name in compared - {best, *worse}]
    message = f"{best} has the smallest error"
    if worse:
        message += f", smaller than that of {', '.join(worse)} by more than chance (p < {LEVEL:g})"
    if others:
        message += f"; no difference from {', '.join(others)} is shown"
    return message + "."


def _write(path: pathlib.Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def _numbers(score: Score) -> list[str]:
    return [f"{value:.4f}" for value in (score.value, score.low, score.high)]


def _write_runs(found: RunComparison, path: pathlib.Path) -> None:
    head = ["run", "images", "children", "mae", "mae_low", "mae_high", "bias", "bias_low", "bias_high", "checkpoint"]
    rows = (
        [
            run.name,
            len(run.predictions),
            CHILDREN[run.children],
            *_numbers(run.mae),
            *_numbers(run.bias),
            run.chosen,
        ]
        for run in found.runs
    )
    _write(path, head, rows)


def _write_pairs(found: RunComparison, path: pathlib.Path) -> None:
    head = ["first", "second", "images", "difference", "low", "high", "p", "p_holm", "smaller_error"]
    rows = (
        [p.first, p.second, p.images, *_numbers(p.difference), f"{p.p:.6g}", f"{p.p_holm:.6g}", p.better]
        for p in found.pairs
    )
    _write(path, head, rows)


def _write_stages(found: RunComparison, path: pathlib.Path) -> None:
    """MAE of each run by stage, and differences of each pair."""
    rows = [
        [run.name, "", stage, images, *_numbers(score)]
        for run in found.runs
        for stage, (images, score) in run.mae_by_stage.items()
    ]
    rows += [
        [pair.first, pair.second, stage, images, *_numbers(score)]
        for pair in found.pairs
        for stage, (images, score) in pair.by_stage.items()
    ]
    _write(path, ["run", "minus", "stage", "images", "mae", "low", "high"], rows)


def _write_predictions(found: RunComparison, path: pathlib.Path) -> None:
    """Every image with its reading and what each run predicts; empty where a run does not answer for it."""
    labels: dict[str, tuple[float, bool]] = {}
    months: list[dict[str, float]] = []
    for run in found.runs:
        one = run.predictions
        labels |= zip(one.ids, zip(one.reading.tolist(), one.male.tolist(), strict=True), strict=True)
        months.append(dict(zip(one.ids, one.months.tolist(), strict=True)))
    rows = (
        [image_id, "M" if male else "F", f"{reading:.2f}"]
        + [f"{of_run[image_id]:.2f}" if image_id in of_run else "" for of_run in months]
        for image_id, (reading, male) in labels.items()
    )
    _write(path, ["id", "sex", "reading", *(run.name for run in found.runs)], rows)


def _summary(found: RunComparison) -> dict[str, object]:
    def by_stage(values: dict[str, tuple[int, Score]]) -> dict[str, object]:
        return {stage: {"images": images, **dataclasses.asdict(score)} for stage, (images, score) in values.items()}

    return {
        "dataset": found.dataset,
        "phantom": found.is_phantom,
        "runs": [
            {
                "run": run.name,
                "images": len(run.predictions),
                "children": run.children,
                "checkpoint": run.chosen,
                "mae": dataclasses.asdict(run.mae),
                "bias": dataclasses.asdict(run.bias),
                "mae_by_stage": by_stage(run.mae_by_stage),
            }
            for run in found.runs
        ],
        "pairs": [{**dataclasses.asdict(pair), "by_stage": by_stage(pair.by_stage)} for pair in found.pairs],
        "notes": list(found.notes),
        "notice": NOT_A_MEDICAL_DEVICE,
    }
