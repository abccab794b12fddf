"""Thresholds of trust for one pair of networks: what is unusual for them, seen on hands that are known to be ordinary.

A network of a few minutes' training is less sure of every mask than one of hours, and no less right to be used: the
default `quality.Thresholds` would flag all of them. So thresholds can be taken from the networks themselves.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from boneage_jax.config import renamed
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError, reason
from boneage_jax.files import write_text
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.quality import Thresholds
from boneage_jax.parallel import in_batches, progress, read_ahead
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.run_folder import LoadedRun

SHARE = 0.04
"""Of ordinary hands that are flagged for what the networks say; some more are for what the picture shows."""

_FEWEST = 20
LOW = ("expected", "agreement", "change")
"""Measures of what the networks say, of which little is doubtful."""
HIGH = ("faint", "disagreement", "moved", "spread", "outside", "inside")
"""Likewise, of which much is doubtful."""


def networks(segmentation: LoadedRun, landmarks: LoadedRun) -> dict[str, str]:
    """Returns what tells a pair of networks from all others, by task."""
    return {
        loaded.config.task.name: f"step {loaded.step}, weights {run_folder.digest(loaded)}"
        for loaded in (segmentation, landmarks)
    }


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds, and where they are from.

    Attributes:
      thresholds: of trust.
      networks: that they are for; see `networks`.
      source: dataset and split that they were taken from.
      images: how many of it.
      share: of these that the thresholds flag for what the networks say.
    """

    thresholds: Thresholds
    networks: dict[str, str]
    source: str
    images: int
    share: float

    def write(self, path: pathlib.Path) -> None:
        """Writes JSON, whole or not at all. Raises `UserError` where that is impossible."""
        write_text(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    def for_networks(self, wanted: Mapping[str, str], path: pathlib.Path) -> Thresholds:
        """Returns the thresholds. Raises `UserError` where they are another pair's."""
        if dict(wanted) != self.networks:
            raise UserError(
                f"{path}: thresholds of other networks: found {self.networks}, expected {dict(wanted)}; "
                "make new ones with boneage calibrate"
            )
        return self.thresholds


def thresholds_of(stored: Mapping[str, Any]) -> Thresholds:
    """Returns thresholds from what JSON holds of them. Raises `TypeError` or `ValueError` for what are none."""
    thumb = [[float(value) for value in pair] for pair in stored["thumb"]]
    (left, right), (top, bottom) = thumb
    plain = {name: float(value) for name, value in stored.items() if name != "thumb"}
    return Thresholds(**plain, thumb=((left, right), (top, bottom)))


def read(path: pathlib.Path) -> Calibration:
    """Reads what `Calibration.write` wrote. Raises `UserError` for a file that is not there or something else."""
    try:
        stored = renamed.stored(json.loads(path.read_text()))
        return Calibration(
            thresholds_of(stored["thresholds"]),
            dict(stored["networks"]),
            str(stored["source"]),
            int(stored["images"]),
            float(stored["share"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be used ({reason(error)}); expected a file of thresholds, as boneage calibrate writes them"
        ) from error


def fitted(
    measures: Sequence[Mapping[str, float]], share: float, base: Thresholds = Thresholds()
) -> tuple[Thresholds, float]:
    """Returns thresholds that flag a share of hands for what the networks say of them, and the share that they do flag.

    Each of the networks' measures gets its threshold at the same quantile, the mildest that all together flag no more
    than the share: so none is preferred where nobody knows which of them tells failures best.

    Args:
      measures: of ordinary hands; see `quality.MEASURES`. What a hand lacks counts as not doubtful.
      share: 0 to 1.
      base: thresholds of everything that is no network's saying.
    """
    columns = {name: np.array([float(row.get(name, np.nan)) for row in measures]) for name in (*LOW, *HIGH)}

    def at(level: float) -> tuple[dict[str, float], float]:
        thresholds = {name: float(np.nanquantile(columns[name], level)) for name in LOW}
        thresholds |= {name: float(np.nanquantile(columns[name], 1 - level)) for name in HIGH}
        doubtful = np.zeros(len(measures), bool)
        for name in LOW:
            doubtful |= columns[name] < thresholds[name]
        for name in HIGH:
            doubtful |= columns[name] > thresholds[name]
        return thresholds, float(doubtful.mean())

    # The share grows with the level, in steps of a hand: halve until the step is met.
    low, high = 0.0, share
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[1] <= share else (low, middle)
    thresholds, reached = at(low)
    taken: dict[str, Any] = dict(thresholds)
    return dataclasses.replace(base, **taken), reached


def calibrate(
    chain: HandPipeline, records: Records, wanted: Mapping[str, str], source: str, share: float
) -> Calibration:
    """Takes the chain's thresholds from a split of ordinary hands.

    Args:
      chain: its own thresholds do not matter.
      records: radiographs.
      wanted: see `networks`.
      source: name of dataset and split.
      share: see `fitted`.

    Raises:
      UserError: for too few hands.
    """
    if len(records) < _FEWEST:
        raise UserError(f"{source}: found {len(records)} images, expected at least {_FEWEST} to take thresholds from")
    batches = in_batches(len(records), chain.settings.batch_size)
    measures: list[dict[str, float]] = []
    read_batches = progress(
        read_ahead(records.image, batches), total=len(batches), label="calibrating", unit=" batches"
    )
    for _, pictures in read_batches:
        # A hand that was not found has no key points to say anything of; it is flagged whatever the thresholds are.
        measures += [hand.quality.measures for hand in chain.register(pictures) if hand.placed is not None]
    if len(measures) < _FEWEST:
        raise UserError(
            f"{source}: found a hand in {len(measures)} of {len(records)} images, expected at least {_FEWEST}; "
            "train the networks longer"
        )
    thresholds, reached = fitted(measures, share, chain.settings.thresholds)
    return Calibration(thresholds, dict(wanted), source, len(measures), reached)


@dataclasses.dataclass(frozen=True)
class CalibrateRequest:
    """What to take thresholds from, and for whom.

    Attributes:
      dataset: built dataset of radiographs.
      data: folder of built datasets.
      segmentation: folder of a run.
      landmarks: folder of a run.
      out: file to write.
      split: in TFDS's notation; of ordinary hands that neither network was trained on.
      share: see `fitted`.
      views: as the pipeline will be used: see `chain.Settings`.
      fine_stage: likewise.
    """

    dataset: str
    data: pathlib.Path
    segmentation: pathlib.Path
    landmarks: pathlib.Path
    out: pathlib.Path
    split: str = "validation"
    share: float = SHARE
    views: int = 6
    fine_stage: bool = True


def write(request: CalibrateRequest) -> Calibration:
    """Writes a file of thresholds.

    Raises:
      UserError: for runs, datasets and splits that cannot be used, too few hands, and a file that cannot be written.
    """
    if not 0 < request.share < 0.5:
        raise UserError(f"--share: found {request.share}, expected a number above 0 and below 0.5")
    records = Dataset.open(request.data, request.dataset).split(request.split)
    segmentation = bundle.load(request.segmentation, "segmentation")
    landmarks = bundle.load(request.landmarks, "landmarks")
    settings = Settings((), views=request.views, fine_stage=request.fine_stage)
    with HandPipeline(segmentation, landmarks, settings) as chain:
        source = f"{request.dataset} {request.split}"
        found = calibrate(chain, records, networks(segmentation, landmarks), source, request.share)
    found.write(request.out)
    return found


def as_text(found: Calibration, path: pathlib.Path) -> str:
    """Returns the thresholds for people."""
    before = Thresholds()
    lines = [f"{'threshold':<16}{'of these networks':>20}{'default':>10}"]
    lines += [
        f"{name:<16}{getattr(found.thresholds, name):>20.4f}{getattr(before, name):>10.4f}" for name in (*LOW, *HIGH)
    ]
    lines.append(f"{100 * found.share:.1f}% of {found.images} hands of {found.source} are flagged by them")
    return "\n".join([*lines, f"thresholds    {path}"])
