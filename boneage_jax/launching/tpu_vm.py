"""A job on a TPU slice of virtual machines: made, run on all its workers, made again when it is taken away."""

from __future__ import annotations

import shlex
import subprocess
import sys

from boneage_jax.errors import UserError, reason
from boneage_jax.launching.job import Job, need

_SCRIPT = """\
#!/usr/bin/env bash
set -uo pipefail
state() {{ {tpu} describe {name} {where} --format='value(state)' 2>/dev/null; }}
restarts=0
while true; do
  now=$(state)
  case "$now" in
    READY) ;;
    "")
      {tpu} create {name} {where} {what} || {{ echo "boneage: no slice; trying again" >&2; sleep "$PAUSE"; }}
      continue ;;
    PREEMPTED | TERMINATED | SUSPENDED | STOPPED | REPAIRING | UNHEALTHY_MAINTENANCE)
      {tpu} delete {name} {where} --quiet
      continue ;;
    *)
      sleep "$PAUSE"
      continue ;;
  esac
  {tpu} ssh {name} {where} --worker=all --command={command}
  status=$?
  if [ "$status" -eq 0 ]; then break; fi
  # Still there: the command itself has failed, and would again.
  if [ "$(state)" = READY ]; then
    echo "boneage: the job has failed with status $status; the slice {name} is kept for a look" >&2
    exit "$status"
  fi
  restarts=$((restarts + 1))
  if [ "$restarts" -gt {restarts} ]; then
    echo "boneage: the slice was taken away {restarts} times and once more" >&2
    exit 75
  fi
  echo "boneage: the slice was taken away; making another, to go on from the checkpoint" >&2
done
{end}
"""


def script(job: Job) -> str:
    """Returns the script that stays on this machine while the job runs on the slice.

    Raises:
      UserError: for settings that are missing.
    """
    settings = job.tpu_vm
    need(job, "tpu_vm", "zone", "accelerator", "runtime")
    if job.array or job.processes > 1:
        raise UserError("array, processes: expected 0 and 1 on TPU VMs: each worker of a slice is one process")
    where = shlex.join([f"--zone={settings.zone}", *([f"--project={settings.project}"] if settings.project else [])])
    what = [f"--accelerator-type={settings.accelerator}", f"--version={settings.runtime}"]
    what += ["--spot"] if settings.spot else []
    lines = [f"cd {shlex.quote(job.folder)}", *job.setup]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in job.variables.items()]
    tpu = "gcloud compute tpus tpu-vm"
    return _SCRIPT.format(
        tpu=tpu,
        name=job.name,
        where=where,
        what=shlex.join(what),
        command=shlex.quote("set -e\n" + "\n".join([*lines, f"exec {job.shell}"])),
        restarts=job.restarts,
        end=":" if settings.keep else f"{tpu} delete {job.name} {where} --quiet",
    ).replace("restarts=0\n", "restarts=0\nPAUSE=${PAUSE:-30}\n", 1)


def show(job: Job) -> str:
    """Returns what `run` would run here."""
    return script(job)


def run(job: Job) -> int:
    """Runs the script here until the job has ended; returns its status.

    Raises:
      UserError: for settings that are missing, and where there is no shell.
    """
    text = script(job)
    sys.stdout.flush()
    try:
        return subprocess.run(["bash", "-c", text], check=False).returncode
    except OSError as error:
        raise UserError(f"bash: cannot be run ({reason(error)})") from error
