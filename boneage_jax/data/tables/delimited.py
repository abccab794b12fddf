"""Tables as text: CSV, with commas, semicolons, tabs or bars."""

from __future__ import annotations

import codecs
import csv
import re

from boneage_jax.data.tables.table import Fits, Format, Table, table_of
from boneage_jax.errors import UserError, reason

_SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?', re.IGNORECASE)
"""The line in which Excel declares the separator of the other lines."""

_MAX_CELL = 1 << 24
"""Characters of a cell; Python's own limit, 2^17, is below what annotation tools write."""

_MARKS = (
    # UTF-32's little-endian mark starts with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def csv_rows(name: str, data: bytes) -> list[tuple[int, list[str]]]:
    """Returns the rows of a CSV file that are not blank, each with the line that it starts on.

    Any line ends, any of the separators `,` `;` tab `|` (the one that parts the first line into most columns, or that
    a leading line `sep=;` names), UTF-8, UTF-16 or UTF-32 with their marks, else Windows' Western European letters.

    Raises:
      UserError: for a file that is not text, and for quotes that do not end.
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
        # Strict: else a quote that does not end would swallow the rows after it without an error.
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


def _is_anything(name: str, data: bytes) -> bool:
    del name, data
    return True


def _read(name: str, data: bytes, fits: Fits) -> Table:
    del fits
    return table_of(name, csv_rows(name, data))


FORMAT = Format("CSV", (".csv", ".tsv"), _is_anything, _read)
