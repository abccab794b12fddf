"""How values of options are read, and how a command is declared."""

from __future__ import annotations

import argparse
import pathlib
import re
from collections.abc import Callable

from boneage_jax.files import local

RunCommand = Callable[[argparse.Namespace, list[str]], int | None]
"""What a command does with its options and the arguments of its config; returns its exit status, None for 0."""


def command(
    commands: argparse._SubParsersAction,
    name: str,
    run_command: RunCommand,
    summary: str,
    example: str,
    *,
    takes_config: bool = False,
) -> argparse.ArgumentParser:
    """Declares a command; its options are added to what is returned.

    Args:
      commands: that it joins.
      name: of it, with that of its group, as in `data build`.
      run_command: does it.
      summary: one line.
      example: one or more command lines, and what else must be said.
      takes_config: whether it takes `--config` and settings.
    """
    indented = "\n".join(f"  {line}" if line.startswith("boneage") else line for line in example.splitlines())
    parser: argparse.ArgumentParser = commands.add_parser(
        name.split()[-1],
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n{indented}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run_command=run_command, takes_config=takes_config, name=name)
    if takes_config:
        parser.add_argument("--config", metavar="FILE[:ARG]", help="config file, then any --config.section.key=value")
    return parser


def path(text: str) -> pathlib.Path:
    """Reads a path of this machine. Raises `UserError` for an address, as in gs://bucket/folder."""
    return local(text)


def positive(text: str) -> int:
    """Reads a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number above 0")
    return value


def count(text: str) -> int:
    """Reads a whole number, 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number, 0 or more")
    return value


def wholes(text: str) -> tuple[int, ...]:
    """Reads whole numbers with commas between."""
    if not all(part.strip().isdigit() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected whole numbers, as in 250,500,1000")
    return tuple(map(int, text.split(",")))


def factors(text: str) -> tuple[float, ...]:
    """Reads numbers with commas between."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers, as in 0.5,1,2") from error


def seconds(text: str) -> float:
    """Reads a number above 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of seconds above 0")
    return value


def size(text: str) -> tuple[int, int]:
    """Reads HEIGHTxWIDTH."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected HEIGHTxWIDTH, as in 500x375")
    return int(match[1]), int(match[2])


def ages(text: str) -> list[float]:
    """Reads FIRST:LAST:STEP, in months."""
    match = re.fullmatch(r"([\d.]+):([\d.]+):([\d.]+)", text)
    if not match or float(match[3]) <= 0 or float(match[2]) < float(match[1]):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected FIRST:LAST:STEP in months, as in 12:216:12")
    first, last, step = (float(part) for part in match.groups())
    return [first + n * step for n in range(int((last - first) / step + 1e-6) + 1)]


def numbers(count: int, names: str) -> Callable[[str], tuple[float, ...]]:
    """Returns a reader of so many numbers with commas between."""

    def parse(text: str) -> tuple[float, ...]:
        parts = text.split(",")
        if len(parts) != count or not all(re.fullmatch(r"-?\d+(\.\d+)?", part.strip()) for part in parts):
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {names}")
        return tuple(map(float, parts))

    return parse


def names(text: str) -> tuple[str, ...]:
    """Reads names with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def renames(text: str) -> dict[str, str]:
    """Reads NEW=OLD with commas between."""
    pairs = [part.split("=") for part in text.split(",")]
    if not all(len(pair) == 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NEW=OLD,..., as in capitate=17")
    return {new.strip(): old.strip() for new, old in pairs}


def counts(text: str) -> dict[str, int]:
    """Reads the sizes of three splits."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected TRAIN,VALIDATION,TEST, as in 400,50,50")
    return dict(zip(("train", "validation", "test"), map(int, parts), strict=True))
