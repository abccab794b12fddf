"""Writing files so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator

from boneage_jax.errors import UserError

try:
    import fcntl
except ImportError:  # not of Unix
    fcntl = None  # type: ignore[assignment]

_UNFINISHED = ".part"
"""Ending of what is still written to."""


def is_address(text: str) -> bool:
    """Returns whether a text is an address (scheme://..., RFC 3986, 3.1), as in gs://bucket/folder, and no path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def local(text: str) -> pathlib.Path:
    """Returns a path of this machine's file system.

    Raises:
      UserError: for an address, as in gs://bucket/folder, from which a folder `gs:` would be made here.
    """
    if is_address(text):
        raise UserError(
            f"{text}: an address, expected a path of this machine's file system; mount the bucket (gcsfuse, s3fs, "
            "rclone mount) and name the folder where it is mounted"
        )
    return pathlib.Path(text)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path beside `path` to write to, and renames it to `path` once that has ended well.

    What a killed process has left half-written in the folder goes: its lock has ended with it.

    Raises:
      UserError: for a folder that cannot be written or a full disk; `path` is then as it was.
    """
    scratch, handle = None, -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
        scratch = pathlib.Path(name)
        _is_free(handle)
        yield scratch
        umask = os.umask(0)
        os.umask(umask)
        scratch.chmod(0o666 & ~umask)
        scratch.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another place"
        ) from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
            os.close(handle)


def _is_free(handle: int) -> bool:
    """Takes the lock of an open file, until it is closed; returns whether nobody had it. Without locks nothing is."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def _clear_abandoned(folder: pathlib.Path) -> None:
    """Removes what processes that are no more have left half-written in a folder; looks there once a process."""
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(_UNFINISHED) and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(OSError):
                handle = os.open(entry.path, os.O_RDWR)
                try:
                    if _is_free(handle):
                        os.unlink(entry.path)
                finally:
                    os.close(handle)


@contextlib.contextmanager
def held_alone(path: pathlib.Path, *, seconds: float, otherwise: Callable[[], UserError]) -> Iterator[bool]:
    """Holds a lock file, which keeps other processes out; what the kernel holds ends with this one, however it ends.

    Args:
      path: of the lock file, in a folder that is there.
      seconds: longest wait for another process.
      otherwise: makes the error to raise where another process still has it then.

    Yields:
      Whether it is held: False on a file system without locks, where this is as good as it gets.
    """
    import filelock  # brings asyncio along, which a command's help need not wait for

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise otherwise() from error
    except NotImplementedError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file whole or not at all. Raises `UserError` as `replacing` does."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def check_writable(folder: pathlib.Path) -> None:
    """Creates a folder where it is missing and makes sure that files can be written to it. Raises `UserError`."""
    try:
        with replacing(folder / ".boneage-write-test") as scratch:
            scratch.write_bytes(b"boneage")
    except UserError as error:  # of the folder, not of a file that nobody has asked for
        raise UserError(str(error).replace(f"{folder / '.boneage-write-test'}", str(folder), 1)) from error.__cause__
    (folder / ".boneage-write-test").unlink(missing_ok=True)
