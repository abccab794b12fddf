"""What `boneage plan` is doing, on standard error: a compilation for TPUs takes minutes."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Prints a line of progress."""
    print(f"plan: {text}", file=sys.stderr, flush=True)
