"""The truth that only phantoms have: the change of the prediction when one bone alone is older.

A phantom's child can be drawn again, the same in all but one bone. What the network then predicts is compared with its
prediction for the stored image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from boneage_jax import anatomy, parallel
from boneage_jax.data import images
from boneage_jax.data.examples import View, lay_out
from boneage_jax.data.sources import Dataset, Records, as_str
from boneage_jax.errors import UserError
from boneage_jax.importance.function import Runner
from boneage_jax.phantoms import export
from boneage_jax.phantoms.render import Phantom
from boneage_jax.phantoms.series import Series, place_of

TRUTH = "truth"
"""Name of the truth where it stands beside the methods."""

SENTENCE = "Draws the same child again with one bone a year older; its importance is the change of the prediction."
"""How the truth is found, for the page."""

AGED_BY = 12.0
"""Months by which a bone is aged; chosen by eye."""

_CHILDREN_AT_ONCE = 16
"""Children whose images are in memory together, one for each of thirty bones; chosen by eye."""

_BATCH_FACTOR = 8
"""Batch size of plain predictions over that of a method, which keeps gradients and masked copies too; chosen by eye."""


def series_of(dataset: Dataset) -> Series | None:
    """Returns how a dataset's phantoms were drawn; None for radiographs, and phantoms that cannot be drawn again."""
    stored = dataset.metadata.get("series")
    return Series.of(stored) if stored else None


@dataclasses.dataclass(frozen=True)
class Child:
    """What a phantom's child is drawn from.

    Attributes:
      split: of the dataset.
      number: of the child in the split.
      age: bone age in months.
      male: whether it is a boy.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    split: str
    number: int
    age: float
    male: bool
    maturity: Float[np.ndarray, " 30"]

    @classmethod
    def of(cls, row: dict[str, Any]) -> Child:
        """Returns the child of a stored record."""
        split, number = place_of(as_str(row["id"]))
        return cls(split, number, float(row["true_bone_age"]), bool(row["male"]), np.asarray(row["bone_maturity"]))


def check_same(series: Series, records: Records) -> None:
    """Draws the first child of a split again.

    Raises:
      UserError: where its bones or grey levels differ from those that are stored.
    """
    row = records.row(0)
    child = Child.of(row)
    drawn = series.draw(child.split, child.number, child.age, child.male)
    months = np.abs(np.asarray(drawn.maturity) - child.maturity).max()
    stored = records.image(0)
    grey_levels = np.abs(images.fit(export.grey(drawn), *stored.shape).astype(int) - stored).mean()
    if months > 0.01 or grey_levels > 4:
        raise UserError(
            f"{as_str(row['source'])}: drawn again, bones differ by {months:.3g} months and grey levels by "
            f"{grey_levels:.2g}; the dataset was built by another version: build it anew"
        )


def importance(
    series: Series,
    children: Sequence[Child],
    *,
    view: View,
    runner: Runner,
    predicted: Float[np.ndarray, " n"],
    workers: int,
) -> Float[np.ndarray, "n areas"]:
    """Returns by how many months the prediction changes when one bone is `AGED_BY` months older, bone by bone.

    Args:
      series: that the children are of.
      children: to draw again.
      view: how images are laid into the network's input.
      runner: the network.
      predicted: its prediction for each child as stored, in months.
      workers: threads that draw.

    Returns:
      The changes by `atlas.AREAS`; area 0 belongs to no bone, and stays 0.
    """
    bones = range(len(anatomy.BONES))
    ages = []
    for numbers in parallel.in_batches(len(children), _CHILDREN_AT_ONCE):
        some = [children[n] for n in numbers]
        label = f"{TRUTH}, {numbers.stop} of {len(children)}"
        drawn = aged(series, some, view=view, bones=bones, workers=workers, label=label)
        male = np.repeat([child.male for child in some], len(bones))
        flat = drawn.reshape(-1, *drawn.shape[2:])
        ages.append(runner.months(flat, male, label="their ages", times=_BATCH_FACTOR).reshape(len(some), -1))
    return np.pad(np.concatenate(ages) - predicted[:, None], ((0, 0), (1, 0)))


def aged(
    series: Series, children: Sequence[Child], *, view: View, bones: Sequence[int], workers: int, label: str
) -> UInt8[np.ndarray, "n bones h w p"]:
    """Returns the network's input for each child with one bone at a time `AGED_BY` months older.

    Args:
      series: that the children are of.
      children: to draw.
      view: how images are laid into the network's input.
      bones: numbers in `anatomy.BONES`.
      workers: threads that draw.
      label: of the progress bar.
    """

    def one(task: tuple[Child, int]) -> np.ndarray:
        child, bone = task
        ages = np.full(len(anatomy.BONES), np.nan, np.float32)
        ages[bone] = min(float(child.maturity[bone]) + AGED_BY, anatomy.MAX_MONTHS)
        return network_input(view, series.draw(child.split, child.number, child.age, child.male, ages), male=child.male)

    tasks = [(child, bone) for child in children for bone in bones]
    drawn = parallel.ordered_map(one, tasks, workers=workers, kind="thread")
    stacked = np.stack(list(parallel.progress(drawn, total=len(tasks), label=label)))
    return stacked.reshape(len(children), len(bones), *stacked.shape[1:])


def network_input(view: View, phantom: Phantom, *, male: bool) -> UInt8[np.ndarray, "h w p"]:
    """Returns the network's input for a phantom."""
    example = lay_out(
        view,
        [export.grey(phantom)],
        male=float(male),
        bone_age=np.nan,
        mask=np.asarray(phantom.mask) > 0,
        key_points=np.asarray(phantom.key_points),
    )
    image = example["image"]
    return image if image.ndim == 3 else image[..., None]
