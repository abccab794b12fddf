"""Changes core lines one at a time and runs the tests that must notice: `python -m tests.mutation`.

All is done in a temporary copy of the working tree, never in the tree itself. First the tests run unchanged, and must
pass; then each mutation of `catalogue` is made by itself, and a test must fail. Exit status 0 where all are caught.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from tests.mutation.catalogue import MUTATIONS, Mutation
from tests.working_copy import copy_tree

TIMEOUT = 600
"""Seconds that the tests of one mutation may take."""

PASSED, FAILED = 0, 1
"""Exit statuses of pytest; with any other one no test has said anything."""


def run_tests(tree: pathlib.Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs tests in the copy, one after the other until the first fails.

    Raises:
      subprocess.TimeoutExpired: after `TIMEOUT` seconds.
    """
    # Without .pyc files: within a second Python takes a changed file of the same length for the old one.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "JAX_COMPILATION_CACHE_DIR": str(tree / ".programs")}
    pytest = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "-p", "no:cacheprovider"]
    fast = ["-m", "not engine and not integration"]
    return subprocess.run(
        [*pytest, *fast, *tests],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def check_copy(tree: pathlib.Path) -> None:
    """Makes sure that the tests import the copy, and not an installed package. Raises `RuntimeError`."""
    code = "import boneage_jax; print(boneage_jax.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True).stdout
    if pathlib.Path(found.strip()).resolve().parent.parent != tree.resolve():
        raise RuntimeError(f"tests would import {found.strip()}, expected the copy in {tree}")


def outcome(mutation: Mutation, tree: pathlib.Path) -> tuple[str, str]:
    """Makes a mutation, runs its tests and takes it back.

    Returns:
      `caught`, `SURVIVED` or `ERROR`; and the test that failed, or what is wrong.
    """
    path = tree / mutation.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutation.mutated(text), encoding="utf-8")
    try:
        done = run_tests(tree, mutation.tests)
    except subprocess.TimeoutExpired:
        return "ERROR", f"the tests take more than {TIMEOUT} s"
    finally:
        path.write_text(text, encoding="utf-8")
    if done.returncode == PASSED:
        return "SURVIVED", " ".join(mutation.tests)
    if done.returncode != FAILED:
        return "ERROR", f"pytest's exit status is {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return "caught", failed[0].split()[1] if failed else "a test"


def main() -> int:
    """Runs all mutations, or those whose name holds `--only`; returns 0 where all were caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="mutations whose name or file holds this text")
    parser.add_argument("--list", action="store_true", help="name the mutations and end")
    options = parser.parse_args()
    chosen = [one for one in MUTATIONS if options.only in one.name or options.only in one.file]
    if options.list:
        print("\n".join(f"{one.file}: {one.name}" for one in chosen))
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="boneage-mutation-") as folder:
        tree = pathlib.Path(folder)
        copy_tree(tree)
        check_copy(tree)
        for one in chosen:  # before anything runs: a list that does not fit ends here
            one.mutated((tree / one.file).read_text(encoding="utf-8"))
        unchanged = run_tests(tree, sorted({test for one in chosen for test in one.tests}))
        if unchanged.returncode != PASSED:
            print(f"the tests fail without any mutation:\n{unchanged.stdout[-4000:]}{unchanged.stderr[-1000:]}")
            return 1
        print(f"unchanged: all tests pass, {time.monotonic() - began:.0f} s", flush=True)
        results = []
        for one in chosen:
            start = time.monotonic()
            result, by = outcome(one, tree)
            results.append(result)
            print(f"{result:<9}{time.monotonic() - start:5.0f} s  {one.file}: {one.name} ({by})", flush=True)
    missed = len(results) - results.count("caught")
    print(f"mutations: {results.count('caught')} caught, {missed} not, {time.monotonic() - began:.0f} s")
    return 1 if missed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
