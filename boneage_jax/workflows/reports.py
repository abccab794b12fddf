"""Assessments for clinical systems: DICOM structured report and secondary capture, FHIR observation.

A radiograph without an age gives no measurement, and so neither report nor observation: a value that is missing must
not look like one. Where it was seen at all, a picture says that there is no age, and why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import io
import json
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__
from boneage_jax.analysis import sd_score
from boneage_jax.clinical import capture, fhir, sr
from boneage_jax.clinical.measurement import Measurement, Unmeasured
from boneage_jax.clinical.source import highdicom
from boneage_jax.data import dicom
from boneage_jax.errors import UserError, printable, reason
from boneage_jax.files import replacing
from boneage_jax.workflows import report_picture
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE, Assessment, Seen
from boneage_jax.workflows.choices import ReportKind as Kind

if TYPE_CHECKING:
    import pydicom

ALGORITHM = "boneage-jax"

SUFFIXES: dict[Kind, str] = {"sr": ".sr.dcm", "sc": ".sc.dcm", "fhir": ".fhir.json"}
"""Endings of the files."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What `write` has written of one radiograph.

    Attributes:
      paths: of the files.
      left_out: kinds that were asked for and are not there, each with the reason, as `sr: no bone age: two hands`.
    """

    paths: tuple[pathlib.Path, ...]
    left_out: tuple[str, ...] = ()


def expect_libraries() -> None:
    """Raises `UserError` where the libraries of DICOM objects are not installed: before the work, not after it."""
    dicom.library()
    highdicom()


def measured(assessment: Assessment, *, networks: Sequence[str] = (), remarks: Sequence[str] = ()) -> Measurement:
    """Returns what is reported of a radiograph that has an age.

    Args:
      assessment: of it.
      networks: where the networks come from, as `Assessor.networks`; of folders the last name alone is reported.
      remarks: what else people must know, as `Assessor.remarks`.

    Raises:
      UserError: for a radiograph without an age, or one that cannot be reported, as below 0 months.
    """
    if why := _why_not(assessment):
        raise UserError(f"a bone age cannot be reported: {', '.join(why)}")
    widest = assessment.intervals[-1] if assessment.intervals else None
    return Measurement(
        assessment.months,
        ALGORITHM,
        __version__,
        interval=(widest.low, widest.high) if widest else None,
        level=widest.level if widest else 0.9,
        sex=assessment.sex,
        chronological_months=assessment.chronological_months,
        sd_score=assessment.sd_score,
        sd_reference=sd_score.REFERENCE if assessment.sd_score is not None else "",
        flags=assessment.marked_flags,
        laterality=assessment.stated.laterality,
        turned=_turned(assessment),
        networks=tuple(map(_without_folder, networks)),
        notices=_notices(assessment, remarks),
    )


def unmeasured(assessment: Assessment, *, remarks: Sequence[str] = ()) -> Unmeasured:
    """Returns what is said of a radiograph that was looked at and has no age.

    Raises:
      UserError: for one that has an age.
    """
    return Unmeasured(
        _why_not(assessment),
        ALGORITHM,
        __version__,
        laterality=assessment.stated.laterality,
        turned=_turned(assessment),
        notices=_notices(assessment, remarks),
    )


def objects(
    assessment: Assessment,
    seen: Seen | None,
    source: pydicom.Dataset,
    *,
    networks: Sequence[str] = (),
    remarks: Sequence[str] = (),
    kinds: Collection[Kind] = ("sr", "sc"),
) -> dict[Kind, Any]:
    """Returns DICOM objects to store beside a radiograph, by kind; those that cannot be made are not among them.

    Args:
      assessment: of the radiograph.
      seen: what the picture shows; None where the radiograph could not be read: then there is none.
      source: the radiograph; its pixels are not needed.
      networks: see `measured`.
      remarks: see `measured`.
      kinds: `sr`, `sc`, or both.

    Raises:
      UserError: for a source that cannot be referred to, and where highdicom is not installed.
    """
    why = _why_not(assessment)
    made: dict[Kind, Any] = {}
    said: Measurement | Unmeasured = (
        unmeasured(assessment, remarks=remarks) if why else measured(assessment, networks=networks, remarks=remarks)
    )
    if "sr" in kinds and isinstance(said, Measurement):
        made["sr"] = sr.structured_report(said, source)
    if "sc" in kinds and seen is not None:
        picture = report_picture.draw(assessment, seen, no_age=why, remarks=remarks)
        made["sc"] = capture.secondary_capture(picture, said, source)
    return made


def write(
    assessment: Assessment,
    seen: Seen | None,
    source_bytes: bytes,
    folder: pathlib.Path,
    kinds: Collection[Kind],
    *,
    networks: Sequence[str] = (),
    remarks: Sequence[str] = (),
    name: str = "",
    subject: str = "",
) -> Written:
    """Writes the reports of one radiograph: all of them, or none.

    Args:
      assessment: of the radiograph.
      seen: what the picture shows; None where the radiograph could not be read.
      source_bytes: the radiograph's file.
      folder: where they go; made where it is missing.
      kinds: which of them.
      networks: see `measured`.
      remarks: see `measured`.
      name: of the files without ending; empty for that of the radiograph.
      subject: reference to the patient in the observation, as in `Patient/17`; empty for none.

    Returns:
      The files, and what there is none of: a radiograph without an age has a picture at most, and one that is no DICOM
      file belongs to no study, so it has an observation at most.

    Raises:
      UserError: for a DICOM file that cannot be referred to, a folder that cannot be written, and where highdicom or
        pydicom is not installed. Nothing is written then.
    """
    name = name or printable(pathlib.PurePath(assessment.file).stem) or "radiograph"
    why = ", ".join(_why_not(assessment))
    source = _header(source_bytes)
    left_out = []
    writers: dict[Kind, Callable[[pathlib.Path], object]] = {}
    asked = [kind for kind in SUFFIXES if kind in kinds]
    made = (
        objects(assessment, seen, source, networks=networks, remarks=remarks, kinds=asked) if source is not None else {}
    )
    for kind in asked:
        if kind in made:
            writers[kind] = functools.partial(made[kind].save_as, enforce_file_format=True)
        elif kind == "fhir" and not why:
            measurement = measured(assessment, networks=networks, remarks=remarks)
            observed = fhir.observation(measurement, subject=subject, **_study(source))
            text = json.dumps(observed, indent=2, ensure_ascii=False) + "\n"
            writers[kind] = functools.partial(_write_text, text=text)
        elif kind != "fhir" and source is None:
            left_out.append(f"{kind}: the radiograph is no DICOM file, so there is no study that it could belong to")
        else:
            left_out.append(f"{kind}: no bone age: {why}")
    paths = {folder / f"{name}{SUFFIXES[kind]}": writer for kind, writer in writers.items()}
    for path in paths:
        if path.is_dir():
            raise UserError(f"{printable(str(path))}: this is a folder, expected the name of a file to write")
    with contextlib.ExitStack() as renamed_together:
        for path, writer in paths.items():
            writer(renamed_together.enter_context(replacing(path)))
    return Written(tuple(paths), tuple(left_out))


def _write_text(path: pathlib.Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _why_not(assessment: Assessment) -> tuple[str, ...]:
    """Why a radiograph has no age that can be reported; empty where it has one."""
    if assessment.problem:
        return (assessment.problem,)
    if assessment.refused:
        return assessment.refused
    if not np.isfinite(assessment.months):
        return ("the networks give none",)
    if assessment.months < 0:
        return (f"the networks give {assessment.months:.1f} months, which is below birth",)
    return ()


def _turned(assessment: Assessment) -> str:
    return f"by {assessment.turned} degrees counterclockwise" if assessment.turned else ""


def _notices(assessment: Assessment, remarks: Sequence[str]) -> tuple[str, ...]:
    uncalibrated = () if assessment.calibrated else (UNCALIBRATED_NOTICE,)
    return (NOT_A_MEDICAL_DEVICE, *remarks, *uncalibrated)


def _without_folder(network: str) -> str:
    """A line of `Assessor.networks`, of a path its last name alone: where folders lie is no one else's business."""
    place, colon, chosen = network.partition(": ")
    return f"{pathlib.PurePath(place).name}{colon}{chosen}" if pathlib.PurePath(place).is_absolute() else network


def _header(data: bytes) -> Any:
    """The data set of a DICOM file without its pixels; None for other files."""
    if not dicom.is_dicom(data):
        return None
    pydicom = dicom.library()
    with dicom.quiet():
        try:
            return pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
        # pydicom raises whatever a damaged file makes it run into.
        except Exception as error:
            raise UserError(f"the DICOM file cannot be read ({printable(reason(error))})") from error


def _study(source: Any) -> dict[str, str]:
    """Day and study of a radiograph as an observation has them."""
    if source is None:
        return {}
    with dicom.quiet():
        day = str(source.get("AcquisitionDate") or source.get("StudyDate") or "")
        study = str(source.get("StudyInstanceUID") or "")
    try:
        return {"effective": datetime.datetime.strptime(day, "%Y%m%d").date().isoformat(), "study_uid": study}
    except ValueError:
        return {"study_uid": study}
