"""constraints.txt is what pyproject.toml asks for: every dependency stands in it, at a version within its bounds."""

import importlib.metadata
import re
import tomllib

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.working_copy import ROOT

TEXT = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIFFER_BY_MACHINE = {"cuda", "tpu", "reference"}
"""Extras that the file leaves out, as its head says."""

# What it is made for, whatever this machine is.
MADE_FOR = default_environment() | {
    "python_version": "3.11",
    "python_full_version": "3.11.7",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


def pins() -> dict[str, str]:
    """Exact version of each package."""
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in lines)
    found = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines}
    assert len(found) == len(lines), "a package stands twice"
    return found


def wanted() -> list[Requirement]:
    """What pyproject.toml names, extras included."""
    extras = PROJECT["optional-dependencies"]
    texts = [
        *PROJECT["dependencies"],
        *(text for name in sorted(extras.keys() - DIFFER_BY_MACHINE) for text in extras[name]),
    ]
    return [one for one in map(Requirement, texts) if one.marker is None or one.marker.evaluate(MADE_FOR)]


def test_the_head_names_all_extras_that_can_be_installed_together():
    (listed,) = re.findall(r"pip install -e '\.\[([a-z,]+)\]'\n#     fresh/bin/pip freeze", TEXT)
    assert set(listed.split(",")) == PROJECT["optional-dependencies"].keys() - DIFFER_BY_MACHINE
    assert f"-c constraints.txt -e '.[{listed}]'" in (ROOT / "Makefile").read_text(encoding="utf-8"), "make licences"


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_each_dependency_is_pinned_within_its_bounds(requirement):
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned, f"{requirement.name}: missing, make constraints.txt anew as its head says"
    assert requirement.specifier.contains(pinned, prereleases=True), f"{requirement}: {pinned} is pinned"


def test_what_dependencies_need_is_pinned_too():
    """Of those that are installed here at the pinned version: their own requirements, extras aside."""
    found, checked = pins(), 0
    for name, version in found.items():
        try:
            one = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if one.version != version:
            continue
        checked += 1
        for needed in map(Requirement, one.requires or []):
            if needed.marker is None or needed.marker.evaluate(MADE_FOR | {"extra": ""}):
                pinned = found.get(canonicalize_name(needed.name))
                assert needed.name in ("pip", "setuptools") or pinned, f"{name} needs {needed}, which is not pinned"
                assert pinned is None or needed.specifier.contains(pinned, prereleases=True), f"{name} needs {needed}"
    assert checked > 0 or not found.keys() & {canonicalize_name(d.name) for d in importlib.metadata.distributions()}
