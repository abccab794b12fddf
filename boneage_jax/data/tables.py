"""Tables as people's programs write them, CSV or XLSX, as rows of text."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from boneage_jax.errors import UserError, reason

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
UNREAD_SUFFIXES = (".xls", ".xlsb", ".ods", ".numbers")
"""Of tables that have to be saved in another format first."""

_SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?', re.IGNORECASE)
"""The line by which Excel tells itself the separator of the rest."""

_MAX_CELL = 1 << 24
"""Characters of a cell; Python's own limit, 2^17, is below what annotation tools write."""

_MAX_UNPACKED = 1 << 30
"""Bytes that an XLSX file may unpack to: a million rows are a tenth of it."""

_MAX_ROWS = 1 << 20
"""Of a sheet, by Excel's specifications and limits."""

_MARKS = (
    # UTF-32's little-endian mark starts with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table's text.

    Attributes:
      header: names of the columns, without blanks around them.
      rows: number and cells of each row that is not blank, cells filled up to the header's length. The number is that
        of the row in the file: the line that it starts on, or the spreadsheet's own number.
      sheet: of a spreadsheet with several, the one that was read; else empty.
    """

    header: list[str]
    rows: list[tuple[int, list[str]]]
    sheet: str = ""


def read(name: str, data: bytes, fits: Callable[[Sequence[str]], bool] = lambda header: True) -> Table:
    """Reads a table.

    Args:
      name: of the table, for messages; CSV and XLSX are told from the content.
      data: content of the file.
      fits: whether a header has the columns that are needed; the first sheet whose header does is taken.

    Raises:
      UserError: for what is not a table, or has no header.
    """
    if data.startswith(b"PK\x03\x04"):
        return _xlsx(name, data, fits)
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(
            f"{name}: found an Excel file that is protected by a password or of the old kind (.xls), expected CSV or "
            "XLSX; save it as one of these, without a password"
        )
    if name.lower().endswith(".xlsx"):
        raise UserError(f"{name}: not a readable XLSX table (no zip file); save it again, as XLSX or CSV")
    return _table(name, csv_rows(name, data))


def _table(name: str, rows: list[tuple[int, list[str]]], sheet: str = "") -> Table:
    filled = [(n, cells) for n, cells in rows if any(cell.strip() for cell in cells)]
    if not filled:
        raise UserError(f"{name}: the table is empty; expected a header and one row an image")
    header = [cell.strip().lstrip("\ufeff").strip() for cell in filled[0][1]]
    width = len(header)
    return Table(header, [(n, cells + [""] * (width - len(cells))) for n, cells in filled[1:]], sheet)


def csv_rows(name: str, data: bytes) -> list[tuple[int, list[str]]]:
    """Returns the rows of a CSV file that are not blank, each with the line that it starts on.

    Any line ends, any of the separators `,` `;` tab `|` (the one that parts the first line into most columns, or that
    a leading line `sep=;` names), UTF-8, UTF-16 or UTF-32 with their marks, else Windows' Western European letters.

    Raises:
      UserError: for what is not text, and for quotes that do not end.
    """
    lines = [line + "\n" for line in _text(name, data).replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    named = _SEPARATOR_LINE.fullmatch(lines[first].strip(" \n"))
    if named:
        first += 1
    found: list[tuple[int, list[str]]] = []
    line = first
    previous = csv.field_size_limit(_MAX_CELL)
    try:
        separator = named[1].replace("\\t", "\t") if named else _separator(lines[first])
        # Strict: a quote that does not end would take the rows behind it in, and nobody would notice.
        reader = csv.reader(lines[first:], delimiter=separator, skipinitialspace=separator != "\t", strict=True)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append((line + 1, cells))
            line = first + reader.line_num
    except csv.Error as error:
        raise UserError(
            f"{name}, line {line + 1}: cannot be read as CSV ({reason(error)}); expected quotes that end, and cells of "
            "less than 16 million characters"
        ) from error
    finally:
        csv.field_size_limit(previous)
    return found


def _separator(line: str) -> str:
    """The separator that parts a line into most columns."""
    return max(_SEPARATORS, key=lambda one: len(next(csv.reader([line], delimiter=one), [])))


def _text(name: str, data: bytes) -> str:
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            if encoding != "utf-8":
                raise
            text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not text ({reason(error)}); expected a table as CSV in UTF-8, or XLSX") from error
    if found := _CONTROLS.search(text):
        raise UserError(
            f"{name}: found the character {found[0]!r}, so not a text table; expected CSV in UTF-8 (or UTF-16 with its "
            "mark), or XLSX; save it again"
        )
    return text


def _xlsx(name: str, data: bytes, fits: Callable[[Sequence[str]], bool]) -> Table:
    # Imported here: worker processes read no tables.
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            size = sum(info.file_size for info in packed.infolist())
        if size > _MAX_UNPACKED:
            raise ValueError(f"it unpacks to {size >> 20} MiB, expected less than {_MAX_UNPACKED >> 20}")
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = {sheet.title: _sheet_rows(sheet) for sheet in book.worksheets}
        for title, rows in sheets.items():
            if any(None in row for row in rows.values()):
                written = _sheet_rows(openpyxl.load_workbook(io.BytesIO(data), read_only=True)[title])
                sheets[title] = {n: _with_formulas(rows.get(n, []), row) for n, row in written.items()}
    # openpyxl raises what XML, zip files and its own checks happen to raise.
    except Exception as error:
        raise UserError(f"{name}: not a readable XLSX table ({reason(error)}); save it again") from error
    tables = []
    for title, rows in sheets.items():
        numbered = [(n, ["" if cell is None else str(cell) for cell in row]) for n, row in rows.items()]
        if any(cell.strip() for _, row in numbered for cell in row):
            tables.append(_table(name, numbered, title if len(sheets) > 1 else ""))
    if not tables:
        raise UserError(f"{name}: the table is empty; expected a header and one row an image")
    return next((table for table in tables if fits(table.header)), tables[0])


def _sheet_rows(sheet: Any) -> dict[int, list[Any]]:
    """The rows that hold anything, by their numbers."""
    # Some programs state a size of one cell, and openpyxl would read no more.
    sheet.reset_dimensions()
    rows = {}
    for n, row in enumerate(sheet.iter_rows(values_only=True), 1):
        # A row that states a number beyond it would have openpyxl fill up the rows before it for ever.
        if n > _MAX_ROWS:
            raise ValueError(f"found over {_MAX_ROWS} rows, which no XLSX has")
        if any(cell is not None for cell in row):
            rows[n] = list(row)
    return rows


def _with_formulas(shown: list[Any], written: list[Any]) -> list[Any]:
    """A row whose cells without a value have their formula, so that whoever needs the value can name it."""
    shown = shown + [None] * (len(written) - len(shown))
    return [
        formula if value is None and isinstance(formula, str) and formula.startswith("=") else value
        for value, formula in zip(shown, written, strict=True)
    ]


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
