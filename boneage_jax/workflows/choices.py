"""Choices of the workflows that are options too. Apart, so that a command's help loads no JAX."""

from __future__ import annotations

from typing import Literal

ReportKind = Literal["sr", "sc", "fhir"]
"""DICOM structured report, DICOM secondary capture, FHIR observation: see `reports.SUFFIXES`."""

CalibrationMethod = Literal["quantile", "failures"]
"""How quality thresholds are chosen: see `hand.thresholds.by_quantile` and `by_failures`."""
