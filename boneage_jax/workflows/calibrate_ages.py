"""What `boneage calibrate ages` and `calibrate intervals` do: read labelled radiographs, fit, keep what was fitted."""

from __future__ import annotations

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, resources
from boneage_jax.analysis import conformal, local_calibration
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable
from boneage_jax.runs import bundle
from boneage_jax.workflows import labelled
from boneage_jax.workflows.fitted import INTERVALS, LINES, Fit, Kind
from boneage_jax.workflows.requests import AssessRequest, LabelledRequest


def ages(request: LabelledRequest) -> str:
    """Fits and writes a line for each sex; returns what came out, for people.

    Flagged hands, and radiographs that cannot be used, are left out and named. A bundle that the lines are written into
    loses its intervals: these are of ages without the lines.

    Raises:
      UserError: for tables, images and networks that cannot be used, too few hands, and files that cannot be written.
    """
    _check(request)
    assessing = AssessRequest((), bundle=request.bundle, views=request.views, batch_size=request.batch_size)
    hands = labelled.read(request.table, request.images, assessing, calibrated_ages=False, flagged=False)
    try:
        fitted = local_calibration.fit(hands.months, hands.reading, hands.male, request.table.name)
    except ValueError as error:
        raise UserError(f"{request.table}: found {error}; about 100 labelled radiographs are advised") from error
    lines = [local_calibration.as_text(fitted), *hands.notes]
    lines += _kept(request, LINES, fitted, hands.fingerprint, option="--age-calibration", without=(INTERVALS.notes,))
    return "\n".join([*lines, NOT_A_MEDICAL_DEVICE])


def intervals(request: LabelledRequest) -> str:
    """Fits and writes intervals of ages; returns what came out, for people.

    Flagged hands count: a promise is for all hands that get an age. Radiographs that cannot be used are named.

    Raises:
      UserError: for tables, images and networks that cannot be used, too few hands, and files that cannot be written.
    """
    _check(request)
    assessing = AssessRequest((), bundle=request.bundle, views=request.views, batch_size=request.batch_size)
    hands = labelled.read(request.table, request.images, assessing, calibrated_ages=True, flagged=True)
    of = (hands.months, hands.spread, hands.reading, hands.male, hands.flagged)
    try:
        fitted = conformal.fit(*of, request.table.name)
    except ValueError as error:
        raise UserError(f"{request.table}: found {error}; some hundred labelled radiographs are advised") from error
    lines = [f"{request.table.name}: {fitted.hands['F']} girls, {fitted.hands['M']} boys", *hands.notes]
    ends = fitted(hands.months, hands.spread, hands.male, hands.flagged)
    for level, held, low, high in zip(fitted.levels, fitted.coverage, ends[..., 0], ends[..., 1], strict=True):
        width = f"{np.mean(high - low):.1f} months wide on average"
        lines.append(f"  {100 * level:.0f}%: holds {100 * held:.1f}% of the readings (cross-validated), {width}")
    of_flagged = ", ".join(f"{factor:.2f}" for factor in fitted.widened)
    why = "" if hands.flagged.sum() >= conformal.FEWEST else ", by eye"
    lines.append(f"  flagged hands ({hands.flagged.sum()} of {len(hands.flagged)}): {of_flagged} times as wide{why}")
    lines += _kept(request, INTERVALS, fitted, hands.fingerprint, option="--intervals")
    return "\n".join([*lines, NOT_A_MEDICAL_DEVICE])


def _check(request: LabelledRequest) -> None:
    """Raises `UserError` where there is no place to write to."""
    if request.out is None and request.into is None:
        raise UserError("found neither --out nor --into, expected a file for the calibration or for a bundle with it")
    for path in (request.out, request.into):
        if path is not None:
            check_writable(path.absolute().parent)
    source = request.bundle or resources.shipped_bundle()
    if request.into is not None and request.into.resolve() == source.resolve():
        raise UserError(f"--into {request.into}: this is the bundle that is read, expected the name of another file")


def _kept(
    request: LabelledRequest,
    kind: Kind[Fit],
    fitted: Fit,
    fingerprint: str,
    *,
    option: str,
    without: tuple[str, ...] = (),
) -> list[str]:
    """Writes what was fitted to where the request says, without some of a bundle's notes; a line for each file."""
    lines = []
    if request.out is not None:
        kind.write(fitted, fingerprint, request.out)
        lines.append(f"calibration   {request.out}; use it with boneage assess {option} {request.out}")
    if request.into is not None:
        networks = bundle.read(request.bundle or resources.shipped_bundle())
        kept = {key: value for key, value in networks.about.items() if key not in without}
        bundle.write(networks.runs, kept | {kind.notes: fitted.to_json()}, request.into)
        lines.append(f"bundle        {request.into}; use it with boneage assess --bundle {request.into}")
        if len(kept) < len(networks.about):
            lines.append(
                "its intervals were of other ages and are left out: boneage calibrate intervals makes new ones"
            )
    return lines
