"""The page of a mining round: what was accepted and rejected, and how to say otherwise."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from boneage_jax import page
from boneage_jax.data import images
from boneage_jax.data.sources import Records
from boneage_jax.files import write_text
from boneage_jax.workflows import pictures

_SHOWN = 60


def write(
    folder: pathlib.Path,
    records: Records,
    place: pathlib.Path,
    curve: list[dict[str, float]],
    scores: dict[str, float],
    accepted: set[str],
) -> None:
    """Writes `round.html`.

    Args:
      folder: of the mining.
      records: images by number.
      place: folder of the round.
      curve: all rounds so far.
      scores: of all masks of the round, by id.
      accepted: ids.
    """
    numbers = records.numbers()
    by_score = sorted(scores, key=lambda image_id: scores[image_id])
    worst = by_score[:_SHOWN]
    # Those near the threshold first: there a look decides most.
    rejected = [image_id for image_id in reversed(by_score) if image_id not in accepted][:_SHOWN]
    taken = [image_id for image_id in by_score if image_id in accepted][:_SHOWN]

    def sheet(ids: list[str]) -> bytes:
        tiles: list[np.ndarray] = []
        for image_id in ids:
            mask = images.read(place / "masks" / f"{image_id}.png") > 127
            over = pictures.overlay(records.image(numbers[image_id]), mask, None)
            tiles.append(
                pictures.tile([over], f"{image_id} {scores[image_id]:.3f}", good=image_id in accepted, height=180)
            )
        return pictures.contact_sheet(tiles)

    rows = [[str(line["round"]), *(f"{line[key]:g}" for key in curve[0] if key != "round")] for line in curve]
    reference = folder / "reference.json"
    if reference.exists():
        iou = json.loads(reference.read_text())["iou"]
        rows.append(["all masks", *("" for key in list(curve[0])[1:-1]), f"{iou:.4g}"])
    body = (
        f"<h1>Positive mining, round {place.name}</h1>"
        f'<p class="lead">{len(accepted)} of {len(scores)} masks accepted. To forbid one, write its id into '
        f"{folder / 'veto.txt'}; to correct one, put a mask into {folder / 'corrections'}/ID.png. Both count from the "
        "next round on: start the same command again. The round to use is the one that does best on the masks held "
        "out.</p>"
        + page.table(["round", *(key.replace("_", " ") for key in curve[0] if key != "round")], rows)
        + "<h2>The worst of all</h2><p>Correct these: a network learns most from what it cannot do yet.</p>"
        + page.figure(sheet(worst), "Below each its id and its score.", kind="jpeg")
        + "<h2>Accepted, the least sure first</h2>"
        + page.figure(sheet(taken), "Below each its id and its score.", kind="jpeg")
        + "<h2>Rejected, the nearest to acceptance first</h2>"
        + page.figure(sheet(rejected), "Below each its id and its score.", kind="jpeg")
    )
    write_text(place / "round.html", page.document(f"Positive mining, round {place.name}", body))
