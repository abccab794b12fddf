"""Options of `boneage sweep`."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """The search that `sweep status`, `best` and `report` are about."""

    sweep: pathlib.Path = option(help="folder of the sweep", positional=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkRequest(SweepRequest):
    """Work as one worker of a search."""

    lease: float = option(
        60.0,
        "seconds of silence after which a worker counts as lost and another takes its trial",
        above=0,
        unit="seconds",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumeRequest(WorkRequest):
    """Go on with a search, by workers of this machine."""

    workers: int = option(1, "workers on this machine; 0 for none", low=0)
    gpus: int = option(0, "GPUs dealt to the workers; 0 leaves the choice to JAX", low=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartRequest(ResumeRequest):
    """Start a search."""

    sweep: pathlib.Path = option(help="file that defines get_sweep(), as configs/sweeps/tiny.py", positional=True)
    out: pathlib.Path = option(help="folder for study, runs and page")
    storage: str = option("", "database of the study", default_text="a file in --out")
