"""What `boneage predict` does: predicts ages, writes a table and a page, returns a summary."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from boneage_jax.data.tree import Tree
from boneage_jax.errors import EXIT_PARTIAL, UserError
from boneage_jax.files import check_writable
from boneage_jax.workflows import assess_page, assess_text, radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.assessment import Assessment
from boneage_jax.workflows.radiographs import Radiograph
from boneage_jax.workflows.requests import AssessRequest


def predict(request: AssessRequest, out: pathlib.Path | None, page: pathlib.Path | None) -> tuple[str, int]:
    """Reads ages; writes a table and a page where files for them are named.

    Args:
      request: which radiographs, by which networks.
      out: file for the table; None for none.
      page: file for the page; None for none.

    Returns:
      What came out, for people, and the exit status: 0, or `EXIT_PARTIAL` where some radiographs could not be used.

    Raises:
      UserError: see `assess.Assessor`; for a table or page that cannot be written; and where no radiograph at all could
        be used. Nothing is written then.
    """
    assessments: list[Assessment] = []
    drawn = assess_page.Drawn()
    with Assessor(request) as assessor, Tree() as tree:
        found = radiographs.found(tree, request.paths)
        _check_destinations(request, found, {"--out": out, "--page": page})
        for assessment, seen in assessor.assess(found):
            assessments.append(assessment)
            if page:
                drawn.add(assessment, seen)
    failed = sum(bool(a.problem) for a in assessments)
    if failed == len(assessments):
        raise UserError(
            f"no radiograph could be used, nothing was written:\n{assess_text.problems_listed(assessments)}"
        )
    if out:
        assess_text.write_csv(assessments, out)
    if page:
        assess_page.write(assessments, drawn, page, networks=assessor.networks, remarks=assessor.remarks)
    text = assess_text.as_text(assessments, out, page, networks=assessor.networks, remarks=assessor.remarks)
    return text, EXIT_PARTIAL if failed else 0


def _check_destinations(
    request: AssessRequest, found: Sequence[Radiograph], wanted: dict[str, pathlib.Path | None]
) -> None:
    """Raises `UserError` for files that cannot be written, or that would take the place of something that is read."""
    taken = {pathlib.Path(one.ref.path).resolve(): "one of the radiographs" for one in found if one.ref}
    tables = (request.sex_csv, request.thresholds, request.age_calibration, request.intervals)
    for source in (*request.paths, request.bundle, *tables):
        if source and source.is_file():
            taken[source.resolve()] = "one of the files to read"
    for option, path in wanted.items():
        if path is None:
            continue
        name = assess_text.legible(str(path))
        if path.is_dir():
            raise UserError(f"{option} {name}: this is a folder, expected the name of a file to write")
        if what := taken.get(path.resolve()):
            raise UserError(f"{option} {name}: this is {what}, expected the name of another file to write")
        taken[path.resolve()] = f"the file of {option} too"
        check_writable(path.absolute().parent)
