"""Cross-validation: images dealt into folds, all of one child together."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

from boneage_jax.data import labels
from boneage_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Fold:
    """One of several parts of a split, or all the others.

    A child's part follows from a digest of its name alone: it stays where it is when images are added or left out.

    Attributes:
      count: parts that there are.
      number: of the part, from 0.
      held_out: whether the part itself is wanted, or what is left without it.
      patients: child by image; images that are not in it are children of their own.
    """

    count: int
    number: int
    held_out: bool
    patients: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def keeps(self, image_id: str) -> bool:
        """Returns whether an image is wanted."""
        child = self.patients.get(image_id, image_id)
        dealt = int.from_bytes(hashlib.sha256(child.encode()).digest()[:8], "big") % self.count
        return (dealt == self.number) == self.held_out

    @property
    def fingerprint(self) -> str:
        """Changes with what is kept."""
        children = hashlib.sha256(repr(sorted(self.patients.items())).encode()).hexdigest()[:8] if self.patients else ""
        return f"{'fold' if self.held_out else 'without fold'} {self.number} of {self.count} {children}".strip()


_CHILD_COLUMNS = ("patient", "patientid")


def read_patients(path: pathlib.Path) -> dict[str, str]:
    """Returns the child of each image, from a table with a column for each, as in Deeplasia's `image_ID,patient_ID`.

    Raises:
      UserError: for a file that cannot be read, or without these columns.
    """
    try:
        rows = labels.rows_of(path.name, path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); expected a CSV with the columns id and patient") from error
    header = rows[0] if rows else []
    image, child = labels.find_columns(header, labels.ID_COLUMNS, _CHILD_COLUMNS)
    if image is None or child is None:
        raise UserError(f"{path}: found the columns {', '.join(header) or 'none'}, expected id and patient")
    return {labels.image_id_of(row[image]): row[child] for row in rows[1:] if len(row) > max(image, child)}
