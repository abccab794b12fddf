"""What is set before JAX starts."""

import json
import os
import subprocess
import sys

import pytest

from boneage_jax import environment

FLAG = "--xla_cpu_enable_concurrency_optimized_scheduler"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("--xla_dump_to=x", "--xla_dump_to=x"),
        ("--xla_force_host_platform_device_count=4", f"{FLAG}=false --xla_force_host_platform_device_count=4"),
        (
            f"--xla_force_host_platform_device_count=4 {FLAG}=true",
            f"--xla_force_host_platform_device_count=4 {FLAG}=true",
        ),
    ],
)
def test_virtual_devices_take_collectives_in_order(monkeypatch, before, after):
    monkeypatch.setenv("XLA_FLAGS", before)
    environment.prepare()
    environment.prepare()
    assert environment.os.environ["XLA_FLAGS"] == after


TELL = """
import json, os, pathlib, sys
from boneage_jax import environment
environment.take_huge_pages()
memory = b"x" * (64 << 20)  # by the C library: NumPy asks for huge pages of its own
pages = [line for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines() if "AnonHugePages" in line]
print(json.dumps([os.getpid(), sys.argv[1:], os.environ["GLIBC_TUNABLES"], int(pages[0].split()[1])]))
"""


@pytest.mark.skipif(not environment._huge_pages_can_be_had(), reason="this system has no huge pages to ask for")
@pytest.mark.parametrize(
    ("before", "after", "huge"),
    [
        (None, "glibc.malloc.hugetlb=1", True),
        ("glibc.malloc.arena_max=2", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1", True),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0", False),
    ],
)
def test_memory_comes_in_huge_pages_unless_a_user_says_otherwise(before, after, huge):
    variables = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    if before:
        variables["GLIBC_TUNABLES"] = before
    process = subprocess.Popen(
        [sys.executable, "-c", TELL, "train", "--run=a b"], env=variables, stdout=subprocess.PIPE, text=True
    )
    pid, arguments, tunables, kilobytes = json.loads(process.communicate()[0])
    assert (pid, arguments, tunables) == (process.pid, ["train", "--run=a b"], after)
    # The kernel gives what it has at hand: half of the array is enough to say that it was asked.
    assert (kilobytes >= 32 << 10) == huge


@pytest.mark.parametrize(
    ("library", "mode", "can"),
    [
        ("glibc 2.36", "always [madvise] never", True),
        ("glibc 2.34", "always [madvise] never", False),
        ("glibc 2.36", "[always] madvise never", False),
        ("glibc 2.36", "always madvise [never]", False),
        (None, "always [madvise] never", False),
    ],
)
def test_huge_pages_are_asked_for_where_they_help(monkeypatch, tmp_path, library, mode, can):
    (tmp_path / "enabled").write_text(mode)
    monkeypatch.setattr(environment, "_HUGE_PAGES_WANT_ADVICE", tmp_path / "enabled")
    monkeypatch.setattr(os, "confstr", lambda name: library, raising=False)
    assert environment._huge_pages_can_be_had() is can
