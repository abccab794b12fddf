"""JobSets: the Job inside checked by Kubernetes' own schemas, the JobSet around it against its documented fields."""

import dataclasses
import http.server
import json
import os
import shutil
import subprocess
import threading

import pytest
import yaml

from boneage_jax.errors import UserError
from boneage_jax.launching import gke
from boneage_jax.launching.job import GkeSettings, Job

kubernetes_validate = pytest.importorskip("kubernetes_validate")

TPU = Job(
    "m46",
    ("train", "--config=configs/m46.py", "--run=runs/m46"),
    nodes=4,
    environment=("A=b c",),
    setup=("nvidia-smi || true",),
    gke=GkeSettings("image:1", "tpu", "tpu-v5-lite-podslice", "4x4", volume="data", queue="q", spot=True),
)
GPU = dataclasses.replace(
    TPU, gke=GkeSettings("image:1", "gpu", "nvidia-h100-80gb", chips=8, memory="64Gi", service_account="writer")
)
SWEEP = dataclasses.replace(
    TPU, command=("sweep", "work", "sweeps/a"), nodes=1, array=5, gke=GkeSettings("image:1", "cpu")
)

DOCUMENTED = {
    "": {"apiVersion", "kind", "metadata", "spec", "status"},
    "spec": {
        "replicatedJobs", "network", "successPolicy", "failurePolicy", "startupPolicy", "suspend", "coordinator",
        "managedBy", "ttlSecondsAfterFinished",
    },
    "spec.failurePolicy": {"maxRestarts", "restartStrategy", "rules"},
    "spec.failurePolicy.rules": {"name", "action", "onJobFailureReasons", "targetReplicatedJobs"},
    "spec.network": {"enableDNSHostnames", "subdomain", "publishNotReadyAddresses"},
    "spec.replicatedJobs": {"name", "groupName", "template", "replicas", "dependsOn"},
}  # fmt: skip
"""JobSet's API reference, jobset.x-k8s.io/v1alpha2."""
ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}
REASONS = {
    "BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy",
}  # fmt: skip


def fields(manifest):
    """Every object of the JobSet itself, by its place."""
    spec = manifest["spec"]
    yield "", manifest
    yield "spec", spec
    yield "spec.failurePolicy", spec["failurePolicy"]
    yield "spec.network", spec["network"]
    yield from (("spec.failurePolicy.rules", rule) for rule in spec["failurePolicy"]["rules"])
    yield from (("spec.replicatedJobs", one) for one in spec["replicatedJobs"])


@pytest.mark.parametrize("job", [TPU, GPU, SWEEP], ids=["tpu", "gpu", "sweep"])
def test_what_is_applied_is_valid(job):
    manifest = yaml.safe_load(gke.show(job))
    assert manifest == gke.manifest(job)
    for place, value in fields(manifest):
        assert set(value) <= DOCUMENTED[place], place
    for rule in manifest["spec"]["failurePolicy"]["rules"]:
        assert rule["action"] in ACTIONS
        assert set(rule["onJobFailureReasons"]) <= REASONS
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = manifest["spec"]["replicatedJobs"]
    inner = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job.name}, **replicated["template"]}
    kubernetes_validate.validate(inner, kubernetes_validate.latest_version(), strict=True)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **gke.pod_template(job)}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_would_be_found():
    """The validator does look."""
    template = gke.pod_template(TPU)
    template["spec"]["nodeSelektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template},
            kubernetes_validate.latest_version(),
            strict=True,
        )


MISREAD = (
    "1e3", "0o17", "08", "0958", "12e5", "y", "no", "On", "true", "null", "~", "", "0x1F", "0b1", "1_000", "1:30", ".5",
    "-.inf", ".NaN", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "<<", "=", "- a", "a: b", "#a", "&a", "*a", "!a",
    "%a", "@a", "`a", "{a", "[a", '"', "'", "\\n", "\\", " a ", "a\tb", "ü", "\U0001f9b4", "\u2028", "\x85", "\ufeff",
)  # fmt: skip
"""What one or the other YAML reads as something else than this text, or not at all."""
SCRIPTS = ("a\nb", "a \nb\n", "  a\n b\n\n", "\ta\nb", "\n", "cat <<'E'\n  08\nE\n", "a\r\nb", "# a\nb", "é\n\u2028b")


def with_texts():
    """A job whose every text could be misread, and all of these as they must arrive."""
    environment = tuple(f"V{n}={text}" for n, text in enumerate((*MISREAD, *SCRIPTS)))
    settings = GkeSettings("08", "gpu", "1e3", memory="12e5", namespace="0958", volume="y", queue="no", chips=1)
    return dataclasses.replace(GPU, name="e1", environment=environment, setup=SCRIPTS, gke=settings)


def test_every_text_stays_a_text():
    """By PyYAML's rules; by those of kubectl below."""
    job = with_texts()
    assert yaml.safe_load(gke.show(job)) == gke.manifest(job)
    for line in gke.show(job).splitlines():
        name, colon, value = line.strip().removeprefix("- ").partition(": ")
        if colon and name.startswith('"'):
            assert value[0] in '"|[{' or value in ("true", "false") or value.isdigit(), line


class Kubernetes(http.server.BaseHTTPRequestHandler):
    """As much of an API server as `kubectl create --dry-run=client` asks for: which kinds there are."""

    _VERSION = "jobset.x-k8s.io/v1alpha2"
    _SAYS = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [
                {
                    "name": "jobset.x-k8s.io",
                    "versions": [{"groupVersion": _VERSION, "version": "v1alpha2"}],
                    "preferredVersion": {"groupVersion": _VERSION, "version": "v1alpha2"},
                }
            ],
        },
        f"/apis/{_VERSION}": {
            "kind": "APIResourceList",
            "groupVersion": _VERSION,
            "resources": [
                {"name": "jobsets", "singularName": "jobset", "namespaced": True, "kind": "JobSet", "verbs": ["create"]}
            ],
        },
    }

    def do_GET(self):
        """Answers."""
        said = self._SAYS.get(self.path.split("?")[0])
        body = json.dumps(said or {"kind": "Status", "status": "Failure", "code": 404}).encode()
        self.send_response(200 if said else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def kubectl(tmp_path):
    """Reads YAML as the real kubectl does, to what it would create."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed (Debian: kubernetes-client)")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Kubernetes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def create(text):
            where = ["--server", f"http://127.0.0.1:{server.server_port}", "--cache-dir", str(tmp_path / "cache")]
            command = ["kubectl", "create", *where, "--validate=false", "--dry-run=client", "-o", "json", "-f", "-"]
            environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
            done = subprocess.run(
                command,
                input=text,
                env={**environment, "HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        yield create
        server.shutdown()


@pytest.mark.engine
@pytest.mark.parametrize("job", [TPU, GPU, SWEEP, with_texts()], ids=["tpu", "gpu", "sweep", "texts"])
def test_kubectl_reads_what_was_meant(kubectl, job):
    assert kubectl(gke.show(job)) == gke.manifest(job)


@pytest.mark.engine
def test_kubectl_would_misread_them_without_quotes(kubectl):
    """The reader is the one that makes the fault: plain, most of these arrive as numbers, truths or nothing."""
    plain = ["1e3", "0o17", "08", "0958", "12e5", "y", "no", "0x1F", "1_000", ".5", "null", "~"]
    head = "apiVersion: jobset.x-k8s.io/v1alpha2\nkind: JobSet\nmetadata: {name: a, namespace: b}"
    assert not [value for value in kubectl(f"{head}\nx: [{', '.join(plain)}]")["x"] if isinstance(value, str)]


def container(job):
    return gke.pod_template(job)["spec"]["containers"][0]


def test_slices_and_gpus():
    spec = gke.pod_template(TPU)["spec"]
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert container(TPU)["resources"]["limits"] == {"google.com/tpu": 4}
    assert container(GPU)["resources"]["limits"] == {"nvidia.com/gpu": 8}
    # JAX finds the others of a slice by itself; on GPUs it is told.
    assert "--coordinator" not in container(TPU)["args"][0]
    assert "--coordinator m46-workers-0-0.m46:8476 --processes 4" in container(GPU)["args"][0]
    assert container(SWEEP)["resources"]["limits"] == {}
    assert gke.manifest(SWEEP)["spec"]["replicatedJobs"][0]["replicas"] == 5


def test_the_container_runs_the_command_in_its_own_process(tmp_path):
    """The line that bash gets, run here: variables, setup, and signals that reach the command itself."""
    stand_in = tmp_path / "boneage"
    stand_in.write_text('#!/bin/bash\necho "$$ $*"\n')
    stand_in.chmod(0o755)
    job = dataclasses.replace(GPU, boneage=str(stand_in), folder=str(tmp_path), setup=())
    one = container(job)
    environment = {**os.environ, "JOB_COMPLETION_INDEX": "3"}
    process = subprocess.Popen([*one["command"], *one["args"]], env=environment, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=30)
    number, _, said = out.strip().partition(" ")
    assert int(number) == process.pid
    assert said.endswith("--processes 4 --process 3")


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match=r"gke\.image: missing"):
        gke.manifest(Job("a", ("train",)))
    with pytest.raises(UserError, match=r"gke\.topology: missing"):
        gke.manifest(Job("a", ("train",), gke=GkeSettings("i", "tpu", "v5")))
    with pytest.raises(UserError, match="processes: found 2, expected 1"):
        gke.manifest(dataclasses.replace(TPU, processes=2))


def test_without_kubectl_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="kubectl: cannot be run"):
        gke.run(TPU)
