"""Figures of a run and of its evaluation, as PNG bytes: charts of one size, with units on every axis.

Sexes are told apart by colour and by shape. All colours are of `page.PALETTE`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boneage_jax.analysis import reliability
from boneage_jax.page import PALETTE

FIRST, SECOND, GUIDE = PALETTE["blue"], PALETTE["vermillion"], PALETTE["grey"]
"""Colours of the first and the second of two things, and of lines that guide the eye."""

SIZE = (6.0, 4.2)
"""Width and height of a chart, in inches."""

_SEXES = (("male", FIRST, "o"), ("female", SECOND, "^"))

plt.rcParams.update(
    {
        "figure.dpi": 160,
        "figure.figsize": SIZE,
        "figure.constrained_layout.use": True,
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.edgecolor": GUIDE,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
)


def panels(rows: int = 1, *, width: float = SIZE[0], share_x: bool = False) -> tuple[Figure, list[Axes]]:
    """Returns a figure of charts below each other, each of the one size."""
    figure, axes = plt.subplots(rows, 1, figsize=(width, rows * SIZE[1]), squeeze=False, sharex=share_x)
    return figure, list(axes[:, 0])


def as_png(figure: Figure) -> bytes:
    """Returns a figure as the bytes of a PNG, and closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def _by_sex(axes: Axes, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]) -> None:
    for (name, colour, marker), members in zip(_SEXES, (male, ~male), strict=True):
        if members.any():
            axes.scatter(x[members], y[members], s=16, alpha=0.6, color=colour, marker=marker, label=name, linewidth=0)


def predicted_against_reading(
    predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]
) -> bytes:
    """Scatter of predicted against read bone age, with the line of no error and the band of 12 months."""
    figure, (axes,) = panels()
    top = float(max(predicted.max(), reading.max(), 1.0)) * 1.03
    line = np.array([0.0, top])
    axes.fill_between(line, line - 12, line + 12, color=GUIDE, alpha=0.18, label="within 12 months", linewidth=0)
    axes.plot(line, line, color=GUIDE, linewidth=1, label="no error")
    _by_sex(axes, reading, predicted, male)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="read bone age, months", ylabel="predicted bone age, months")
    axes.legend(loc="upper left")
    return as_png(figure)


def error_by_age(
    predicted: Float[np.ndarray, " n"],
    reading: Float[np.ndarray, " n"],
    male: Bool[np.ndarray, " n"],
    *,
    bin_months: int = 24,
) -> bytes:
    """Mean absolute error and bias by bins of the reading, with the number of images in each."""
    edges = np.arange(0, 240 + bin_months, bin_months)
    figure, (above, below) = plt.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    width = bin_months * 0.38
    for (name, colour, _), members, side in zip(_SEXES, (male, ~male), (-0.5, 0.5), strict=True):
        hatch = "" if name == "male" else "///"
        style = {"color": colour, "alpha": 0.85, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        error, where = (predicted - reading)[members], np.digitize(reading[members], edges) - 1
        for n, start in enumerate(edges[:-1]):
            inside = error[where == n]
            if not len(inside):
                continue
            centre = start + bin_months / 2 + side * width
            above.bar(centre, np.abs(inside).mean(), width * 0.95, **style)
            above.text(centre, np.abs(inside).mean(), f"{len(inside)}", ha="center", va="bottom", fontsize=7)
            below.bar(centre, inside.mean(), width * 0.95, **style)
        above.bar(0, 0, label=name, **style)
    above.set(ylabel="MAE, months")
    above.margins(y=0.12)
    above.legend(title="number of images above each bar", title_fontsize=9, ncols=2)
    below.axhline(0, color=GUIDE, linewidth=1)
    below.set(ylabel="bias, months", xlabel="read bone age, months", xticks=edges)
    return as_png(figure)


def bland_altman(
    predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]
) -> bytes:
    """Difference of prediction and reading by their mean, with the bias and the limits of agreement.

    See `reliability.agreement`.
    """
    figure, (axes,) = panels()
    difference, mean = predicted - reading, 0.5 * (predicted + reading)
    _by_sex(axes, mean, difference, male)
    found = reliability.agreement(difference)
    for level, style, name in (
        (found.high, "--", "+1.96 SD"),
        (found.bias, "-", "bias"),
        (found.low, "--", "−1.96 SD"),
    ):
        axes.axhline(level, color=GUIDE, linewidth=1.2, linestyle=style)
        text = f" {name}\n {level:+.1f}".replace("-", "−")
        axes.text(1.0, level, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.margins(y=0.15)
    axes.set(xlabel="mean of prediction and reading, months", ylabel="prediction minus reading, months")
    axes.legend(loc="upper left", ncols=2)
    return as_png(figure)


def reliability_by_prediction(bins: Sequence[reliability.Bin]) -> bytes:
    """Mean read against mean predicted bone age of bins by prediction, with the line on which they are equal."""
    figure, (axes,) = panels()
    predicted, reading = (np.array([getattr(one, name) for one in bins]) for name in ("predicted", "reading"))
    below, above = (np.array([getattr(one, name) for one in bins]) for name in ("low", "high"))
    top = float(max(predicted.max(), above.max(), 1.0)) * 1.03
    axes.plot([0, top], [0, top], color=GUIDE, linewidth=1, label="predicted = read")
    axes.errorbar(
        predicted,
        reading,
        yerr=(reading - below, above - reading),
        fmt="o-",
        color=FIRST,
        markersize=5,
        linewidth=1.2,
        capsize=3,
        label="mean of a bin, 95% interval",
    )
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="mean predicted bone age, months")
    axes.set_ylabel("mean read bone age, months")
    axes.legend(loc="upper left")
    return as_png(figure)


def interval_coverage(error: Float[np.ndarray, " n"], spread: Float[np.ndarray, " n"]) -> bytes:
    """Part of the readings inside the interval that the network states, by the part that should be.

    See `reliability.coverage`.
    """
    figure, (axes,) = panels()
    levels = np.linspace(0.0, 0.99, 100)
    axes.plot([0, 100], [0, 100], color=GUIDE, linewidth=1, label="as stated")
    observed = 100 * reliability.coverage(error, spread, levels)
    axes.plot(100 * levels, observed, color=FIRST, linewidth=2, label="observed")
    axes.fill_between(100 * levels, 100 * levels, observed, color=FIRST, alpha=0.12, linewidth=0)
    axes.text(97, 3, "intervals too narrow", ha="right", fontsize=9, color=GUIDE)
    axes.text(3, 97, "intervals too wide", va="top", fontsize=9, color=GUIDE)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="stated coverage of the interval, %")
    axes.set_ylabel("readings inside it, %")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.08))
    return as_png(figure)


def training_curve(lines: Sequence[Mapping[str, float]]) -> bytes:
    """Training and evaluation MAE by step, and the learning rate; of the lines of a run's `metrics.jsonl`."""
    training = [(line["step"], line["mae"]) for line in lines if "mae" in line]
    evaluation = [(line["step"], line["eval_mae"]) for line in lines if "eval_mae" in line]
    rate = [(line["step"], line["learning_rate"]) for line in lines if "learning_rate" in line]
    figure, (axes,) = panels()
    for points, colour, name, style in ((training, GUIDE, "training", "-"), (evaluation, FIRST, "evaluation", "o-")):
        if points:
            axes.plot(*np.array(points).T, style, color=colour, label=f"{name} MAE", markersize=4)
    axes.set(xlabel="training step", ylabel="MAE, months", yscale="log")
    axes.yaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.yaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    axes.tick_params(axis="y", which="minor", labelsize=8)
    right = axes.twinx()
    right.grid(False)
    right.spines["right"].set_visible(True)
    if rate:
        axes.plot([], [], color=SECOND, linewidth=1.2, linestyle=":", label="learning rate (right axis)")
        right.plot(*np.array(rate).T, color=SECOND, linewidth=1.2, linestyle=":")
    right.set_ylabel("learning rate", color=SECOND)
    if training or evaluation:
        axes.legend(loc="upper right")
    return as_png(figure)
