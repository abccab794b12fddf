"""The page of a sweep: parallel coordinates, importance of settings, the table of trials."""

from __future__ import annotations

import html
import json
import pathlib

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from boneage_jax import NOT_A_MEDICAL_DEVICE, page, shown
from boneage_jax.analysis.figures import as_png
from boneage_jax.errors import UserError
from boneage_jax.files import write_text
from boneage_jax.sweeps import commands
from boneage_jax.sweeps.commands import Trial
from boneage_jax.sweeps.space import Choice, Range
from boneage_jax.sweeps.study import Folder

PAGE = "sweep.html"


def write(folder: Folder) -> pathlib.Path:
    """Writes the page into the sweep's folder; returns its path.

    Raises:
      UserError: where no trial has been evaluated yet, or the page cannot be written.
    """
    trials = commands.trials_of(folder)
    measured = [trial for trial in trials if trial.value is not None]
    if not measured:
        raise UserError(
            f"{folder.path}: no trial has been evaluated yet; see {shown.command('sweep', 'status', folder.path)}"
        )
    write_text(folder.path / PAGE, _page(folder, trials, measured))
    return folder.path / PAGE


def _page(folder: Folder, trials: list[Trial], measured: list[Trial]) -> str:
    numbers = commands.counts(folder, trials)
    sign = 1 if folder.direction == "minimize" else -1
    order = sorted(trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))
    keys = list(folder.sweep.space)
    rows = [
        [
            str(trial.number),
            trial.state.lower(),
            "-" if trial.value is None else f"{trial.value:.4g}",
            *(trial.values.get(key, "-") for key in keys),
            "-" if trial.seconds is None else f"{trial.seconds:.0f}",
            str(trial.attempts),
            trial.error,
        ]
        for trial in order
    ]
    head = ["trial", "state", folder.metric, *keys, "seconds", "tries", "error"]
    weights = commands.importances(folder)
    of_settings = (
        page.figure(_importance(weights), "Part of each setting in what the finished trials differ by (PED-ANOVA).")
        if weights
        else "<p>Too few finished trials to say how much each setting matters.</p>"
    )
    done = ", ".join(f"{count} {state.lower()}" for state, count in numbers.items() if count)
    body = f"""<h1>Sweep over {html.escape(folder.sweep.config)}</h1>
<p class="lead">{folder.sweep.count} trials ({html.escape(done)}), chosen by {html.escape(folder.sweep.sampler)}, given
up by {html.escape(folder.sweep.pruner)}; measured by {html.escape(folder.metric)} on the evaluation split.</p>
<p class="notice">{NOT_A_MEDICAL_DEVICE} The best of many trials looks better than it is: score it on a split that
chose nothing.</p>
<h2>All trials</h2>
{page.figure(_coordinates(folder, measured), "A line a trial; the darker, the better. Dashed: given up early.")}
<h2>What matters</h2>
{of_settings}
{page.figure(_curves(folder, measured), "Evaluations of each trial by step, and the best so far by trial.")}
<h2>Trials, best first</h2>
<div class="wide">{page.table(head, rows)}</div>
<h2>The search</h2>
<details><summary>sweep.json</summary><pre>{html.escape(json.dumps(folder.sweep.as_dict(), indent=2))}</pre></details>
"""
    return page.document(f"Sweep: {folder.sweep.config}", body)


def _places(part: Choice | Range, values: list[str]) -> tuple[np.ndarray, list[float], list[str]]:
    """Where values stand on an axis from 0 to 1, and its ticks."""
    if isinstance(part, Choice):
        count = max(1, len(part.values) - 1)
        place = {value: n / count for n, value in enumerate(part.values)}
        return np.array([place[value] for value in values]), list(place.values()), list(place)
    scale = np.log if part.log else np.asarray
    low, high = float(scale(part.low)), float(scale(part.high))
    at = (scale(np.array([float(value) for value in values])) - low) / (high - low)
    ticks = np.geomspace(part.low, part.high, 4) if part.log else np.linspace(part.low, part.high, 4)
    return at, [(float(scale(tick)) - low) / (high - low) for tick in ticks], [f"{tick:.3g}" for tick in ticks]


def _coordinates(folder: Folder, trials: list[Trial]) -> bytes:
    """A vertical axis a setting, and the last one for what was reached."""
    keys = list(folder.sweep.space)
    reached = np.array([trial.value for trial in trials], float)
    columns, all_ticks = [], []
    for key in keys:
        at, ticks, names = _places(folder.sweep.space[key], [trial.values[key] for trial in trials])
        columns.append(at)
        all_ticks.append((ticks, names))
    # A few very bad ones would press all others together.
    low, high = float(reached.min()), float(np.percentile(reached, 90))
    if folder.direction == "maximize":
        low, high = float(np.percentile(reached, 10)), float(reached.max())
    spread = max(high - low, 1e-9)
    columns.append(np.clip((reached - low) / spread, 0, 1))
    marks = np.linspace(low, high, 4)
    all_ticks.append(([(mark - low) / spread for mark in marks], [f"{mark:.4g}" for mark in marks]))

    figure, axes = plt.subplots(figsize=(max(6.0, 1.9 * (len(keys) + 1)), 4.2))
    good = columns[-1] if folder.direction == "maximize" else 1 - columns[-1]
    colour = colormaps["viridis_r"](Normalize(0, 1)(good))
    for n in np.argsort(good):
        dashes = "--" if trials[n].state == "PRUNED" else "-"
        axes.plot(range(len(columns)), [column[n] for column in columns], dashes, color=colour[n], alpha=0.8)
    for n, (ticks, names) in enumerate(all_ticks):
        axes.axvline(n, color="#8a8a8a", linewidth=0.8)
        for tick, name in zip(ticks, names, strict=True):
            axes.text(n + 0.03, tick, name, fontsize=7, va="center", color="#51606b")
    axes.set_xticks(range(len(columns)), [*(key.replace(".", ".\n") for key in keys), folder.metric])
    axes.set(yticks=[], ylim=(-0.04, 1.04), xlim=(-0.1, len(columns) - 0.7))
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    return as_png(figure)


def _importance(weights: dict[str, float]) -> bytes:
    figure, axes = plt.subplots(figsize=(6.0, 0.6 + 0.4 * len(weights)))
    names = sorted(weights, key=lambda name: weights[name])
    axes.barh(names, [weights[name] for name in names], color="#1f6f8b")
    axes.set(xlim=(0, 1))
    return as_png(figure)


def _curves(folder: Folder, trials: list[Trial]) -> bytes:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4))
    stored = {trial.number: trial for trial in folder.study().get_trials(deepcopy=False)}
    for trial in trials:
        curve = sorted(stored[trial.number].intermediate_values.items())
        dashes = "--" if trial.state == "PRUNED" else "-"
        left.plot(
            [step for step, _ in curve], [value for _, value in curve], dashes, marker=".", linewidth=1, alpha=0.7
        )
    left.set(xlabel="step", ylabel=folder.metric)
    order = sorted(trials, key=lambda trial: trial.number)
    values = np.array([trial.value for trial in order], float)
    best = np.minimum.accumulate(values) if folder.direction == "minimize" else np.maximum.accumulate(values)
    numbers = [trial.number for trial in order]
    right.scatter(numbers, values, s=14, color="#1f6f8b")
    right.step(numbers, best, where="post", color="#c8553d", label="best so far")
    right.set(xlabel="trial", ylabel=folder.metric)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend()
    return as_png(figure)
