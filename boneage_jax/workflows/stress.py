"""`boneage stress`: how much ages change when radiographs change in ways that a reader would not mind.

Every change is made to the radiograph itself; hands are then found, registered and read anew. Each change's ages are
kept in a file of their own, so that the same command goes on where it was cut short.
"""

from __future__ import annotations

import csv
import dataclasses
import fnmatch
import hashlib
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.analysis import scores
from boneage_jax.analysis.scores import Score
from boneage_jax.data.images import Grey
from boneage_jax.data.sources import Dataset, Records
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable, replacing, write_text
from boneage_jax.workflows import radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.requests import AssessRequest, StressRequest
from boneage_jax.workflows.transformations import TRANSFORMATIONS, UNCHANGED, Transformation

LARGE = 12.0
"""A change of the age by more months is clinically large."""


@dataclasses.dataclass(frozen=True)
class Ages:
    """What was read after one change.

    Attributes:
      months: bone ages; NaN where none was given.
      flagged: whether the hand has flags.
    """

    months: Float[np.ndarray, " n"]
    flagged: Bool[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of one change.

    Attributes:
      transformation: the change.
      without_age: share of the hands that get no age, in percent.
      flagged: share of the hands that are flagged, in percent.
      mae: mean absolute error, in months, of the hands that get an age.
      mae_unchanged: of the same hands, unchanged.
      change: mean absolute difference from the age of the unchanged radiograph, in months.
      large: share of these hands whose age changes by more than `LARGE` months, in percent.
    """

    transformation: Transformation
    without_age: float
    flagged: float
    mae: Score
    mae_unchanged: float
    change: float
    large: Score


@dataclasses.dataclass(frozen=True)
class Stress:
    """The result.

    Attributes:
      request: what was asked for.
      images: number of hands.
      unchanged: figures of the unchanged radiographs.
      rows: figures of each change.
      networks: where they come from, for people.
      remarks: what else people must know of their ages; see `assess.Assessor`.
      is_phantom: whether the radiographs are rendered.
    """

    request: StressRequest
    images: int
    unchanged: Row
    rows: tuple[Row, ...]
    networks: tuple[str, ...]
    remarks: tuple[str, ...]
    is_phantom: bool


def chosen(patterns: Sequence[str]) -> list[Transformation]:
    """Returns the transformations whose name or kind matches one of the patterns; all for none.

    Raises:
      UserError: for a pattern that matches none.
    """
    for pattern in patterns:
        if not any(_matches(one, pattern) for one in TRANSFORMATIONS):
            raise UserError(
                f"--only {pattern!r}: no such change, expected {', '.join(repr(t.name) for t in TRANSFORMATIONS)}"
                f" or a kind: {', '.join(dict.fromkeys(t.kind for t in TRANSFORMATIONS))}"
            )
    return [one for one in TRANSFORMATIONS if not patterns or any(_matches(one, pattern) for pattern in patterns)]


def _matches(transformation: Transformation, pattern: str) -> bool:
    return fnmatch.fnmatchcase(transformation.name, pattern) or transformation.kind == pattern


def stress(request: StressRequest) -> Stress:
    """Reads a dataset's hands after each change.

    Raises:
      UserError: for data, networks and changes that cannot be used, and a folder that holds another study.
    """
    wanted = chosen(request.only)
    dataset = Dataset.open(request.data, request.dataset)
    records = dataset.split(f"{request.split}[:{request.images}]")
    readings, male = records.labels()
    known = np.flatnonzero(np.isfinite(readings))
    if not len(known):
        raise UserError(f"{dataset.path}: no image of the split {request.split!r} has a bone age; choose another split")
    with Assessor(_assessing(request)) as assessor:
        _claim(request, dataset, assessor)
        every = {
            one.name: _ages(request.out, one, records, known, male[known], assessor) for one in (UNCHANGED, *wanted)
        }
        networks, remarks = assessor.networks, assessor.remarks
    before = every[UNCHANGED.name]
    reading = np.asarray(readings[known], np.float64)
    rows = [_row(one, every[one.name], before, reading) for one in (UNCHANGED, *wanted)]
    return Stress(request, len(known), rows[0], tuple(rows[1:]), networks, remarks, dataset.is_phantom)


def _assessing(request: StressRequest) -> AssessRequest:
    return AssessRequest(
        (),
        request.runs,
        segmentation=request.segmentation,
        landmarks=request.landmarks,
        thresholds=request.thresholds,
        bundle=request.bundle,
        views=request.views,
        batch_size=request.batch_size,
    )


def _claim(request: StressRequest, dataset: Dataset, assessor: Assessor) -> None:
    """Makes the folder this study's. Raises `UserError` for one that cannot be written or holds another study."""
    check_writable(request.out)
    thresholds = assessor.thresholds()
    settings = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": request.split,
        "images": request.images,
        "networks": assessor.fingerprint,
        "views": request.views,
        "thresholds": dataclasses.asdict(thresholds) if thresholds else None,
    }
    settings = json.loads(json.dumps(settings))
    path = request.out / "stress_settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    stored = json.loads(path.read_text())
    differing = [key for key, value in settings.items() if stored.get(key) != value]
    if differing:
        raise UserError(f"{request.out}: holds another study ({', '.join(differing)} differ); choose another --out")


def _ages(
    out: pathlib.Path,
    one: Transformation,
    records: Records,
    known: np.ndarray,
    male: np.ndarray,
    assessor: Assessor,
) -> Ages:
    """The ages after one change, from its file or read anew."""
    path = out / "ages" / f"{one.slug}.csv"
    ids = records.ids()
    if not path.exists():
        hands = [_changed(one, records, int(n), ids[n]) for n in known]
        found = [seen for seen, _ in assessor.assess(hands, male.tolist(), label=one.name)]
        with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "months", "flags"])
            for n, seen in zip(known, found, strict=True):
                writer.writerow([ids[n], f"{seen.months:.3f}", ", ".join(seen.flags)])
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return Ages(np.array([float(row["months"]) for row in rows]), np.array([bool(row["flags"]) for row in rows]))


def _changed(one: Transformation, records: Records, n: int, image_id: str) -> radiographs.Radiograph:
    """A radiograph that is changed when it is read."""

    def load() -> Grey:
        return one.change(records.image(n), draws_of(image_id))

    return radiographs.of_loader(load, image_id)


def draws_of(image_id: str) -> np.random.Generator:
    """Returns what the random changes of an image draw from: it follows from the image's id alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big"))


def _row(one: Transformation, ages: Ages, before: Ages, reading: np.ndarray) -> Row:
    both = np.isfinite(ages.months) & np.isfinite(before.months)
    if not both.any():
        nothing = Score(np.nan, np.nan, np.nan)
        return Row(one, 100.0, 100.0 * float(ages.flagged.mean()), nothing, np.nan, np.nan, nothing)
    change = np.abs(ages.months - before.months)[both]
    return Row(
        one,
        100.0 * float(np.isnan(ages.months).mean()),
        100.0 * float(ages.flagged.mean()),
        scores.mae((ages.months - reading)[both]),
        float(np.abs(before.months - reading)[both].mean()),
        float(change.mean()),
        scores.bootstrapped(100.0 * (change > LARGE), np.mean),
    )


def as_text(found: Stress) -> str:
    """Returns the table for people."""
    kind = "rendered phantoms" if found.is_phantom else "radiographs"
    plain = found.unchanged
    lines = [
        f"{found.request.dataset} {found.request.split}, {found.images} {kind}; unchanged: MAE "
        f"{scores.shown(plain.mae)} months, flagged {plain.flagged:.1f}%, without an age {plain.without_age:.1f}%",
        f"{'change':<30}{'MAE':>22}{'mean change':>13}{f'over {LARGE:.0f} months':>24}{'flagged':>9}{'no age':>8}",
    ]
    lines += [
        f"{row.transformation.name:<30}{scores.shown(row.mae):>22}{row.change:>13.2f}"
        f"{_percent(row.large):>24}{row.flagged:>8.1f}%{row.without_age:>7.1f}%"
        for row in found.rows
    ]
    lines += [f"networks of {network}" for network in found.networks]
    lines += found.remarks
    lines.append(NOT_A_MEDICAL_DEVICE)
    return "\n".join(lines)


def _percent(score: Score) -> str:
    return f"{score.value:.1f}% [{score.low:.1f}, {score.high:.1f}]"


def facts(found: Stress) -> dict[str, object]:
    """Returns the result in types that JSON has."""

    def of(row: Row) -> dict[str, object]:
        measured = {
            "mae": dataclasses.asdict(row.mae),
            "mae_unchanged": row.mae_unchanged,
            "mean_change": row.change,
            "large": dataclasses.asdict(row.large),
        }
        return {
            "change": row.transformation.name,
            "kind": row.transformation.kind,
            "without_age": row.without_age,
            "flagged": row.flagged,
            # JSON knows no NaN: a change after which no hand gets an age has no such figures.
            **(measured if np.isfinite(row.mae.value) else dict.fromkeys(measured)),
        }

    return {
        "dataset": found.request.dataset,
        "split": found.request.split,
        "images": found.images,
        "phantom": found.is_phantom,
        "networks": list(found.networks),
        "remarks": list(found.remarks),
        "unchanged": of(found.unchanged),
        "changes": [of(row) for row in found.rows],
        "notice": NOT_A_MEDICAL_DEVICE,
    }
