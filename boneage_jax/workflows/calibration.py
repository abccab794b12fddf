"""Quality thresholds with their origin: as a file of `boneage calibrate quality`, and as a bundle holds them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, get_args

from boneage_jax import renamed
from boneage_jax.errors import UserError, reason
from boneage_jax.files import write_text
from boneage_jax.hand.quality import Thresholds
from boneage_jax.runs import run_folder
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.workflows.choices import CalibrationMethod


def identities(segmentation: LoadedRun, landmarks: LoadedRun) -> dict[str, str]:
    """Returns what tells a pair of networks from all others, by task."""
    return {
        loaded.config.task.name: f"step {loaded.step}, weights {run_folder.digest(loaded)}"
        for loaded in (segmentation, landmarks)
    }


@dataclasses.dataclass(frozen=True)
class Origin:
    """What thresholds were chosen on.

    Attributes:
      source: dataset and split.
      images: number of its hands.
      share: of ordinary (`quantile`) or of good hands (`failures`) that are flagged, 0 to 1.
      method: how the thresholds were chosen.
      failures: number of hands that failed; None where that is not known.
      caught: share of these that is flagged; None where that is not known.
      views: of each network with which the hands were measured; None where that is not known.
    """

    source: str
    images: int
    share: float
    method: CalibrationMethod = "quantile"
    failures: int | None = None
    caught: float | None = None
    views: int | None = None

    def __str__(self) -> str:
        if self.failures is None or self.caught is None:
            return f"{100 * self.share:.1f}% of {self.images} hands of {self.source} are flagged by them"
        return (
            f"of {self.images} hands of {self.source} they flag {100 * self.caught:.0f}% of {self.failures} failures, "
            f"{100 * self.share:.1f}% of the good ones"
        )


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds, and what they were chosen on.

    Attributes:
      thresholds: of quality control.
      origin: of the thresholds; None where a bundle does not state it.
    """

    thresholds: Thresholds
    origin: Origin | None

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of a calibration file or bundle; `from_json` reads them."""
        known = {} if self.origin is None else dataclasses.asdict(self.origin)
        return {
            "thresholds": dataclasses.asdict(self.thresholds),
            "calibration": {key: value for key, value in known.items() if value is not None},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration | None:
        """Returns what a bundle's notes hold, under the names of today or older ones; None where they hold none.

        Raises:
          KeyError, TypeError, ValueError: for other values than thresholds.
        """
        stored = renamed.stored(stored)
        if not stored.get("thresholds"):
            return None
        found = stored.get("calibration")
        return cls(_thresholds(stored["thresholds"]), _origin(found) if found else None)


def write(calibration: Calibration, networks: Mapping[str, str], path: pathlib.Path) -> None:
    """Writes a calibration file as JSON, whole or not at all.

    Args:
      calibration: thresholds and origin.
      networks: that they were chosen for; see `identities`.
      path: of the file.

    Raises:
      UserError: for a path that cannot be written.
    """
    stored = calibration.to_json()
    write_text(path, json.dumps({**stored, "networks": dict(networks)}, indent=2) + "\n")


def read(path: pathlib.Path, networks: Mapping[str, str]) -> Calibration:
    """Reads a calibration file of `write`, or of an older version.

    Args:
      path: of the file.
      networks: that the thresholds are wanted for; see `identities`.

    Raises:
      UserError: for a file that is not there or something else, and for thresholds of other networks.
    """
    try:
        stored = renamed.stored(json.loads(path.read_text()))
        # Older files keep the origin beside the thresholds.
        found = Calibration(_thresholds(stored["thresholds"]), _origin(stored.get("calibration", stored)))
        chosen_for = dict(stored["networks"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be used ({reason(error)}); expected a file of thresholds, as boneage calibrate quality "
            "writes them"
        ) from error
    if chosen_for != dict(networks):
        raise UserError(
            f"{path}: thresholds of other networks: found {chosen_for}, expected {dict(networks)}; "
            "make new ones with boneage calibrate quality"
        )
    return found


def _thresholds(stored: Mapping[str, Any]) -> Thresholds:
    """Thresholds from what JSON holds of them. Raises `TypeError`, `KeyError` or `ValueError` for what are none."""
    (left, right), (top, bottom) = ([float(value) for value in pair] for pair in stored["thumb"])
    plain = {name: float(value) for name, value in stored.items() if name != "thumb"}
    return Thresholds(**plain, thumb=((left, right), (top, bottom)))


def _origin(stored: Mapping[str, Any]) -> Origin:
    method = stored.get("method", "quantile")
    if method not in get_args(CalibrationMethod):
        raise ValueError(f"method {method!r}")
    return Origin(
        str(stored["source"]),
        int(stored["images"]),
        float(stored["share"]),
        method,
        int(stored["failures"]) if "failures" in stored else None,
        float(stored["caught"]) if "caught" in stored else None,
        int(stored["views"]) if "views" in stored else None,
    )
