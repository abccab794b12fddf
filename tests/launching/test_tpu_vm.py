"""The script of a TPU slice, run against a stand-in for gcloud that remembers a slice's state."""

import os
import subprocess

import pytest

from boneage_jax.errors import UserError
from boneage_jax.launching import tpu_vm
from boneage_jax.launching.job import Job, TpuVmSettings

JOB = Job(
    "m46",
    ("train", "--run=runs/it's"),
    restarts=2,
    setup=("source venv/bin/activate",),
    tpu_vm=TpuVmSettings("project", "zone-a", "v5litepod-16", spot=True),
)

_GCLOUD = """\
#!/bin/bash
# gcloud compute tpus tpu-vm ACTION NAME ...: a slice whose runs end as {folder}/runs says, a line each.
action=$4
echo "$action" >> {folder}/calls
case "$action" in
  describe) cat {folder}/state 2>/dev/null ;;
  create) echo READY > {folder}/state; echo "$@" > {folder}/created ;;
  delete) rm -f {folder}/state ;;
  ssh)
    echo "$@" > {folder}/ssh
    outcome=$(head -1 {folder}/runs); sed -i 1d {folder}/runs
    case "$outcome" in
      preempted) echo PREEMPTED > {folder}/state; exit 255 ;;
      failed) exit 3 ;;
    esac ;;
esac
"""


def run(tmp_path, outcomes, job=JOB):
    """Runs the script; returns its status and what gcloud was asked to do, descriptions aside."""
    (tmp_path / "bin").mkdir()
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.write_text(_GCLOUD.format(folder=tmp_path))
    gcloud.chmod(0o755)
    (tmp_path / "runs").write_text("\n".join(outcomes) + "\n")
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PAUSE": "0"}
    done = subprocess.run(
        ["bash", "-c", tpu_vm.show(job)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    calls = [call for call in (tmp_path / "calls").read_text().split() if call != "describe"]
    return done, calls


def test_made_run_and_taken_down(tmp_path):
    done, calls = run(tmp_path, ["done"])
    assert (done.returncode, calls) == (0, ["create", "ssh", "delete"])
    created = (tmp_path / "created").read_text()
    for option in ("--zone=zone-a", "--project=project", "--accelerator-type=v5litepod-16", "--spot"):
        assert option in created
    asked = (tmp_path / "ssh").read_text()
    assert "--worker=all" in asked
    assert "exec boneage train '--run=runs/it'\"'\"'s'" in asked
    assert "source venv/bin/activate" in asked


def test_taken_away_it_is_made_again(tmp_path):
    done, calls = run(tmp_path, ["preempted", "done"])
    assert done.returncode == 0, done.stderr
    assert calls == ["create", "ssh", "delete", "create", "ssh", "delete"]
    assert "making another, to go on from the checkpoint" in done.stderr


def test_not_for_ever(tmp_path):
    done, calls = run(tmp_path, ["preempted"] * 5)
    assert done.returncode == 75
    assert calls.count("ssh") == 3


def test_a_job_that_fails_by_itself_is_not_tried_again(tmp_path):
    done, calls = run(tmp_path, ["failed"])
    assert (done.returncode, calls) == (3, ["create", "ssh"])
    assert "kept for a look" in done.stderr


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match=r"tpu_vm\.zone: missing[\s\S]*tpu_vm\.accelerator: missing"):
        tpu_vm.show(Job("a", ("train",)))
