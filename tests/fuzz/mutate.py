"""Damages files: bytes of any file, and the values of JSON."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**30, "", "x" * 100, "\x00", "١٢", "../../x", [], {}, [[]],
    [None], {"id": None}, [1e9, -1e9], "1", 1.5,
)  # fmt: skip


def of_bytes(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns bytes with one to five damages.

    Args:
      data: of a file.
      others: files of the same kind, parts of which are put in.
      draw: where all chance comes from.
    """
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        if not found:
            break
        place, length = draw.randrange(len(found)), draw.choice((1, 2, 4, 16, 64, 512))
        kind = draw.randrange(9)
        if kind == 0:
            found[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found[place : place + length] = draw.randbytes(length)
        elif kind == 2:
            found[place : place + length] = bytes(length)
        elif kind == 3:
            del found[place : place + length]
        elif kind == 4:
            found[place:place] = found[place : place + length]
        elif kind == 5:
            del found[place:]
        elif kind == 6:
            size, order = draw.choice((1, 2, 4)), draw.choice(("little", "big"))
            found[place : place + size] = (draw.choice(_NUMBERS) & (256**size - 1)).to_bytes(size, order)
        elif kind == 7:
            other = draw.choice(others)
            start = draw.randrange(len(other)) if other else 0
            found[place : place + length] = other[start : start + length]
        else:
            found += draw.randbytes(length)
    return bytes(found)


def of_json(data: bytes, draw: random.Random) -> bytes:
    """Returns JSON whose structure is whole and one to three of whose values are others."""
    content = json.loads(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(content))
        if not places:
            break
        holder, key = draw.choice(places)
        kind = draw.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder[key], list) and holder[key]:
            holder[key] = holder[key] * 2
        elif kind == 2:
            other, its_key = draw.choice(places)
            holder[key] = json.loads(json.dumps(other[its_key])) if _has(other, its_key) else None
        else:
            holder[key] = copy.deepcopy(draw.choice(_VALUES))
    return json.dumps(content).encode()


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(content: Any) -> Any:
    """Yields each holder of a value with the value's key."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _places(value)
