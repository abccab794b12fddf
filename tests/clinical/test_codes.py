"""Codes, against the dictionaries of pydicom, which are made from PS3.16, and against the page that lists them."""

import dataclasses
import pathlib

import pytest

from boneage_jax.clinical import codes

codedict = pytest.importorskip("pydicom.sr.codedict")

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "how-to" / "clinical-systems.md"

GROUPS = {
    "MONTHS": 7456,
    "HAND": 4031,
    "DEVICE": 270,
    "ARTIFICIAL_INTELLIGENCE": 7162,
    "SD_SCORE": 227,
    "ABOVE": 225,
    "BELOW": 225,
    "SOURCE_IMAGE": 7202,
}
"""Context groups that codes are taken from."""

NAMED = {"QUALITY_FINDING": "QualityFinding", "COMMENT": "Comment", "SUBJECT_AGE": "SubjectAge"}
"""Keywords of the codes of PS3.16 Annex D that stand in no context group of measurements."""


def all_codes():
    found = {name: value for name, value in vars(codes).items() if isinstance(value, codes.Code)}
    for name in ("SIDES", "HANDS"):
        found |= {f"{name}_{key}": value for key, value in getattr(codes, name).items()}
    return found


@pytest.mark.parametrize("name", GROUPS)
def test_in_its_context_group(name):
    ours = getattr(codes, name)
    group = getattr(codedict.codes, f"cid{GROUPS[name]}")
    theirs = [getattr(group, keyword) for keyword in group.dir()]
    (same,) = [code for code in theirs if (code.value, code.scheme_designator) == (ours.value, ours.scheme)]
    assert same.meaning == ours.meaning


@pytest.mark.parametrize("name", NAMED)
def test_in_the_dictionary(name):
    theirs = getattr(codedict.codes.DCM, NAMED[name])
    assert (theirs.value, theirs.scheme_designator, theirs.meaning) == dataclasses.astuple(getattr(codes, name))


def test_sides():
    sides = {"L": codedict.codes.cid244.Left, "R": codedict.codes.cid244.Right}
    for key, theirs in sides.items():
        assert (theirs.value, theirs.scheme_designator, theirs.meaning) == dataclasses.astuple(codes.SIDES[key])


@pytest.mark.parametrize(
    "code", [code for code in all_codes().values() if code.scheme == "LN"], ids=lambda code: code.value
)
def test_check_digits_of_loinc(code):
    """Modulo 10 (Luhn), as the LOINC Users' Guide has it."""
    number, check = code.value.split("-")
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[::2]]
    assert (sum(doubled) + sum(digits[1::2]) + int(check)) % 10 == 0


@pytest.mark.parametrize(
    "code", [code for code in all_codes().values() if code.scheme == "SCT"], ids=lambda code: code.value
)
def test_check_digits_of_snomed_ct(code):
    """Verhoeff's scheme in the dihedral group of order 10, as the SNOMED CT Release File Specification has it."""

    def times(a, b):
        """Turns are 0 to 4, mirrored turns 5 to 9."""
        turn = (a + b) % 5 if a < 5 else (a - b) % 5
        return turn + 5 * ((a < 5) != (b < 5))

    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for place, digit in enumerate(reversed(code.value)):
        value = int(digit)
        for _ in range(place % 8):
            value = permutation[value]
        check = times(check, value)
    assert check == 0


def test_meanings_fit():
    """Code Meaning is a long string: at most 64 characters (PS3.5 6.2)."""
    assert all(1 <= len(code.meaning) <= 64 for code in all_codes().values())


def test_the_page_lists_each_code_with_its_meaning():
    rows = {line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")}
    for name, code in all_codes().items():
        held = [row for row in rows if f"`{code.value}`" in row and code.scheme in row]
        assert held, f"{name} is not in a table of {PAGE.name}"
        assert any(code.meaning in row for row in held), f"{name}: another meaning in {PAGE.name}"
