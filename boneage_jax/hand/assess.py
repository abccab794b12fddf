"""Bone ages of radiographs as they come: PNG, JPEG or DICOM files, from a run's folder and nothing else."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.data import images, labels
from boneage_jax.data.examples import Example
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import replacing
from boneage_jax.train.predict import predict_ages
from boneage_jax.train.run import LoadedRun


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One radiograph's bone age.

    Attributes:
      file: as it was named.
      months: predicted bone age; may lie outside 0 to 240 for a picture that is no hand.
      sex: `M`, `F`, or empty where it was not given.
    """

    file: pathlib.Path
    months: float
    sex: str


class _Files:
    """Image files as a source of the input pipeline.

    Attributes:
      problems: what is wrong with the files that could not be read so far, by number; they count as black.
    """

    fingerprint = "files"

    def __init__(self, files: Sequence[pathlib.Path], males: Sequence[float], height: int, width: int):
        self._files, self._males, self._size = files, males, (height, width)
        self.problems: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: SupportsIndex) -> Example:
        n = int(index)
        try:
            image = images.fit(images.read(self._files[n]), *self._size)
        except UserError as error:
            self.problems[n] = str(error)
            image = np.zeros(self._size, np.uint8)
        return {"image": image, "male": np.float32(self._males[n]), "bone_age": np.float32(np.nan)}


def assess(
    loaded: LoadedRun, paths: list[pathlib.Path], *, sex: str = "", sex_csv: pathlib.Path | None = None
) -> list[Assessment]:
    """Predicts the bone age of files and of all images in folders.

    Args:
      loaded: the run.
      paths: files and folders.
      sex: of all children, in any usual spelling; or empty.
      sex_csv: table of `file,male`, the file by its name with or without ending; or None.

    Raises:
      UserError: for files that cannot be read (all of them named), or a sex that the model needs and was not given.
    """
    files = images.find(paths)
    males = _sexes(files, sex, sex_csv)
    needs_sex = loaded.config.model.sex == "input"
    if needs_sex:
        fail_if_any(
            [str(file) for file, male in zip(files, males, strict=True) if male is None],
            f"the model of {loaded.folder} is told the sex, which is not given for these files",
            "Give it with --sex M, --sex F or --sex-csv FILE with the columns file,male.",
        )
    config = loaded.config
    source = _Files(files, [float(male or 0) for male in males], config.data.height, config.data.width)
    months = predict_ages(loaded, source).months
    # Only now, so that every file is decoded once and all bad ones are reported together.
    problems = [source.problems[n] for n in sorted(source.problems)]
    fail_if_any(problems, "files that cannot be read", "Remove or replace them; nothing was written.")
    letters = {None: "", True: "M", False: "F"}
    return [
        Assessment(file, float(value), letters[male]) for file, value, male in zip(files, months, males, strict=True)
    ]


def _sexes(files: list[pathlib.Path], sex: str, sex_csv: pathlib.Path | None) -> list[bool | None]:
    if sex and sex_csv:
        raise UserError("found both --sex and --sex-csv, expected one of them")
    if sex:
        try:
            return [labels.parse_sex(sex)] * len(files)
        except ValueError as error:
            raise UserError(f"--sex: {error}") from error
    if sex_csv is None:
        return [None] * len(files)
    try:
        data = sex_csv.read_bytes()
    except OSError as error:
        raise UserError(f"{sex_csv}: {error.strerror}; expected a CSV with the columns file,male") from error
    rows, offenders = labels.read_table(sex_csv.name, data)
    fail_if_any(offenders, f"{sex_csv}: rows that cannot be used", "Correct or remove these rows.")
    known = {pathlib.PurePath(row.id).name: row.male for row in rows}
    return [known.get(file.stem, known.get(file.name)) for file in files]


def write_csv(assessments: list[Assessment], path: pathlib.Path) -> None:
    """Writes `file,months,sex`, whole or not at all. Raises `UserError` where that is impossible."""
    with replacing(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "months", "sex"])
        for assessment in assessments:
            writer.writerow([assessment.file, f"{assessment.months:.1f}", assessment.sex])


def as_text(assessments: list[Assessment], loaded: LoadedRun, out: pathlib.Path | None) -> str:
    """Returns the ages for people, with what they may be taken for."""
    lines = [f"{a.months:8.1f} months ({a.months / 12:.1f} years)  {a.sex or '-'}  {a.file}" for a in assessments[:20]]
    if len(assessments) > 20:
        lines.append(f"... and {len(assessments) - 20} more")
    if loaded.config.data.name.startswith("hand_phantom"):
        lines.append(
            "The model was trained on rendered phantoms only: a demonstration, no reading of these radiographs."
        )
    lines.append(NOT_A_MEDICAL_DEVICE)
    if out:
        lines.append(f"{len(assessments)} predictions lie in {out}")
    return "\n".join(lines)
