"""A table of any format as rows of text, and the declaration of a format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from boneage_jax.errors import UserError

Fits = Callable[[Sequence[str]], bool]
"""Whether a header has the columns that are needed."""


@dataclasses.dataclass(frozen=True)
class Table:
    """The text of a table.

    Attributes:
      header: names of the columns, without blanks around them.
      rows: number and cells of each row that is not blank, cells filled up to the header's length. The number is that
        of the row in the file: the line that it starts on, or the spreadsheet's own number.
      sheet: of a spreadsheet with several, the one that was read; else empty.
    """

    header: list[str]
    rows: list[tuple[int, list[str]]]
    sheet: str = ""


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of tables: how a file of it is detected, and how it is read.

    Attributes:
      name: for messages.
      suffixes: endings of its files, in small letters.
      matches: whether a file is of this format, from its name and content.
      read: returns the table of a file's name and content; of several sheets the first whose header `Fits`, else the
        first. Raises `UserError` for a file that is damaged or has no header.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[str, bytes], bool]
    read: Callable[[str, bytes, Fits], Table]


def table_of(name: str, rows: Sequence[tuple[int, list[str]]], sheet: str = "") -> Table:
    """Returns the table of rows whose first that is not blank is the header.

    Args:
      name: of the table, for messages.
      rows: number and cells of each.
      sheet: see `Table`.

    Raises:
      UserError: where all rows are blank.
    """
    filled = [(n, cells) for n, cells in rows if any(cell.strip() for cell in cells)]
    if not filled:
        raise UserError(f"{name}: the table is empty; expected a header and one row an image")
    header = [cell.strip().lstrip("\ufeff").strip() for cell in filled[0][1]]
    width = len(header)
    return Table(header, [(n, cells + [""] * (width - len(cells))) for n, cells in filled[1:]], sheet)


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
