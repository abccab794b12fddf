"""Figures of a run and of its evaluation, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from boneage_jax.data.images import Grey

_MALE, _FEMALE, _GUIDE = "#1f6f8b", "#c8553d", "#8a8a8a"

plt.rcParams.update(
    {
        "figure.dpi": 110,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
    }
)


def as_png(figure: Figure) -> bytes:
    """Returns a figure as the bytes of a PNG, and closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def predicted_against_reading(
    predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]
) -> bytes:
    """Scatter of predicted against read bone age, with the line of no error and the band of 12 months."""
    figure, axes = plt.subplots(figsize=(5.2, 5.0))
    top = float(max(predicted.max(), reading.max(), 1.0)) * 1.03
    line = np.array([0.0, top])
    axes.fill_between(line, line - 12, line + 12, color=_GUIDE, alpha=0.15, label="within 12 months", linewidth=0)
    axes.plot(line, line, color=_GUIDE, linewidth=1)
    for members, colour, name in ((male, _MALE, "male"), (~male, _FEMALE, "female")):
        axes.scatter(reading[members], predicted[members], s=12, alpha=0.6, color=colour, label=name, linewidth=0)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="reading, months", ylabel="predicted, months", aspect="equal")
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
    figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 5.0), sharex=True, height_ratios=(2, 1))
    width = bin_months * 0.38
    for members, colour, name, side in ((male, _MALE, "male", -0.5), (~male, _FEMALE, "female", 0.5)):
        error, where = (predicted - reading)[members], np.digitize(reading[members], edges) - 1
        for n, start in enumerate(edges[:-1]):
            inside = error[where == n]
            if not len(inside):
                continue
            centre = start + bin_months / 2 + side * width
            above.bar(centre, np.abs(inside).mean(), width * 0.95, color=colour, alpha=0.8)
            above.text(centre, np.abs(inside).mean(), f"{len(inside)}", ha="center", va="bottom", fontsize=7)
            below.bar(centre, inside.mean(), width * 0.95, color=colour, alpha=0.8)
        above.bar(0, 0, color=colour, label=name)
    above.set(ylabel="MAE, months")
    above.legend(title="number of images above each bar", title_fontsize=8)
    below.axhline(0, color=_GUIDE, linewidth=1)
    below.set(ylabel="bias, months", xlabel="reading, months", xticks=edges)
    return as_png(figure)


def bland_altman(
    predicted: Float[np.ndarray, " n"], reading: Float[np.ndarray, " n"], male: Bool[np.ndarray, " n"]
) -> bytes:
    """Difference of prediction and reading by their mean, with the bias and the limits of agreement.

    The limits are bias +- 1.96 standard deviations of the differences (Bland and Altman 1986).
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    difference, mean = predicted - reading, 0.5 * (predicted + reading)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    for members, colour, name in ((male, _MALE, "male"), (~male, _FEMALE, "female")):
        axes.scatter(mean[members], difference[members], s=12, alpha=0.6, color=colour, label=name, linewidth=0)
    for level, style in ((bias, "-"), (bias - 1.96 * sd, "--"), (bias + 1.96 * sd, "--")):
        axes.axhline(level, color=_GUIDE, linewidth=1, linestyle=style)
        axes.text(1.0, level, f" {level:+.1f}", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set(xlabel="mean of prediction and reading, months", ylabel="prediction minus reading, months")
    axes.legend(loc="upper left")
    return as_png(figure)


def training_curve(lines: Sequence[Mapping[str, float]]) -> bytes:
    """Training and evaluation MAE by step, and the learning rate; of the lines of a run's `metrics.jsonl`."""
    training = [(line["step"], line["mae"]) for line in lines if "mae" in line]
    evaluation = [(line["step"], line["eval_mae"]) for line in lines if "eval_mae" in line]
    rate = [(line["step"], line["learning_rate"]) for line in lines if "learning_rate" in line]
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for points, colour, name, style in ((training, _GUIDE, "training", "-"), (evaluation, _MALE, "evaluation", "o-")):
        if points:
            axes.plot(*np.array(points).T, style, color=colour, label=f"{name} MAE", markersize=4)
    axes.set(xlabel="step", ylabel="MAE, months", yscale="log")
    axes.yaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.yaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    right = axes.twinx()
    right.grid(False)
    right.spines["right"].set_visible(True)
    if rate:
        right.plot(*np.array(rate).T, color=_FEMALE, linewidth=1, linestyle=":", label="learning rate")
    right.set_ylabel("learning rate", color=_FEMALE)
    if training or evaluation:
        axes.legend(loc="upper right")
    return as_png(figure)


def gallery(pictures: Sequence[Grey], captions: Sequence[str], *, columns: int = 6) -> bytes:
    """A plate of radiographs with captions."""
    rows = -(-len(pictures) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(columns * 1.75, rows * 2.65), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, picture, caption in zip(grid.flat, pictures, captions, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=8)
    figure.tight_layout()
    return as_png(figure)
