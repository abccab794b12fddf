"""One self-contained HTML page about an evaluated run."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, page
from boneage_jax.analysis import figures
from boneage_jax.analysis.evaluate import Evaluation
from boneage_jax.analysis.scores import Score
from boneage_jax.files import replacing, write_text
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.train import logs


@dataclasses.dataclass(frozen=True)
class Section:
    """A further part of the page.

    Attributes:
      title: heading.
      body: HTML.
      picture: JPEG bytes below it; empty for none.
      caption: of the picture.
    """

    title: str
    body: str
    picture: bytes = b""
    caption: str = ""

    def as_html(self) -> str:
        """Returns it as HTML."""
        picture = page.figure(self.picture, self.caption, kind="jpeg") if self.picture else ""
        return f"<h2>{html.escape(self.title)}</h2>{self.body}{picture}"


def write(result: Evaluation, loaded: LoadedRun, path: pathlib.Path, *, sections: Sequence[Section] = ()) -> None:
    """Writes the page, and its figures as PNG files into `figures/` beside it.

    Args:
      result: the evaluation to show.
      loaded: the run it is of.
      path: of the page.
      sections: that stand before the scores.
    """
    plots = {
        "predicted_against_reading": figures.predicted_against_reading(result.predicted, result.reading, result.male),
        "error_by_age": figures.error_by_age(result.predicted, result.reading, result.male),
        "training_curve": figures.training_curve(logs.scalars_of(loaded.folder)),
        "examples": _examples(result),
    }
    for name, png in plots.items():
        with replacing(path.parent / "figures" / f"{name}.png") as scratch:
            scratch.write_bytes(png)
    write_text(path, _page(result, loaded, plots, sections))


def _examples(result: Evaluation) -> bytes:
    """Six images spread over the ages, and the six with the largest errors."""
    by_id = result.records.numbers()
    by_age = np.argsort(result.reading)
    spread = by_age[np.linspace(0, len(by_age) - 1, min(6, len(by_age))).round().astype(int)]
    worst = np.argsort(-np.abs(result.predicted - result.reading))[:6]
    chosen = [*spread, *worst]
    captions = [
        f"{'M' if result.male[n] else 'F'}  reading {result.reading[n]:.0f}\npredicted {result.predicted[n]:.0f}"
        for n in chosen
    ]
    return figures.gallery([result.records[by_id[result.ids[n]]]["image"] for n in chosen], captions)


def _page(result: Evaluation, loaded: LoadedRun, plots: dict[str, bytes], sections: Sequence[Section]) -> str:
    mae = result.table["all"]["MAE"]
    assert isinstance(mae, Score)
    what = (
        "rendered hand phantoms. These figures say nothing about how the model does on children's radiographs"
        if result.is_phantom
        else "the named radiographs"
    )
    body = f"""<h1>Bone age on {html.escape(result.dataset)}</h1>
<p class="lead">MAE {mae.value:.2f} months [{mae.low:.2f}, {mae.high:.2f}] on {len(result.ids):,} images;
always predicting the training mean: {result.baseline_mae:.2f}, {result.baseline_mae / mae.value:.1f} times as much.</p>
<p class="notice">{NOT_A_MEDICAL_DEVICE} Measured on {what}.</p>
{"".join(section.as_html() for section in sections)}
<h2>Scores</h2>{_table(result)}
<p class="lead">Months; bias is prediction minus reading; below each value its 95% bootstrap interval.</p>
<div class="pair">
{page.figure(plots["predicted_against_reading"], "Predicted against read bone age.")}
{page.figure(plots["error_by_age"], "Mean absolute error and bias by age.")}
</div>
<h2>Training</h2>
{page.figure(plots["training_curve"], f"Evaluated here: the checkpoint of {loaded.chosen}.")}
<h2>Images</h2>
{page.figure(plots["examples"], "Above: spread over the ages. Below: the largest errors. Months.")}
<h2>How it was made</h2>
<details><summary>Config, data and versions</summary>
<pre>{html.escape(json.dumps(loaded.about, indent=2))}</pre></details>
"""
    return page.document(f"Bone age: {result.dataset}", body)


def _table(result: Evaluation) -> str:
    names = [name for name, score in result.table["all"].items() if isinstance(score, Score)]
    head = "".join(f"<th>{f'{name} (%)' if name.startswith('within') else name}</th>" for name in names)
    rows = ""
    for group, scores in result.table.items():
        cells = "".join(
            f"<td>{score.value:.2f}<small>{score.low:.2f} to {score.high:.2f}</small></td>"
            for score in scores.values()
            if isinstance(score, Score)
        )
        rows += f"<tr><td>{group}</td><td>{scores['images']}</td>{cells}</tr>"
    return f"<table><thead><tr><th></th><th>images</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
