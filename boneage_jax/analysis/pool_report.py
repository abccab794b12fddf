"""Pooled scores of a cross-validation as text, CSV, JSON and page."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from boneage_jax import NOT_A_MEDICAL_DEVICE, page
from boneage_jax.analysis import figures, predictions, scores
from boneage_jax.analysis.pool_folds import PooledFolds
from boneage_jax.analysis.scores import Score
from boneage_jax.files import write_text

PAGE = "folds.html"


def write(found: PooledFolds, folder: pathlib.Path) -> None:
    """Writes predictions.csv, scores.json, scores.txt and the page.

    Raises:
      UserError: for a folder that cannot be written to.
    """
    predictions.write_csv(found.predictions, folder / "predictions.csv", {"fold": found.fold.tolist()})
    write_text(folder / "scores.json", json.dumps(_summary(found), indent=2) + "\n")
    write_text(folder / "scores.txt", as_text(found) + "\n")
    write_text(folder / PAGE, _page(found, folder))


def as_text(found: PooledFolds) -> str:
    """Returns the scores for people."""
    images = "rendered phantoms: says nothing about children" if found.is_phantom else "radiographs"
    mean, deviation = found.mae_over_folds
    lines = [
        f"{found.dataset} ({images}), cross-validation in {len(found.folds)} folds",
        "every image is predicted by the run that was not trained on it, at its last checkpoint",
        scores.as_text(found.table),
        "",
        f"{'fold':<6}{'images':>7}{'MAE months':>22}{'bias months':>24}",
        *(
            f"{one.fold:<6}{len(one.predictions):>7}{scores.shown(one.mae):>22}{scores.shown(one.bias, sign=True):>24}"
            for one in found.folds
        ),
        f"mean of the folds' MAE {mean:.2f}, standard deviation {deviation:.2f}",
        f"always predicting the mean of the other folds: MAE {found.baseline_mae:.2f}",
        *_notes(found),
        NOT_A_MEDICAL_DEVICE,
    ]
    return "\n".join(lines)


def _notes(found: PooledFolds) -> list[str]:
    notes = []
    if found.has_patients:
        notes.append(
            "Intervals resample images, not patients: where patients have several images, true intervals are wider."
        )
    return notes


def _summary(found: PooledFolds) -> dict[str, object]:
    mean, deviation = found.mae_over_folds
    return {
        "dataset": found.dataset,
        "phantom": found.is_phantom,
        "images": len(found.predictions),
        "scores": scores.as_dict(found.table),
        "folds": [
            {
                "fold": one.fold,
                "checkpoint": one.chosen,
                "images": len(one.predictions),
                "mae": dataclasses.asdict(one.mae),
                "bias": dataclasses.asdict(one.bias),
            }
            for one in found.folds
        ],
        "mae_over_folds": {"mean": mean, "standard_deviation": deviation},
        "mae_by_stage": {
            stage: {"images": images, **dataclasses.asdict(score)}
            for stage, (images, score) in found.mae_by_stage.items()
        },
        "baseline_mae": found.baseline_mae,
        "notes": _notes(found),
        "notice": NOT_A_MEDICAL_DEVICE,
    }


def _page(found: PooledFolds, folder: pathlib.Path) -> str:
    notice = "Measured on rendered phantoms, which say nothing about children." if found.is_phantom else ""
    about = {"Data": found.dataset, "Method": f"cross-validation in {len(found.folds)} folds"}
    body = _answer(found) + _scores(found) + _figures(found) + _folds(found, folder)
    return page.document("Bone age: cross-validation", body, about=about, notice=notice)


def _answer(found: PooledFolds) -> str:
    mae, (mean, deviation) = found.mae, found.mae_over_folds
    return page.answer(
        page.KeyFigure(
            "MAE, all folds pooled",
            page.rounded(mae.value, 2),
            "months",
            f"95% interval {page.rounded(mae.low, 2)} to {page.rounded(mae.high, 2)}",
        ),
        page.KeyFigure(
            "Mean of the folds' MAE",
            page.rounded(mean, 2),
            "months",
            f"standard deviation {page.rounded(deviation, 2)}",
        ),
        page.KeyFigure(
            "Always predicting the mean", page.rounded(found.baseline_mae, 2), "months", "of the other folds"
        ),
        sentence=f"{len(found.predictions):,} images, each predicted by the run that was not trained on it.",
    )


def _scores(found: PooledFolds) -> str:
    names = [name for name, score in found.table["all"].items() if isinstance(score, Score)]
    rows = [
        [group, f"{of_group['images']:,}", *(_interval(of_group[name]) for name in names)]
        for group, of_group in found.table.items()
    ]
    stage_rows = [[stage, f"{images:,}", _interval(score)] for stage, (images, score) in found.mae_by_stage.items()]
    return page.section(
        "Scores",
        page.table(
            ["children", "images", *(f"{name} (%)" if name.startswith("within") else name for name in names)],
            rows,
            caption="Months; bias is prediction minus reading; below each value its 95% bootstrap interval",
        ),
        page.table(["stage", "images", "MAE"], stage_rows, caption="MAE by stage of skeletal development, months"),
        *map(page.paragraph, _notes(found)),
    )


def _interval(score: Score | int) -> str:
    assert isinstance(score, Score)
    return page.interval(score.value, score.low, score.high, 2)


def _figures(found: PooledFolds) -> str:
    one = found.predictions
    return page.section(
        "Predictions",
        page.pair(
            page.figure(
                figures.predicted_against_reading(one.months, one.reading, one.male), "Predicted against read bone age."
            ),
            page.figure(
                figures.bland_altman(one.months, one.reading, one.male),
                "Bland and Altman: bias and limits of agreement.",
            ),
        ),
        page.figure(figures.error_by_age(one.months, one.reading, one.male), "Mean absolute error and bias by age."),
    )


def _folds(found: PooledFolds, folder: pathlib.Path) -> str:
    rows = [
        [
            str(one.fold),
            f"{len(one.predictions):,}",
            _interval(one.mae),
            _interval(one.bias),
            page.place(one.folder, folder),
            one.chosen,
        ]
        for one in found.folds
    ]
    return page.section(
        "Folds",
        page.table(
            ["fold", "images", "MAE", "bias", "run", "checkpoint"],
            rows,
            caption="Months; below each value its 95% bootstrap interval",
            stack=True,
        ),
        lead="The last checkpoint of each run is taken: the best was chosen on the images that are scored here.",
    )
