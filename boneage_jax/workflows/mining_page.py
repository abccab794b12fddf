"""The page of a mining round: what was accepted and rejected, and how to change that."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from boneage_jax import page
from boneage_jax.data import images
from boneage_jax.data.sources import Records
from boneage_jax.files import write_text
from boneage_jax.workflows import pictures

_SHOWN = 60
"""Most masks in each part of the page; chosen by eye."""

_HEADS = {
    "round": "round",
    "by_hand": "masks drawn by hand",
    "trained_on": "masks trained on",
    "accepted": "masks accepted",
    "held_out": "IoU on masks held out",
    "iou": "IoU on whole images",
}
_SCORES = ("held_out", "iou")


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
    # Those near the threshold first: there a look decides most.
    rejected = [image_id for image_id in reversed(by_score) if image_id not in accepted][:_SHOWN]
    taken = [image_id for image_id in by_score if image_id in accepted][:_SHOWN]

    def shown(ids: Sequence[str]) -> page.Markup:
        members = []
        for image_id in ids:
            mask = images.read(place / "masks" / f"{image_id}.png") > 127
            over = pictures.overlay(records.image(numbers[image_id]), mask, None, side=240)
            decision = page.badge("accepted", "good") if image_id in accepted else page.badge("rejected", "flag")
            score = f"score {scores[image_id]:.3f}"
            members.append(page.Card(image_id, [page.picture(over)], [score], page.badges(decision)))
        return page.cards(members, width=10, height=13)

    veto = page.place(folder / "veto.txt", place)
    corrections = page.place(folder / "corrections", place)
    body = "".join(
        [
            _answer(curve, len(accepted), len(scores)),
            page.section(
                "Rounds",
                _table(folder, curve),
                lead="The round to use is the one that does best on the masks held out.",
            ),
            page.section(
                "To forbid or correct a mask",
                page.paragraph(
                    f"To forbid a mask, write its id into {veto}. To correct one, put a mask into "
                    f"{corrections}/ID.png. Both count from the next round on: start the same command again."
                ),
            ),
            page.section(
                "The worst of all",
                page.legend((pictures.OUTLINE,)),
                shown(by_score[:_SHOWN]),
                lead="Correct these: a network learns most from what it cannot do yet.",
            ),
            page.section("Accepted, the least sure first", shown(taken)),
            page.section("Rejected, the nearest to acceptance first", shown(rejected)),
        ]
    )
    about = {"Images": f"{len(scores):,} without a mask", "Round": f"{place.name}, counted from 0"}
    write_text(place / "round.html", page.document(f"Positive mining of masks, round {place.name}", body, about=about))


def _answer(curve: list[dict[str, float]], accepted: int, of: int) -> page.Markup:
    last, best = curve[-1], max(curve, key=lambda line: line["held_out"])
    return page.answer(
        page.KeyFigure(
            "IoU on masks held out",
            f"{last['held_out']:.4f}",
            note=f"best so far: {best['held_out']:.4f} in round {best['round']:.0f}",
        ),
        page.KeyFigure("Masks accepted", f"{accepted:,}", f"of {of:,}"),
        page.KeyFigure("Masks trained on", f"{last['trained_on']:,.0f}", note=f"{last['by_hand']:,.0f} drawn by hand"),
    )


def _table(folder: pathlib.Path, curve: list[dict[str, float]]) -> page.Markup:
    keys = [key for key in curve[0] if key != "round"]

    def cell(key: str, value: float) -> str:
        return f"{value:.4f}" if key in _SCORES else f"{value:,.0f}"

    rows = [[f"{line['round']:.0f}", *(cell(key, line[key]) for key in keys)] for line in curve]
    reference = folder / "reference.json"
    if reference.exists():
        iou = json.loads(reference.read_text())["iou"]
        rows.append(["all masks", *("" for _ in keys[:-1]), f"{iou:.4f}"])
    return page.table([_HEADS[key] for key in ("round", *keys)], rows)
