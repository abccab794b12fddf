"""FHIR observations, validated by the schemas of `fhir.resources`: R4B, whose Observation is that of R4."""

import json

import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.clinical.fhir import observation
from boneage_jax.clinical.measurement import Measurement
from boneage_jax.errors import UserError

schemas = pytest.importorskip("fhir.resources.R4B.observation")

FULL = Measurement(
    months=127.43120193481445,
    algorithm_name="boneage-jax",
    algorithm_version="0.1.0",
    interval=(118.2, 134.9),
    sex="F",
    chronological_months=130.2,
    sd_score=-0.37,
    sd_reference="girls of Greulich and Pyle 1959",
    flags=("cut off",),
    laterality="L",
    turned="upside down",
    networks=("rsna.safetensors: age0",),
    notices=("Weights for research only.",),
)
BARE = Measurement(96.5, "boneage-jax", "0.1.0")
UCUM = "http://unitsofmeasure.org"


def read(made):
    """As a server reads it: from JSON, by the schema."""
    return schemas.Observation.model_validate_json(json.dumps(made))


@pytest.mark.parametrize("measured", [FULL, BARE], ids=["full", "bare"])
@pytest.mark.parametrize(
    "about",
    [
        {},
        {
            "subject": "Patient/17",
            "effective": "2026-01-05T09:30:00+01:00",
            "identifier": "17-1",
            "identifier_system": "urn:example:observations",
            "study_uid": "1.2.3",
        },
        {"identifier": "17-1", "effective": "2026-01-05"},
    ],
    ids=["alone", "all", "some"],
)
def test_valid_by_the_schema(measured, about):
    made = observation(measured, **about)
    assert json.loads(read(made).model_dump_json()) == made


def test_the_schema_refuses_what_is_wrong():
    """So that its consent means something."""
    for spoil in ({"status": None}, {"valueQuantity": {"value": "many"}}, {"colour": "red"}, {"code": {"text": 3}}):
        with pytest.raises(ValueError):
            read(observation(FULL) | spoil)


def test_values_come_back():
    made = read(observation(FULL))
    value = made.valueQuantity
    assert (float(value.value), value.system, value.code) == (127.43120193481445, UCUM, "mo")
    components = {part.code.text: part for part in made.component}
    interval = components["90% prediction interval of the bone age"].valueRange
    assert (float(interval.low.value), float(interval.high.value)) == (118.2, 134.9)
    assert interval.low.code == interval.high.code == "mo"
    score = components["SD score of the bone age, girls of Greulich and Pyle 1959"]
    assert (float(score.valueQuantity.value), score.valueQuantity.code) == (-0.37, "1")
    assert score.code.coding[0].code == "121416"
    age = components["Chronological age"]
    assert (float(age.valueQuantity.value), age.valueQuantity.code) == (130.2, "mo")
    assert (age.code.coding[0].system, age.code.coding[0].code) == ("http://loinc.org", "30525-0")
    assert len(components) == 3
    assert made.referenceRange is None


def test_what_was_measured_and_how():
    made = read(observation(FULL))
    assert made.status == "preliminary"
    assert [(coding.system, coding.code) for coding in made.code.coding] == [
        ("http://loinc.org", "85151-9"),
        ("http://loinc.org", "37362-1"),
    ]
    assert made.category[0].coding[0].code == "imaging"
    assert made.method.coding[0].code == "123110"
    assert made.meta.security[0].code == "AIAST"
    (device,) = made.contained
    assert made.device.reference == f"#{device.id}"
    assert device.get_resource_type() == "Device"
    assert (device.deviceName[0].name, device.version[0].value) == ("boneage-jax", "0.1.0")
    assert made.performer is None, "no person"


@pytest.mark.parametrize(("side", "code"), [("L", "85151006"), ("R", "78791008"), ("", "85562004")])
def test_side(side, code):
    made = read(observation(Measurement(96.5, "boneage-jax", "0.1.0", laterality=side)))
    assert [(coding.system, coding.code) for coding in made.bodySite.coding] == [("http://snomed.info/sct", code)]


def test_notes():
    assert [note.text for note in read(observation(FULL)).note] == [
        NOT_A_MEDICAL_DEVICE,
        "The picture was turned before it was read: upside down.",
        "Weights for research only.",
        "Quality flag: cut off",
        "Sex of the child: F",
        "Network: rsna.safetensors: age0",
    ]


def test_what_is_not_known_is_left_out():
    made = observation(BARE)
    for name in ("component", "subject", "effectiveDateTime", "identifier", "derivedFrom"):
        assert name not in made


def test_about_whom_when_and_of_what():
    made = read(
        observation(
            FULL,
            subject="Patient/17",
            effective="2026-01",
            identifier="a",
            identifier_system="urn:b",
            study_uid="1.2.3",
        )
    )
    assert made.subject.reference == "Patient/17"
    assert json.loads(made.model_dump_json())["effectiveDateTime"] == "2026-01"
    assert (made.identifier[0].system, made.identifier[0].value) == ("urn:b", "a")
    assert made.derivedFrom[0].identifier.value == "urn:oid:1.2.3"


@pytest.mark.parametrize(
    "when", ["20260105", "2026-13", "5.1.2026", "2026-01-05T09:30:00", "2026-01-05 09:30:00Z", "now"]
)
def test_what_is_no_time_is_refused(when):
    with pytest.raises(UserError, match=r"effective is .*, expected a dateTime of FHIR as in 2026-03-31"):
        observation(FULL, effective=when)
