"""The rounds of a mining, one after the other. Each step keeps what it made, so that the same command goes on."""

from __future__ import annotations

import hashlib
import json
import pathlib

from boneage_jax.data import annotations as annotation_files
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.files import write_text
from boneage_jax.runs import run_folder
from boneage_jax.workflows import mining_page
from boneage_jax.workflows.mining import scoring, training
from boneage_jax.workflows.mining.folder import MiningFolder, RoundFolder, masks_in
from boneage_jax.workflows.mining.labels import correct_worst, write_labels
from boneage_jax.workflows.mining.shape_prior import MaskShape, ShapePrior
from boneage_jax.workflows.requests import MiningRequest


def mine(request: MiningRequest) -> list[dict[str, float]]:
    """Mines in the request's folder, or goes on with a mining that was interrupted there.

    Returns:
      One row for each round: `round`; `by_hand` and `trained_on`, numbers of masks; `accepted`, masks accepted after
      it; `held_out`, the network's IoU on the held-out masks; and `iou`, the mean IoU on the split `request.measure`,
      where one is named.

    Raises:
      UserError: for a config of another task, masks that cannot be used, or a folder that holds another mining.
    """
    folder = MiningFolder(request.folder)
    records = _prepared(request, folder)
    given = [MaskShape.of(annotation.mask()) for annotation in annotation_files.read(folder.labels)]
    prior = ShapePrior.of(shape for shape in given if shape is not None)
    if request.reference:
        training.train_reference(request, folder)

    accepted: dict[str, pathlib.Path] = {}
    curve: list[dict[str, float]] = []
    for number in range(request.rounds):
        current = folder.round(number)
        if number:
            correct_worst(request, records, folder, folder.round(number - 1))
        trained_on, by_hand = training.collect_masks(folder, current, accepted)
        training.train_round(request, folder, current)
        if not current.is_scored:
            without_masks = _without_masks(records, folder, request.pool)
            scoring.predict_and_score(records, current, without_masks=without_masks, prior=prior)
        accepted_before = len(accepted)
        accepted = _accepted(request, folder, current)
        row: dict[str, float] = {
            "round": number,
            "by_hand": by_hand,
            "trained_on": trained_on,
            "accepted": len(accepted),
            "held_out": run_folder.best_score(current.run),
        }
        if request.measure:
            row["iou"] = training.measured_iou(request, current.run)
        curve.append(row)
        write_text(folder.curve, json.dumps(curve, indent=2) + "\n")
        mining_page.write(folder.path, records, current.path, curve, current.scores(), set(accepted))
        if not request.correct and len(accepted) - accepted_before <= request.growth * max(accepted_before, 1):
            break
    return curve


def _prepared(request: MiningRequest, folder: MiningFolder) -> Records:
    """The images to mine, once the request is checked and the given masks lie in the folder."""
    config = request.config
    if config.task.name != "segmentation":
        raise UserError(f"task.name: found {config.task.name!r}, expected 'segmentation'; use configs/segmentation.py")
    dataset = Dataset.of(config.data)
    records = dataset.split(config.data.train_split)
    if request.correct and "mask" not in dataset.features:
        raise UserError(
            f"{dataset.path}: holds no 'mask' to correct by; leave --correct out and put masks that a person has "
            f"corrected into {folder.corrections}"
        )
    folder.claim(
        {
            "dataset": dataset.name,
            "fingerprint": dataset.fingerprint,
            "masks": str(request.masks or ""),
            "labelled": 0 if request.masks else request.labelled,
            "accept": request.accept,
            "correct": request.correct,
            "pool": request.pool,
        }
    )
    write_labels(request, records, folder)
    return records


def _without_masks(records: Records, folder: MiningFolder, pool: int) -> list[int]:
    """Numbers of the images to mine that have no mask drawn by hand.

    With a pool they are those whose ids have the smallest digests: the same ones in each round, whatever was corrected.
    """
    by_hand = set().union(*map(masks_in, (folder.labels, folder.held_out, folder.corrections)))
    ids = records.ids()
    drawn = sorted(range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode()).digest())[: pool or None]
    return [n for n in sorted(drawn) if ids[n] not in by_hand]


def _accepted(request: MiningRequest, folder: MiningFolder, scored: RoundFolder) -> dict[str, pathlib.Path]:
    """Predicted masks that are good enough and not vetoed, by image id."""
    vetoed = folder.vetoed()
    return {
        image_id: scored.predicted / f"{image_id}.png"
        for image_id, value in scored.scores().items()
        if value >= request.accept and image_id not in vetoed
    }
