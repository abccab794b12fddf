"""Radiographs of a labelled table with the ages that networks read from them: what calibrations are fitted to."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.data.tree import Tree
from boneage_jax.errors import UserError, listed, printable
from boneage_jax.workflows import radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.requests import AssessRequest


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Ages of labelled hands.

    Attributes:
      months: predicted.
      spread: the networks' own, in months; NaN where they give none.
      reading: of the table, in months.
      male: whether each child is a boy.
      flagged: whether each is doubtful (`Assessment.doubtful`).
      fingerprint: of the networks.
      notes: what was left out of the table and of the images, a line each, for people.
    """

    months: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]
    reading: Float[np.ndarray, " n"]
    male: Bool[np.ndarray, " n"]
    flagged: Bool[np.ndarray, " n"]
    fingerprint: str
    notes: tuple[str, ...]


def read(
    table: pathlib.Path, images: pathlib.Path | None, networks: AssessRequest, *, calibrated_ages: bool, flagged: bool
) -> Labelled:
    """Reads the radiographs that a table labels, and their ages.

    Args:
      table: of `file`, `male` (or `sex`) and `boneage` in months.
      images: folder or zip of the radiographs; None for the table's folder.
      networks: which, and how they are used.
      calibrated_ages: whether ages are corrected by the calibration that comes with the networks.
      flagged: whether doubtful hands count (`Assessment.doubtful`); without, they are left out.

    Raises:
      UserError: for tables, images and networks that cannot be used.
    """
    with Tree() as tree:
        found = radiographs.found(tree, [images or table.absolute().parent])
        rows, unread = radiographs.labels_of(found, table)
        wanted = [(one, label) for one, label in zip(found, rows, strict=True) if label is not None]
        usable = [(one, label) for one, label in wanted if np.isfinite(label.months) and label.male is not None]
        if not usable:
            raise UserError(
                f"{table}: gives none of the {len(found)} radiographs an age and a sex; expected the columns "
                "file, male (or sex), boneage (in months)"
            )
        with Assessor(networks, calibrated_ages=calibrated_ages) as assessor:
            seen = [one for one, _ in assessor.assess([o for o, _ in usable], [label.male for _, label in usable])]
            fingerprint = assessor.fingerprint
    keep = [bool(np.isfinite(one.months)) and (flagged or not one.doubtful) for one in seen]
    left_out = [
        f"{printable(one.file)}: {one.problem or ', '.join(one.flags) or 'no age'}"
        for one, kept in zip(seen, keep, strict=True)
        if not kept
    ]
    hands = [(one, label) for one, (_, label), kept in zip(seen, usable, keep, strict=True) if kept]
    notes = []
    if unread:
        notes.append(f"warning: {unread} rows of {table.name} name none of the {len(found)} radiographs")
    if left_out:
        notes.append(f"{len(left_out)} of {len(usable)} left out:\n{listed(left_out)}")
    return Labelled(
        np.array([one.months for one, _ in hands], np.float64),
        np.array([one.spread for one, _ in hands], np.float64),
        np.array([label.months for _, label in hands], np.float64),
        np.array([label.male for _, label in hands], bool),
        np.array([one.doubtful for one, _ in hands], bool),
        fingerprint,
        tuple(notes),
    )
