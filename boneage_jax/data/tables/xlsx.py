"""XLSX tables, by openpyxl."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from boneage_jax.data.tables.table import Fits, Format, Table, table_of
from boneage_jax.errors import UserError, reason

_ZIP = b"PK\x03\x04"
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0"
"""Start of Excel files that are protected by a password, or of its format before 2007."""

_MAX_UNPACKED = 1 << 30
"""Bytes that an XLSX file may unpack to: a million rows are a tenth of it."""

_MAX_ROWS = 1 << 20
"""Most rows of a sheet, by Excel's specifications and limits."""


def _matches(name: str, data: bytes) -> bool:
    return data.startswith((_ZIP, _COMPOUND_FILE)) or name.lower().endswith(".xlsx")


def _read(name: str, data: bytes, fits: Fits) -> Table:
    if data.startswith(_COMPOUND_FILE):
        raise UserError(
            f"{name}: found an Excel file that is protected by a password or of the old kind (.xls), expected CSV or "
            "XLSX; save it as one of these, without a password"
        )
    if not data.startswith(_ZIP):
        raise UserError(f"{name}: not a readable XLSX table (no zip file); save it again, as XLSX or CSV")
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
    # openpyxl lets errors of XML and zip files through, beside its own.
    except Exception as error:
        raise UserError(f"{name}: not a readable XLSX table ({reason(error)}); save it again") from error
    tables = []
    for title, rows in sheets.items():
        numbered = [(n, ["" if cell is None else str(cell) for cell in row]) for n, row in rows.items()]
        if any(cell.strip() for _, row in numbered for cell in row):
            tables.append(table_of(name, numbered, title if len(sheets) > 1 else ""))
    if not tables:
        raise UserError(f"{name}: the table is empty; expected a header and one row an image")
    return next((table for table in tables if fits(table.header)), tables[0])


def _sheet_rows(sheet: Any) -> dict[int, list[Any]]:
    """The rows that are not blank, by their numbers."""
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
    """A row whose cells without a value have their formula, which a message can name where the value is needed."""
    shown = shown + [None] * (len(written) - len(shown))
    return [
        formula if value is None and isinstance(formula, str) and formula.startswith("=") else value
        for value, formula in zip(shown, written, strict=True)
    ]


FORMAT = Format("XLSX", (".xlsx",), _matches, _read)
