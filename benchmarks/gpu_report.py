"""What a section of the GPU kit is told, and how it says what it found."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from typing import Any, TextIO

Row = dict[str, Any]

NO_GPU = 3
"""Exit status of a section that finds no accelerator: the others would find none either."""


@dataclasses.dataclass
class Context:
    """A section's task.

    Attributes:
      stream: where rows go, as JSON lines.
      scratch: folder that all sections share.
      end: moment of `time.monotonic` at which the section is killed.
      tiny: whether sizes are those of a rehearsal.
      rows: that were found so far.
    """

    stream: TextIO
    scratch: pathlib.Path
    end: float
    tiny: bool
    rows: list[Row] = dataclasses.field(default_factory=list)

    def left(self) -> float:
        """Returns the seconds until the section is killed."""
        return self.end - time.monotonic()

    def add(self, **row: Any) -> None:
        """Adds a row; `_` in names stand for spaces."""
        self.rows.append({name.replace("_", " "): value for name, value in row.items()})
        self.send()

    def show(self, rows: list[Row]) -> None:
        """Replaces all rows."""
        self.rows = rows
        self.send()

    def send(self) -> None:
        """Says what is known now."""
        print(json.dumps({"rows": self.rows}), file=self.stream, flush=True)

    def failed(self, reason: str) -> None:
        """Says why the section ends here."""
        print(json.dumps({"failed": reason}), file=self.stream, flush=True)
