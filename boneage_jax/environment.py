"""What must be set before JAX starts, and what in a user's environment would silently change or end a command."""

from __future__ import annotations

import codecs
import io
import locale
import logging
import multiprocessing
import os
import pathlib
import sys
import warnings

from boneage_jax import user_cache

try:
    import resource
except ImportError:  # not of Unix
    resource = None  # type: ignore[assignment]

_IN_ORDER = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
_HUGE_PAGES = "glibc.malloc.hugetlb"
_HUGE_PAGES_WANT_ADVICE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")

_PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
_KEEP_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
_PROGRAMS_BYTES = 512 * 2**20
"""Most bytes of compiled programs that are kept; one of inference takes 0.05 to 0.3 MB, one of training more."""

_LITTLE_ADDRESS_SPACE = 8 * 2**30
"""Bytes below which a limit is named: a training as small as can be asks for 2 to 4 GiB, most of it never used."""

_NO = ("n", "no", "f", "false", "off", "0")
_YES = ("y", "yes", "t", "true", "on", "1")
"""As JAX reads a variable that is a yes or no, in any case (`jax._src.config.bool_env`)."""

CHANGE_NUMBERS = {
    "JAX_DEFAULT_PRNG_IMPL": ("threefry2x32",),
    "JAX_ENABLE_CUSTOM_PRNG": _NO,
    "JAX_ENABLE_X64": _NO,
    "JAX_EXPLICIT_X64_DTYPES": ("warn",),
    "JAX_HIGH_DYNAMIC_RANGE_GUMBEL": _NO,
    "JAX_NUMPY_DTYPE_PROMOTION": ("standard",),
    "JAX_NUMPY_RANK_PROMOTION": ("allow",),
    "JAX_RANDOM_SEED_OFFSET": ("0",),
    "JAX_THREEFRY_PARTITIONABLE": _YES,
}
"""Variables, each with JAX's default in all its spellings. With another value JAX computes in other types, draws other
random numbers, or refuses what we compute: the same seed would be another run. How fast or exact a device multiplies
(`JAX_DEFAULT_MATMUL_PRECISION`, `XLA_FLAGS`) stays the user's choice."""

_PLATFORMS = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")


def prepare() -> None:
    """Silences noise that no user can act on, makes virtual devices safe, and the numbers our own.

    TFDS imports protobuf, and JAX starts its logs, with such noise; Matplotlib warns of a home that cannot be written
    to. Figures go into files: a display that a user chose for other programs (`MPLBACKEND`) is not asked for.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    set_by_user = {name: os.environ.pop(name, "") for name in CHANGE_NUMBERS}
    found = [name for name, value in set_by_user.items() if value and value.lower() not in CHANGE_NUMBERS[name]]
    if found:
        print(f"boneage: not used, for it would change the numbers: {', '.join(found)}", file=sys.stderr)
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        take_collectives_in_order()
    if limit := little_address_space():
        print(
            f"boneage: this process may use {limit / 2**30:.1f} GiB of address space (ulimit -v), and libraries may "
            "ask for more and end it without a word; then lift the limit, as by: ulimit -v unlimited",
            file=sys.stderr,
        )
    keep_programs()


def little_address_space() -> int:
    """Returns the limit on this process's address space in bytes where that is small; 0 where it is not, or none."""
    if resource is None:
        return 0
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit if limit != resource.RLIM_INFINITY and limit < _LITTLE_ADDRESS_SPACE else 0


def keep_programs() -> None:
    """Lets JAX keep compiled programs in the user's cache, so that the next process need not compile them again.

    What a user sets of it counts. JAX warns of each entry that cannot be read or written; it then compiles as ever.
    """
    place = user_cache.compiled(_PROGRAMS_BYTES)
    if place is None or os.environ.get(_PROGRAMS, str(place)) != str(place):
        return
    os.environ[_PROGRAMS] = str(place)
    for name, value in _KEEP_ALL.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")


def take_collectives_in_order() -> None:
    """Makes all devices of CPUs take the collectives of a program in the same order.

    By a schedule of operations that may go on at once each device, or process, takes them in an order of its own:
    devices wait for each other for ever, processes receive what another was sent (seen with jaxlib 0.10.2). What a user
    sets counts.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _IN_ORDER.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{_IN_ORDER} {flags}".strip()


def start_again() -> None:
    """Starts this program again, as the same process, where memory or text would not be what we need: once.

    Memory in pages of 2 MiB, on Linux: XLA takes what a step needs from the C library and gives it back after the step,
    so every step meets its memory page by page, and a page of 4 KiB costs as much as one of 2 MiB
    (`benchmarks/README.md` has the gain). The library asks for large pages only where a variable says so when a program
    starts: https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html (glibc 2.35 and newer).
    Nothing is done where the kernel gives large pages anyway or never, or where a user has set that variable.

    Text as UTF-8: the names of files, and what is read and written without a word about its encoding, are taken in that
    of the locale, which is chosen when a program starts (https://peps.python.org/pep-0540/).
    """
    changes = {}
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _HUGE_PAGES not in tunables and _huge_pages_can_be_had():
        changes["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, f"{_HUGE_PAGES}=1"]))
    if not sys.flags.utf8_mode and codecs.lookup(locale.getencoding()).name != "utf-8":
        changes["PYTHONUTF8"] = "1"
    if changes:
        os.environ |= changes
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def write_any_text() -> None:
    """Lets standard output and error show what their encoding has no letters for, escaped, in place of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def no_semaphores() -> str:
    """Returns why processes cannot share semaphores here, or nothing where they can; Linux keeps these in /dev/shm."""
    try:
        multiprocessing.get_context("fork").Lock()  # of this kind nothing stays behind
    except OSError as error:
        return f"/dev/shm, where processes keep their semaphores, cannot be used ({error.strerror})"
    except (ImportError, ValueError):  # no such semaphores, no forks
        return ""
    return ""


def no_devices() -> str:
    """Returns why JAX finds no devices, as where a variable names a kind that is not here; or nothing where it does.

    Starts JAX: with several processes only after `jax.distributed` has.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter, with no words, where a kind has no plugin
        named = [f"{name}={os.environ[name]!r}" for name in _PLATFORMS if os.environ.get(name)]
        message = f" ({str(error).split(' (set JAX_PLATFORMS')[0].rstrip('.')})" if str(error) else ""
        return (
            f"{', '.join(named) or 'JAX'}: no such devices are found here{message}; expected a kind that this machine "
            "has and the installed JAX supports, as in JAX_PLATFORMS=cpu, or no such variable"
        )
    return ""


def _huge_pages_can_be_had() -> bool:
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        new_enough = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
        return new_enough and "[madvise]" in _HUGE_PAGES_WANT_ADVICE.read_text()
    except (AttributeError, OSError, ValueError):  # not Linux, not glibc
        return False
