"""The truth that only phantoms have: how a network's age changes when one bone alone is older."""

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
from boneage_jax.phantom import export
from boneage_jax.phantom.render import Phantom
from boneage_jax.phantom.series import Series, place_of

AGED_BY = 12.0
"""Months by which a bone is aged."""


def series_of(dataset: Dataset) -> Series | None:
    """Returns how a dataset's phantoms were drawn; None where they were not, or cannot be drawn again."""
    stored = dataset.metadata.get("series")
    return Series.of(stored) if stored else None


@dataclasses.dataclass(frozen=True)
class Child:
    """Who a phantom is.

    Attributes:
      split: of the dataset.
      number: in it.
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
    """Draws the first child again, and raises `UserError` unless it is the stored one."""
    row = records.row(0)
    child = Child.of(row)
    drawn = series.draw(child.split, child.number, child.age, child.male)
    shift = np.abs(np.asarray(drawn.maturity) - child.maturity).max()
    stored = records.image(0)
    other = np.abs(images.fit(export.grey(drawn), *stored.shape).astype(int) - stored).mean()
    if shift > 0.01 or other > 4:
        raise UserError(
            f"{as_str(row['source'])}: drawn again, bones differ by {shift:.3g} months and grey levels by {other:.2g}; "
            "the dataset was built by another version: build it anew"
        )


def aged(
    series: Series, children: Sequence[Child], view: View, bones: Sequence[int], *, workers: int, label: str
) -> UInt8[np.ndarray, "n bones h w p"]:
    """Returns what the network sees of each child with one bone at a time `AGED_BY` months older.

    Args:
      series: that they are of.
      children: who is drawn.
      view: how pictures are laid out.
      bones: numbers in `anatomy.BONES`.
      workers: threads that draw.
      label: of the progress bar.
    """

    def one(task: tuple[Child, int]) -> np.ndarray:
        child, bone = task
        ages = np.full(len(anatomy.BONES), np.nan, np.float32)
        ages[bone] = min(float(child.maturity[bone]) + AGED_BY, anatomy.MAX_MONTHS)
        return seen(view, series.draw(child.split, child.number, child.age, child.male, ages), child.male)

    tasks = [(child, bone) for child in children for bone in bones]
    drawn = parallel.ordered_map(one, tasks, workers=workers, kind="thread")
    pictures = np.stack(list(parallel.progress(drawn, total=len(tasks), label=label)))
    return pictures.reshape(len(children), len(bones), *pictures.shape[1:])


def seen(view: View, phantom: Phantom, male: bool) -> UInt8[np.ndarray, "h w p"]:
    """Returns what a network sees of a phantom."""
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
