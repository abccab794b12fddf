"""Options declared once: a field of a request dataclass is also an option of the command line and a line of the docs.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class ScoreRequest:
        run: pathlib.Path = option(help="folder of the run", positional=True)
        split: str = option("test", "split, in TFDS's notation")
        step: int | None = option(None, "checkpoint", low=1, default_text="the best")

    add_options(parser, ScoreRequest)  # run, --split SPLIT, --step STEP
    request = request_of(ScoreRequest, parser.parse_args(["runs/tiny", "--split=train"]))

A field without a default is a required option. How a text becomes a value follows from the field's type: `str`, `int`,
`float`, `bool` (a switch), `pathlib.Path` (addresses such as gs://bucket/x are refused), `Literal` (choices), a class
with a classmethod `parse`, any of them `| None`, and `tuple[..., ...]` of them (separated by commas, or given several
times with `repeat`). Other types say how they are read with `parse`.

The module imports neither JAX nor NumPy: a command's help needs nothing else of the work behind it.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import re
import sys
import types
import typing
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from boneage_jax.files import local

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Request = TypeVar("Request", bound="DataclassInstance")
Parse = Callable[[str], Any]
"""Reads a text; raises `ValueError` with what it expected, or `UserError` with the whole message."""

_KEY = "option"


@dataclasses.dataclass(frozen=True)
class Option:
    """How a field is given on the command line: the arguments of `option`."""

    help: str
    flag: str
    short: str
    positional: bool
    metavar: str
    choices: tuple[Any, ...]
    parse: Parse | None
    repeat: bool
    low: float | None
    above: float | None
    high: float | None
    unit: str
    negated: str
    default_text: str | None


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    flag: str = "",
    short: str = "",
    positional: bool = False,
    metavar: str = "",
    choices: Collection[Any] = (),
    parse: Parse | None = None,
    repeat: bool = False,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    unit: str = "",
    negated: str = "",
    default_text: str | None = None,
) -> Any:
    """Returns a dataclass field that is an option of the command line.

    Args:
      default: the field's; without one the option is required.
      help: what it means; the default is added to it.
      flag: as in `--run`; the field's name with dashes where empty.
      short: a second flag of one letter, as in `-o`; empty for none.
      positional: whether it is given by its place, without a flag.
      metavar: what stands for its value in the help; the flag in capitals where empty.
      choices: values that it may have; those of a `Literal` where empty.
      parse: reads its text, where the field's type does not say how.
      repeat: a tuple is given by several flags, `--run A --run B`, in place of `--run A,B`.
      low: least number.
      above: number that it is greater than.
      high: greatest number.
      unit: of a number, as in `seconds`.
      negated: flag that turns a switch off whose default is on, as in `--no-scaling`.
      default_text: the default for people, as in `all processors`; None for the default itself, empty for nothing.
    """
    declared = Option(
        help=help,
        flag=flag,
        short=short,
        positional=positional,
        metavar=metavar,
        choices=tuple(choices),
        parse=parse,
        repeat=repeat,
        low=low,
        above=above,
        high=high,
        unit=unit,
        negated=negated,
        default_text=default_text,
    )
    return dataclasses.field(default=default, metadata={"help": help, _KEY: declared})


def add_options(
    parser: argparse._ActionsContainer,
    request: type[DataclassInstance],
    *,
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> None:
    """Adds the options of a request to a parser, in the order of its fields.

    Args:
      parser: of a command, or a group of options within one.
      request: a dataclass; its fields that are no `option` are passed over.
      only: names of the fields that are added; empty for all.
      without: names of fields that are not added.

    Raises:
      ValueError: for a name that is no option of the request.
      TypeError: for a field whose type does not say how it is read.
    """
    fields = {field.name: field for field in dataclasses.fields(request) if _KEY in field.metadata}
    for name in (*only, *without):
        if name not in fields:
            raise ValueError(f"{request.__name__}.{name}: no such option, expected one of {', '.join(fields)}")
    for name, field in fields.items():
        if name not in without and (name in only or not only):
            _add(parser, field, _hint(request, field))


def request_of(request: type[Request], namespace: argparse.Namespace, **given: Any) -> Request:
    """Returns the request that a command line asks for.

    Args:
      request: whose options were added by `add_options`.
      namespace: from `parse_args`; options that it lacks take their defaults.
      **given: fields that are no options of this command, and values that replace them.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        if _KEY not in field.metadata or field.name in given or not hasattr(namespace, field.name):
            continue
        value = getattr(namespace, field.name)
        if isinstance(value, list):  # of argparse, for an option that was given several times
            value = tuple(value)
        elif value is None and field.metadata[_KEY].repeat:
            continue
        values[field.name] = value
    return request(**values, **given)


def _add(parser: argparse._ActionsContainer, field: dataclasses.Field, hint: Any) -> None:
    """Adds one option."""
    declared: Option = field.metadata[_KEY]
    required = field.default is dataclasses.MISSING
    flag = declared.flag or "--" + field.name.replace("_", "-")
    text = _help(declared, field.default)
    kind = _without_none(hint)
    if kind is bool:
        if field.default is True and not declared.negated:
            raise TypeError(f"{field.name}: a switch that is on needs `negated`, the flag that turns it off")
        action: Literal["store_true", "store_false"] = "store_false" if field.default is True else "store_true"
        parser.add_argument(declared.negated or flag, dest=field.name, action=action, help=text)
        return
    several = typing.get_origin(kind) is tuple and (declared.repeat or declared.positional)
    if several:
        kind = typing.get_args(kind)[0]
    choices = declared.choices or (typing.get_args(kind) if typing.get_origin(kind) is Literal else ())
    how: dict[str, Any] = {
        "type": _reader(field.name, declared, kind, choices),
        "choices": choices or None,
        "help": text,
        "metavar": declared.metavar or None,
    }
    if declared.positional:
        parser.add_argument(field.name, nargs="+" if several else None, **how)
        return
    if not choices:
        how["metavar"] = declared.metavar or flag.lstrip("-").replace("-", "_").upper()
    if several:
        parser.add_argument(flag, dest=field.name, action="append", required=required, **how)
        return
    flags = [declared.short, flag] if declared.short else [flag]
    default = None if required else field.default
    parser.add_argument(*flags, dest=field.name, required=required, default=default, **how)


def _hint(request: type, field: dataclasses.Field) -> Any:
    """Returns a field's type, worked out in the module of the class that declares it."""
    for cls in request.__mro__:
        if field.name in vars(cls).get("__annotations__", {}):
            hint = vars(cls)["__annotations__"][field.name]
            return eval(hint, vars(sys.modules[cls.__module__])) if isinstance(hint, str) else hint
    raise TypeError(f"{request.__name__}.{field.name}: has no type")


def _without_none(hint: Any) -> Any:
    """Returns X for `X | None`."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        others = [one for one in typing.get_args(hint) if one is not types.NoneType]
        return others[0] if len(others) == 1 else hint
    return hint


def _reader(name: str, declared: Option, kind: Any, choices: tuple[Any, ...]) -> Parse:
    """Returns how a text becomes a value, in the way that argparse wants its errors."""
    if declared.parse is not None:
        return _refusing(declared.parse)
    if choices:
        return type(choices[0])
    if kind is str:
        return str
    if kind is pathlib.Path:
        return local
    if kind in (int, float):
        return _number(kind, declared)
    if hasattr(kind, "parse"):
        return _refusing(kind.parse)
    element = typing.get_args(kind)[0] if typing.get_args(kind)[1:] == (...,) else None
    lists: dict[Any, Parse] = {str: names, int: whole_numbers, float: numbers}
    if element not in lists:
        raise TypeError(f"{name}: {kind} does not say how it is read, expected `parse`")
    return _refusing(lists[element])


def _refusing(parse: Parse) -> Parse:
    """Returns a reader whose `ValueError` becomes argparse's error, with what was found."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {error}") from error

    return read


def _number(kind: type[int] | type[float], declared: Option) -> Parse:
    """Returns a reader of numbers within an option's limits."""
    expected = _expected(kind, declared)

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}") from error
        # In this form NaN is within no limits.
        within = (
            (declared.low is None or value >= declared.low)
            and (declared.above is None or value > declared.above)
            and (declared.high is None or value <= declared.high)
        )
        if not within:
            raise argparse.ArgumentTypeError(f"found {text}, expected {expected}")
        return value

    return read


def _expected(kind: type, declared: Option) -> str:
    """Returns an option's numbers in words, as in `a whole number above 0`."""
    words = "a whole number" if kind is int else "a number"
    words += f" of {declared.unit}" if declared.unit else ""
    above = 0 if kind is int and declared.low == 1 else declared.above
    if above is not None:
        words += f" above {above:g}"
    elif declared.low is not None:
        words += f", {declared.low:g} or more"
    return words if declared.high is None else f"{words}, at most {declared.high:g}"


def _help(declared: Option, default: Any) -> str:
    """Returns the help of an option with its default, as argparse wants percent signs."""
    shown = _shown(default) if declared.default_text is None else declared.default_text
    return (declared.help + (f" (default: {shown})" if shown else "")).replace("%", "%%")


def _shown(default: Any) -> str:
    """Returns a default as it would be typed; nothing for one that is missing, empty or a switch."""
    if default in (dataclasses.MISSING, None) or isinstance(default, bool):
        return ""
    if isinstance(default, tuple):
        return ",".join(map(_shown, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def names(text: str) -> tuple[str, ...]:
    """Reads names with commas between; spaces around them and empty ones are dropped."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def whole_numbers(text: str) -> tuple[int, ...]:
    """Reads whole numbers, 0 or more, with commas between. Raises `ValueError` for other texts."""
    if not all(re.fullmatch(r"\s*[0-9]+\s*", part) for part in text.split(",")):
        raise ValueError("whole numbers, as in 250,500,1000")
    return tuple(map(int, text.split(",")))


def numbers(text: str) -> tuple[float, ...]:
    """Reads numbers with commas between. Raises `ValueError` for other texts."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise ValueError("numbers, as in 0.5,1,2") from error


def size(text: str) -> tuple[int, int]:
    """Reads HEIGHTxWIDTH. Raises `ValueError` for other texts."""
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", text)
    if not match:
        raise ValueError("HEIGHTxWIDTH, as in 500x375")
    return int(match[1]), int(match[2])
