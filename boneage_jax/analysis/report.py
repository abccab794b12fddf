"""One self-contained HTML page about an evaluated run."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax import page
from boneage_jax.analysis import figures, groups, reliability
from boneage_jax.analysis.evaluate import Evaluation
from boneage_jax.analysis.scores import Score
from boneage_jax.files import replacing, write_text
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.train import logs

_EXAMPLES = 6
"""Images in each row of examples; chosen by eye."""


def write(result: Evaluation, loaded: LoadedRun, path: pathlib.Path, *, sections: Sequence[page.Markup] = ()) -> None:
    """Writes the page, and its figures as PNG files into `figures/` beside it.

    Args:
      result: the evaluation to show.
      loaded: the run that was evaluated.
      path: of the page.
      sections: further ones, after the answer and before the scores.
    """
    error = result.predicted - result.reading
    plots = {
        "predicted_against_reading": figures.predicted_against_reading(result.predicted, result.reading, result.male),
        "bland_altman": figures.bland_altman(result.predicted, result.reading, result.male),
        "error_by_age": figures.error_by_age(result.predicted, result.reading, result.male),
        "reliability": figures.reliability_by_prediction(reliability.by_prediction(result.predicted, result.reading)),
        "training_curve": figures.training_curve(logs.scalars_of(loaded.folder)),
    }
    if reliability.has_spread(result.spread):
        plots["interval_coverage"] = figures.interval_coverage(error, result.spread)
    for name, png in plots.items():
        with replacing(path.parent / "figures" / f"{name}.png") as scratch:
            scratch.write_bytes(png)
    write_text(path, _page(result, loaded, plots, path.parent, sections))


def _page(
    result: Evaluation,
    loaded: LoadedRun,
    plots: dict[str, bytes],
    beside: pathlib.Path,
    sections: Sequence[page.Markup],
) -> str:
    images = (
        "rendered hand phantoms. These figures say nothing about how the model does on children's radiographs"
        if result.is_phantom
        else "the named radiographs"
    )
    body = "".join(
        [
            _answer(result),
            *sections,
            page.section(
                "Scores",
                _table(result),
                lead="Of the error, prediction minus reading; below each value its 95% bootstrap interval.",
            ),
            *groups.section(result.groups),
            _agreement(result, plots),
            _calibration(result, plots),
            page.section(
                "Training",
                page.figure(
                    plots["training_curve"],
                    f"Mean absolute error during training. Evaluated here: the checkpoint of {loaded.chosen}.",
                ),
            ),
            _examples(result),
            page.section(
                "How it was made",
                page.details("Configuration, data and versions", page.as_json(loaded.about, beside)),
            ),
        ]
    )
    kind = "phantoms" if result.is_phantom else "radiographs"
    return page.document(
        f"Bone age on {result.dataset}",
        body,
        about={
            "Data": f"{result.dataset}, {len(result.ids):,} {kind}",
            "Model": f"{page.place(loaded.folder, beside)}, {loaded.config.model.name}, step {loaded.step:,}",
        },
        notice=f"Measured on {images}.",
    )


def _score(result: Evaluation, name: str) -> Score:
    score = result.table["all"][name]
    assert isinstance(score, Score)
    return score


def _shown(score: Score, digits: int = 1) -> str:
    return f"95% interval {page.rounded(score.low, digits)} to {page.rounded(score.high, digits)}"


def _answer(result: Evaluation) -> page.Markup:
    mae, bias, within = (_score(result, name) for name in ("MAE", "bias", "within 12"))
    times = result.baseline_mae / mae.value if mae.value else np.inf
    return page.answer(
        page.KeyFigure("Mean absolute error", page.rounded(mae.value, 2), "months", _shown(mae, 2)),
        page.KeyFigure("Bias, prediction minus reading", page.rounded(bias.value, 2), "months", _shown(bias, 2)),
        page.KeyFigure("Within 12 months", page.rounded(within.value), "%", _shown(within)),
        page.KeyFigure(
            "Always predicting the training mean",
            page.rounded(result.baseline_mae, 2),
            "months",
            f"mean absolute error, {page.significant(times, 2)} times the model's",
        ),
    )


def _table(result: Evaluation) -> page.Markup:
    names = [name for name, score in result.table["all"].items() if isinstance(score, Score)]
    rows = [
        [
            group,
            f"{scores['images']:,}",
            *(page.interval(s.value, s.low, s.high, 2) for s in scores.values() if isinstance(s, Score)),
        ]
        for group, scores in result.table.items()
    ]
    head = [f"{name} months, %" if name.startswith("within") else f"{name}, months" for name in names]
    return page.table(["images of", "number", *head], rows)


def _agreement(result: Evaluation, plots: dict[str, bytes]) -> page.Markup:
    found = reliability.agreement(result.predicted - result.reading)
    low, high = page.rounded(found.low), page.rounded(found.high)
    return page.section(
        "Agreement with the reading",
        page.pair(
            page.figure(plots["predicted_against_reading"], "Predicted against read bone age."),
            page.figure(plots["error_by_age"], "Mean absolute error and bias by age and sex."),
            page.figure(
                plots["bland_altman"],
                f"Bland-Altman plot: bias {page.rounded(found.bias)} months; 95% of the differences are expected "
                f"between the limits of agreement, {low} and {high} months.",
            ),
        ),
    )


def _calibration(result: Evaluation, plots: dict[str, bytes]) -> page.Markup:
    """Reliability of the predictions and, where the network states one, of their spread."""
    blocks = [
        page.figure(
            plots["reliability"],
            "Reliability: mean reading by mean prediction, in bins of about as many images. Above the line predictions "
            "are too low, below it too high.",
        )
    ]
    below = page.paragraph("The network states no spread, so its intervals cannot be examined.")
    if "interval_coverage" in plots:
        blocks.append(
            page.figure(
                plots["interval_coverage"],
                "Coverage: how many readings lie inside the interval that the network's own spread gives (normal "
                "distribution). Below the line the network is too sure of itself.",
            )
        )
        levels = np.array(reliability.LEVELS)
        observed = reliability.coverage(result.predicted - result.reading, result.spread, levels)
        below = page.table(
            ["interval stated", "readings inside it"],
            [
                [f"{100 * level:.0f}%", f"{100 * part:.1f}%"]
                for level, part in zip(levels.tolist(), observed.tolist(), strict=True)
            ],
        )
    return page.section("Calibration", page.pair(*blocks), below)


def _examples(result: Evaluation) -> page.Markup:
    """Images spread over the ages, and those with the largest errors."""
    by_id = result.records.numbers()
    by_age = np.argsort(result.reading)
    spread = by_age[np.linspace(0, len(by_age) - 1, min(_EXAMPLES, len(by_age))).round().astype(int)]
    worst = np.argsort(-np.abs(result.predicted - result.reading))[:_EXAMPLES]

    def card(n: int) -> page.Card:
        error = result.predicted[n] - result.reading[n]
        sign = "+" if error > 0 else ""
        return page.Card(
            result.ids[n],
            [page.picture(result.records[by_id[result.ids[n]]]["image"])],
            [
                f"{'boy' if result.male[n] else 'girl'}, read {page.rounded(result.reading[n], 0)}",
                f"predicted {page.rounded(result.predicted[n], 0)} ({sign}{page.rounded(error, 0)})",
            ],
        )

    return page.section(
        "Images",
        page.Markup("<h3>Spread over the ages</h3>"),
        page.cards([card(n) for n in spread], width=10, height=13),
        page.Markup("<h3>The largest errors</h3>"),
        page.cards([card(n) for n in worst], width=10, height=13),
        lead="As the network sees them. Ages and errors in months.",
    )
