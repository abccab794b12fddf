"""Built datasets, as the Python API offers them."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import operator
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.api import notebook
from boneage_jax.data.images import Grey
from boneage_jax.data.labels import SEX_LETTERS
from boneage_jax.data.sources import Dataset, Records, as_str
from boneage_jax.workflows import pictures


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Example:
    """One image of a dataset with what is known of it.

    Attributes:
      id: of the image.
      image: grey levels, uint8 of shape (height, width), at the size at which it is stored.
      months: bone age as it was read; NaN where it is not known.
      sex: `M` or `F`.
      mask: whether a pixel shows the hand, of the image's shape; None where the dataset holds no masks.
      key_points: x, y of `anatomy.KEY_POINTS` (middle fingertip, thumb tip, capitate) in pixels of the image, of shape
        (3, 2); None where the dataset holds none.
    """

    id: str
    image: Grey
    months: float
    sex: str
    mask: Bool[np.ndarray, "h w"] | None = None
    key_points: Float32[np.ndarray, "3 2"] | None = None

    def __repr__(self) -> str:
        height, width = self.image.shape
        age = f"{self.months:.1f} months" if np.isfinite(self.months) else "no reading"
        return f"Example({self.id}: {age}, sex {self.sex}, {height} x {width})"

    def _repr_png_(self) -> bytes:
        return notebook.png(self.image)

    def _repr_html_(self) -> str:
        drawn = pictures.overlay(self.image, self.mask, self.key_points, side=max(self.image.shape))
        age = f"{self.months:.1f} months" if np.isfinite(self.months) else ""
        return notebook.beside(drawn, {"id": self.id, "bone age": age, "sex": self.sex}, NOT_A_MEDICAL_DEVICE)


class Labels(NamedTuple):
    """What is known of all images, without the images; `pandas.DataFrame(labels._asdict())` makes a table of it.

    Attributes:
      id: of each image.
      months: bone age as it was read; NaN where it is not known.
      male: whether the child is a boy.
    """

    id: list[str]
    months: Float32[np.ndarray, " n"]
    male: Bool[np.ndarray, " n"]


class LabelledImages(Sequence[Example]):
    """Images of a built dataset, by number; each is decoded when it is asked for. `open_dataset` opens one.

    Attributes:
      name: of the dataset, as in `hand_phantom/tiny`.
      path: folder of its newest version.
      splits: those that are read, each with the number of its images.
      is_phantom: whether its images are rendered, so that no figure may be read as one on children.
    """

    def __init__(self, dataset: Dataset, splits: Sequence[str]):
        """Opens splits of a dataset.

        Args:
          dataset: it.
          splits: in TFDS's notation, one after the other.

        Raises:
          UserError: for a split that is not there.
        """
        self._dataset = dataset
        self._records: list[Records] = [dataset.split(split) for split in splits]
        self._ends = list(itertools.accumulate(map(len, self._records)))
        self.name, self.path, self.is_phantom = dataset.name, dataset.path, dataset.is_phantom
        self.splits = dict(zip(splits, map(len, self._records), strict=True))

    def split(self, name: str) -> LabelledImages:
        """Returns the images of one split, or of a part of it in TFDS's notation, as in `train[:100]`.

        Raises:
          UserError: for a split that is not there.
        """
        return LabelledImages(self._dataset, [name])

    @functools.cached_property
    def labels(self) -> Labels:
        """Ids, bone ages and sexes of all images, in order."""
        ages, males = zip(*(records.labels() for records in self._records), strict=True)
        ids = [image_id for records in self._records for image_id in records.ids()]
        return Labels(ids, np.concatenate(ages), np.concatenate(males))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # slices are splits in TFDS's notation
        number = operator.index(index)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"{self.name}: found number {index}, expected one of {len(self)} images")
        part = bisect.bisect_right(self._ends, number)
        records = self._records[part]
        return self._example(records, number - (self._ends[part] - len(records)))

    def _example(self, records: Records, number: int) -> Example:
        row, has = records.row(number), self._dataset.features
        return Example(
            as_str(row["id"]),
            records.image(number),
            float(row["bone_age"]),
            SEX_LETTERS[bool(row["male"])],
            records.mask(number) if "mask" in has else None,
            records.key_points(number) if "key_points" in has else None,
        )

    def __iter__(self) -> Iterator[Example]:
        return (self[n] for n in range(len(self)))

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        kind = "rendered phantoms" if self.is_phantom else "radiographs"
        return f"LabelledImages({self.name}: {splits}; {kind})"


def open_dataset(name: str, dir: str | os.PathLike[str] = "data", split: str = "") -> LabelledImages:
    """Opens a dataset that `boneage data build` or `boneage register` has built.

    Args:
      name: as in `hand_phantom/tiny`.
      dir: folder of all built datasets.
      split: that is read, in TFDS's notation; empty for all splits, one after the other.

    Raises:
      UserError: where it has not been built, with the command that builds it; for a split that is not there.
    """
    dataset = Dataset.open(pathlib.Path(dir).expanduser(), name)
    return LabelledImages(dataset, [split] if split else list(dataset.splits))
