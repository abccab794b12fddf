"""How a command is declared: its name, what it does, an example, and the request whose fields are its options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from boneage_jax.options import add_options

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RunCommand = Callable[[argparse.Namespace, list[str]], int | None]
"""What a command does with its options and the arguments of its config; returns its exit status, None for 0."""


def command(
    commands: argparse._SubParsersAction,
    name: str,
    run_command: RunCommand,
    *,
    summary: str,
    example: str,
    request: type[DataclassInstance] | None = None,
    takes_config: bool = False,
) -> argparse.ArgumentParser:
    """Declares a command; options beside those of its request are added to what is returned.

    Args:
      commands: that it joins.
      name: of it, with that of its group, as in `data build`.
      run_command: does it.
      summary: one line.
      example: one or more command lines, and notes.
      request: dataclass whose fields are the command's options.
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
    if request is not None:
        add_options(parser, request)
    return parser
