"""What counts where a DICOM file says another sex than the user. Apart, so that the command's help loads no JAX."""

from __future__ import annotations

from typing import Literal, get_args

SexConflict = Literal["error", "keep-given", "use-dicom"]
SEX_CONFLICTS: tuple[SexConflict, ...] = get_args(SexConflict)
"""Neither (the file gets no age), what the user gave, or what the file says."""
