"""Calibrations of ages as files: of `boneage calibrate ages`, and as a bundle's notes hold them."""

from __future__ import annotations

import json
import pathlib

from boneage_jax.analysis.local_calibration import LocalCalibration
from boneage_jax.errors import UserError, reason
from boneage_jax.files import write_text

NOTES = "local_calibration"
"""Where a bundle's notes keep a calibration."""


def write(found: LocalCalibration, fingerprint: str, path: pathlib.Path) -> None:
    """Writes a calibration file, whole or not at all.

    Args:
      found: the calibration.
      fingerprint: of the networks that it was fitted for.
      path: of the file.

    Raises:
      UserError: for a path that cannot be written.
    """
    write_text(path, json.dumps({**found.to_json(), "networks": fingerprint}, indent=2) + "\n")


def read(path: pathlib.Path, fingerprint: str) -> LocalCalibration:
    """Reads a file of `write`.

    Args:
      path: of the file.
      fingerprint: of the networks that it is wanted for.

    Raises:
      UserError: for a file that is not there or something else, and for a calibration of other networks.
    """
    try:
        stored = json.loads(path.read_text())
        found, chosen_for = LocalCalibration.from_json(stored), str(stored["networks"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be used ({reason(error)}); expected a file of boneage calibrate ages"
        ) from error
    if chosen_for != fingerprint:
        raise UserError(
            f"{path}: calibrates the ages of other networks than these; make a new one with boneage calibrate ages"
        )
    return found
