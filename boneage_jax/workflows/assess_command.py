"""What `boneage assess` does: reads ages, writes tables and pages into a folder, returns a summary."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import json
import pathlib
import platform
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__, parallel
from boneage_jax.data.tree import Tree, UnreadableFile
from boneage_jax.errors import EXIT_PARTIAL, UserError
from boneage_jax.files import check_writable, held_alone, write_text
from boneage_jax.runs.run_folder import FolderInUse
from boneage_jax.workflows import assess_journal, assess_page, assess_text, case_page, radiographs, record, reports
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.assess_journal import Journal
from boneage_jax.workflows.assess_page import Row
from boneage_jax.workflows.assessment import Assessment, Seen
from boneage_jax.workflows.radiographs import Radiograph
from boneage_jax.workflows.requests import AssessRequest

INDEX, TABLE, DOCUMENT, MANIFEST = "index.html", "ages.csv", "ages.json", "manifest.json"
CASES, REPORTS = "cases", "reports"
"""Files and folders of a result."""


def assess(request: AssessRequest, out: pathlib.Path | None) -> tuple[str, int]:
    """Reads ages; writes them into a folder where one is named. There the same command goes on where it was cut short.

    Args:
      request: which radiographs, by which networks.
      out: folder for tables and pages; a file that ends in .csv or .json for that one alone; None for none.

    Returns:
      What came out, for people, and the exit status: 0, or `EXIT_PARTIAL` where some radiographs could not be used.

    Raises:
      UserError: see `assess.Assessor`; for a folder that cannot be written, or holds something else; and where no
        radiograph at all could be used. Nothing is written then.
    """
    alone = out is not None and out.suffix.lower() in (".csv", ".json") and not out.is_dir()
    folder = None if alone else out
    if request.reports and folder is None:
        raise UserError("--reports: found no folder to write them into, expected --out FOLDER")
    if {"sr", "sc"} & set(request.reports):
        reports.expect_libraries()
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(_claimed(folder))
        assessor, tree = stack.enter_context(Assessor(request)), stack.enter_context(Tree())
        found = [one for one in radiographs.found(tree, request.paths) if folder is None or not _within(one, folder)]
        if out is not None and alone:
            _check_file(request, found, out)
        if folder is None:
            assessments = [assessment for assessment, _ in assessor.assess(found)]
        else:
            rows = list(_rows(request, assessor, found, folder))
            assessments = [row.assessment for row in rows]
        failed = sum(bool(one.problem) for one in assessments)
        if failed == len(assessments):
            raise UserError(
                f"no radiograph could be used, nothing was written:\n{assess_text.problems_listed(assessments)}"
            )
        if folder is not None:
            _write(rows, folder, request, assessor)
        elif out is not None and out.suffix.lower() == ".csv":
            assess_text.write_csv(assessments, out)
        elif out is not None:
            write_text(out, _document(assessments, assessor))
    text = assess_text.as_text(assessments, out, networks=assessor.networks, remarks=assessor.remarks)
    return text, EXIT_PARTIAL if failed else 0


def _check_file(request: AssessRequest, found: Sequence[Radiograph], out: pathlib.Path) -> None:
    """Raises `UserError` for a file that cannot be written, or would take the place of something that is read."""
    tables = (request.bundle, request.sex_csv, request.thresholds, request.age_calibration, request.intervals)
    sources = [*(pathlib.Path(one.ref.path) for one in found if one.ref is not None), *filter(None, tables)]
    if out.resolve() in [source.resolve() for source in sources]:
        raise UserError(f"--out {assess_text.legible(str(out))}: this file is read, expected the name of another one")
    check_writable(out.absolute().parent)


@contextlib.contextmanager
def _claimed(out: pathlib.Path) -> Iterator[None]:
    """Makes the folder, for this process alone; removes it after an error where it did not hold anything before."""
    name = assess_text.legible(str(out))
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {name}: this is a file, expected the name of a folder")
    empty = not out.exists() or not any(out.iterdir())
    if not empty and not (out / assess_journal.FILE).exists():
        raise UserError(
            f"--out {name}: holds other files, expected a new or empty folder, or one of boneage assess to go on with"
        )
    check_writable(out)
    in_use = FolderInUse(f"--out {name}: boneage assess is at work in this folder; expected none")
    with held_alone(out / ".lock", seconds=0, otherwise=lambda: in_use):
        try:
            yield
        except UserError:
            if empty:
                shutil.rmtree(out, ignore_errors=True)
            raise


def _within(one: Radiograph, folder: pathlib.Path) -> bool:
    """Whether a radiograph lies in the folder of the results, as pictures of former ones do."""
    return one.ref is not None and pathlib.Path(one.ref.path).resolve().is_relative_to(folder.resolve())


def _rows(request: AssessRequest, assessor: Assessor, found: Sequence[Radiograph], out: pathlib.Path) -> Iterator[Row]:
    """Assesses what is not done yet, a batch at a time, and writes the page of each radiograph."""
    inputs = [str(path.resolve()) for path in request.paths]
    journal = Journal(out, {"inputs": inputs, **settings(request, assessor)})
    batches = parallel.in_batches(len(found), request.batch_size)
    done = {batch: journal.finished([found[n] for n in batch]) for batch in batches}
    males = radiographs.sexes_of(found, request.sex, request.sex_csv)
    open_numbers = [n for batch in batches if done[batch] is None for n in batch]
    assessed = assessor.assess([found[n] for n in open_numbers], [males[n] for n in open_numbers])
    width = max(4, len(str(len(found))))
    for batch in batches:
        stored = done[batch]
        if stored is None:
            fresh = []
            for n in batch:
                assessment, seen = next(assessed)
                small = assess_page.picture(seen, keep_identifiers=request.keep_identifiers) if _pictured(n) else None
                fresh.append((assessment, base64.b64encode(small.data).decode() if small else ""))
                around = case_page.Around(
                    tuple(assess_page.place_of(line, out) for line in assessor.networks),
                    assessor.remarks,
                    _case(n - 1, width) if n else "",
                    _case(n + 1, width) if n + 1 < len(found) else "",
                    f"../{INDEX}",
                )
                page = case_page.document(assessment, seen, around, keep_identifiers=request.keep_identifiers)
                write_text(out / CASES / _case(n, width), page)
                if request.reports:
                    _report(request, assessor, found[n], assessment, seen, out / REPORTS / f"{n + 1:0{width}}")
            stored = journal.add([found[n] for n in batch], fresh)
        for n, (assessment, small_picture) in zip(batch, stored, strict=True):
            encoded = base64.b64decode(small_picture) if small_picture else None
            yield Row(assessment, f"{CASES}/{_case(n, width)}", encoded)


def _report(
    request: AssessRequest,
    assessor: Assessor,
    radiograph: Radiograph,
    assessment: Assessment,
    seen: Seen | None,
    place: pathlib.Path,
) -> None:
    """Writes reports of a radiograph, or a text that says why there is none of a kind."""
    try:
        data = radiograph.ref.read() if radiograph.ref is not None else b""
        written = reports.write(
            *(assessment, seen, data, place.parent, request.reports),
            networks=assessor.networks,
            remarks=assessor.remarks,
            name=place.name,
        )
        why = written.left_out
    except (UserError, UnreadableFile) as error:  # of this file alone: the others get theirs
        why = (str(error),)
    missing = place.with_name(f"{place.name}.missing.txt")
    if why:
        write_text(missing, "\n".join(why) + "\n")
    else:
        missing.unlink(missing_ok=True)


def _case(number: int, width: int) -> str:
    return f"{number + 1:0{width}}.html"


def _pictured(number: int) -> bool:
    return number < assess_page.MOST_PICTURES


def _write(rows: Sequence[Row], out: pathlib.Path, request: AssessRequest, assessor: Assessor) -> None:
    """Writes tables, the page of all ages and the manifest; removes pages of radiographs that are no more."""
    assessments = [row.assessment for row in rows]
    assess_text.write_csv(assessments, out / TABLE)
    write_text(out / DOCUMENT, _document(assessments, assessor))
    assess_page.write(rows, out / INDEX, networks=assessor.networks, remarks=assessor.remarks)
    write_text(out / MANIFEST, json.dumps(_manifest(assessments, request, assessor), indent=2) + "\n")
    kept = {pathlib.PurePosixPath(row.address).stem for row in rows}
    for path in (*(out / CASES).glob("*.html"), *(out / REPORTS).glob("*.*")):
        if path.name.partition(".")[0] not in kept:
            path.unlink()


def _document(assessments: Sequence[Assessment], assessor: Assessor) -> str:
    said = record.document(assessments, networks=assessor.networks, remarks=assessor.remarks)
    return json.dumps(said, indent=2) + "\n"


def settings(request: AssessRequest, assessor: Assessor) -> dict[str, Any]:
    """Returns all that ages depend on but the radiographs, as JSON has it; files by their contents."""
    thresholds = assessor.thresholds()
    fitted = {"age_calibration": assessor.age_calibration, "intervals": assessor.intervals}
    plain = (
        "as_is",
        "force",
        "sex",
        "chronological_age",
        "sex_conflict",
        "views",
        "batch_size",
        "attribution",
        "reports",
        "keep_identifiers",
    )
    return {
        "version": __version__,
        "networks": assessor.fingerprint,
        "thresholds": None if thresholds is None else dataclasses.asdict(thresholds),
        "calibrated_thresholds": assessor.calibrated,
        "sex_csv": _digest(request.sex_csv) if request.sex_csv else None,
        **{name: one.to_json() if one is not None else None for name, one in fitted.items()},
        **{name: getattr(request, name) for name in plain},
    }


def _digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _manifest(assessments: Sequence[Assessment], request: AssessRequest, assessor: Assessor) -> dict[str, Any]:
    """What made these results, so that they can be made again."""
    import cv2
    import jax
    import numpy

    return {
        "notice": NOT_A_MEDICAL_DEVICE,
        "remarks": list(assessor.remarks),
        "date": datetime.date.today().isoformat(),
        "radiographs": len(assessments),
        "refused": sum(bool(one.refused) for one in assessments),
        "unusable": sum(bool(one.problem) for one in assessments),
        "networks": list(assessor.networks),
        "versions": {
            "boneage-jax": __version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "numpy": numpy.__version__,
            "opencv": cv2.__version__,
        },
        "platform": {"system": platform.system(), "machine": platform.machine(), "device": jax.default_backend()},
        "settings": settings(request, assessor),
    }
