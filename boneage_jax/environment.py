"""What must be set before JAX starts."""

from __future__ import annotations

import os

_IN_ORDER = "--xla_cpu_enable_concurrency_optimized_scheduler=false"


def prepare() -> None:
    """Silences noise that no user can act on, and makes virtual devices safe.

    TFDS imports protobuf, and JAX starts its logs, with such noise.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        take_collectives_in_order()


def take_collectives_in_order() -> None:
    """Makes all devices of CPUs take the collectives of a program in the same order.

    By a schedule of operations that may go on at once each device, or process, takes them in an order of its own:
    devices wait for each other for ever, processes receive what another was sent (seen with jaxlib 0.10.2). What a user
    sets counts.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _IN_ORDER.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{_IN_ORDER} {flags}".strip()
