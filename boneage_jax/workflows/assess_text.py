"""Assessments as a table, and as text for people."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Sequence

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis.conformal import LEVELS
from boneage_jax.errors import listed, printable
from boneage_jax.files import replacing
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE, Assessment

COLUMNS = (
    *("file", "months", "spread"),
    *(f"{end}_{100 * level:.0f}" for level in LEVELS for end in ("low", "high")),
    *("chronological_months", "sd_score", "sex", "turned", "flags", "refused", "problem"),
)
"""Columns of the table of ages; those of intervals are of `conformal.LEVELS`."""


def write_csv(assessments: Sequence[Assessment], path: pathlib.Path) -> None:
    """Writes `COLUMNS`, whole or not at all, in UTF-8.

    Numbers that are not known are empty.

    Flags of thresholds that were not chosen for the networks are marked, as in `cut off (uncalibrated)`. A file whose
    name is not UTF-8 is written as its `file:` URI, which keeps every byte.

    Raises:
      UserError: where that is impossible.
    """
    with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for a in assessments:
            of = {one.level: (_number(one.low), _number(one.high)) for one in a.intervals}
            numbers = [
                _number(a.months),
                _number(a.spread),
                *(end for level in LEVELS for end in of.get(level, ("", ""))),
                "" if a.chronological_months is None else _number(a.chronological_months),
                "" if a.sd_score is None else f"{a.sd_score:.2f}",
            ]
            flags = [", ".join(a.marked_flags), ", ".join(a.refused)]
            writer.writerow([faithful(a.file), *numbers, a.sex, str(a.turned), *flags, a.problem])


def faithful(name: str) -> str:
    """Returns a file's name, or its `file:` URI where the name is not UTF-8."""
    return name if printable(name) == name else pathlib.Path(name).absolute().as_uri()


def legible(name: str) -> str:
    """Returns a file's name for people: what cannot be displayed, as line ends, in the form `\\xff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in printable(name))


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else ""


def shown(assessment: Assessment) -> str:
    """Returns an age for people: with its widest interval, or with its spread where it has none."""
    if not np.isfinite(assessment.months):
        return "no age"
    spread = f" ± {assessment.spread:.1f}" if np.isfinite(assessment.spread) else ""
    if assessment.intervals:
        widest = assessment.intervals[-1]
        spread = f" [{widest.low:.1f}, {widest.high:.1f}]"
    return f"{assessment.months:.1f}{spread} months ({assessment.months / 12:.1f} years)"


def as_text(
    assessments: Sequence[Assessment],
    out: pathlib.Path | None,
    *,
    networks: Sequence[str],
    remarks: Sequence[str],
) -> str:
    """Returns the ages for people, with their networks, and notes on what they may be used for."""
    read = [a for a in assessments if not a.problem]
    lines = [
        f"{shown(a):>32}  {a.sex or '-'}  {legible(a.file)}"
        + "".join(f"  ({remark})" for remark in a.remarks)
        + (f"  [{', '.join(a.marked_flags)}]" if a.flags else "")
        for a in read[:20]
    ]
    if len(read) > 20:
        lines.append(f"... and {len(read) - 20} more")
    if len(read) < len(assessments):
        lines.append(f"{len(assessments) - len(read)} of {len(assessments)} could not be used:")
        lines.append(problems_listed(assessments))
    refused = sum(bool(a.refused) for a in read)
    if refused:
        lines.append(f"{refused} of {len(assessments)} get no age: their flags say that no whole hand was found")
    flagged = sum(bool(a.flags) for a in read) - refused
    if flagged:
        lines.append(f"{flagged} of {len(assessments)} flagged: look at them before you use them")
    if not all(a.calibrated for a in read):
        lines.append(UNCALIBRATED_NOTICE)
    lines += [f"networks of {network}" for network in networks]
    lines += remarks
    lines.append(NOT_A_MEDICAL_DEVICE)
    if out:
        lines.append(f"{len(read)} of {len(assessments)} lie in {legible(str(out))}")
        if out.is_dir():
            lines.append(f"page      {legible(str(out / 'index.html'))}")
    return "\n".join(lines)


def problems_listed(assessments: Sequence[Assessment]) -> str:
    """Returns the radiographs that could not be used, with the reason, one a line."""
    return listed([f"{legible(a.file)}: {a.problem}" for a in assessments if a.problem])
