"""The kit for a GPU: what it counts, that it keeps what it has whatever happens, what it needs to be carried."""

import dataclasses
import importlib.metadata
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import gpu, gpu_report, gpu_sections, gpu_sides, roofline, step_jax, step_torch
from boneage_jax.errors import UserError
from boneage_jax.models import ops
from boneage_jax.planning.chips import GPUS, Chip
from boneage_jax.runs import checkpoint

ROOT = pathlib.Path(__file__).parents[1]
CHIP = Chip("a chip", flops=1e12, bandwidth=1e9, memory=1e9)


# ---- the roofline ---------------------------------------------------------------------------------------------------


def convolution(stride, padding, spread=1):
    def apply(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, lhs_dilation=(spread, spread),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    return apply


@pytest.mark.parametrize(
    ("stride", "padding", "spread"),
    [(1, "SAME", 1), (1, "VALID", 1), (2, [(1, 1), (1, 1)], 1), (1, [(2, 2), (1, 2)], 2)],
)
def test_convolutions_are_counted_as_xla_counts_them(stride, padding, spread):
    x, kernel = jnp.ones((2, 13, 10, 3)), jnp.ones((3, 3, 3, 5))
    apply = convolution(stride, padding, spread)
    floor = roofline.floor_of(apply, x, kernel)
    assert floor.flops == jax.jit(apply).lower(x, kernel).cost_analysis()["flops"]
    (one,) = floor.operations
    assert one.bytes == 4 * (x.size + kernel.size + apply(x, kernel).size)
    assert floor.arguments == one.bytes


def test_gradients_of_a_strided_convolution_are_counted_as_xla_counts_them():
    x, kernel = jnp.ones((2, 12, 11, 3)), jnp.ones((3, 3, 3, 5))
    apply = convolution(2, [(1, 1), (1, 1)])

    def gradients(x, kernel, dy):
        y, back = jax.vjp(apply, x, kernel)
        return y, *back(dy)

    dy = jnp.ones_like(apply(x, kernel))
    floor = roofline.floor_of(gradients, x, kernel, dy)
    counted = jax.jit(gradients).lower(x, kernel, dy).cost_analysis()["flops"]
    # XLA also counts the flip of the kernel, or the like: far less than a product.
    assert floor.flops == pytest.approx(counted, rel=0.02)


def test_products_in_loops_and_in_calls_are_counted_as_often_as_they_run():
    a = jnp.ones((7, 7), jnp.bfloat16)

    @jax.jit
    def inner(x):
        return jnp.tanh(x @ a)

    def outer(x):
        return jax.lax.scan(lambda carry, _: (inner(carry), None), x, length=5)[0]

    floor = roofline.floor_of(outer, a)
    assert floor.flops == 5 * 2 * 7**3
    assert sum(one.bytes for one in floor.operations) == 5 * 3 * 49 * 2


def test_the_floor_is_the_longer_of_arithmetic_and_memory_of_each_operation():
    floor = roofline.Floor((roofline.Operation("a", 3e12, 1e9), roofline.Operation("b", 1e12, 4e9)), 2e9)
    assert floor.seconds(CHIP) == 3 + 4 + 2
    assert (floor.flops, floor.bytes) == (4e12, 7e9)


networks = pytest.mark.parametrize(
    "network", ["m46", *(pytest.param(one, marks=pytest.mark.integration) for one in step_jax.CONFIGS if one != "m46")]
)
"""All that are timed; the larger ones in `make engines`."""


@networks
def test_a_training_step_is_counted_nearly_as_xla_counts_it_and_is_the_same_network_in_torch(network):
    """XLA counts what stands between the matrix operations too: a few percent."""
    ours = step_jax.abstract(step_jax.config_of(network, batch=2, dtype="bfloat16", kernels="plain"))
    floor = roofline.floor_of(ours.step, ours.state, ours.batch)
    counted = ours.step.lower(ours.state, ours.batch).cost_analysis()["flops"]
    assert 0.9 * counted < floor.flops < counted
    # 64 images on an H100 take longer to move than to multiply.
    assert floor.bytes / GPUS["H100"].bandwidth > floor.flops / GPUS["H100"].flops
    pytest.importorskip("torch")
    assert step_torch.parameters(step_torch.network_of(network, (500, 375))) == ours.parameters


# ---- on a GPU: the plain path ---------------------------------------------------------------------------------------


def test_on_a_gpu_auto_means_the_plain_kernels(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert ops.resolve_kernels("auto") == "plain"


@networks
def test_the_training_step_can_be_lowered_for_a_gpu(network):
    """All of its operations exist there, and none of the processor's calls is in it."""
    ours = step_jax.abstract(
        step_jax.config_of(network, batch=2, dtype="bfloat16", kernels="plain", augment=True)
    )  # fmt: skip
    program = ours.step.trace(ours.state, ours.batch).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in program
    assert "bf16" in program
    assert not re.findall(r"custom_call @(?!Sharding)\w+", program)


# ---- the driver -----------------------------------------------------------------------------------------------------

SECTION = gpu.SECTIONS[0]


def results_in(folder):
    return gpu.Results(folder, gpu.SECTIONS[:2], tiny=True)


def stored(folder, section=SECTION.name):
    return json.loads((folder / "gpu.json").read_text())["sections"][section]


def run_code(code, results, seconds=60.0):
    command = [sys.executable, "-c", "import json, os, sys, time, signal, subprocess\n" + code]
    return gpu.run_one(SECTION, command, results, seconds=seconds, environment=dict(os.environ))


SAY = "print(json.dumps({'rows': [{'what': 'speed', 'value': 1.5}]}), flush=True)\n"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (SAY, "ok", ""),
        (SAY + "print(json.dumps({'failed': 'Wrong: 7 for 8'})); sys.exit(1)", "failed", "Wrong: 7 for 8"),
        (SAY + "raise ValueError('out of memory')", "failed", "exit status 1; ValueError: out of memory"),
        (SAY + "os.kill(os.getpid(), signal.SIGSEGV)", "failed", "ended by SIGSEGV; it said nothing"),
        (SAY + "time.sleep(60)", "timed out", "after 2 s"),
        # Who closes its output and stays is not waited for longer than its limit.
        (SAY + "os.close(1); time.sleep(60)", "timed out", "after 2 s"),
        # Nor one whose children hold its output open.
        (SAY + "subprocess.Popen(['sleep', '60'])", "ok", ""),
        (SAY + "subprocess.Popen(['sleep', '60']); sys.exit('bad')", "failed", "exit status 1; bad"),
    ],
)
def test_however_a_section_ends_its_rows_are_kept_and_the_reason_is_named(tmp_path, code, status, reason):
    run_code(code, results_in(tmp_path), seconds=2.0)
    facts = stored(tmp_path)
    assert (facts["status"], facts["reason"]) == (status, reason)
    assert facts["rows"] == [{"what": "speed", "value": 1.5}]
    page = (tmp_path / "gpu.md").read_text()
    assert "| speed | 1.5 |" in page
    assert f"| {status}" in page


def test_a_section_that_runs_out_of_time_takes_its_children_with_it(tmp_path):
    mark = tmp_path / "pid"
    code = (
        f"child = subprocess.Popen(['sleep', '600']); open({str(mark)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    run_code(code, results_in(tmp_path), seconds=3.0)
    for _ in range(100):
        if not pathlib.Path(f"/proc/{mark.read_text()}/cmdline").exists():
            break
        time.sleep(0.05)
    else:
        assert pathlib.Path(f"/proc/{mark.read_text()}/stat").read_text().split()[2] == "Z"


def test_what_is_known_lies_in_the_files_while_a_section_runs(tmp_path):
    """A machine that is taken away leaves what was found so far, and says where it stood."""
    code = SAY + f"time.sleep(1); print(open({str(tmp_path / 'gpu.json')!r}).read(), file=sys.stderr)"
    run_code(code, results_in(tmp_path))
    seen = json.loads((tmp_path / "gpu.log").read_text().partition("\n")[2])
    assert seen["sections"]["devices"]["status"] == "running"
    assert seen["sections"]["devices"]["rows"] == [{"what": "speed", "value": 1.5}]
    assert seen["sections"]["m46"]["status"] == "not started"


def test_sections_that_time_does_not_suffice_for_are_skipped(tmp_path):
    results = results_in(tmp_path)
    gpu.run(gpu.SECTIONS[:2], results, tmp_path, limit=5.0, tiny=True)
    assert {stored(tmp_path, name)["status"] for name in ("devices", "m46")} == {"skipped"}
    assert not results.is_well()


def test_without_an_accelerator_nothing_else_is_tried(tmp_path):
    assert gpu.main(["--out", str(tmp_path), "--sections", "devices,m46"]) == 1
    assert "JAX finds no accelerator; --tiny rehearses" in stored(tmp_path)["reason"]
    assert stored(tmp_path, "m46")["reason"] == "there is no accelerator"


def test_a_rehearsal_of_a_section(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path), "--sections", "devices", "--tiny"]) == 0
    found = {row["what"]: row["value"] for row in stored(tmp_path)["rows"]}
    assert found["kernels that `auto` stands for"] == "cpu"
    assert found["Python"] == sys.version.split()[0]
    assert "TFLOP/s" in found["bfloat16 product, 256 x 256"]
    assert "A rehearsal with tiny sizes" in capsys.readouterr().out


def test_a_run_told_to_stop_says_where_it_was(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--sections", "m46", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "gpu.json").exists() and stored(tmp_path, "m46")["status"] == "running":
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "| m46 | 0 | cut: the run was told to stop |" in out
    assert stored(tmp_path, "m46")["status"] == "cut"


@pytest.mark.parametrize(
    ("named", "message"), [("m64", "found m64, expected some of devices, m46"), (" ,", "found none, expected some of")]
)
def test_unknown_sections_are_refused(named, message, tmp_path, capsys):
    with pytest.raises(UserError, match=message):
        gpu.choose(named)
    assert gpu.main(["--sections", named, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sections_run_in_order_of_value_with_the_data_they_need():
    assert [section.name for section in gpu.choose("train,m46")] == ["m46", "data", "train"]
    assert [section.name for section in gpu.choose("phantoms,devices")] == ["devices", "phantoms"]
    assert {section.name for section in gpu.SECTIONS} == set(gpu_sections.MEASURES)


def test_a_resumed_run_is_not_given_the_programs_that_others_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    kept = {
        section.name: "JAX_COMPILATION_CACHE_DIR" in gpu._environment(section, tmp_path) for section in gpu.SECTIONS
    }
    assert not kept["resume"]
    assert kept["m46"]


# ---- sections -------------------------------------------------------------------------------------------------------


def test_steps_are_compared_block_by_block():
    ours = {
        "flops": 2e12, "bytes": 1e9, "floor": 0.5, "peak": 1e12, "chip": "a chip", "parameters": 9,
        "xla_flops": None, "xla_bytes": None, "temporaries": None,
    }  # fmt: skip
    taken = {"jax": [4.0, 5.0, 6.0], gpu_sides.EAGER: [8.0, 5.0, 3.0]}
    case = gpu_sides.Case("m46", 10, (500, 375))
    failed = {gpu_sides.COMPILED: "torch is not installed"}
    jax_row, eager, compiled, floor = gpu_sides.rows_of(case, {"jax": ours}, taken, failed)
    assert jax_row["ms a step"] == 5000
    assert jax_row["images/s"] == 2
    assert jax_row["time of torch"] == 1.0, "the median of 4/8, 5/5, 6/3"
    assert (jax_row["spread"], jax_row["of peak"], jax_row["of roofline"]) == ("40.0%", "40.0%", "10.0%")
    assert eager["time of torch"] == 1.0
    assert eager["of roofline"] == "10.0%", "one floor for all sides"
    assert compiled == {"side": gpu_sides.COMPILED, "note": "torch is not installed"}
    assert "500.00 ms at least on a chip, 2 TFLOP" in floor["note"]


def context_in(folder):
    return gpu_report.Context(io.StringIO(), folder, time.monotonic() + 60, tiny=True)


class FakeSide:
    """Answers at once: three weights, and a second a step; what `broken` names fails when it is asked for."""

    broken: dict = {}
    weights: dict = {}

    def __init__(self, name, case):
        self.name = name

    def ask(self, what, *arguments, seconds):
        if self.broken.get(self.name) == what:
            raise gpu_sides.SideFailed(f"{what}: its process ended with -9")
        facts = {"parameters": self.weights.get(self.name, 3), "flops": 1e12, "bytes": 1e9, "floor": None, "chip": ""}
        return {**facts, "xla_flops": 1, "xla_bytes": 1, "temporaries": 0} if what == "prepare" else float(*arguments)

    def close(self):
        pass


@pytest.mark.parametrize("stage", ["prepare", "block"])
def test_a_side_that_fails_is_named_and_the_others_go_on(monkeypatch, tmp_path, stage):
    monkeypatch.setattr(gpu_sides, "Side", FakeSide)
    monkeypatch.setattr(FakeSide, "broken", {gpu_sides.COMPILED: stage})
    context = context_in(tmp_path)
    gpu_sides.compare(context, gpu_sides.Case("m46", 4, (130, 130)), rounds=3)
    rows = {row["side"]: row for row in context.rows}
    assert rows["jax"]["ms a step"] == 1000
    assert rows["jax"]["time of torch"] == 1
    assert "ended with -9" in rows[gpu_sides.COMPILED]["note"]
    assert "of roofline" not in rows["jax"], "of this device no rates are known"


@pytest.mark.parametrize(
    ("broken", "weights", "message"),
    [({"jax": "prepare"}, {}, "jax: prepare: its process ended"), ({}, {gpu_sides.EAGER: 4}, "not the same network")],
)
def test_a_comparison_that_says_nothing_fails(monkeypatch, tmp_path, broken, weights, message):
    monkeypatch.setattr(gpu_sides, "Side", FakeSide)
    monkeypatch.setattr(FakeSide, "broken", broken)
    monkeypatch.setattr(FakeSide, "weights", weights)
    with pytest.raises(gpu_sides.SideFailed, match=message):
        gpu_sides.compare(context_in(tmp_path), gpu_sides.Case("m46", 4, (130, 130)), rounds=1)


def test_a_side_whose_process_dies_says_so():
    side = gpu_sides.Side("jax", gpu_sides.Case("no such network", 1, (1, 1)))
    try:
        with pytest.raises(gpu_sides.SideFailed, match="KeyError: 'no such network'"):
            side.ask("prepare", seconds=60)
        with pytest.raises(gpu_sides.SideFailed, match="AssertionError"):
            side.ask("block", 1, seconds=60)
        side._process.kill()
        side._process.join()
        with pytest.raises(gpu_sides.SideFailed, match="block: its process ended with -9"):
            side.ask("block", 1, seconds=60)
    finally:
        side.close()


@pytest.mark.parametrize(("holds", "foretold"), [(500, 480), (500, 700), (500, 500), (100, 105), (7, 64)])
def test_the_largest_batch_is_found_within_a_tenth(holds, foretold):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= holds

    unit = 1 if holds < 64 else 4
    found = gpu_sections.search(foretold, unit, fits, go_on=lambda: True, tries=30)
    assert found <= holds
    assert found >= 0.9 * holds
    assert len(set(tried)) == len(tried), "nothing is tried twice"
    assert all(size % unit == 0 for size in tried)


def test_the_search_ends_where_time_does():
    tried = []
    found = gpu_sections.search(80, 8, lambda size: not tried.append(size), go_on=lambda: False, tries=9)
    assert (found, tried) == (80, [80])
    assert gpu_sections.search(80, 8, lambda size: False, go_on=lambda: True, tries=3) == 0


def test_losses_are_read_while_a_run_writes_them(tmp_path):
    assert gpu_sections._losses(tmp_path) == {}
    lines = ['{"step": 1, "loss": 0.5}', '{"step": 1, "eval_mae": 3}', '{"step": 2, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert gpu_sections._losses(tmp_path) == {1: 0.5}


@pytest.mark.integration
@pytest.mark.parametrize("section", ["resume", "hand"])
def test_sections_name_what_they_lack(section, tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu_sections", section, "--scratch", str(tmp_path), "--seconds", "60"]
    done = subprocess.run([*command, "--tiny"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "of the section data are not there" in json.loads(done.stdout.splitlines()[-1])["failed"]


# ---- what is carried ------------------------------------------------------------------------------------------------


def names_in(file):
    lines = (ROOT / "benchmarks" / file).read_text().splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}


def closure(requirements):
    """Names of all that requirements need on Python 3.12, themselves included."""
    target = {"python_version": "3.12", "python_full_version": "3.12.3", "sys_platform": "linux"}
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            name = canonicalize_name(requirement.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                lines = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:  # for 3.12 alone, where this is another Python
                lines = []
            further = map(Requirement, lines)
            waiting += [one for one in further if not one.marker or one.marker.evaluate({**target, "extra": extra})]
    return {name for name, _ in seen}


def test_all_that_is_needed_is_there_or_carried():
    """A new dependency goes into one of the two lists: into gpu_machine.txt only where such a machine has it."""
    wanted = closure(map(Requirement, pyproject()["project"]["dependencies"]))
    carried, there = names_in("gpu_wheels.txt"), names_in("gpu_machine.txt")
    assert not wanted - carried - there
    assert not carried & there
    # Only some versions of what is there need it.
    assert not carried - wanted - {"tzdata"}


def pyproject():
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheels_are_of_versions_that_the_package_takes():
    bounds = {canonicalize_name(r.name): r.specifier for r in map(Requirement, pyproject()["project"]["dependencies"])}
    for line in (ROOT / "benchmarks" / "gpu_wheels.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        assert bounds.get(canonicalize_name(requirement.name), requirement.specifier).contains(pin.version), line


def test_the_page_says_what_the_kit_does():
    page = (ROOT / "benchmarks" / "GPU.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)
    assert [(name, float(limit)) for name, limit in table] == [(s.name, s.seconds) for s in gpu.SECTIONS]
    assert f"the {gpu.LIMIT:.0f} s of the whole kit" in page
    assert gpu.LIMIT < 8 * 60
    assert f"{len(names_in('gpu_wheels.txt'))} wheels" in page


def test_a_checkout_that_is_not_installed_knows_what_it_runs_on(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert set(checkpoint.versions().values()) == {"not installed"}


def test_numbers_are_short_in_tables():
    lines = gpu.table([{"a": 12345.6, "b": True}, {"a": 0.123456, "c": "x|y\nz"}])
    assert lines == ["| a | b | c |", "| --- | --- | --- |", "| 12,346 | yes |  |", "| 0.1235 |  | x\\|y z |"]


def test_contexts_know_how_long_they_have(tmp_path):
    context = dataclasses.replace(context_in(tmp_path), end=time.monotonic() + 5)
    assert 4 < context.left() <= 5
    context.add(what_is="x")
    context.failed("why")
    assert [json.loads(line) for line in context.stream.getvalue().splitlines()] == [
        {"rows": [{"what is": "x"}]},
        {"failed": "why"},
    ]
    assert np.isfinite(context.left())
