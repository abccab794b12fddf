"""Groups of settings as frozen dataclasses: each field with its type, default, limits and meaning.

`checked` makes such a dataclass of nested dictionaries, from a config or a file, or lists all of their problems by
dotted key. Experiments and jobs of a cluster are checked in this way.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal


def setting(default: Any, help: str, **limits: Any) -> Any:
    """Returns a dataclass field with its meaning and its limits (`low`, `high`, `above`, `choices`)."""
    return dataclasses.field(default=default, metadata={"help": help, **limits})


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dictionaries as one with dotted keys, tuples as lists, as JSON would give them back."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def did_you_mean(key: str, known: typing.Iterable[str]) -> str:
    """Returns ` (did you mean ...?)` with the most similar known key, or an empty string."""
    known = list(known)
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not matches:
        matches = [full for full in known if full.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]][:1]
    return f" (did you mean {matches[0]!r}?)" if matches else ""


@functools.cache  # slow, and asked for at every config
def _hints_of(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def keys_of(cls: type) -> list[str]:
    """Returns every dotted key of a group of settings, in order."""
    keys = []
    for field in dataclasses.fields(cls):
        hint = _hints_of(cls)[field.name]
        inner = keys_of(hint) if dataclasses.is_dataclass(hint) else []  # type: ignore[arg-type]
        keys += [f"{field.name}.{key}" for key in inner] or [field.name]
    return keys


def checked(cls: type, nested: Any, problems: list[str]) -> Any:
    """Returns the dataclass of nested dictionaries; missing keys take their defaults.

    Args:
      cls: a frozen dataclass whose fields are `setting`s or such dataclasses.
      nested: dictionaries by key.
      problems: gains a line for every unknown key (with the most similar known one), wrong type and impossible value.

    Returns:
      The dataclass, or None where there are new problems.
    """
    return _section(cls, nested, "", problems, keys_of(cls))


def _section(cls: type, nested: Any, prefix: str, problems: list[str], known: list[str]) -> Any:
    """Builds one dataclass from a dictionary, adding to `problems`; returns None where that is impossible."""
    if not isinstance(nested, Mapping):
        problems.append(f"{prefix.rstrip('.')}: found {nested!r}, expected a group of settings")
        return None
    hints = _hints_of(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in nested:
        if key not in fields:
            problems.append(f"{prefix}{key}: no such key{did_you_mean(prefix + str(key), known)}")
    values: dict[str, Any] = {}
    before = len(problems)
    for name, field in fields.items():
        if name not in nested:
            continue
        if dataclasses.is_dataclass(hints[name]):
            values[name] = _section(typing.cast(type, hints[name]), nested[name], f"{prefix}{name}.", problems, known)
        else:
            values[name] = _leaf(hints[name], field.metadata, nested[name], prefix + name, problems)
    return None if len(problems) > before else cls(**values)


def _leaf(kind: Any, limits: Mapping[str, Any], value: Any, key: str, problems: list[str]) -> Any:
    """Checks one value against its type and limits; returns it in that type."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            problems.append(f"{key}: found {value!r}, expected one of {', '.join(map(repr, choices))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple) or not (value or limits.get("may_be_empty")):
            item = typing.get_args(kind)[0]
            items = {int: "whole numbers", float: "numbers", str: "texts"}.get(
                item, f"{', '.join(map(repr, typing.get_args(item)))}"
            )
            how_many = "" if limits.get("may_be_empty") else "non-empty "
            problems.append(f"{key}: found {value!r}, expected a {how_many}tuple of {items}")
            return value
        return tuple(_leaf(typing.get_args(kind)[0], limits, item, key, problems) for item in value)
    assert not isinstance(kind, types.UnionType), key
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}
        problems.append(f"{key}: found {value!r}, expected {names[kind]}")
        return value
    if kind is float and not math.isfinite(value):
        problems.append(f"{key}: found {value!r}, expected a finite number")
    if "choices" in limits and value not in limits["choices"]:
        problems.append(f"{key}: found {value!r}, expected one of {', '.join(map(repr, limits['choices']))}")
    if "low" in limits and value < limits["low"]:
        problems.append(f"{key}: found {value!r}, expected at least {limits['low']}")
    if "above" in limits and value <= limits["above"]:
        problems.append(f"{key}: found {value!r}, expected more than {limits['above']}")
    if "high" in limits and value > limits["high"]:
        problems.append(f"{key}: found {value!r}, expected at most {limits['high']}")
    return value
