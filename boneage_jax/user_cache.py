"""A user's folder of what can be made again: programs for the devices, and shapes of networks.

It lies where the system keeps such folders: `XDG_CACHE_HOME`, by default `~/.cache`
(https://specifications.freedesktop.org/basedir-spec/latest/), on Windows `LOCALAPPDATA`. `BONEAGE_CACHE` names another
folder, or is `off`. Nobody else may write to it: it holds programs that are run.

It may be lost, damaged, full or read-only at any time: then all is made again, slower and with the same numbers.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
import platform
import sys
import tempfile

VARIABLE = "BONEAGE_CACHE"

OFF = "off"

_KEPT = 256
"""Most entries of our own; the longest unused go first. Each takes 0.1 MB; a network has one a size of batch."""

_DIGEST_BYTES = hashlib.sha256().digest_size


def folder() -> pathlib.Path | None:
    """Returns this machine's folder, made where it was missing; None where it is off or cannot be written.

    Machines that share a home get a folder for each kind of processor: compiled programs run on their own kind only.
    """
    named = os.environ.get(VARIABLE, "")
    if named.lower() == OFF:
        return None
    try:
        place = (pathlib.Path(named).expanduser() if named else _usual()) / _processor()
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError):  # no home, no such name
        return None
    return place.absolute() if os.access(place, os.W_OK) else None


def compiled(most_bytes: int) -> pathlib.Path | None:
    """Returns the folder for JAX's compiled programs, where the longest unused have made room; None without a cache.

    JAX can hold such a folder below a size itself, but then locks it at each look, and stores nothing more once a
    process was ended between two of its files.

    Args:
      most_bytes: that the programs of former processes may take.
    """
    place = folder()
    if place is None:
        return None
    programs = place / "xla"
    with contextlib.suppress(OSError):  # another process may do the same
        programs.mkdir(exist_ok=True)
        found = [(entry.path, entry.stat()) for entry in os.scandir(programs)]
        total = 0
        for path, about in sorted(found, key=lambda one: max(one[1].st_atime, one[1].st_mtime), reverse=True):
            total += about.st_size
            if total > most_bytes or not about.st_size:  # empty ones are of a full disk
                os.unlink(path)
    return programs


def read(name: str) -> bytes | None:
    """Returns what `write` has kept under a name; None where there is nothing, or it is damaged."""
    place = folder()
    if place is None:
        return None
    path = place / name
    try:
        content = path.read_bytes()
        digest, kept = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(kept).digest() != digest:
            return None
        os.utime(path)
    except OSError:
        return None
    return kept


def write(name: str, content: bytes) -> None:
    """Keeps bytes under a name, whole or not at all; nothing is kept, and nothing said, where that cannot be done."""
    place = folder()
    if place is None:
        return
    with contextlib.suppress(OSError):
        handle, scratch = tempfile.mkstemp(prefix=f".{name}.", dir=place)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(scratch, place / name)
        finally:
            pathlib.Path(scratch).unlink(missing_ok=True)
        _forget_oldest(place)


def _forget_oldest(place: pathlib.Path) -> None:
    files = [entry for entry in os.scandir(place) if entry.is_file()]
    for entry in sorted(files, key=lambda entry: entry.stat().st_mtime, reverse=True)[_KEPT:]:
        os.unlink(entry.path)


def _usual() -> pathlib.Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(pathlib.Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The specification has relative paths ignored.
        base = base if os.path.isabs(base) else str(pathlib.Path.home() / ".cache")
    return pathlib.Path(base) / "boneage-jax"


@functools.lru_cache
def _processor() -> str:
    """A short name of the kind of processor: what it can do, as far as the system tells."""
    abilities = platform.processor()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        told = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
        abilities = " ".join(told.get(key, "") for key in ("model name", "flags", "Features"))
    return f"{platform.machine()}-{hashlib.sha256(abilities.encode()).hexdigest()[:12]}"
