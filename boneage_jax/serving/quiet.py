"""What servers say on standard error: their own log, which names nobody, and nothing of anyone else."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def own_log_alone(ours: logging.Logger, others: Sequence[str]) -> Iterator[None]:
    """Writes a server's own log to standard error, and nothing of libraries, warnings and threads.

    These quote headers of files and requests, and so names of patients.

    Args:
      ours: the server's logger, or the package's above it.
      others: loggers of libraries.
    """
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours.addHandler(shown)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    for name in others:
        other = logging.getLogger(name)
        other.setLevel(logging.CRITICAL + 1)
        other.propagate = False
    hook = threading.excepthook
    threading.excepthook = lambda failed: ours.error("a thread failed (%s)", failed.exc_type.__name__)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        threading.excepthook = hook
        ours.removeHandler(shown)
