"""A job for Kubernetes: a JobSet (jobset.x-k8s.io/v1alpha2) on TPU slices or GPU nodes of Google's engine.

Every node is a pod of an Indexed Job. On GPUs and CPUs pods find each other by the names that JobSet gives them; on
TPUs by what the engine tells each pod of its slice, which JAX reads by itself.
"""

from __future__ import annotations

import math
import shlex
import subprocess
from typing import Any

import yaml

from boneage_jax.errors import EXIT_FINAL, UserError, reason
from boneage_jax.launching.job import Job, need

WORKERS = "workers"
_PORT = 8476
"""Port at which process 0 listens in its pod; any other would do."""


def manifest(job: Job) -> dict[str, Any]:
    """Returns the JobSet as Kubernetes takes it.

    Raises:
      UserError: for settings that are missing.
    """
    need(job, "gke", "image", *(() if job.gke.kind == "cpu" else ("accelerator",)))
    if job.gke.kind == "tpu":
        need(job, "gke", "topology")
    if job.processes > 1:
        raise UserError(f"processes: found {job.processes}, expected 1: a pod's process takes all chips of its node")
    metadata: dict[str, Any] = {"name": job.name, "namespace": job.gke.namespace}
    if job.gke.kind == "tpu":
        # A slice is one pool of nodes, and belongs to one job alone.
        metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    if job.gke.queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": job.gke.queue}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "failurePolicy": {
                "maxRestarts": job.restarts,
                "rules": [{"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "network": {"enableDNSHostnames": True},
            "replicatedJobs": [
                {
                    "name": WORKERS,
                    "replicas": max(1, job.array),
                    "template": {"spec": _job_spec(job)},
                }
            ],
        },
    }


def _job_spec(job: Job) -> dict[str, Any]:
    """The specification of a batch/v1 Job."""
    return {
        "parallelism": job.nodes,
        "completions": job.nodes,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "boneage", "operator": "In", "values": list(EXIT_FINAL)},
                }
            ]
        },
        "template": pod_template(job),
    }


def pod_template(job: Job) -> dict[str, Any]:
    """Returns the template of the job's pods."""
    settings = job.gke
    selector = {}
    if settings.kind == "tpu":
        selector["cloud.google.com/gke-tpu-accelerator"] = settings.accelerator
        selector["cloud.google.com/gke-tpu-topology"] = settings.topology
    elif settings.kind == "gpu":
        selector["cloud.google.com/gke-accelerator"] = settings.accelerator
    if settings.spot:
        selector["cloud.google.com/gke-spot"] = "true"

    amounts = {"tpu": {"google.com/tpu": settings.chips}, "gpu": {"nvidia.com/gpu": settings.chips}, "cpu": {}}
    limits: dict[str, Any] = dict(amounts[settings.kind])
    requests: dict[str, Any] = dict(limits)
    if settings.memory:
        requests["memory"] = settings.memory

    volumes: list[dict[str, Any]] = [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}]
    mounts = [{"name": "shared-memory", "mountPath": "/dev/shm"}]
    if settings.volume:
        volumes.append({"name": "workspace", "persistentVolumeClaim": {"claimName": settings.volume}})
        mounts.append({"name": "workspace", "mountPath": settings.mount})

    container: dict[str, Any] = {
        "name": "boneage",
        "image": settings.image,
        "command": ["bash", "-ec"],
        "args": ["\n".join([f"cd {shlex.quote(_folder(job))}", *job.setup, f"exec {_command(job)}"])],
        "env": [{"name": name, "value": value} for name, value in job.variables.items()],
        "resources": {"limits": limits, "requests": requests},
        "volumeMounts": mounts,
    }
    if job.world > 1 and settings.kind != "tpu":
        container["ports"] = [{"containerPort": _PORT}]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.grace,
        "nodeSelector": selector,
        "containers": [container],
        "volumes": volumes,
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.kind == "gpu":
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return {"spec": spec}


def _folder(job: Job) -> str:
    return job.gke.mount if job.gke.volume and job.folder == "." else job.folder


def _command(job: Job) -> str:
    """The command, with the way to the others where the engine does not tell it: `exec`, so that signals arrive."""
    if job.world == 1 or job.gke.kind == "tpu":
        return job.shell
    # JobSet's names: JOBSET-REPLICATEDJOB-JOBINDEX-PODINDEX, in the subdomain JOBSET.
    first = f"{job.name}-{WORKERS}-0-0.{job.name}"
    return f'{job.shell} --coordinator {first}:{_PORT} --processes {job.world} --process "$JOB_COMPLETION_INDEX"'


def show(job: Job) -> str:
    """Returns what `run` would apply, as YAML."""
    return yaml.dump(manifest(job), Dumper=_Quoting, sort_keys=False, allow_unicode=True, width=math.inf)


class _Quoting(yaml.SafeDumper):
    """Writes every text in quotes, or as a block where it has several lines.

    What Kubernetes reads by the rules of YAML 1.1 and 1.2 together (sigs.k8s.io/yaml) as a number, a truth value or
    nothing is more than PyYAML quotes by itself: `1e3`, `0o17`, `0958`, `y`.
    """


def _quoted(dumper: _Quoting, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else '"')


_Quoting.add_representer(str, _quoted)


def run(job: Job) -> int:
    """Applies the JobSet.

    Raises:
      UserError: for settings that are missing, and where kubectl is not there or refuses.
    """
    text = show(job)
    try:
        done = subprocess.run(["kubectl", "apply", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"kubectl: cannot be run ({reason(error)}); expected it on this machine") from error
    if done.returncode:
        raise UserError(f"kubectl refuses the job {job.name!r}: {done.stderr.strip()}")
    print(f"{done.stdout.strip()}\n{shlex.join(['kubectl', '-n', job.gke.namespace, 'get', 'jobset', job.name])}")
    return 0
