"""A study's journal in a file: one operation a line, in JSON, appended by all workers. Optuna's own, mended.

A worker that ends while it writes, or a disk that is full, leaves a line without its end. Optuna reads past such a last
line, but appends the next operation to it: from then on the file cannot be read. So whoever takes the journal's lock to
append mends its end first.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import TYPE_CHECKING, BinaryIO

from boneage_jax.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

CUT = ".cut"
"""Ending of the file beside the journal that keeps what was taken from it."""

_START = b'{"op_code":'
"""How Optuna begins an operation."""


def storage(path: pathlib.Path) -> JournalStorage:
    """Opens a journal as a storage of Optuna.

    Raises:
      UserError: where a line within it cannot be read; names it.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class Lock(JournalFileOpenLock):
        """Held for appending alone: reading takes none."""

        def acquire(self) -> bool:
            taken = super().acquire()
            try:
                mend(path)
            except BaseException:
                self.release()
                raise
            return taken

    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=Lock(str(path))))
    except ValueError as error:
        raise _unreadable(path) or error from error


def mend(path: pathlib.Path) -> None:
    """Ends the journal's last line, or takes it away where it is not whole; says so on standard error.

    Only under the journal's lock. What is taken away is kept in a file beside it.
    """
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        tail = _last_line(file, end)
        if _is_operation(tail):
            file.seek(end)
            file.write(b"\n")
            message = "its end is written"
        else:
            beside = path.with_name(path.name + CUT)
            with beside.open("ab") as kept:
                kept.write(tail + b"\n")
            file.truncate(end - len(tail))
            message = f"{len(tail)} bytes are taken out and kept in {beside.name}; that operation is repeated"
        file.flush()
        os.fsync(file.fileno())
    print(f"boneage: {path}: the last line was cut short, as by a crash or a full disk: {message}", file=sys.stderr)


def _unreadable(path: pathlib.Path) -> UserError | None:
    """What is wrong with the first line that is no operation, an unfinished last one aside."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") or _is_operation(line):
                continue
            half = line.rfind(_START)
            if half > 0 and _is_operation(line[half:]):
                todo = (
                    f"take the first {half} bytes of that line out, half an operation to which a whole one was appended"
                )
            else:
                todo = "restore the file from a copy, or start anew with another --out"
            return UserError(f"{path}: line {number} cannot be read as an operation of a study ({line[:60]!r}); {todo}")
    return None


def _last_line(file: BinaryIO, end: int, block: int = 1 << 16) -> bytes:
    """Everything behind the last end of a line."""
    tail = b""
    while end > 0 and b"\n" not in tail:
        start = max(0, end - block)
        file.seek(start)
        tail, end = file.read(end - start) + tail, start
    return tail.rpartition(b"\n")[2]


def _is_operation(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False
