"""Tables of labels, patients and annotations, as rows of text.

Each format declares its detection and its reading together. A new one is a file beside this one, and a line in
`FORMATS`.
"""

from __future__ import annotations

import pathlib

from boneage_jax.data.tables import delimited, xlsx
from boneage_jax.data.tables.delimited import csv_rows
from boneage_jax.data.tables.table import Fits, Format, Table, find_columns
from boneage_jax.errors import UserError

__all__ = [
    "FORMATS",
    "TABLE_SUFFIXES",
    "UNREAD_SUFFIXES",
    "Format",
    "Table",
    "csv_rows",
    "find_columns",
    "read",
    "read_file",
]

FORMATS: tuple[Format, ...] = (
    xlsx.FORMAT,
    delimited.FORMAT,
)
"""All formats. The first that matches a file reads it; the last, text, matches any."""

TABLE_SUFFIXES = tuple(suffix for one in FORMATS for suffix in one.suffixes)
UNREAD_SUFFIXES = tuple(suffix for suffix in (".xls", ".xlsb", ".ods", ".numbers") if suffix not in TABLE_SUFFIXES)
"""Endings of tables that have to be saved in another format first."""


def _any_header(header: object) -> bool:
    del header
    return True


def read_file(path: pathlib.Path, fits: Fits, *, expected: str) -> Table:
    """Reads the table in a file; see `read`.

    Args:
      path: of the file.
      fits: see `read`.
      expected: what the file should hold, for the message.

    Raises:
      UserError: as `read` does, and for a file that cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); expected {expected}") from error
    return read(str(path), data, fits)


def read(name: str, data: bytes, fits: Fits = _any_header) -> Table:
    """Reads a table.

    Args:
      name: of the table, for messages; the format is detected from the content.
      data: content of the file.
      fits: whether a header has the columns that are needed; the first sheet whose header does is taken.

    Raises:
      UserError: for a file that is not a table, is damaged, or has no header.
    """
    return next(one for one in FORMATS if one.matches(name, data)).read(name, data, fits)
