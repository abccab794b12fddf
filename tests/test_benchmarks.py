"""Every benchmark starts; their figures are measured by people, not by tests."""

import subprocess
import sys

import pytest

from tests.conftest import boneage


@pytest.mark.parametrize("name", ["input_pipeline", "train_step"])
def test_benchmarks_start(name, pytestconfig):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m benchmarks.{name}" in done.stdout


def test_the_command_is_installed():
    assert boneage("--version").stdout.startswith("boneage-jax ")
