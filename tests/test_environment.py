"""What is set before JAX starts."""

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
