"""What must be set before JAX starts."""

from __future__ import annotations

import os
import pathlib
import sys

_IN_ORDER = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
_HUGE_PAGES = "glibc.malloc.hugetlb"
_HUGE_PAGES_WANT_ADVICE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


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


def take_huge_pages() -> None:
    """Starts this program again, as the same process, so that its memory comes in pages of 2 MiB: once, on Linux.

    XLA takes what a step needs from the C library and gives it back after the step, so every step meets its memory page
    by page, and a page of 4 KiB costs as much as one of 2 MiB (`benchmarks/README.md` has the gain). The library asks
    for large pages only where a variable says so when a program starts:
    https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html (glibc 2.35 and newer).
    Nothing is done where the kernel gives large pages anyway or never, or where a user has set that variable.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _HUGE_PAGES in tunables or not _huge_pages_can_be_had():
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, f"{_HUGE_PAGES}=1"]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _huge_pages_can_be_had() -> bool:
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        new_enough = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
        return new_enough and "[madvise]" in _HUGE_PAGES_WANT_ADVICE.read_text()
    except (AttributeError, OSError, ValueError):  # not Linux, not glibc
        return False
