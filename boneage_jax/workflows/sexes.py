"""Which sex counts where a DICOM file states another than the user. Apart, so that a command's help loads no JAX."""

from __future__ import annotations

from typing import Literal, get_args

SexConflict = Literal["error", "keep-given", "use-dicom"]
SEX_CONFLICTS: tuple[SexConflict, ...] = get_args(SexConflict)
"""Neither (the file gets no age), the given one, or the one of the file."""
