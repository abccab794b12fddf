"""A job for Slurm: a batch script that saves and goes back to the queue when it is preempted or its time is over."""

from __future__ import annotations

import shlex
import subprocess

from boneage_jax.errors import UserError, reason
from boneage_jax.launching.job import Job

_BODY = """\
# Told to stop, by Slurm or by a person, the processes save and end with status 75; then the job goes back to the queue,
# and the same command goes on from the checkpoint. Any other end is an end.
forward() {{ signalled=1; kill -USR1 "$step" 2>/dev/null || true; }}
{srun} &
step=$!
trap forward USR1 TERM
while true; do
  signalled=""
  status=0
  wait "$step" || status=$?
  if [ -z "$signalled" ]; then break; fi # a signal ends `wait`, not the step
done
if [ "$status" -eq 75 ]; then
  if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {restarts} ]; then
    echo "boneage: started again {restarts} times already; submit the job again to go on" >&2
    exit 75
  fi
  target="$SLURM_JOB_ID"
  if [ -n "${{SLURM_ARRAY_TASK_ID:-}}" ]; then target="${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"; fi
  echo "boneage: saved; back to the queue" >&2
  scontrol requeue "$target"
fi
exit "$status"
"""


def script(job: Job) -> str:
    """Returns the batch script."""
    settings = job.slurm
    options = [
        f"--job-name={job.name}",
        f"--nodes={job.nodes}",
        f"--ntasks-per-node={job.processes}",
        f"--cpus-per-task={settings.cpus}",
        "--requeue",
        "--open-mode=append",
        f"--signal=B:USR1@{settings.warning}",
        f"--output={settings.output}",
    ]
    for name, value in (
        ("partition", settings.partition),
        ("account", settings.account),
        ("qos", settings.qos),
        ("time", settings.time),
        ("mem", settings.memory),
        # All GPUs of a node are shown to all its processes: JAX gives each its own.
        ("gres", f"gpu:{settings.gpus * job.processes}" if settings.gpus else ""),
        ("array", f"0-{job.array - 1}" if job.array else ""),
    ):
        if value:
            options.append(f"--{name}={value}")
    options += settings.options

    srun = ["srun", "--kill-on-bad-exit=0", "--wait=0"]
    if settings.gpus:
        srun.append("--gpu-bind=none")
    if settings.container:
        srun.append(f"--container-image={settings.container}")
    if settings.mounts:
        srun.append(f"--container-mounts={settings.mounts}")
    # sbatch takes the words of such a line apart as a shell does.
    lines = ["#!/bin/bash", *(f"#SBATCH {shlex.quote(option)}" for option in options), "set -eu"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in job.variables.items()]
    lines += [f"cd {shlex.quote(job.folder)}", *job.setup]
    return "\n".join(lines) + "\n" + _BODY.format(srun=f"{shlex.join(srun)} {job.shell}", restarts=job.restarts)


def show(job: Job) -> str:
    """Returns what `run` would submit, as shell."""
    text, end = script(job), "END"
    while end in text.splitlines():
        end += "_"
    return f"sbatch --parsable <<'{end}'\n{text}{end}\n"


def run(job: Job) -> int:
    """Submits the job and prints its number.

    Raises:
      UserError: where Slurm is not there or refuses.
    """
    try:
        done = subprocess.run(["sbatch", "--parsable"], input=script(job), capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(
            f"sbatch: cannot be run ({reason(error)}); expected Slurm's commands on this machine"
        ) from error
    if done.returncode:
        raise UserError(f"sbatch refuses the job {job.name!r}: {done.stderr.strip()}")
    number = done.stdout.strip().split(";")[0]
    print(f"submitted as job {number}: squeue -j {number}; told to save and requeue: scancel -b -s USR1 {number}")
    return 0
