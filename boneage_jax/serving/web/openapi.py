"""The description of the endpoint, as OpenAPI 3.1: what `boneage_jax.workflows.record` writes, and every problem."""

from __future__ import annotations

from typing import Any

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__
from boneage_jax.data import images
from boneage_jax.serving.web import problems, uploads
from boneage_jax.workflows.record import SCHEMA

JSON = dict[str, Any]

_TEXT: JSON = {"type": "string"}
_NUMBER: JSON = {"type": "number"}


def document(*, with_token: bool) -> JSON:
    """Returns the description.

    Args:
      with_token: whether the server asks for a token.
    """
    made: JSON = {
        "openapi": "3.1.0",
        "info": {
            "title": "boneage-jax",
            "version": __version__,
            "description": f"Bone age, in months, from hand radiographs. {NOT_A_MEDICAL_DEVICE}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/api/v1/assessments": {"post": _assess()},
            "/health": {"get": _health()},
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "schemas": {"Assessments": _assessments(), "Record": _record(), "Flag": _flag(), "Problem": _problem()}
        },
    }
    if with_token:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
        made["paths"]["/health"]["get"]["security"] = []
    return made


def _object(properties: JSON, *, optional: tuple[str, ...] = (), **more: Any) -> JSON:
    """An object that has all of these properties and no other."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def _or_null(schema: JSON) -> JSON:
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: JSON) -> JSON:
    return {"type": "array", "items": schema}


def _of(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


def _months(description: str) -> JSON:
    return {"type": "number", "description": f"{description}, in months"}


def _assess() -> JSON:
    age = {"type": "number", "minimum": 0, "maximum": uploads.MOST_AGE}
    form = _object(
        {
            uploads.FILE: {
                "type": "array",
                "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                "minItems": 1,
                "maxItems": uploads.MOST_FILES,
                "description": f"radiographs: {images.FORMATS}",
            },
            uploads.SEX: {
                "type": "string",
                "enum": ["F", "M", ""],
                "description": "of all children; empty, or left out, for that of each file's DICOM header",
            },
            uploads.MONTHS: {
                **age,
                "description": "age since birth in months, for the SD score; left out for that of the DICOM header",
            },
            uploads.YEARS: {**age, "maximum": uploads.MOST_AGE / 12, "description": "years in addition to the months"},
        },
        optional=(uploads.SEX, uploads.MONTHS, uploads.YEARS),
    )
    answers: JSON = {
        "200": {
            "description": "One record for each radiograph, in the order of the files. One that shows no whole hand "
            "has the status refused; one of several that cannot be used has the status unusable.",
            "content": {
                "application/json": {"schema": _of("Assessments")},
                "text/html": {"schema": _TEXT},
            },
        }
    }
    for kind in problems.KINDS:
        if kind not in (problems.NOT_FOUND, problems.WRONG_METHOD):
            answers[str(kind.status)] = _answer(kind)
    return {
        "operationId": "assess",
        "summary": "Read bone ages",
        "description": "Nothing of a request is kept, unless the server was started so that it is.",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": answers,
    }


def _answer(kind: problems.Kind) -> JSON:
    made: JSON = {
        "description": f"{kind.title} (`{kind.type}`).",
        "content": {problems.MEDIA_TYPE: {"schema": _of("Problem")}},
    }
    if kind is problems.BUSY:
        made["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
    return made


def _health() -> JSON:
    state = {"application/json": {"schema": _object({"status": {"enum": ["starting", "ready", "stopping"]}})}}
    return {
        "operationId": "health",
        "summary": "Whether the networks are loaded and compiled",
        "responses": {
            "200": {"description": "Ready.", "content": state},
            "503": {"description": "Starting or stopping.", "content": state},
        },
    }


def _metrics() -> JSON:
    return {
        "operationId": "metrics",
        "summary": "Counts and times, for Prometheus",
        "responses": {"200": {"description": "Metrics.", "content": {"text/plain": {"schema": _TEXT}}}},
    }


def _assessments() -> JSON:
    return _object(
        {
            "schema": {"const": SCHEMA},
            "notice": {"type": "string", "description": "Research software, not a medical device."},
            "remarks": {**_list(_TEXT), "description": "what else must be said with the ages"},
            "networks": {**_list(_TEXT), "description": "where each network comes from"},
            "radiographs": _list(_of("Record")),
        }
    )


def _record() -> JSON:
    """Of `record.record`."""
    sex = {"enum": ["F", "M", None]}
    return _object(
        {
            "file": {"type": "string", "description": "its name, as it was sent"},
            "status": {
                "enum": ["read", "refused", "unusable"],
                "description": "refused: flags say that no age can be given; unusable: the file could not be used",
            },
            "problem": {"type": "string", "description": "why it is unusable, else empty"},
            "bone_age": _or_null(
                _object(
                    {
                        "months": _months("bone age"),
                        "spread": _or_null(_months("its standard deviation by the networks themselves")),
                        "text": {"type": "string", "description": "as in 10 years 3 months"},
                    }
                )
            ),
            "intervals": _list(
                _object(
                    {
                        "level": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                        "low": _months("lower end"),
                        "high": _months("upper end"),
                    }
                )
            ),
            "networks": _list(_object({"region": _TEXT, "months": _or_null(_NUMBER), "spread": _or_null(_NUMBER)})),
            "disagreement": _or_null(_months("between the youngest and the oldest age of the networks")),
            "sex": {**sex, "description": "as it was told the networks"},
            "chronological_age": _or_null(_object({"months": _NUMBER, "source": _TEXT})),
            "sd_score": _or_null(_object({"value": _NUMBER, "reference": _TEXT})),
            "turned_degrees": {"enum": [0, 90, 180, 270], "description": "counterclockwise, before it was read"},
            "hand_mm": _or_null({"type": "number", "description": "from middle fingertip to capitate"}),
            "flags": _list(_of("Flag")),
            "calibrated_flags": {"type": "boolean"},
            "header": _object(
                {
                    "sex": sex,
                    "age_months": _or_null(_NUMBER),
                    "age_source": _TEXT,
                    "laterality": {"enum": ["L", "R", ""]},
                    "spacing_mm": _or_null(_NUMBER),
                    "spacing_source": _TEXT,
                    "body_part": _TEXT,
                    "modality": _TEXT,
                },
                description="what its DICOM header states",
            ),
        }
    )


def _flag() -> JSON:
    return _object(
        {
            "name": _TEXT,
            "meaning": _TEXT,
            "advice": _TEXT,
            "refuses": {"type": "boolean", "description": "whether it is why no age is given"},
        }
    )


def _problem() -> JSON:
    return _object(
        {
            "type": {"enum": [kind.type for kind in problems.KINDS], "format": "uri-reference"},
            "title": _TEXT,
            "status": {"enum": sorted({kind.status for kind in problems.KINDS})},
            "detail": {"type": "string", "description": "what is wrong"},
            "found": _TEXT,
            "expected": _TEXT,
            "advice": {"type": "string", "description": "what to do"},
            "request": {"type": "integer", "description": "number of the request in the server's log"},
            "files": _list(_object({"file": _TEXT, "problem": _TEXT})),
        },
        optional=("files",),
        description="RFC 9457",
    )
