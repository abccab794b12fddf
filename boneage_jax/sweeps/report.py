"""The page of a sweep: parallel coordinates, importance of settings, the table of trials."""

from __future__ import annotations

import os
import pathlib

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from boneage_jax import page, shown
from boneage_jax.analysis.figures import FIRST, GUIDE, SECOND, SIZE, as_png, panels
from boneage_jax.errors import UserError
from boneage_jax.files import write_text
from boneage_jax.sweeps import commands
from boneage_jax.sweeps.commands import Trial
from boneage_jax.sweeps.space import Choice, Range
from boneage_jax.sweeps.study import Folder
from boneage_jax.tasks import BoneAgeTask, LandmarksTask, SegmentationTask

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
    sign = 1 if folder.direction == "minimize" else -1
    order = sorted(trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))
    weights = commands.importances(folder)
    settings = (
        page.figure(_importance(weights), "Part of each setting in what the finished trials differ by (PED-ANOVA).")
        if weights
        else page.paragraph("Too few finished trials to say how much each setting matters.")
    )
    sweep = folder.sweep
    body = "".join(
        [
            _answer(folder, trials, order[0]),
            page.section(
                "All trials at a glance",
                page.figure(
                    _coordinates(folder, measured),
                    "A line a trial, from setting to setting to what it reached; the darker, the better. Dashed: given "
                    "up early.",
                    wide=True,
                ),
            ),
            page.section("Which settings matter", settings),
            page.section(
                "How it went",
                page.figure(
                    _curves(folder, measured),
                    "Above: evaluations of each trial by training step; the darker, the better; dashed: given up "
                    "early. Below: what each trial reached, and the best so far.",
                ),
            ),
            page.section("Trials, best first", _table(folder, order)),
            page.section("The search", page.details("sweep.json", page.as_json(sweep.as_dict(), folder.path))),
        ]
    )
    return page.document(
        f"Sweep over {page.place(sweep.config, folder.path) if os.path.isabs(sweep.config) else sweep.config}",
        body,
        about={
            "Measured by": f"{_metric(folder)}, on the evaluation split",
            "Sampler": sweep.sampler,
            "Pruner": sweep.pruner,
        },
        notice="The best of many trials looks better than it is: score it on a split that chose nothing.",
    )


_SCORES = {f"eval_{task.score.name}": task.score for task in (BoneAgeTask, LandmarksTask, SegmentationTask)}


def _measure(folder: Folder) -> tuple[str, str]:
    """What trials are measured by, and its unit."""
    score = _SCORES.get(folder.metric)
    return (score.label, score.unit) if score else (folder.metric, "")


def _metric(folder: Folder) -> str:
    return ", ".join(filter(None, _measure(folder)))


def _answer(folder: Folder, trials: list[Trial], best: Trial) -> page.Markup:
    assert best.value is not None  # the page is of measured trials
    numbers = commands.counts(folder, trials)
    done = ", ".join(f"{count} {state.lower()}" for state, count in numbers.items() if count)
    label, unit = _measure(folder)
    settings = ", ".join(f"{key} {_shown(value)}" for key, value in best.values.items())
    return page.answer(
        page.KeyFigure(f"Best {label}", page.significant(best.value, 4), unit, f"trial {best.number}: {settings}"),
        page.KeyFigure("Trials planned", f"{folder.sweep.count:,}", note=done),
    )


def _table(folder: Folder, order: list[Trial]) -> page.Markup:
    keys = list(folder.sweep.space)
    rows = [
        [
            str(trial.number),
            page.badge(trial.state.lower(), _STATE_BADGES.get(trial.state, "neutral")),
            "-" if trial.value is None else page.significant(trial.value, 4),
            *(_shown(trial.values.get(key, "-")) for key in keys),
            "-" if trial.seconds is None else f"{trial.seconds:,.0f}",
            str(trial.attempts),
            trial.error or "-",
        ]
        for trial in order
    ]
    return page.table(["trial", "state", _metric(folder), *keys, "seconds", "tries", "error"], rows)


_STATE_BADGES: dict[str, page.BadgeKind] = {"COMPLETE": "good", "PRUNED": "flag", "FAIL": "failed"}


def _shown(value: str) -> str:
    """A setting's value; numbers are rounded to four digits."""
    try:
        number = float(value)
    except ValueError:
        return value
    return value if number.is_integer() else page.significant(number, 4)


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


_ON_LINES = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}


def _span(folder: Folder, reached: np.ndarray) -> tuple[float, float]:
    """The span of what trials reached; a few very bad ones would press all others together."""
    if folder.direction == "maximize":
        return float(np.percentile(reached, 10)), float(reached.max())
    return float(reached.min()), float(np.percentile(reached, 90))


def _within(folder: Folder, reached: np.ndarray) -> np.ndarray:
    """What trials reached as parts of their span, from 0 to 1."""
    low, high = _span(folder, reached)
    return np.asarray(np.clip((reached - low) / max(high - low, 1e-9), 0, 1))


def _good(folder: Folder, reached: np.ndarray) -> np.ndarray:
    """How good trials are, from 0 to 1."""
    return _within(folder, reached) if folder.direction == "maximize" else 1 - _within(folder, reached)


def _colours(good: np.ndarray) -> np.ndarray:
    """The darker, the better. The brightest colours of the map cannot be seen on white."""
    return np.asarray(colormaps["viridis_r"](Normalize(-0.15, 1)(good)))


def _coordinates(folder: Folder, trials: list[Trial]) -> bytes:
    """A vertical axis a setting, and the last one for what was reached."""
    keys = list(folder.sweep.space)
    reached = np.array([trial.value for trial in trials], float)
    columns, all_ticks = [], []
    for key in keys:
        at, ticks, names = _places(folder.sweep.space[key], [trial.values[key] for trial in trials])
        columns.append(at)
        all_ticks.append((ticks, names))
    low, high = _span(folder, reached)
    spread = max(high - low, 1e-9)
    columns.append(_within(folder, reached))
    marks = np.linspace(low, high, 4)
    all_ticks.append(([(mark - low) / spread for mark in marks], [f"{mark:.4g}" for mark in marks]))

    figure, (axes,) = panels(width=max(SIZE[0], 2.2 * (len(keys) + 1)))
    good = _good(folder, reached)
    colour = _colours(good)
    for n in np.argsort(good):
        dashes = "--" if trials[n].state == "PRUNED" else "-"
        axes.plot(range(len(columns)), [column[n] for column in columns], dashes, color=colour[n], alpha=0.8)
    for n, (ticks, names) in enumerate(all_ticks):
        axes.axvline(n, color=GUIDE, linewidth=0.8)
        for tick, name in zip(ticks, names, strict=True):
            axes.text(n + 0.03, tick, name, fontsize=8, va="center", color=GUIDE, bbox=_ON_LINES)
    axes.set_xticks(
        range(len(columns)), [*(key.replace(".", ".\n") for key in keys), _metric(folder).replace(", ", ",\n")]
    )
    axes.set(yticks=[], ylim=(-0.04, 1.04), xlim=(-0.1, len(columns) - 0.7))
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    return as_png(figure)


def _importance(weights: dict[str, float]) -> bytes:
    figure, (axes,) = panels()
    names = sorted(weights, key=lambda name: weights[name])
    axes.barh(names, [weights[name] for name in names], color=FIRST, height=0.6)
    axes.set(xlim=(0, 1), ylim=(-0.6, max(4, len(names)) - 0.4), xlabel="part of the differences, 0 to 1")
    return as_png(figure)


def _curves(folder: Folder, trials: list[Trial]) -> bytes:
    figure, (above, below) = panels(2)
    stored = {trial.number: trial for trial in folder.study().get_trials(deepcopy=False)}
    colours = _colours(_good(folder, np.array([trial.value for trial in trials], float)))
    for trial, colour in zip(trials, colours, strict=True):
        curve = sorted(stored[trial.number].intermediate_values.items())
        dashes = "--" if trial.state == "PRUNED" else "-"
        steps, values = [step for step, _ in curve], [value for _, value in curve]
        above.plot(steps, values, dashes, marker=".", linewidth=1, alpha=0.8, color=colour)
    above.xaxis.set_major_locator(MaxNLocator(integer=True))
    above.set(xlabel="training step", ylabel=_metric(folder))
    order = sorted(trials, key=lambda trial: trial.number)
    reached = np.array([trial.value for trial in order], float)
    best = np.minimum.accumulate(reached) if folder.direction == "minimize" else np.maximum.accumulate(reached)
    numbers = [trial.number for trial in order]
    below.scatter(numbers, reached, s=20, color=FIRST, label="a trial")
    below.step(numbers, best, where="post", color=SECOND, label="best so far")
    below.set(xlabel="trial", ylabel=_metric(folder))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.legend()
    return as_png(figure)
