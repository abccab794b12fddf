"""The result of a mining as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from boneage_jax.workflows.mining.folder import MiningFolder
from boneage_jax.workflows.requests import MiningRequest


def best_of(curve: Sequence[Mapping[str, float]]) -> int:
    """Returns the round that does best on the held-out masks; more masks of its own can harm a network."""
    return int(max(curve, key=lambda row: row["held_out"])["round"])


def as_text(request: MiningRequest, curve: Sequence[Mapping[str, float]]) -> str:
    """Returns one line for each round, and where the network, the page and the masks lie."""
    folder = MiningFolder(request.folder)
    lines = [", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in row.items()) for row in curve]
    if folder.reference_result.exists():
        lines.append(f"trained on all masks: IoU {json.loads(folder.reference_result.read_text())['iou']:.4g}")
    best, last = folder.round(best_of(curve)), folder.round(int(curve[-1]["round"]))
    lines += [
        f"network  {best.run}, the best of {len(curve)} on the masks held out",
        f"page     {last.page}",
        f"masks    {best.predicted}",
    ]
    return "\n".join(lines)
