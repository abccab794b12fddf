"""The training of a round: which masks it uses, the network, and how that does on a split with known masks."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping

from boneage_jax.config import ExperimentConfig
from boneage_jax.data.sources import Dataset
from boneage_jax.files import write_text
from boneage_jax.train.loop import train
from boneage_jax.workflows.mining import scoring
from boneage_jax.workflows.mining.folder import MiningFolder, RoundFolder, masks_in
from boneage_jax.workflows.requests import MiningRequest


def collect_masks(folder: MiningFolder, target: RoundFolder, accepted: Mapping[str, pathlib.Path]) -> tuple[int, int]:
    """Copies the masks of a round into its folder, once.

    Where an image has several masks, the given one counts before the corrected one, and that before the accepted one.

    Args:
      folder: of the mining.
      target: the round.
      accepted: predicted masks of the round before, by image id.

    Returns:
      The number of masks, and that of those drawn by hand.
    """
    by_hand = masks_in(folder.corrections) | masks_in(folder.labels)
    held_out = masks_in(folder.held_out)
    for place, chosen in ((target.by_hand, by_hand), (target.trained_on, {**accepted, **by_hand})):
        if not place.exists():
            scratch = place.with_suffix(".part")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            for image_id, path in chosen.items():
                if image_id not in held_out:
                    copy = scratch / f"{image_id}.png"
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
            scratch.rename(place)
    return len(masks_in(target.trained_on)), len(masks_in(target.by_hand))


def train_round(request: MiningRequest, folder: MiningFolder, target: RoundFolder) -> None:
    """Trains the network of a round, or goes on with its training."""
    # Accepted masks are the easy ones, and there are ever more of them: drawn ones keep half of the training.
    config = _config_with(request, folder, masks=target.trained_on, oversampled_masks=target.by_hand)
    train(config, target.run)


def train_reference(request: MiningRequest, folder: MiningFolder) -> None:
    """Trains a network on all masks of the dataset to compare with, and measures it where the request names a split."""
    train(_config_with(request, folder), folder.reference)
    if request.measure:
        write_text(folder.reference_result, json.dumps({"iou": measured_iou(request, folder.reference)}) + "\n")


def _config_with(
    request: MiningRequest,
    folder: MiningFolder,
    *,
    masks: pathlib.Path | None = None,
    oversampled_masks: pathlib.Path | None = None,
) -> ExperimentConfig:
    """The request's config with masks to train on (None for the dataset's own) and the held-out masks to judge by."""
    data = dataclasses.replace(
        request.config.data,
        masks=str(masks or ""),
        oversampled_masks=str(oversampled_masks or ""),
        eval_masks=str(folder.held_out),
        eval_split=request.config.data.train_split,
    )
    return dataclasses.replace(request.config, data=data)


def measured_iou(request: MiningRequest, run: pathlib.Path) -> float:
    """Returns a run's mean IoU on the split `request.measure`; the figure is kept in the run's folder."""
    path = run / "measured.json"
    if not path.exists():
        data = request.config.data
        records = Dataset.of(data).split(request.measure)
        write_text(path, json.dumps({"split": request.measure, "iou": scoring.mean_iou(run, records)}) + "\n")
    return float(json.loads(path.read_text())["iou"])
