"""Cross-validation: images dealt into folds, all of one child together."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

from boneage_jax.data import labels, pairing, tables
from boneage_jax.errors import UserError, fail_if_any


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

    def among(self, images: pairing.Images) -> Fold:
        """Returns the same fold with the children of these images, found by the rules of `pairing.pair_in_split`.

        Raises:
          UserError: where it is not clear which image a row means, or none of them is an image.
        """
        if not self.patients or not images.ids:
            return self
        cells = list(self.patients)
        rows = [pairing.Row(cell, "table of patients") for cell in cells]
        files = pairing.pair_in_split(rows, images, "table of patients: rows that do not name one image each").files
        found = {images.ids[n]: self.patients[cell] for cell, n in zip(cells, files, strict=True) if n is not None}
        if not found:
            raise UserError(
                f"table of patients: names none of the {len(images.ids)} images; found {cells[0]!r}, expected ids such "
                f"as {images.ids[0]!r}"
            )
        return dataclasses.replace(self, patients=found)

    @property
    def fingerprint(self) -> str:
        """Changes with what is kept."""
        children = hashlib.sha256(repr(sorted(self.patients.items())).encode()).hexdigest()[:8] if self.patients else ""
        return f"{'fold' if self.held_out else 'without fold'} {self.number} of {self.count} {children}".strip()


def read_patients(path: pathlib.Path) -> dict[str, str]:
    """Returns the child of each image, from a table with a column for each, as in Deeplasia's `image_ID,patient_ID`.

    Raises:
      UserError: for a file that cannot be read, one without these columns, and rows that contradict each other.
    """

    def columns(header: Sequence[str]) -> list[int | None]:
        return tables.find_columns(header, labels.ID_COLUMNS, labels.PATIENT_COLUMNS)

    expected = "a CSV with the columns id and patient"
    table = tables.read_file(path, lambda header: None not in columns(header), expected=expected)
    image, child = columns(table.header)
    if image is None or child is None:
        raise UserError(f"{path}: found the columns {', '.join(table.header) or 'none'}, expected id and patient")
    patients: dict[str, str] = {}
    problems = []
    for number, cells in table.rows:
        image_id, patient = labels.image_id_of(cells[image]), cells[child].strip()
        if not image_id or not patient:
            problems.append(f"row {number}: found {image_id!r} and {patient!r}, expected an id and a patient")
        elif patients.setdefault(image_id, patient) != patient:
            problems.append(f"row {number}: {image_id!r} is of {patient!r}, and of {patients[image_id]!r} further up")
    fail_if_any(problems, f"{path}: rows that cannot be used", "Correct or remove these rows.")
    return patients
