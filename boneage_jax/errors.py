"""The one kind of error a user is meant to read, and how lists of offenders are shown."""

from __future__ import annotations

import contextlib
import importlib.metadata
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator, Sequence

EXIT_BAD_INPUT = 2
"""Exit status of every command for input that the user can mend."""

EXIT_NOT_FINITE = 3
"""Exit status of training whose loss is no longer a number."""

EXIT_PARTIAL = 4
"""Exit status of a command that is done, but had to leave some of its input out: its output has a row for each."""

EXIT_SAVED = 75
"""Exit status after SIGTERM or SIGUSR1 (sysexits.h: EX_TEMPFAIL): saved, and the same command goes on."""

EXIT_PEER_LOST = 76
"""Exit status of a process whose peers are gone (sysexits.h: EX_PROTOCOL, a remote error). Not that of a saved stop: a
scheduler that starts a job again after that one would start one that fails for ever."""

EXIT_IN_USE = 77
"""Exit status where another process works in the folder: nothing was changed, and it may be free later."""

EXIT_FINAL = (EXIT_BAD_INPUT, EXIT_NOT_FINITE)
"""Exit statuses after which another attempt would end alike."""

_PACKAGE = "boneage-jax"

MAX_LISTED = 20
"""Offenders listed by name in one message; the rest are counted."""


class UserError(Exception):
    """Something the user can mend; the command line prints its message alone and exits with `exit_status`.

    A message names the file, the field, what was found, what was expected and what to do.
    """

    exit_status = EXIT_BAD_INPUT


def listed(offenders: Sequence[str], *, indent: str = "  ") -> str:
    """Returns the first `MAX_LISTED` offenders, one a line, and the number of those left out."""
    lines = [indent + offender for offender in offenders[:MAX_LISTED]]
    if len(offenders) > MAX_LISTED:
        lines.append(f"{indent}... and {len(offenders) - MAX_LISTED} more")
    return "\n".join(lines)


def fail_if_any(offenders: Sequence[str], headline: str, advice: str) -> None:
    """Raises one `UserError` that lists all offenders, or does nothing where there are none.

    Args:
      offenders: one short line each.
      headline: what is wrong with them, without the count.
      advice: what the user can do.

    Raises:
      UserError: if `offenders` is not empty.
    """
    if offenders:
        raise UserError(f"{headline} ({len(offenders)}):\n{listed(offenders)}\n{advice}")


def printable(text: str) -> str:
    """Returns text that can be printed and written anywhere: bytes of file names that are no UTF-8 as `\\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reason(error: BaseException) -> str:
    """Returns the first line of what a library says of a failure, or the failure's type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def missing_extra(package: str, extra: str, purpose: str) -> UserError:
    """Returns the error for an optional dependency that is not installed."""
    return UserError(f"{purpose} needs the package {package!r}. Install it with: {install_line(extra)}")


def install_line(extra: str) -> str:
    """Returns the line of shell that installs an extra's packages for the Python that runs this.

    In a checkout that is the checkout itself with the extra; elsewhere what an installed wheel says that the extra
    needs, for the package's name alone need not be known where pip looks.
    """
    checkout = pathlib.Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file() and (checkout / "configs").is_dir():
        wanted = ["-e", f"{checkout}[{extra}]"]
    else:
        wanted = []
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for requirement in importlib.metadata.requires(_PACKAGE) or ():
                needed, _, marker = requirement.partition(";")
                others, found = re.subn(rf"\s*(and\s+)?extra\s*==\s*['\"]{re.escape(extra)}['\"]\s*", "", marker)
                if found:
                    others = others.strip().removeprefix("and ")
                    wanted.append(needed.strip() + (f"; {others}" if others else ""))
        wanted = wanted or [f"{_PACKAGE}[{extra}]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *wanted])
