"""What `boneage calibrate ages` does: reads labelled radiographs, fits a line for each sex, keeps it."""

from __future__ import annotations

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, resources
from boneage_jax.analysis import local_calibration
from boneage_jax.data.tree import Tree
from boneage_jax.errors import UserError, listed, printable
from boneage_jax.files import check_writable
from boneage_jax.runs import bundle
from boneage_jax.workflows import age_calibration, radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.requests import AgeCalibrationRequest, AssessRequest


def calibrate(request: AgeCalibrationRequest) -> str:
    """Fits and writes a calibration; returns what came out, for people.

    Flagged hands, and radiographs that cannot be used, are left out and named.

    Raises:
      UserError: for tables, images and networks that cannot be used, too few hands, and files that cannot be written.
    """
    if request.out is None and request.into is None:
        raise UserError("found neither --out nor --into, expected a file for the calibration or for a bundle with it")
    for path in (request.out, request.into):
        if path is not None:
            check_writable(path.absolute().parent)
    source = request.bundle or resources.shipped_bundle()
    if request.into is not None and request.into.resolve() == source.resolve():
        raise UserError(f"--into {request.into}: this is the bundle that is read, expected the name of another file")
    with Tree() as tree:
        found = radiographs.found(tree, [request.images or request.table.absolute().parent])
        rows, unread = radiographs.labels_of(found, request.table)
        wanted = [(one, label) for one, label in zip(found, rows, strict=True) if label is not None]
        usable = [(one, label) for one, label in wanted if np.isfinite(label.months) and label.male is not None]
        if not usable:
            raise UserError(
                f"{request.table}: gives none of the {len(found)} radiographs an age and a sex; expected the columns "
                "file, male (or sex), boneage (in months)"
            )
        assessing = AssessRequest((), bundle=request.bundle, views=request.views, batch_size=request.batch_size)
        with Assessor(assessing, calibrated_ages=False) as assessor:
            seen = [one for one, _ in assessor.assess([o for o, _ in usable], [label.male for _, label in usable])]
            fingerprint = assessor.fingerprint
    months = np.array([one.months for one in seen])
    reading = np.array([label.months for _, label in usable])
    male = np.array([bool(label.male) for _, label in usable])
    kept = np.array([np.isfinite(one.months) and not one.flags for one in seen])
    left_out = [
        f"{printable(one.file)}: {one.problem or ', '.join(one.flags) or 'no age'}"
        for one, keep in zip(seen, kept, strict=True)
        if not keep
    ]
    try:
        fitted = local_calibration.fit(months[kept], reading[kept], male[kept], request.table.name)
    except ValueError as error:
        raise UserError(f"{request.table}: found {error}; about 100 labelled radiographs are advised") from error
    lines = [local_calibration.as_text(fitted)]
    if unread:
        lines.append(f"warning: {unread} rows of {request.table.name} name none of the {len(found)} radiographs")
    if left_out:
        lines.append(f"{len(left_out)} of {len(usable)} left out:\n{listed(left_out)}")
    if request.out is not None:
        age_calibration.write(fitted, fingerprint, request.out)
        lines.append(f"calibration   {request.out}; use it with boneage predict --age-calibration {request.out}")
    if request.into is not None:
        networks = bundle.read(source)
        bundle.write(networks.runs, networks.about | {age_calibration.NOTES: fitted.to_json()}, request.into)
        lines.append(f"bundle        {request.into}; use it with boneage predict --bundle {request.into}")
    return "\n".join([*lines, NOT_A_MEDICAL_DEVICE])
