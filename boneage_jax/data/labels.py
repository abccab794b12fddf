"""Label tables: every published spelling of the RSNA columns, as CSV or XLSX, checked row by row."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

from boneage_jax.anatomy import MAX_MONTHS
from boneage_jax.data import pairing, tables
from boneage_jax.errors import UserError

__all__ = [
    "ID_COLUMNS",
    "PATIENT_COLUMNS",
    "Label",
    "LabelTable",
    "OtherTable",
    "image_id_of",
    "is_label_table",
    "parse_months",
    "parse_sex",
    "parse_years",
    "read_whole_table",
]

ID_COLUMNS = ("id", "imageid", "caseid", "fileid", "file", "filename", "path", "filepath", "image", "imagepath")
PATIENT_COLUMNS = ("patient", "patientid")
_AGE_COLUMNS = ("boneage", "boneagemonths", "groundtruthboneagemonths", "months")
_YEARS_COLUMNS = ("boneageyears", "reading1", "reading")
_SECOND_YEARS_COLUMNS = ("reading2",)
"""Columns of ages in years, as radiologists read; the Digital Hand Atlas has two readings of each hand (Gertych et
al. 2007)."""
_MALE_COLUMNS = ("male",)
_SEX_COLUMNS = ("sex", "gender", "category")
_SPLIT_COLUMNS = ("split",)

_ATLAS_SEX = re.compile(r"(?:asi|blk|cau|his)([fm])\d*")
"""Categories of the Digital Hand Atlas: descent, sex, years."""

SEX_LETTERS = {None: "", True: "M", False: "F"}
"""Letters of the sexes, by whether a child is a boy; None where that is not known."""

_MALE = {"m", "male"}
_FEMALE = {"f", "female"}
_YES = {"1", "true", "t", "yes"}
_NO = {"0", "false", "no"}
"""Answers to whether the child is male."""
_WHOLE = re.compile(r"([01])[.,]0*")
"""Such an answer as pandas and spreadsheets write it: 1.0."""

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class Label:
    """One row of a label table.

    Attributes:
      id: the image's id in the table, without the ending of an image file.
      months: bone age in months, 0 to 240; NaN where the table has no ages.
      male: whether the child is a boy; None where the table has no sex for the row and needs none.
      split: the row's split, in small letters; empty where the table has none.
      row: number in the table, as a spreadsheet or an editor counts; see `tables.Table`.
      cell: the id or path of the image, unchanged, for `pairing`.
      patient: the patient's id; empty where the table has none.
    """

    id: str
    months: float
    male: bool | None
    split: str
    row: int
    cell: str = ""
    patient: str = ""


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """A label table that was read.

    Attributes:
      labels: the good rows.
      offenders: one line for each row that cannot be used.
      ages: name of the columns that ages come from, with their unit; empty where there are none.
      sexes: name of the column that sexes come from; empty likewise.
    """

    labels: list[Label]
    offenders: list[str]
    ages: str
    sexes: str


def parse_sex(text: str) -> bool:
    """Returns True for male, False for female, in any usual spelling. Raises ValueError for anything else."""
    word = text.strip().lower()
    if category := _ATLAS_SEX.fullmatch(word):
        word = category[1]
    if whole := _WHOLE.fullmatch(word):
        word = whole[1]
    if word in _MALE | _YES:
        return True
    if word in _FEMALE | _NO:
        return False
    raise ValueError(f"unknown sex {text!r}, expected M or F (or male: True or False)")


def _parse_letter(text: str, column: str) -> bool:
    """The sex in a column of that name, where 1 is refused: it is male in some tables, female in others."""
    word = text.strip().lower()
    if (_WHOLE.sub(r"\1", word)) in _YES | _NO:
        raise ValueError(
            f"found {text!r} in the column {column!r}, expected M or F; call the column 'male' if 1 is male"
        )
    return parse_sex(text)


def parse_months(text: str) -> float:
    """Returns a bone age in months. Raises ValueError unless it is a number from 0 to 240."""
    months = _number(text)
    if not 0 <= months <= MAX_MONTHS:
        raise ValueError(f"bone age {text!r} is outside 0 to {MAX_MONTHS:.0f} months")
    return months


def parse_years(text: str) -> float:
    """Converts a bone age from years to months. Raises ValueError unless it is a number from 0 to 20."""
    years = _number(text)
    if not 0 <= 12 * years <= MAX_MONTHS:
        raise ValueError(f"bone age {text!r} is outside 0 to {MAX_MONTHS / 12:.0f} years")
    return 12 * years


def _number(text: str) -> float:
    """A number with a point or a comma; NaN and infinity are none, and nor is Python's `1_000`."""
    word = text.strip()
    if word.startswith("="):
        raise ValueError(f"found the formula {word!r} without its value; open the table in a spreadsheet and save it")
    if not _DECIMAL.fullmatch(word):
        raise ValueError(f"bone age {text!r} is not a number")
    return float(word.replace(",", "."))


class OtherTable(UserError):
    """A table without the columns of a label table."""


def is_label_table(header: Sequence[str], *, sex_needed: bool = True) -> bool:
    """Returns whether a header has the columns of a label table: an id, and a sex (or an age, where that will do)."""
    image, *sexes_and_ages = tables.find_columns(
        header, ID_COLUMNS, _MALE_COLUMNS, _SEX_COLUMNS, _AGE_COLUMNS, _YEARS_COLUMNS
    )
    wanted = sexes_and_ages[:2] if sex_needed else sexes_and_ages
    return image is not None and any(at is not None for at in wanted)


def read_whole_table(name: str, data: bytes, *, sex_needed: bool = True) -> LabelTable:
    """Reads a label table.

    Args:
      name: of the table, for messages.
      data: content of the file: CSV or XLSX.
      sex_needed: whether a row without a sex is an offender.

    Raises:
      OtherTable: for a table without the columns that are needed.
      UserError: for a file that is no table, or a table without rows.
    """
    table = tables.read(name, data, lambda header: is_label_table(header, sex_needed=sex_needed))
    if table.sheet:
        name = f"{name}, sheet {table.sheet!r}"
    header = table.header
    if not is_label_table(header, sex_needed=sex_needed):
        shown = ", ".join(repr(column[:40]) for column in header[:12])
        raise OtherTable(
            f"{name}: found the columns {shown}, expected an id and a sex, as in "
            "'id,boneage,male', 'Image ID,male,Bone Age (months)', 'Case ID,Sex,Ground truth bone age (months)', "
            "'image_ID,dir,patient_ID,sex,bone_age', 'ID,Male,Boneage,Chronological' or 'id,gender,reading1,reading2' "
            "(in years)"
        )
    columns = _Columns.of(header)
    labels: list[Label] = []
    offenders: list[str] = []
    first_row: dict[str, int] = {}
    for number, cells in table.rows:
        label, problems = columns.label(number, cells, sex_needed=sex_needed)
        if any(cell.strip() for cell in cells[len(header) :]):
            problems.append(f"found {len(cells)} cells, expected the header's {len(header)}; quote cells with commas")
        if label.id in first_row:
            problems.append(f"duplicate id {label.id!r}, first in row {first_row[label.id]}")
        if problems:
            offenders.append(f"{name}, row {number}: {'; '.join(problems)}")
        else:
            first_row[label.id] = number
            labels.append(label)
    if not labels and not offenders:
        raise UserError(f"{name}: the table has a header but no rows")
    return LabelTable(labels, offenders, columns.ages, columns.sexes)


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Numbers of a table's columns."""

    header: Sequence[str]
    id: int
    months: int | None
    years: list[int]
    male: int | None
    sex: int | None
    split: int | None
    patient: int | None

    @classmethod
    def of(cls, header: Sequence[str]) -> _Columns:
        image, months, first, second, male, sex, split, patient = tables.find_columns(
            header,
            ID_COLUMNS,
            _AGE_COLUMNS,
            _YEARS_COLUMNS,
            _SECOND_YEARS_COLUMNS,
            _MALE_COLUMNS,
            _SEX_COLUMNS,
            _SPLIT_COLUMNS,
            PATIENT_COLUMNS,
        )
        assert image is not None
        years = [at for at in (first, second) if at is not None]
        return cls(
            header=header, id=image, months=months, years=years, male=male, sex=sex, split=split, patient=patient
        )

    @property
    def ages(self) -> str:
        if self.months is not None:
            return f"{self.header[self.months]!r} in months"
        names = " and ".join(repr(self.header[at]) for at in self.years)
        return f"{names} in years" if names else ""

    @property
    def sexes(self) -> str:
        at = self.sex if self.male is None else self.male
        return "" if at is None else repr(self.header[at])

    def label(self, row: int, cells: Sequence[str], *, sex_needed: bool) -> tuple[Label, list[str]]:
        """Returns a row's label, and its problems."""
        problems: list[str] = []
        cell = cells[self.id].strip()
        image_id = image_id_of(cell)
        if not image_id:
            problems.append("no id")
        elif image_id.startswith("="):
            problems.append(f"the id is the formula {image_id!r} without its value; open the table and save it")
        male, months = None, math.nan
        try:
            male = self._sex(cells, needed=sex_needed)
        except ValueError as error:
            problems.append(str(error))
        try:
            months = self._months(cells)
        except ValueError as error:
            problems.append(str(error))
        split, patient = (cells[at].strip() if at is not None else "" for at in (self.split, self.patient))
        return Label(image_id, months, male, split.lower(), row, cell, patient), problems

    def _months(self, cells: Sequence[str]) -> float:
        if self.months is not None:
            return parse_months(cells[self.months])
        readings = [parse_years(cells[at]) for at in self.years]
        return sum(readings) / len(readings) if readings else math.nan

    def _sex(self, cells: Sequence[str], *, needed: bool) -> bool | None:
        """The sex in the columns, which must not contradict each other."""
        found: dict[str, bool] = {}
        if self.male is not None and ((needed and self.sex is None) or cells[self.male].strip()):
            found[self.header[self.male]] = parse_sex(cells[self.male])
        if self.sex is not None and ((needed and not found) or cells[self.sex].strip()):
            found[self.header[self.sex]] = _parse_letter(cells[self.sex], self.header[self.sex])
        if len(set(found.values())) > 1:
            raise ValueError(f"the columns {' and '.join(map(repr, found))} contradict each other")
        return next(iter(found.values()), None)


def image_id_of(cell: str) -> str:
    """Returns an id without the ending of an image file: `1377`, `1377.0` (spreadsheets) and `1377.png` are one."""
    text = cell.strip()
    folder, _, name = text.replace("\\", "/").rpartition("/")
    stem = pairing.stem_of(name)
    if found := re.fullmatch(r"([0-9]+)[.,]0+", stem):
        stem = found[1]
    return f"{folder}/{stem}" if folder else stem
