"""What cannot be reported is refused, and the field is named."""

import dataclasses
import math

import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.clinical.measurement import Measurement, Unmeasured
from boneage_jax.errors import UserError

FULL = {
    "months": 127.4,
    "algorithm_name": "boneage-jax",
    "algorithm_version": "0.1.0",
    "interval": (118.2, 134.9),
    "sex": "F",
    "chronological_months": 130.0,
    "sd_score": -0.4,
    "sd_reference": "girls of 1959",
    "laterality": "L",
}


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("months", math.nan),
        ("months", math.inf),
        ("months", -0.1),
        ("interval", (math.nan, 134.9)),
        ("interval", (134.9, 118.2)),
        ("interval", (118.2, 127.3)),
        ("interval", (127.5, 134.9)),
        ("interval", (-1.0, 134.9)),
        ("level", 0.0),
        ("level", 90.0),
        ("level", math.nan),
        ("sex", "male"),
        ("laterality", "left"),
        ("chronological_months", math.nan),
        ("chronological_months", -1.0),
        ("sd_score", math.nan),
        ("sd_reference", " "),
        ("algorithm_name", ""),
        ("algorithm_name", "x" * 65),
        ("algorithm_version", "1\\2"),
        ("algorithm_version", "1\n2"),
    ],
)
def test_refused(field, found):
    with pytest.raises(UserError, match=rf"^a bone age cannot be reported: {field} is .*, expected "):
        Measurement(**(FULL | {field: found}))


@pytest.mark.parametrize(
    "changes", [{"months": 0.0, "interval": (0.0, 5.0)}, {"interval": (127.4, 127.4)}, {"interval": None}]
)
def test_ends_of_what_is_allowed(changes):
    made = Measurement(**(FULL | changes))
    assert dataclasses.asdict(made).items() >= changes.items()


def test_it_is_never_said_to_be_a_medical_device():
    """Said once and first, whether or not the caller says it."""
    terms = ("Weights for research only.", "", "Weights for research only.")
    for notices in (terms, (*terms, NOT_A_MEDICAL_DEVICE), ()):
        statements = Measurement(**FULL, notices=notices).statements
        assert statements[0] == NOT_A_MEDICAL_DEVICE
        assert statements[1:] == (("Weights for research only.",) if notices else ())


def test_names_of_files_that_are_no_text_are_printable():
    made = Measurement(**FULL, networks=("\udcff.safetensors",), flags=("\udcff", " "), turned="by 180\udcff")
    assert made.parameters == ("sex of the child: F", "network: \\xff.safetensors")
    assert made.findings == ("\\xff",)
    assert made.statements[1] == "The picture was turned before it was read: by 180\\xff."


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reasons": ()}, "reasons"),
        ({"reasons": (" ",)}, "reasons"),
        ({"laterality": "B"}, "laterality"),
        ({"algorithm_name": ""}, "algorithm_name"),
        ({"algorithm_version": "1\\2"}, "algorithm_version"),
    ],
)
def test_a_radiograph_without_an_age_says_why_and_by_what(changes, field):
    with pytest.raises(UserError, match=f"^a bone age cannot be reported: {field} is "):
        Unmeasured(**({"reasons": ("two hands",), "algorithm_name": "b", "algorithm_version": "1"} | changes))
