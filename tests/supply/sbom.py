"""Lists what users install, as CycloneDX 1.6 has it: `python -m tests.supply.sbom`, which writes `dist/sbom.cdx.json`.

The list is that of a fresh environment that holds the package, what it depends on, and nothing else, not even pip.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import boneage_jax
from tests.working_copy import ROOT

FILE = ROOT / "dist" / "sbom.cdx.json"


def installed(folder: pathlib.Path) -> pathlib.Path:
    """Makes an environment with the package in a folder; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(ROOT)], check=True)
    return python


def bill(python: pathlib.Path) -> dict[str, Any]:
    """Returns the bill of materials of an environment that holds the package."""
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--spec-version", "1.6", "--output-reproducible"]
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *options, "--output-format", "JSON", str(python)]
    environment = {**os.environ, "PYTHONPATH": ""}
    found: dict[str, Any] = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    # pyproject.toml leaves the version to the package.
    found["metadata"]["component"]["version"] = boneage_jax.__version__
    return found


def main() -> int:
    """Writes the file; returns 0."""
    with tempfile.TemporaryDirectory(prefix="boneage-sbom-") as folder:
        found = bill(installed(pathlib.Path(folder)))
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{FILE.relative_to(ROOT)}: {len(found['components'])} packages beside boneage-jax {boneage_jax.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
