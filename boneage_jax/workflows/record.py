"""Assessments as JSON: what `boneage assess` writes and its journal keeps, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis import sd_score
from boneage_jax.data.dicom_header import Stated
from boneage_jax.data.labels import SEX_LETTERS
from boneage_jax.workflows import flags
from boneage_jax.workflows.assess_text import faithful
from boneage_jax.workflows.assessment import Assessment, Interval, NetworkAge, as_years_and_months

SCHEMA = "boneage-assessments/1"
"""Name and version of the form of a document; a change that readers must know of counts the version up."""

_DECIMALS = 2
"""Of months: finer than any reading, and the same on all machines."""


def document(assessments: Sequence[Assessment], *, networks: Sequence[str], remarks: Sequence[str]) -> dict[str, Any]:
    """Returns a whole document: what must be said with the ages, and a record of each radiograph.

    A file whose name is not UTF-8 goes by its `file:` URI, as in the table.

    Args:
      assessments: in order.
      networks: where each network comes from.
      remarks: what else people must know of the ages.
    """
    return {
        "schema": SCHEMA,
        "notice": NOT_A_MEDICAL_DEVICE,
        "remarks": list(remarks),
        "networks": list(networks),
        "radiographs": [{**record(one), "file": faithful(one.file)} for one in assessments],
    }


def record(one: Assessment, *, exact: bool = False) -> dict[str, Any]:
    """Returns what is known of one radiograph; see docs/reference/assessment-json.md for the fields.

    Args:
      one: the assessment.
      exact: whether numbers are kept as they are, so that `assessment` gives back the same; else to two decimals.
    """
    stated, rounded = one.stated, _exact if exact else _rounded
    made: dict[str, Any] = {
        "file": one.file,
        "status": "unusable" if one.problem else "refused" if one.refused else "read",
        "problem": one.problem,
        "bone_age": None,
        "intervals": [{"level": of.level, "low": rounded(of.low), "high": rounded(of.high)} for of in one.intervals],
        "networks": [
            {"region": of.region, "months": rounded(of.months), "spread": rounded(of.spread)} for of in one.networks
        ],
        "disagreement": rounded(one.disagreement),
        "sex": one.sex or None,
        "chronological_age": None,
        "sd_score": None,
        "turned_degrees": one.turned,
        "hand_mm": rounded(one.hand_mm),
        "flags": [_flag(one, name) for name in one.flags],
        "calibrated_flags": one.calibrated,
        "header": {
            "sex": SEX_LETTERS[stated.male] or None,
            "age_months": rounded(stated.age_months),
            "age_source": stated.age_source,
            "laterality": stated.laterality,
            "spacing_mm": stated.spacing_mm,
            "spacing_source": stated.spacing_source,
            "body_part": stated.body_part,
            "modality": stated.modality,
        },
    }
    if math.isfinite(one.months):
        made["bone_age"] = {
            "months": rounded(one.months),
            "spread": rounded(one.spread),
            "text": as_years_and_months(one.months),
        }
    if one.chronological_months is not None:
        made["chronological_age"] = {
            "months": rounded(one.chronological_months),
            "source": one.chronological_source,
        }
    if one.sd_score is not None:
        made["sd_score"] = {"value": rounded(one.sd_score), "reference": sd_score.REFERENCE}
    if one.identifiers:
        made["identifiers"] = dict(one.identifiers)
    return made


def assessment(made: Mapping[str, Any]) -> Assessment:
    """Returns the assessment of a record: the one that it was made of, its numbers as the record has them.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: for anything that `record` does not return.
    """
    age, chronological, score = made["bone_age"] or {}, made["chronological_age"] or {}, made["sd_score"] or {}
    header = made["header"]
    return Assessment(
        file=made["file"],
        months=_number(age.get("months")),
        spread=_number(age.get("spread")),
        sex=made["sex"] or "",
        flags=tuple(flag["name"] for flag in made["flags"]),
        problem=made["problem"],
        calibrated=made["calibrated_flags"],
        intervals=tuple(Interval(of["level"], of["low"], of["high"]) for of in made["intervals"]),
        refused=tuple(flag["name"] for flag in made["flags"] if flag["refuses"]),
        turned=made["turned_degrees"],
        stated=Stated(
            None if header["sex"] is None else header["sex"] == "M",
            *(header[name] for name in ("age_months", "age_source", "laterality")),
            *(header[name] for name in ("spacing_mm", "spacing_source", "body_part", "modality")),
        ),
        chronological_months=chronological.get("months"),
        chronological_source=chronological.get("source", ""),
        sd_score=score.get("value"),
        networks=tuple(
            NetworkAge(of["region"], _number(of["months"]), _number(of["spread"])) for of in made["networks"]
        ),
        hand_mm=made["hand_mm"],
        identifiers=tuple(made.get("identifiers", {}).items()),
    )


def _flag(one: Assessment, name: str) -> dict[str, Any]:
    meaning, advice = flags.MEANINGS[name]
    return {"name": name, "meaning": meaning, "advice": advice, "refuses": name in one.refused}


def _rounded(value: float | None) -> float | None:
    """A number as it is stored; none for those that are not known, which JSON has no word for."""
    return None if value is None or not math.isfinite(value) else round(value, _DECIMALS)


def _exact(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _number(stored: float | None) -> float:
    return math.nan if stored is None else float(stored)
