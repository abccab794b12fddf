"""Which masks a mining is given, which of them are held out, and which are corrected without a person."""

from __future__ import annotations

from boneage_jax.data import annotations as annotation_files
from boneage_jax.data.annotations import mask_folder
from boneage_jax.data.sources import Records
from boneage_jax.errors import UserError
from boneage_jax.files import write_text
from boneage_jax.workflows.mining.folder import MiningFolder, RoundFolder
from boneage_jax.workflows.requests import MiningRequest

HELD_OUT_EVERY = 10
"""Every tenth given mask is held out; the share is chosen by eye, see docs/explanation/lab-notes.md."""

FEWEST_LABELS = 10
"""Fewer given masks are refused: with ten of them one is held out."""


def write_labels(request: MiningRequest, records: Records, folder: MiningFolder) -> None:
    """Writes the given masks by image id, a tenth of them apart; does nothing where that was done before.

    Args:
      request: names the given masks, or how many of the dataset's own count as given.
      records: images of the training split.
      folder: of the mining.

    Raises:
      UserError: for fewer than ten masks, or masks that do not belong to the images.
    """
    if folder.labels_done.exists():
        return
    numbers = records.numbers()
    if request.masks:
        masks = [annotation for annotation in annotation_files.read(request.masks) if annotation.has_mask]
        paired = annotation_files.paired(masks, records.images_of_split())
        given = {image_id: annotation for image_id, annotation in paired.items() if image_id in numbers}
        ids = sorted(given)
    else:
        ids = sorted(numbers)[: request.labelled]
    if len(ids) < FEWEST_LABELS:
        raise UserError(
            f"{request.masks or 'labelled'}: found {len(ids)} labelled images of the split "
            f"{request.config.data.train_split!r}, expected at least {FEWEST_LABELS}, named by the images' ids"
        )
    for n, image_id in enumerate(ids):
        if request.masks:
            mask = given[image_id].mask(records.image(numbers[image_id]).shape)
        else:
            mask = records.mask(numbers[image_id])
        is_held_out = n % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        mask_folder.write_one(image_id, mask, folder.held_out if is_held_out else folder.labels)
    folder.corrections.mkdir(exist_ok=True)
    if not folder.veto.exists():
        write_text(folder.veto, "")
    write_text(folder.labels_done, f"{len(ids)}\n")


def correct_worst(request: MiningRequest, records: Records, folder: MiningFolder, scored: RoundFolder) -> None:
    """Corrects the masks of lowest score by the images' own masks, in place of a person.

    Masks that are already in `corrections` stay: a person may have drawn them.

    Args:
      request: gives the number to correct.
      records: images of the training split.
      folder: of the mining.
      scored: a round whose masks have been scored.
    """
    scores, forbidden = scored.scores(), folder.vetoed()
    worst = sorted((image_id for image_id in scores if image_id not in forbidden), key=lambda one: (scores[one], one))
    numbers = records.numbers()
    for image_id in worst[: request.correct]:
        if not (folder.corrections / f"{image_id}.png").exists():
            mask_folder.write_one(image_id, records.mask(numbers[image_id]), folder.corrections)
