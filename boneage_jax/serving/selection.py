"""Which of the radiographs that a node receives are read."""

from __future__ import annotations

import re
from typing import Any

from boneage_jax.clinical.measurement import AUTHORS
from boneage_jax.serving.request import NodeRequest


def left_out(header: Any, request: NodeRequest) -> str:
    """Returns why a radiograph is not to be read, in words that quote nothing of it; empty where it is.

    Args:
      header: data set of the radiograph; its pixels are not needed.
      request: what is read.
    """
    if made_here(header):
        return "made by this software"
    for name, terms in (("Modality", request.modalities), ("BodyPartExamined", request.body_parts)):
        if terms and _text(header, name).upper() not in terms:
            return f"{name} is another"
    patterns: tuple[tuple[str, re.Pattern[str] | None], ...] = (
        ("StudyDescription", request.study),
        ("SeriesDescription", request.series),
    )
    for name, pattern in patterns:
        if pattern is not None and not pattern.search(_text(header, name)):
            return f"{name} is another"
    return ""


def made_here(header: Any) -> bool:
    """Whether this software drew a picture: an archive that sends all it gets would have it read without end."""
    return _text(header, "Manufacturer") == AUTHORS


def _text(header: Any, name: str) -> str:
    """An attribute as text with single spaces; empty where it is missing or cannot be read."""
    try:
        return " ".join(str(header.get(name) or "").split())
    # pydicom raises whatever a damaged value makes it run into.
    except Exception:
        return ""
