"""What a user is told to install."""

import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from boneage_jax import errors

ROOT = pathlib.Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", ["dicom", "sweep", "postgres", "tpu"])
def test_a_checkout_installs_itself(extra):
    words = shlex.split(errors.install_line(extra))
    assert words[:5] == [sys.executable, "-m", "pip", "install", "-e"]
    place, _, named = words[5].removesuffix("]").rpartition("[")
    assert pathlib.Path(place, "pyproject.toml").samefile(ROOT / "pyproject.toml")
    assert named == extra
    assert shlex.join(words) in str(errors.missing_extra("x", extra, "a thing"))


_METADATA = """\
Metadata-Version: 2.4
Name: boneage-jax
Version: 0.1.0
Requires-Dist: numpy<3,>=2
Provides-Extra: dicom
Requires-Dist: pydicom<4,>=3; extra == 'dicom'
Requires-Dist: pylibjpeg; (python_version < "3.14") and extra == "dicom"
Requires-Dist: pylibjpeg-rle; extra == "dicom" and python_version < "3.14"
Provides-Extra: dicomweb
Requires-Dist: requests; extra == 'dicomweb'
"""
"""As hatchling and setuptools write it."""


def test_an_installed_wheel_installs_what_it_says_that_the_extra_needs(tmp_path):
    place = tmp_path / "site with spaces"
    (place / "boneage_jax").mkdir(parents=True)
    for name in ("__init__", "errors"):
        shutil.copy(ROOT / "boneage_jax" / f"{name}.py", place / "boneage_jax")
    facts = place / "boneage_jax-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(_METADATA)
    code = (
        "import json; from boneage_jax import errors as e; print(json.dumps([*map(e.install_line, ('dicom', 'no'))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(place)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    line, unknown = map(shlex.split, json.loads(done.stdout))
    assert line[:4] == [sys.executable, "-m", "pip", "install"]
    wanted = [Requirement(word) for word in line[4:]]
    assert [(one.name, str(one.specifier)) for one in wanted] == [
        ("pydicom", "<4,>=3"),
        ("pylibjpeg", ""),
        ("pylibjpeg-rle", ""),
    ]
    assert [str(one.marker) for one in wanted[1:]] == ['python_version < "3.14"'] * 2
    assert unknown[4:] == ["boneage-jax[no]"]


def test_every_extra_that_a_message_names_is_there():
    named = set()
    for path in (ROOT / "boneage_jax").rglob("*.py"):
        for part in path.read_text().split("missing_extra(")[1:]:
            words = part.split(")")[0].split(",")
            named |= {word.strip().strip('"') for word in words if word.strip().strip('"') in EXTRAS}
        assert "pip install" not in path.read_text().replace('"-m", "pip", "install"', ""), f"{path}: see install_line"
    assert {"dicom", "sweep", "postgres", "reference"} <= named <= set(EXTRAS)
