"""Options of `boneage phantom`."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from boneage_jax.options import option, size


def _ages(text: str) -> tuple[float, ...]:
    """Reads FIRST:LAST:STEP, in months. Raises `ValueError` for other texts."""
    match = re.fullmatch(r"([0-9.]+):([0-9.]+):([0-9.]+)", text)
    try:
        first, last, step = map(float, match.groups()) if match else (0.0, 0.0, 0.0)
    except ValueError:
        step = 0.0
    if step <= 0 or last < first:
        raise ValueError("FIRST:LAST:STEP in months, as in 12:216:12")
    return tuple(first + n * step for n in range(int((last - first) / step + 1e-6) + 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhantomRequest:
    """Child to draw, its age or ages, and how. One of `age`, `ages` and `plate` is given."""

    age: float | None = option(None, "bone age in months, 0 to 240")
    ages: tuple[float, ...] | None = option(
        None, "the same child at several ages", metavar="FIRST:LAST:STEP", parse=_ages
    )
    plate: bool = option(False, "different children by age and sex")
    sex: str = option("F", "M or F")
    seed: int = option(0, "same seed, same child, same image")
    size: tuple[int, int] = option((1040, 800), "HEIGHTxWIDTH in pixels", parse=size, default_text="1040x800")
    view: str = option("plain", "plain, raw (all disturbances) or registered")
    counterfactual: str = option(
        "", "age of some bones, as in carpals=120", flag="--set", metavar="BONES=MONTHS", default_text=""
    )
    truth: bool = option(False, "write mask, bones and points beside the image too")
    out: pathlib.Path = option(help="file to write: .png, or .gif with --ages")
