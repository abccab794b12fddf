"""Commands as processes of their own: started, watched, ended, with all that they have started."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SECONDS = 600
"""That a command may take before it counts as hanging."""

_LOOK_SECONDS = 0.002


@dataclasses.dataclass
class Running:
    """A command under way.

    Attributes:
      pid: of its process.
      log: file with what it prints.
      status: its exit status, negative for a signal; None while it runs.
    """

    pid: int
    log: pathlib.Path
    status: int | None = None

    def ended(self) -> bool:
        """Returns whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self, until: Callable[[], bool] = lambda: False, seconds: float = SECONDS) -> bool:
        """Waits until it has ended, something is so, or the time is over; returns whether it has ended."""
        end = time.monotonic() + seconds
        while not self.ended() and not until() and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
        return self.ended()

    def descendants(self) -> list[int]:
        """Returns the processes that it and its children have started."""
        parents: dict[int, list[int]] = {}
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
        found = [self.pid]
        for one in found:
            found += parents.get(one, [])
        return found[1:]

    def end(self, number: int) -> None:
        """Sends a signal; SIGKILL to all that it has started too, as when a machine goes."""
        others = self.descendants() if number == signal.SIGKILL else []
        for pid in (self.pid, *others):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        self.wait()

    def said(self) -> str:
        """Returns what it has printed."""
        return self.log.read_text(errors="replace")


def start(arguments: Sequence[str], place: pathlib.Path, log: pathlib.Path) -> Running:
    """Starts `boneage` in a process that has imported everything already.

    Args:
      arguments: of the command.
      place: its working folder.
      log: file that what it prints is appended to.
    """

    def run() -> int:
        from boneage_jax.cli import main

        return main(list(arguments))

    return Running(_forked(run, place, log), log)


def start_program(
    arguments: Sequence[str], place: pathlib.Path, log: pathlib.Path, prefix: Sequence[str] = ()
) -> Running:
    """Starts `boneage` as a new program, behind another command such as `prlimit`."""
    command = [*prefix, sys.executable, "-m", "boneage_jax.cli", *arguments]

    def run() -> int:
        os.execvp(command[0], command)

    return Running(_forked(run, place, log), log)


def asked(function: Callable[..., Any], *arguments: Any, folder: pathlib.Path) -> Any:
    """Returns what a function returns, as JSON has it, called in another process: it may start JAX there.

    Raises:
      RuntimeError: where it fails there.
    """
    answer, log = folder / "answer.json", folder / "answer.log"
    answer.unlink(missing_ok=True)
    log.unlink(missing_ok=True)

    def run() -> int:
        answer.write_text(json.dumps(function(*arguments)))
        return 0

    running = Running(_forked(run, folder, log), log)
    running.wait()
    if running.status != 0:
        raise RuntimeError(running.said())
    return json.loads(answer.read_text())


def _forked(run: Callable[[], int], place: pathlib.Path, log: pathlib.Path) -> int:
    """Starts a process that runs a function in a folder, and ends with what it returns."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        os.chdir(place)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        status = run()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def environment() -> Mapping[str, str]:
    """Returns the variables of all commands: little to compile, and that only once."""
    return {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }
