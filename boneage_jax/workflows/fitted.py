"""What was fitted to the ages of networks, as files and as a bundle's notes hold it: lines, intervals.

Each belongs to its networks: with others it would be silently wrong, so files carry their fingerprint.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from boneage_jax.analysis.conformal import ConformalIntervals
from boneage_jax.analysis.local_calibration import LocalCalibration
from boneage_jax.errors import UserError, reason
from boneage_jax.files import write_text

Fit = TypeVar("Fit", LocalCalibration, ConformalIntervals)


@dataclasses.dataclass(frozen=True)
class Kind(Generic[Fit]):
    """A kind of what is fitted.

    Attributes:
      form: its class.
      notes: where a bundle's notes keep it.
      command: that fits it.
      what: it does, for messages.
    """

    form: type[Fit]
    notes: str
    command: str
    what: str

    def write(self, found: Fit, fingerprint: str, path: pathlib.Path) -> None:
        """Writes a file, whole or not at all.

        Args:
          found: what was fitted.
          fingerprint: of the networks that it was fitted for.
          path: of the file.

        Raises:
          UserError: for a path that cannot be written.
        """
        write_text(path, json.dumps({**found.to_json(), "networks": fingerprint}, indent=2) + "\n")

    def read(self, path: pathlib.Path, fingerprint: str) -> Fit:
        """Reads a file of `write`.

        Args:
          path: of the file.
          fingerprint: of the networks that it is wanted for.

        Raises:
          UserError: for a file that is not there or something else, and for what was fitted to other networks.
        """
        try:
            stored = json.loads(path.read_text())
            found, fitted_for = self.form.from_json(stored), str(stored["networks"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path}: cannot be used ({reason(error)}); expected a file of {self.command}") from error
        if fitted_for != fingerprint:
            raise UserError(
                f"{path}: {self.what} the ages of other networks than these; make a new one with {self.command}"
            )
        return found

    def of_bundle(self, about: Mapping[str, Any], path: pathlib.Path) -> Fit | None:
        """Returns what a bundle's notes hold; None where they hold none.

        Args:
          about: its notes.
          path: of the bundle, for messages.

        Raises:
          UserError: for notes that cannot be used.
        """
        stored = about.get(self.notes)
        if not stored:
            return None
        try:
            return self.form.from_json(stored)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}: what {self.what} its ages cannot be used ({reason(error)}); write it anew with {self.command}"
            ) from error


LINES = Kind(LocalCalibration, "local_calibration", "boneage calibrate ages", "calibrates")
INTERVALS = Kind(ConformalIntervals, "intervals", "boneage calibrate intervals", "gives intervals to")
