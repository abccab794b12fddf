"""What a job is: a command of `boneage`, on how many nodes, by how many processes, and what each engine must know.

A TOML file; everything but `name` and `command` has a default:

    name = "m46"
    command = ["train", "--config=configs/m46.py", "--run=runs/m46"]
    nodes = 2
    processes = 4

    [slurm]
    partition = "gpu"
    gpus = 1
    time = "08:00:00"
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
import shlex
import tomllib
from typing import Literal

from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import is_address
from boneage_jax.settings import checked, flatten, setting

COMMANDS = (
    "train",
    "sweep",
    "evaluate",
    "register",
    "paper",
    "importance",
    "scaling",
    "mine",
    "assess",
    "data",
    "demo",
)


@dataclasses.dataclass(frozen=True)
class SlurmSettings:
    """What Slurm must know."""

    partition: str = setting("", "partition; '' for the cluster's default")
    account: str = setting("", "account that pays; '' for none")
    qos: str = setting("", "quality of service; '' for none")
    time: str = setting("", "time limit, as in 08:00:00; '' for the partition's")
    cpus: int = setting(4, "processors a process", low=1)
    memory: str = setting("", "memory a node, as in 64G; '' for the partition's")
    gpus: int = setting(0, "GPUs a process; JAX takes one process for each", low=0)
    warning: int = setting(
        120, "seconds before the time limit at which the job is told to save and go to the queue", low=1
    )
    output: str = setting("slurm-%x-%j.out", "file of what is printed, in sbatch's notation")
    container: str = setting("", "image that runs the command, as srun --container-image takes it; '' for none")
    mounts: str = setting("", "folders of the container, as srun --container-mounts takes them")
    options: tuple[str, ...] = setting((), "more options of sbatch, as in --constraint=a100", may_be_empty=True)


@dataclasses.dataclass(frozen=True)
class GkeSettings:
    """What Kubernetes must know: a JobSet on Google's engine."""

    image: str = setting("", "container image with boneage-jax in it")
    kind: Literal["tpu", "gpu", "cpu"] = setting("tpu", "what a node has")
    accelerator: str = setting(
        "", "value of the node's accelerator label, as in tpu-v5-lite-podslice or nvidia-h100-80gb"
    )
    topology: str = setting("", "tpu: topology of the slice, as in 4x4")
    chips: int = setting(4, "chips or GPUs of a node", low=1)
    namespace: str = setting("default", "namespace")
    service_account: str = setting("", "Kubernetes service account; '' for the default one")
    volume: str = setting("", "persistent volume claim with data and runs; '' for none")
    mount: str = setting("/workspace", "where the volume lies in the container, and where the command runs")
    queue: str = setting("", "Kueue's queue; '' for none")
    spot: bool = setting(False, "whether nodes may be taken away")
    memory: str = setting("", "memory of a pod, as in 64Gi; '' for no request")
    grace: int = setting(120, "seconds to save before the pod is killed", low=1)


@dataclasses.dataclass(frozen=True)
class TpuVmSettings:
    """What `gcloud compute tpus tpu-vm` must know."""

    project: str = setting("", "Google Cloud project; '' for gcloud's own")
    zone: str = setting("", "zone, as in us-west4-a")
    accelerator: str = setting("", "accelerator type, as in v5litepod-16")
    runtime: str = setting("v2-alpha-tpuv5-lite", "software version of the TPU's virtual machines")
    spot: bool = setting(False, "whether the slice may be taken away")
    keep: bool = setting(False, "whether the slice is kept when the job has ended")


@dataclasses.dataclass(frozen=True)
class Job:
    """A command and where it runs."""

    name: str = setting("", "name of the job: small letters, digits and dashes")
    command: tuple[str, ...] = setting((), "arguments of boneage")
    nodes: int = setting(1, "machines that run it together", low=1)
    processes: int = setting(1, "processes on each of them", low=1)
    array: int = setting(0, "copies that run side by side, as workers of a sweep; 0 for none", low=0)
    restarts: int = setting(20, "most times that it starts again after having been stopped and saved", low=0)
    folder: str = setting(".", "folder that it runs in")
    boneage: str = setting("boneage", "the command itself, as in .venv/bin/boneage")
    setup: tuple[str, ...] = setting((), "lines of shell that come first", may_be_empty=True)
    environment: tuple[str, ...] = setting((), "variables, each as NAME=VALUE", may_be_empty=True)
    slurm: SlurmSettings = dataclasses.field(default_factory=SlurmSettings)
    gke: GkeSettings = dataclasses.field(default_factory=GkeSettings)
    tpu_vm: TpuVmSettings = dataclasses.field(default_factory=TpuVmSettings)

    @property
    def world(self) -> int:
        """How many processes there are in all."""
        return self.nodes * self.processes

    @property
    def shell(self) -> str:
        """The command as a line of shell."""
        return shlex.join([self.boneage, *self.command])

    @property
    def variables(self) -> dict[str, str]:
        """The environment by name."""
        return dict(pair.split("=", 1) for pair in self.environment)


def read(path: pathlib.Path) -> Job:
    """Reads a job's file.

    Raises:
      UserError: for a file that is not there or no TOML; lists all unknown keys, wrong types and impossible values.
    """
    try:
        nested = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a job ({error}); expected TOML with name and command") from error
    problems: list[str] = []
    job = checked(Job, nested, problems)
    if job is not None:
        _check_together(job, problems)
    fail_if_any(problems, f"{path}: cannot be used", "See boneage_jax/launching/job.py for what a job may say.")
    assert isinstance(job, Job)
    return job


def need(job: Job, section: str, *keys: str) -> None:
    """Raises `UserError` unless the section of an engine has a value for each of the keys."""
    values = getattr(job, section)
    fail_if_any(
        [f"{section}.{key}: missing" for key in keys if not getattr(values, key)],
        f"the job {job.name!r} does not say what {section} must know",
        f"Write it under [{section}] in the job's file.",
    )


def _check_together(job: Job, problems: list[str]) -> None:
    # What Kubernetes makes of it, NAME-workers-0-0, must be a DNS label of at most 63 letters.
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?", job.name):
        problems.append(f"name: found {job.name!r}, expected at most 48 small letters, digits and dashes")
    if not job.command or job.command[0] not in COMMANDS:
        found = job.command[0] if job.command else "nothing"
        problems.append(f"command: found {found!r} first, expected one of {', '.join(COMMANDS)}")
    elif job.world > 1 and job.command[0] != "train":
        problems.append(
            f"nodes, processes: found {job.world} processes, expected 1 for boneage {job.command[0]}: only train "
            "runs as several (array starts copies)"
        )
    if job.array and job.world > 1:
        problems.append(f"array: found {job.array}, expected 0 where nodes and processes make {job.world} of one run")
    for before, word in itertools.pairwise(("", *job.command)):
        option, _, value = word.partition("=")
        if (is_address(word) or is_address(value)) and "--storage" not in (before, option):
            problems.append(f"command: found {word!r}, an address; expected a path where the nodes have it mounted")
    for key, value in flatten(dataclasses.asdict(job)).items():
        quoted = key in ("command", "environment", "setup")  # in every script
        problems += [
            f"{key}: found {text!r}, expected text without line breaks and other control characters"
            for text in (value if isinstance(value, list) else [value])
            if isinstance(text, str) and ("\0" in text if quoted else not text.isprintable())
        ]
    problems += [
        f"slurm.{key}: found {text!r}, expected text without backslashes, which sbatch takes for itself"
        for key, value in flatten(dataclasses.asdict(job.slurm)).items()
        for text in (value if isinstance(value, list) else [value])
        if isinstance(text, str) and "\\" in text
    ]
    problems += [
        f"environment: found {pair!r}, expected NAME=VALUE"
        for pair in job.environment
        if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", pair)
    ]
