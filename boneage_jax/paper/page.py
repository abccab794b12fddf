"""The paper's tables as files, and the page that shows them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, page
from boneage_jax.analysis import ceiling, figures, reliability, stages
from boneage_jax.analysis.comparison import compare, holm
from boneage_jax.analysis.scores import Score, mae
from boneage_jax.analysis.tables import Table
from boneage_jax.files import replacing, write_text
from boneage_jax.paper.grid import HEADS, MODELS, REGIONS, SEXES, Experiment
from boneage_jax.paper.results import Predictions, Results

PAGE = "paper.html"

_NONE = "-"


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
      page: of tables and figures.
      tables: the same as files.
    """

    page: pathlib.Path
    tables: list[Table]


def write(results: Results, folder: pathlib.Path) -> Written:
    """Writes tables/ (CSV, Markdown, LaTeX), figures/, predictions and the page into a folder."""
    known = ceiling.best_readings(results.dataset, test=results.split)
    floor = float(np.abs(known.all_bones - results.reading).mean()) if known else None
    tables = [_experiments(results), _stages(results, known), _ensembles(results, floor), _comparisons(results)]
    tables.append(_checkpoints(results))
    for table in tables:
        table.write(folder / "tables")
    best = best_of(results)
    known_of_best = np.isfinite(best.months)
    shown = best.months[known_of_best], results.reading[known_of_best], results.male[known_of_best]
    plots = {
        "predicted_against_reading": figures.predicted_against_reading(*shown),
        "bland_altman": figures.bland_altman(*shown),
        "error_by_age": figures.error_by_age(*shown),
    }
    for name, png in plots.items():
        with replacing(folder / "figures" / f"{name}.png") as scratch:
            scratch.write_bytes(png)
    write_text(folder / "paper.json", json.dumps(_summary(results, floor), indent=2) + "\n")
    write_text(folder / PAGE, _page(results, tables, best, plots, floor))
    return Written(folder / PAGE, tables)


def _what(results: Results) -> str:
    kind = "rendered phantoms, which say nothing about children" if results.dataset.is_phantom else "radiographs"
    how = f", each read by the network of {results.folds} that has not seen the child" if results.folds else ""
    return f"{results.dataset.name} {results.split}, {len(results.ids)} {kind}{how}"


def _error(one: Predictions, results: Results) -> np.ndarray:
    return (one.months - results.reading)[np.isfinite(one.months)]


def _shown(score: Score) -> str:
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


def _experiments(results: Results) -> Table:
    """MAE of every experiment: a row a model, head and sex; a column a region."""
    rows = []
    for model, head, sex in itertools.product(MODELS, HEADS, SEXES):
        row = []
        for region in REGIONS:
            found = results.experiments.get(Experiment(model, head, region, sex))
            row.append(_shown(mae(_error(found, results))) if found else _NONE)
        if set(row) != {_NONE}:
            rows.append((f"{MODELS[model]}, {HEADS[head]}, {SEXES[sex]}", *row))
    caption = f"Mean absolute error in months with 95% bootstrap interval, by model and region. {_what(results)}."
    head_row = ("model", *(f"{name} {content}" for name, content in REGIONS.items()))
    return Table("experiments", caption, head_row, tuple(rows))


def _stages(results: Results, known: ceiling.BestReadings | None) -> Table:
    """MAE by stage of skeletal development, of every member and ensemble; on phantoms also what bones allow."""
    counts = stages.mae_by_stage(results.reading, results.reading, results.male)
    rows = []
    by_bones = [
        Predictions(f"irreducible: maturities in region {name} known", months)
        for name, months in (known.by_region if known else {}).items()
    ]
    for one in (*results.members, *results.ensembles, *by_bones):
        found = stages.mae_by_stage(one.months, results.reading, results.male)
        rows.append((one.name, *(_shown(found[name][1]) for name in counts)))
    caption = f"Mean absolute error in months by stage of skeletal development. {_what(results)}."
    return Table("stages", caption, ("model", *(f"{name} ({n})" for name, (n, _) in counts.items())), tuple(rows))


def _ensembles(results: Results, floor: float | None) -> Table:
    """MAE of members and ensembles, best first."""
    scored = [(mae(_error(one, results)), one.name) for one in (*results.members, *results.ensembles)]
    rows = [(name, _shown(score)) for score, name in sorted(scored, key=lambda pair: pair[0].value)]
    if floor is not None:
        rows.append(("irreducible: all maturities known", f"{floor:.2f}"))
    caption = f"Mean absolute error in months of models that answer for both sexes, and of ensembles. {_what(results)}."
    return Table("ensembles", caption, ("model", "MAE"), tuple(rows))


def _comparisons(results: Results) -> Table:
    """The best against all others, pair by pair on the same images."""
    everyone = [*results.members, *results.ensembles]
    best = best_of(results)
    others = [one for one in everyone if one.name != best.name]
    error = _error(best, results)
    found = [compare(_error(one, results), error) for one in others]
    corrected = holm(np.array([c.p for c in found])) if found else np.array([])
    rows = tuple(
        (one.name, _shown(c.difference), f"{p:.2g}") for one, c, p in zip(others, found, corrected, strict=True)
    )
    caption = (
        f"How much larger than that of {best.name!r} the mean absolute error is, in months, paired by image; p of "
        f"Wilcoxon's signed-rank test, corrected for their number after Holm. {_what(results)}."
    )
    return Table("comparisons", caption, ("model", "difference", "p"), rows)


def _checkpoints(results: Results) -> Table:
    """Which step of each run answers for it."""
    caption = "The checkpoint of each run that was taken, and why."
    return Table("checkpoints", caption, ("run", "checkpoint"), tuple(results.checkpoints.items()))


def best_of(results: Results) -> Predictions:
    """Returns the model or ensemble of the smallest mean absolute error; one that answers for all, where there is."""
    everyone = [*results.members, *results.ensembles] or list(results.experiments.values())
    complete = [one for one in everyone if np.isfinite(one.months).all()] or everyone
    return min(complete, key=lambda one: float(np.abs(_error(one, results)).mean()))


def _summary(results: Results, floor: float | None) -> dict[str, object]:
    everyone = [*results.experiments.values(), *results.members, *results.ensembles]
    return {
        "dataset": results.dataset.name,
        "split": results.split,
        "folds": results.folds,
        "phantom": results.dataset.is_phantom,
        "images": len(results.ids),
        "mae": {one.name: dataclasses.asdict(mae(_error(one, results))) for one in everyone},
        "weights": results.weights,
        "checkpoints": dict(results.checkpoints),
        "irreducible_mae": floor,
        "notice": NOT_A_MEDICAL_DEVICE,
    }


_TITLES = {
    "ensembles": "Ensembles and single models, best first",
    "comparisons": "The best against the others",
    "stages": "By stage of skeletal development",
    "experiments": "Experiments, by model and region",
    "checkpoints": "Checkpoints",
}
"""Titles of the tables, in the page's order: the answer first."""


def _page(
    results: Results, tables: list[Table], best: Predictions, plots: dict[str, bytes], floor: float | None
) -> str:
    by_name = {table.name: table for table in tables if table.rows}
    # What was measured stands above; the captions of the files say it again.
    measured = f" {_what(results)}."
    shown = {
        name: page.section(
            title,
            page.table(by_name[name].head, by_name[name].rows),
            lead=by_name[name].caption.removesuffix(measured),
        )
        for name, title in _TITLES.items()
        if name in by_name
    }
    weights = [[name, f"{weight:.3f}"] for name, weight in results.weights.items() if weight > 0]
    fitted = page.section("Fitted weights", page.table(["model", "weight"], weights)) if weights else ""
    found = reliability.agreement(_error(best, results))
    pictures = page.section(
        f"The best: {best.name}",
        page.pair(
            page.figure(plots["predicted_against_reading"], "Predicted against read bone age."),
            page.figure(plots["error_by_age"], "Mean absolute error and bias by age and sex."),
            page.figure(
                plots["bland_altman"],
                f"Bland-Altman plot: bias {page.rounded(found.bias)} months; 95% of the differences are expected "
                f"between the limits of agreement, {page.rounded(found.low)} and {page.rounded(found.high)} months.",
            ),
        ),
    )
    order = [shown.pop("ensembles", ""), shown.pop("comparisons", ""), pictures, fitted, *shown.values()]
    kind = "phantoms" if results.dataset.is_phantom else "radiographs"
    about = {
        "Data": f"{results.dataset.name} {results.split}, {len(results.ids):,} {kind}",
        "Models": f"{len(results.experiments)} experiments, {len(results.ensembles)} ensembles",
    }
    return page.document(
        f"The paper's models on {results.dataset.name} {results.split}",
        _answer(results, best, floor) + "".join(order),
        about=about,
        notice=f"Measured on {_what(results)}.",
    )


def _answer(results: Results, best: Predictions, floor: float | None) -> page.Markup:
    def scored(label: str, one: Predictions) -> page.KeyFigure:
        score = mae(_error(one, results))
        low, high = page.rounded(score.low, 2), page.rounded(score.high, 2)
        return page.KeyFigure(
            label, page.rounded(score.value, 2), "months", f"{one.name}; 95% interval {low} to {high}"
        )

    shown = [scored("Mean absolute error of the best", best)]
    singles = [one for one in results.members if one.name != best.name]
    if results.ensembles and best.name not in {one.name for one in results.members} and singles:
        shown.append(scored("Best single model", min(singles, key=lambda one: np.abs(_error(one, results)).mean())))
    if floor is not None:
        shown.append(page.KeyFigure("Irreducible", page.rounded(floor, 2), "months", "all maturities known"))
    shown.append(page.KeyFigure("Images", f"{len(results.ids):,}"))
    return page.answer(*shown)


def as_text(written: Written) -> str:
    """Returns the tables of experiments, ensembles and checkpoints for people, and where everything lies."""
    wanted = ("experiments", "ensembles", "checkpoints")
    shown = [table.as_markdown() for table in written.tables if table.name in wanted and table.rows]
    where = f"page {written.page}, tables {written.page.parent / 'tables'} (CSV, Markdown, LaTeX)"
    return "\n".join([*shown, NOT_A_MEDICAL_DEVICE, where])
