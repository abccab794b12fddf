"""Runs side by side on the same images: each one's error, and how far the errors differ, paired by image."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from boneage_jax.analysis import scores, stages
from boneage_jax.analysis.comparison import compare, holm
from boneage_jax.analysis.predictions import SplitPredictions
from boneage_jax.analysis.scores import Score
from boneage_jax.network_ref import NetworkRef

Item = TypeVar("Item")

CHILDREN = {"all": "boys and girls", "male": "boys", "female": "girls"}
"""Children that a run was trained on, by its setting `data.sex`."""

LEVEL = 0.05
"""Level of the tests, the usual one: a difference with a smaller corrected p counts as shown."""


@dataclasses.dataclass(frozen=True)
class ScoredRun:
    """One run on the images that it answers for.

    Attributes:
      name: the shortest end of its path that no other run has.
      network: the run.
      chosen: which checkpoint was taken and why.
      children: of `CHILDREN`.
      predictions: by image.
      mae: in months.
      bias: mean of prediction minus reading, in months.
      mae_by_stage: number of images and MAE, in months, of each stage of skeletal development that occurs.
    """

    name: str
    network: NetworkRef
    chosen: str
    children: str
    predictions: SplitPredictions
    mae: Score
    bias: Score
    mae_by_stage: dict[str, tuple[int, Score]]


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """Two runs on the images that both answer for.

    Attributes:
      first: name of a run.
      second: name of another.
      images: number that both answer for.
      difference: MAE of the first minus that of the second, in months, with its paired bootstrap interval; negative
        where the first is better.
      p: two-sided, of Wilcoxon's signed-rank test on the pairs of absolute errors.
      p_holm: the same, corrected for the number of pairs after Holm (1979).
      by_stage: number of images and difference, in months, of each stage that occurs; without correction.
    """

    first: str
    second: str
    images: int
    difference: Score
    p: float
    p_holm: float
    by_stage: dict[str, tuple[int, Score]]

    @property
    def better(self) -> str:
        """The run whose error is shown to be smaller: by the test at `LEVEL` and by the interval; empty for neither."""
        if self.p_holm >= LEVEL or self.difference.low <= 0 <= self.difference.high:
            return ""
        return self.first if self.difference.value < 0 else self.second

    @property
    def worse(self) -> str:
        """The other run of `better`; empty likewise."""
        return {self.first: self.second, self.second: self.first}.get(self.better, "")


@dataclasses.dataclass(frozen=True)
class RunComparison:
    """Several runs on a split.

    Attributes:
      dataset: name and split.
      is_phantom: whether the images are rendered, so that no figure may be read as one on children.
      runs: in the order in which they were named.
      pairs: every two of them that have images in common; or the first with each other one.
      notes: what a reader must know besides, one sentence each.
    """

    dataset: str
    is_phantom: bool
    runs: tuple[ScoredRun, ...]
    pairs: tuple[PairedDifference, ...]
    notes: tuple[str, ...] = ()

    @property
    def same_images(self) -> bool:
        """Whether all runs answer for the same images, so that their own errors may be held against each other."""
        return len({tuple(sorted(run.predictions.ids)) for run in self.runs}) == 1

    @property
    def best(self) -> ScoredRun:
        """The run of the smallest MAE."""
        return min(self.runs, key=lambda run: run.mae.value)


def scored(name: str, network: NetworkRef, chosen: str, children: str, found: SplitPredictions) -> ScoredRun:
    """Returns a run with its scores.

    Args:
      name: of the run.
      network: the run.
      chosen: its checkpoint, for people.
      children: of `CHILDREN`.
      found: its predictions.
    """
    by_stage = stages.mae_by_stage(found.months, found.reading, found.male)
    bias = scores.bootstrapped(found.error, np.mean)
    return ScoredRun(
        name=name,
        network=network,
        chosen=chosen,
        children=children,
        predictions=found,
        mae=scores.mae(found.error),
        bias=bias,
        mae_by_stage=by_stage,
    )


def pairs_of(items: Sequence[Item], *, with_first: bool) -> list[tuple[Item, Item]]:
    """Returns every two items, in order; or the first with each other one."""
    return list(itertools.combinations(items, 2))[: len(items) - 1 if with_first else None]


def paired_differences(
    predicted: Mapping[str, SplitPredictions], *, with_first: bool = False
) -> tuple[PairedDifference, ...]:
    """Returns the difference of every two runs that answer for a common image.

    Args:
      predicted: by the name of the run.
      with_first: only those of the first run with each other one.
    """
    found = []
    for (first, one), (second, other) in pairs_of(list(predicted.items()), with_first=with_first):
        rows, others = _common(one, other)
        if len(rows):
            errors = one.error[rows], other.error[others]
            stage = stages.stages_of(one.reading[rows], one.male[rows])
            by_stage = {
                name: (int(members.sum()), compare(errors[0][members], errors[1][members]).difference)
                for number, name in enumerate(stages.NAMES)
                if (members := stage == number).any()
            }
            found.append((first, second, len(rows), compare(*errors), by_stage))
    corrected = holm(np.array([result.p for *_, result, _ in found]))
    return tuple(
        PairedDifference(
            first=first,
            second=second,
            images=images,
            difference=result.difference,
            p=result.p,
            p_holm=float(p),
            by_stage=by_stage,
        )
        for (first, second, images, result, by_stage), p in zip(found, corrected, strict=True)
    )


def _common(one: SplitPredictions, other: SplitPredictions) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Numbers of the images that both have, in each."""
    at = {image_id: n for n, image_id in enumerate(other.ids)}
    rows = [n for n, image_id in enumerate(one.ids) if image_id in at]
    return np.array(rows, int), np.array([at[one.ids[n]] for n in rows], int)
