"""Being told to stop: by a person, a scheduler's time limit, or a preempted machine."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from boneage_jax.errors import EXIT_SAVED


class StoppedEarly(Exception):
    """Training was told to stop and has saved its state."""

    exit_status = EXIT_SAVED
    is_agreed = True  # all processes of a run stop at the same step


class StopRequest:
    """Whether a signal has asked for a stop.

    Attributes:
      name: of the signal, or empty.
    """

    name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turns SIGTERM and SIGUSR1 into a request that the loop reads between steps. A no-op outside the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, _frame: object) -> None:
        request.name = signal.Signals(number).name

    old = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
