"""The page of licences is that of constraints.txt, and answers every licence that asks something of its users."""

import email.message
import re

import pytest

from tests.supply import licences

PAGE = licences.PAGE.read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the tables below a heading, without their heads."""
    (section,) = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if cells[0] not in ("package", "---")]


def test_it_lists_the_pinned_packages_at_their_versions():
    listed = rows("What users install") + rows("What developers install besides")
    assert {name: version for name, version, *_ in listed} == licences.pins(), "run make licences"
    assert len(listed) == len(licences.pins())
    users = {name for name, *_ in rows("What users install")}
    assert {"jax", "numpy", "pydicom", "optuna"} <= users
    assert not {"pytest", "mypy", "twine"} & users


def test_each_licence_is_permissive_or_answered():
    answers = [row for row in rows("Copyleft, and why it may be used") if len(row) == 3]
    answered = {name: answer for name, _, answer in answers}
    for name, _, licence, _ in rows("What users install") + rows("What developers install besides"):
        assert licences.kind(licence) != "unknown", f"{name}: {licence}"
        assert (licences.kind(licence) == "copyleft") == (name in answered), f"{name}: {licence}"
    assert all(len(answer) > 40 for answer in answered.values())
    assert answered == {name: licences.ANSWERS[name] for name in answered}


def test_no_copyleft_program_is_part_of_every_installation():
    """What users must install is permissive, or under the MPL, which ends at its own files."""
    for name, _, licence, needed_by in rows("What users install"):
        if needed_by == "all" and licences.kind(licence) == "copyleft":
            assert "MPL" in licence or "Mozilla" in licence, f"{name}: {licence}"


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("MIT", "permissive"),
        ("Apache-2.0 AND BSD-3-Clause", "permissive"),
        ("GNU Lesser General Public License v3 (LGPLv3)", "copyleft"),
        ("LGPL-3.0-only", "copyleft"),
        ("MPL-2.0 AND MIT", "copyleft"),
        ("AGPL-3.0", "copyleft"),
        ("Proprietary", "unknown"),
        ("not stated", "unknown"),
    ],
)
def test_kinds_of_licences(licence, kind):
    assert licences.kind(licence) == kind


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("License-Expression", "MIT"), ("License", "other")], "MIT"),
        ([("License", "BSD 3-Clause"), ("Classifier", "License :: OSI Approved :: BSD License")], "BSD 3-Clause"),
        (
            [("License", "Copyright 2001\n..."), ("Classifier", "License :: OSI Approved :: BSD License")],
            "BSD License",
        ),
        ([("License", "UNKNOWN"), ("Classifier", "License :: OSI Approved :: MIT License")], "MIT License"),
        ([("Classifier", "Topic :: Software Development")], "not stated"),
    ],
)
def test_what_metadata_state(fields, expected):
    metadata = email.message.Message()
    for key, value in fields:
        metadata[key] = value
    assert licences.licence(metadata) == expected
