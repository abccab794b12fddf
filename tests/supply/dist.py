"""Builds wheel and sdist twice and compares them byte by byte: `python -m tests.supply.dist`.

The two copies of the working tree differ in what two people's checkouts may differ in: place, times and modes of files.
What is built lies in `dist/` where both are the same and `twine check` finds no fault. Exit status 0 then, else 1.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tests.working_copy import ROOT, copy_tree

DIST = ROOT / "dist"


def commit_time() -> str:
    """Returns the time of the newest commit in seconds since 1970: the SOURCE_DATE_EPOCH of what is built."""
    command = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def build(place: pathlib.Path, time: str, *, other: bool) -> dict[str, bytes]:
    """Builds in a copy of the tree and returns the archives by name.

    Args:
      place: the copy.
      time: see `commit_time`.
      other: whether its files are to differ in time, and in modes as after a checkout under another umask.
    """
    if other:
        for path in place.rglob("*"):
            path.chmod(path.stat().st_mode & 0o700)
            os.utime(path, (1_000_000_000, 1_000_000_000))
    command = [sys.executable, "-m", "build", "--outdir", str(place / "built"), str(place)]
    done = subprocess.run(
        command,
        env={**os.environ, "SOURCE_DATE_EPOCH": time},
        capture_output=True,
        text=True,
        check=False,
        umask=0o077 if other else 0o022,
    )
    if done.returncode:
        raise RuntimeError(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {path.name: path.read_bytes() for path in sorted((place / "built").iterdir())}


def main() -> int:
    """Builds twice; returns 0 where the archives are the same and have no fault."""
    with tempfile.TemporaryDirectory(prefix="boneage-dist-") as folder:
        one, other = pathlib.Path(folder) / "one", pathlib.Path(folder) / "elsewhere" / "the other"
        copy_tree(one)
        shutil.copytree(one, other)
        time = commit_time()
        first, second = build(one, time, other=False), build(other, time, other=True)
    if first != second:
        names = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
        print(f"built twice, and not the same: {', '.join(names)}", file=sys.stderr)
        return 1
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for name, data in first.items():
        (DIST / name).write_bytes(data)
        print(f"{hashlib.sha256(data).hexdigest()}  dist/{name}  ({len(data):,} bytes, the same twice)")
    command = [sys.executable, "-m", "twine", "check", "--strict", *(str(DIST / name) for name in first)]
    return 1 if subprocess.run(command, check=False).returncode else 0


if __name__ == "__main__":
    sys.exit(main())
