"""Scores a run of any task by that task's own measure, image by image: masks by IoU, key points by distance."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib

import numpy as np

from boneage_jax.analysis import evaluate
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.files import replacing, write_text
from boneage_jax.runs.inference import predict_with
from boneage_jax.runs.predict_step import compile_score_step
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.tasks import Score


@dataclasses.dataclass(frozen=True)
class PerImage:
    """Scores of a run on a split.

    Attributes:
      folder: where scores.csv and scores.json lie.
      dataset: name and split.
      score: name, unit and direction of the measure.
      ids: of the images.
      values: one an image.
      is_phantom: whether the images are rendered.
    """

    folder: pathlib.Path
    dataset: str
    score: Score
    ids: list[str]
    values: np.ndarray
    is_phantom: bool

    @property
    def summary(self) -> dict[str, float]:
        """Number of images, mean, median, and the tail of the worst: the 1st percentile where more is better."""
        tail = 1 if self.score.higher_is_better else 99
        return {
            "images": len(self.values),
            "mean": float(self.values.mean()),
            "median": float(np.median(self.values)),
            f"percentile {tail}": float(np.percentile(self.values, tail)),
        }

    def as_text(self) -> str:
        """Returns the summary for people."""
        images = " (rendered phantoms)" if self.is_phantom else ""
        facts = ", ".join(f"{name} {value:.4g}" for name, value in self.summary.items())
        unit = f", {self.score.unit}" if self.score.unit else ""
        return f"{self.dataset}{images}\n{self.score.label}{unit}: {facts}\ntable and JSON lie in {self.folder}"


def score(
    loaded: LoadedRun,
    *,
    split: str = "test",
    data_dir: pathlib.Path | None = None,
    dataset: str = "",
    out: pathlib.Path | None = None,
) -> PerImage:
    """Scores a run on a split and writes a table and JSON.

    Args:
      loaded: the run.
      split: of the dataset.
      data_dir: folder of the built datasets; None for the one trained from.
      dataset: name; empty for the one trained on.
      out: folder to write to; None for `evaluation/DATASET/SPLIT/` in the run's.

    Raises:
      UserError: for data that is not there or holds no truth for the run's task; a folder that cannot be written to.
    """
    config = loaded.config
    name = dataset or config.data.name
    opened = Dataset.open((data_dir or pathlib.Path(config.data.dir)).expanduser(), name)
    view = view_of(config.data, loaded.task.layers, split=split, evaluation=bool(config.data.folds))
    records = opened.split(split, view)
    folder = out or evaluate.folder_of(loaded.folder, name, split)
    evaluate.check_destination(folder)
    step = compile_score_step(loaded.mesh, network=loaded.network, task=loaded.task)
    values = predict_with(loaded, step, records)
    result = PerImage(folder, f"{name} {split}", loaded.task.score, records.ids(), values, opened.is_phantom)
    with replacing(folder / "scores.csv") as scratch, scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", result.score.name])
        writer.writerows((image_id, f"{value:.6g}") for image_id, value in zip(result.ids, values, strict=True))
    facts = {
        "dataset": result.dataset,
        "score": result.score.name,
        "checkpoint_step": loaded.step,
        "checkpoint_chosen": loaded.chosen,
    }
    write_text(folder / "scores.json", json.dumps({**facts, **result.summary}, indent=2) + "\n")
    return result
