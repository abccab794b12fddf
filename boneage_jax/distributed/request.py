"""Options of `boneage train` by which the processes of one training find each other."""

from __future__ import annotations

import dataclasses
from typing import Literal

from boneage_jax.options import option

Mode = Literal["auto", "on", "off"]
"""Whether a process looks for others: where the environment names them, always, never."""

WAIT_SECONDS = 300
"""How long processes wait for each other at the start, as long as JAX does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessesRequest:
    """How many processes there are, and where they meet."""

    coordinator: str = option("", "address at which process 0 listens", metavar="HOST:PORT")
    processes: int = option(0, "number of processes", low=1, default_text="")
    process: int = option(-1, "number of this process, from 0", low=0, default_text="")
    distributed: Mode = option(
        "auto", "whether to look for other processes: where the environment names them, always, never"
    )
    wait: int = option(WAIT_SECONDS, "seconds to wait for the others at the start", low=1)
