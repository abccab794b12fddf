"""Bone ages as FHIR observations, release 4 (R4, 4.0.1; the same in R4B). Needs no other package.

The interval is a component and no reference range: that one says which values are to be expected of healthy people
(R4, Observation.referenceRange), the interval how far the reading of this one hand may be off.
"""

from __future__ import annotations

import re
from typing import Any

from boneage_jax.clinical import codes
from boneage_jax.clinical.measurement import AUTHORS, Measurement
from boneage_jax.errors import UserError

_DATE_TIME = re.compile(
    r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])"
    r"(T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-](0\d|1[0-4]):[0-5]\d))?)?)?"
)
"""FHIR's dateTime (R4 2.24.0.1): to the year, month or day, or with time and offset from UTC."""

_DEVICE = "algorithm"
"""Identifier of the device within the observation."""


def observation(
    measurement: Measurement,
    *,
    subject: str = "",
    effective: str = "",
    identifier: str = "",
    identifier_system: str = "",
    study_uid: str = "",
) -> dict[str, Any]:
    """Returns a preliminary observation of a bone age, as JSON has it.

    Args:
      measurement: what is reported.
      subject: reference to the patient, as in `Patient/17`; empty for none.
      effective: when the radiograph was taken, as in `2026-03-31` or `2026-03-31T09:30:00+02:00`; empty for not known.
      identifier: of the observation, given by whoever sends it; empty for none.
      identifier_system: URI of what gives these identifiers; empty for none.
      study_uid: Study Instance UID of the radiograph; empty for not known.

    Raises:
      UserError: for an `effective` that is no dateTime of FHIR.
    """
    if effective and not _DATE_TIME.fullmatch(effective):
        raise UserError(
            f"a bone age cannot be reported: effective is {effective!r}, expected a dateTime of FHIR as in 2026-03-31 "
            "or 2026-03-31T09:30:00+02:00"
        )
    made: dict[str, Any] = {
        "resourceType": "Observation",
        # HL7 AI Transparency on FHIR: that it was asserted by artificial intelligence.
        "meta": {
            "security": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
                    "code": "AIAST",
                    "display": "Artificial Intelligence asserted",
                }
            ]
        },
        "contained": [_device(measurement)],
        "status": "preliminary",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "imaging",
                        "display": "Imaging",
                    }
                ]
            }
        ],
        "code": _concept("Bone age", codes.BONE_AGE, codes.BONE_AGE_REPORT),
        "valueQuantity": _months(measurement.months),
        "note": [{"text": text} for text in _notes(measurement)],
        "bodySite": _concept("", codes.HANDS[measurement.laterality]),
        "method": _concept("Read by neural networks", codes.ARTIFICIAL_INTELLIGENCE),
        "device": {"reference": f"#{_DEVICE}", "display": measurement.algorithm},
    }
    if identifier:
        made["identifier"] = [{**({"system": identifier_system} if identifier_system else {}), "value": identifier}]
    if subject:
        made["subject"] = {"reference": subject}
    if effective:
        made["effectiveDateTime"] = effective
    if study_uid:
        # R4, ImagingStudy: how it holds a UID of DICOM as identifier.
        study = {"system": "urn:dicom:uid", "value": f"urn:oid:{study_uid}"}
        made["derivedFrom"] = [{"type": "ImagingStudy", "identifier": study}]
    if components := _components(measurement):
        made["component"] = components
    return made


def _components(measurement: Measurement) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if measurement.interval is not None:
        low, high = measurement.interval
        # In words alone: the estimate types of HL7 have confidence and credible intervals, which this one is not.
        found.append(
            {
                "code": {"text": f"{100 * measurement.level:g}% prediction interval of the bone age"},
                "valueRange": {"low": _months(low), "high": _months(high)},
            }
        )
    if measurement.sd_score is not None:
        found.append(
            {
                "code": _concept(f"SD score of the bone age, {measurement.sd_reference}", codes.SD_SCORE),
                "valueQuantity": _quantity(measurement.sd_score, "SD", codes.NO_UNITS),
            }
        )
    if measurement.chronological_months is not None:
        found.append(
            {
                "code": _concept("Chronological age", codes.AGE),
                "valueQuantity": _months(measurement.chronological_months),
            }
        )
    return found


def _device(measurement: Measurement) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "id": _DEVICE,
        "manufacturer": AUTHORS,
        "deviceName": [{"name": measurement.algorithm_name, "type": "model-name"}],
        "version": [{"value": measurement.algorithm_version}],
    }


def _notes(measurement: Measurement) -> tuple[str, ...]:
    flags = tuple(f"Quality flag: {flag}" for flag in measurement.findings)
    parameters = tuple(f"{text[:1].upper()}{text[1:]}" for text in measurement.parameters)
    return (*measurement.statements, *flags, *parameters)


def _concept(text: str, *coded: codes.Code) -> dict[str, Any]:
    coding = [{"system": code.system, "code": code.value, "display": code.meaning} for code in coded]
    return {"coding": coding, **({"text": text} if text else {})}


def _quantity(value: float, unit: str, code: codes.Code) -> dict[str, Any]:
    return {"value": float(value), "unit": unit, "system": code.system, "code": code.value}


def _months(value: float) -> dict[str, Any]:
    return _quantity(value, "months", codes.MONTHS)
