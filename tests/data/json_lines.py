"""Tables as JSON Lines: an object a line, whose keys are the columns."""

import json

from boneage_jax.data.tables.table import Fits, Format, Table, table_of
from boneage_jax.errors import UserError


def _matches(name: str, data: bytes) -> bool:
    return data.startswith(b"{")


def _read(name: str, data: bytes, fits: Fits) -> Table:
    try:
        rows = [json.loads(line) for line in data.decode().splitlines() if line.strip()]
        cells = [[str(value) for value in row.values()] for row in rows]
    except (ValueError, AttributeError) as error:
        raise UserError(f"{name}: not JSON Lines ({error}); expected an object a line") from error
    return table_of(name, [(0, list(rows[0])), *enumerate(cells, 1)])


FORMAT = Format("JSON Lines", (".jsonl",), _matches, _read)
