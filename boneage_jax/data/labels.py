"""Label tables: every published spelling of the RSNA columns, as CSV or XLSX, checked row by row."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Sequence

from boneage_jax.anatomy import MAX_MONTHS
from boneage_jax.errors import UserError

ID_COLUMNS = ("id", "imageid", "caseid", "fileid", "file", "filename")
_AGE_COLUMNS = ("boneage", "boneagemonths", "groundtruthboneagemonths", "months")
_YEARS_COLUMNS = ("boneageyears", "reading1", "reading")
_SECOND_YEARS_COLUMNS = ("reading2",)
"""In years: as radiologists read; the Digital Hand Atlas has two readings of each hand (Gertych et al. 2007)."""
_MALE_COLUMNS = ("male",)
_SEX_COLUMNS = ("sex", "gender", "category")
_SPLIT_COLUMNS = ("split",)

_ATLAS_SEX = re.compile(r"(?:asi|blk|cau|his)([fm])\d*")
"""Categories of the Digital Hand Atlas: descent, sex, years."""

_MALE = {"m", "male", "1", "true", "t", "yes"}
_FEMALE = {"f", "female", "0", "false", "no"}

TABLE_SUFFIXES = (".csv", ".xlsx")


@dataclasses.dataclass(frozen=True)
class Label:
    """One row of a label table.

    Attributes:
      id: the image's name without its ending.
      months: bone age in months, 0 to 240; NaN where the table has no ages.
      male: whether the child is a boy.
      split: `train`, `validation` or `test` where the table says so itself, else empty.
      row: line of the table, the header being line 1.
    """

    id: str
    months: float
    male: bool
    split: str
    row: int


def parse_sex(text: str) -> bool:
    """Returns True for male, False for female, in any usual spelling. Raises ValueError for anything else."""
    word = text.strip().lower()
    if category := _ATLAS_SEX.fullmatch(word):
        word = category[1]
    if word in _MALE:
        return True
    if word in _FEMALE:
        return False
    raise ValueError(f"unknown sex {text!r}, expected M or F (or male: True or False)")


def parse_months(text: str) -> float:
    """Returns a bone age in months. Raises ValueError for what is not a number from 0 to 240."""
    try:
        months = float(text)
    except ValueError:
        raise ValueError(f"bone age {text!r} is not a number") from None
    if not (math.isfinite(months) and 0 <= months <= MAX_MONTHS):
        raise ValueError(f"bone age {text!r} is outside 0 to {MAX_MONTHS:.0f} months")
    return months


def parse_years(text: str) -> float:
    """Returns a bone age in months, of one in years. Raises ValueError for what is not a number from 0 to 20."""
    try:
        years = float(text)
    except ValueError:
        raise ValueError(f"bone age {text!r} is not a number") from None
    if not (math.isfinite(years) and 0 <= 12 * years <= MAX_MONTHS):
        raise ValueError(f"bone age {text!r} is outside 0 to {MAX_MONTHS / 12:.0f} years")
    return 12 * years


def read_table(name: str, data: bytes) -> tuple[list[Label], list[str]]:
    """Reads a label table.

    Args:
      name: of the table, for messages; its ending tells CSV from XLSX.
      data: content of the file.

    Returns:
      The good rows, and one line for each offending row.

    Raises:
      UserError: for a table without the columns that are needed, or without rows.
    """
    rows = rows_of(name, data)
    if not rows:
        raise UserError(f"{name}: the table is empty; expected a header and one row an image")
    header, body = rows[0], rows[1:]
    id_at, age_at, male_at, sex_at, split_at, *years_at = find_columns(
        header,
        ID_COLUMNS,
        _AGE_COLUMNS,
        _MALE_COLUMNS,
        _SEX_COLUMNS,
        _SPLIT_COLUMNS,
        _YEARS_COLUMNS,
        _SECOND_YEARS_COLUMNS,
    )
    sex_at = male_at if male_at is not None else sex_at
    if id_at is None or sex_at is None:
        raise UserError(
            f"{name}: found the columns {', '.join(map(repr, header))}, expected an id and a sex, as in "
            "'id,boneage,male', 'Image ID,male,Bone Age (months)', 'Case ID,Sex,Ground truth bone age (months)', "
            "'image_ID,dir,patient_ID,sex,bone_age', 'ID,Male,Boneage,Chronological' or 'id,gender,reading1,reading2' "
            "(in years)"
        )
    labels: list[Label] = []
    offenders: list[str] = []
    first_row: dict[str, int] = {}
    for number, row in enumerate(body, start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = row + [""] * (len(header) - len(row))
        image_id = image_id_of(cells[id_at])
        problems = []
        if not image_id:
            problems.append("no id")
        elif image_id in first_row:
            problems.append(f"duplicate id {image_id!r}, first in row {first_row[image_id]}")
        months, male = math.nan, False
        try:
            male = parse_sex(cells[sex_at])
        except ValueError as error:
            problems.append(str(error))
        try:
            if age_at is not None:
                months = parse_months(cells[age_at])
            elif said := [parse_years(cells[at]) for at in years_at if at is not None]:
                months = sum(said) / len(said)
        except ValueError as error:
            problems.append(str(error))
        if problems:
            offenders.append(f"{name}, row {number}: {'; '.join(problems)}")
            continue
        first_row[image_id] = number
        split = cells[split_at].strip().lower() if split_at is not None else ""
        labels.append(Label(image_id, months, male, split, number))
    if not labels and not offenders:
        raise UserError(f"{name}: the table has a header but no rows")
    return labels, offenders


def find_columns(header: Sequence[str], *wanted: tuple[str, ...]) -> list[int | None]:
    """Returns the place of each wanted column in a header, or None.

    Args:
      header: cells, in any case and punctuation.
      wanted: the names that a column may have, in small letters and digits alone; the first that is there counts.
    """
    columns = {_normal(cell): n for n, cell in reversed(list(enumerate(header)))}
    return [next((columns[name] for name in names if name in columns), None) for names in wanted]


def _normal(cell: str) -> str:
    return "".join(c for c in cell.lower() if c.isalnum())


def image_id_of(cell: str) -> str:
    """Returns an id as the image file's stem: `1377`, `1377.0` (spreadsheets) and `1377.png` are the same."""
    text = cell.strip()
    if text.endswith(".0") and text[:-2].isdigit():
        return text[:-2]
    for suffix in (".png", ".jpg", ".jpeg"):
        if text.lower().endswith(suffix):
            return text[: -len(suffix)]
    return text


def rows_of(name: str, data: bytes) -> list[list[str]]:
    """Returns the cells of a CSV, whatever its separator, or of an XLSX table. Raises `UserError` for a broken XLSX."""
    if name.lower().endswith(".xlsx"):
        # Imported here: worker processes read no tables.
        import openpyxl

        try:
            sheet = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True).worksheets[0]
        except Exception as error:
            raise UserError(f"{name}: not a readable XLSX table ({error})") from error
        return [["" if cell is None else str(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text.split("\n", 1)[0], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    return list(csv.reader(io.StringIO(text), dialect))
