"""A job's processes on this machine: one run of several, or copies side by side."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from types import FrameType
from typing import IO

from boneage_jax.errors import EXIT_BAD_INPUT, EXIT_PEER_LOST, reason
from boneage_jax.launching.job import Job


def commands(job: Job, port: int) -> list[list[str]]:
    """Returns the command of each process.

    Args:
      job: what runs; all nodes are this machine.
      port: free one, where process 0 listens.
    """
    base = [job.boneage, *job.command]
    if job.world == 1:
        return [base] * max(1, job.array)
    world = ["--coordinator", f"localhost:{port}", "--processes", str(job.world)]
    return [[*base, *world, "--process", str(n)] for n in range(job.world)]


def show(job: Job) -> str:
    """Returns what `run` would do, as shell."""
    lines = ["set -e", f"cd {shlex.quote(job.folder)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in job.variables.items()]
    lines += job.setup
    lines += [f"{shlex.join(command)} &" for command in commands(job, _free_port())]
    return "\n".join([*lines, "wait"]) + "\n"


def run(job: Job) -> int:
    """Runs all processes, each line of theirs with its number; returns the status of the first that failed.

    Signals go to all of them. SIGTERM and SIGUSR1: all save; SIGINT (Ctrl-C): all end.
    """
    port = _free_port()
    environment = {**os.environ, **job.variables}
    started = []
    try:
        for command in commands(job, port):
            line = "\n".join([*job.setup, f"exec {shlex.join(command)}"])
            started.append(
                subprocess.Popen(
                    ["bash", "-ec", line],
                    cwd=job.folder,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    bufsize=1,
                )
            )
    except OSError as error:
        for process in started:
            process.kill()
        print(f"boneage: {job.folder}: the job cannot be started ({reason(error)})", file=sys.stderr)
        return EXIT_BAD_INPUT

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    old = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    readers = [threading.Thread(target=_print, args=(n, one.stdout)) for n, one in enumerate(started)]
    for reader in readers:
        reader.start()
    statuses = [process.wait() for process in started]
    for reader in readers:
        reader.join()
    for number, handler in old.items():
        signal.signal(number, handler)
    return status_of(statuses)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def status_of(statuses: list[int]) -> int:
    """Returns the status of all: 0, or that of a process that failed by itself, not because another was stopped."""
    failed = [128 - status if status < 0 else status for status in statuses if status]
    return next((status for status in failed if status != EXIT_PEER_LOST), failed[0] if failed else 0)


_printing = threading.Lock()


def _print(number: int, stream: IO[str] | None) -> None:
    assert stream is not None
    for line in stream:
        # A progress bar draws over itself; of what it drew since the last line, the end is enough.
        with _printing:  # text and line end in one piece
            print(f"[{number}] {line.rstrip().rpartition(chr(13))[2]}", flush=True)
