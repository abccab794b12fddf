"""Errors by group: any column of a table that names the images, or what the dataset itself knows of them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from boneage_jax import anatomy, page
from boneage_jax.analysis import scores
from boneage_jax.analysis.predictions import SplitPredictions
from boneage_jax.analysis.scores import Score
from boneage_jax.analysis.stages import NAMES, stages_of
from boneage_jax.data import labels, pairing, tables
from boneage_jax.errors import UserError, fail_if_any

FEW = 30
"""Groups of fewer images are marked: their intervals are too wide to conclude from. A usual rule of thumb for means."""

MOST_GROUPS = 12
"""A column of numbers with more different values is cut into bands of about as many images; chosen by eye."""

BANDS = 4
"""Bands of such a column: quartiles."""

AGE_BAND = 24
"""Width of the groups of `age`, in months."""

UNKNOWN = "not in the table"
"""Group of the images that the table says nothing about."""


@dataclasses.dataclass(frozen=True)
class Group:
    """One group's figures.

    Attributes:
      name: of the group.
      images: that it holds.
      mae: mean absolute error, in months.
      bias: mean of prediction minus reading, in months.
      within_12: share of errors of at most 12 months, in percent.
      against_rest: its MAE minus that of all other images, in months; None where there are none.
    """

    name: str
    images: int
    mae: Score
    bias: Score
    within_12: Score
    against_rest: Score | None

    @property
    def is_small(self) -> bool:
        """Whether it holds fewer than `FEW` images."""
        return self.images < FEW


@dataclasses.dataclass(frozen=True)
class Grouped:
    """Errors by the values of one column.

    Attributes:
      column: its name.
      groups: in order.
    """

    column: str
    groups: tuple[Group, ...]


def _by_sex(found: SplitPredictions) -> list[str]:
    return ["male" if male else "female" for male in found.male]


def _by_stage(found: SplitPredictions) -> list[str]:
    return [NAMES[number] for number in stages_of(np.asarray(found.reading), np.asarray(found.male))]


def age_bands(reading: Float[np.ndarray, " n"]) -> list[str]:
    """Returns the name of each reading's band of `AGE_BAND` months; 240 months belong to the last one."""
    last = int(anatomy.MAX_MONTHS) - AGE_BAND
    first = [min(int(months // AGE_BAND) * AGE_BAND, last) for months in np.clip(reading, 0, None)]
    return [f"{low} to {low + AGE_BAND} months" for low in first]


def _by_age(found: SplitPredictions) -> list[str]:
    return age_bands(found.reading)


KNOWN: Mapping[str, Callable[[SplitPredictions], list[str]]] = {"sex": _by_sex, "stage": _by_stage, "age": _by_age}
"""Columns that need no table: the sex, the stage of skeletal development, the age as read."""


def by_columns(
    found: SplitPredictions, columns: Sequence[str], values: Mapping[str, Mapping[str, str]]
) -> tuple[Grouped, ...]:
    """Returns the errors by each of some columns.

    Args:
      found: predictions and readings.
      columns: of `values` or, where it lacks them, of `KNOWN`.
      values: from `read_columns`.
    """
    grouped = []
    for column in columns:
        of_image = values.get(column)
        members = (
            KNOWN[column](found)
            if of_image is None
            else _banded([of_image.get(image_id, "") for image_id in found.ids])
        )
        grouped.append(Grouped(column, _groups(found.error, members)))
    return tuple(grouped)


def read_columns(path: pathlib.Path | None, columns: Sequence[str], among: pairing.Images) -> dict[str, dict[str, str]]:
    """Returns the value of each image, by its id, of those columns that a table has; all others must be `KNOWN`.

    Args:
      path: of a CSV or spreadsheet with a column of image ids; None for none.
      columns: that are wanted.
      among: images of the split, which the table's rows are paired with.

    Raises:
      UserError: for a table that cannot be read or has no ids, columns that are not there, and rows that name no image
        or one that another row names too.
    """
    if path is None:
        fail_if_any(
            [
                f"--by {column}: found no --table, expected one with that column"
                for column in columns
                if column not in KNOWN
            ],
            "columns that cannot be used",
            f"Without a table errors can be grouped by {', '.join(KNOWN)}.",
        )
        return {}

    def place_of_ids(header: Sequence[str]) -> int | None:
        return tables.find_columns(header, labels.ID_COLUMNS)[0]

    table = tables.read_file(
        path, lambda header: place_of_ids(header) is not None, expected="a table with ids of images"
    )
    image = place_of_ids(table.header)
    missing = [column for column in columns if column not in table.header and column not in KNOWN]
    if image is None or missing:
        wanted = ", ".join(["id"] * (image is None) + missing)
        raise UserError(f"{path}: found the columns {', '.join(table.header) or 'none'}, expected {wanted}")
    rows = [pairing.Row(cells[image], f"{path}, row {number}") for number, cells in table.rows]
    files = pairing.pair_in_split(rows, among, f"{path}: rows that do not name one image each").files
    if not any(n is not None for n in files):
        raise UserError(f"{path}: names none of the {len(among.ids)} images; expected ids such as {among.ids[0]!r}")
    places = {column: table.header.index(column) for column in columns if column in table.header}
    named = [(cells, among.ids[n]) for (_, cells), n in zip(table.rows, files, strict=True) if n is not None]
    return {column: {image_id: cells[place].strip() for cells, image_id in named} for column, place in places.items()}


def _banded(values: Sequence[str]) -> list[str]:
    """The group of each value: itself, or its band where a column holds many different numbers."""
    named = [value or UNKNOWN for value in values]
    different = {value for value in values if value}
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return named
    if len(different) <= MOST_GROUPS or not np.isfinite(numbers[~np.isnan(numbers)]).all():
        return named
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, BANDS + 1)))
    bands = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    return [
        UNKNOWN if np.isnan(number) else f"{edges[band]:g} to {edges[band + 1]:g}"
        for number, band in zip(numbers, bands, strict=True)
    ]


def _sort_key(name: str) -> tuple[bool, int, float, str]:
    """Stages in their order, numbers by value, other names by letter; what is not in the table last."""
    number = name.split(" ")[0]
    try:
        value = float(number)
    except ValueError:
        value = np.inf
    return name == UNKNOWN, NAMES.index(name) if name in NAMES else -1, value, name


def _groups(error: Float[np.ndarray, " n"], members: Sequence[str]) -> tuple[Group, ...]:
    of = np.array(members)
    groups = []
    for name in sorted(set(members), key=_sort_key):
        inside = of == name
        one, rest = error[inside], error[~inside]
        mae, bias, within = (scores.named(score, one) for score in ("MAE", "bias", "within 12"))
        groups.append(Group(name, len(one), mae, bias, within, against(one, rest) if len(rest) else None))
    return tuple(groups)


def against(one: Float[np.ndarray, " n"], rest: Float[np.ndarray, " m"], *, seed: int = 0) -> Score:
    """Returns the MAE of some errors minus that of others, with its 95% bootstrap percentile interval.

    Both sides are resampled independently (Efron and Tibshirani 1993, section 8.3).

    Args:
      one: errors of a group, in months.
      rest: errors of all others.
      seed: of the bootstrap.
    """
    draws = np.random.default_rng(seed)
    value = float(np.abs(one).mean() - np.abs(rest).mean())

    def means(errors: np.ndarray) -> np.ndarray:
        sizes = np.abs(errors)
        return np.array([sizes[draws.integers(0, len(sizes), len(sizes))].mean() for _ in range(scores.RESAMPLES)])

    low, high = np.percentile(means(one) - means(rest), [2.5, 97.5])
    return Score(value, float(low), float(high))


def as_text(grouped: Grouped) -> str:
    """Returns a table for people; small groups are marked, and the mark is explained."""
    width = max(8, *(len(group.name) for group in grouped.groups)) + 2
    head = f"by {grouped.column}"
    lines = [f"{head:<{width}}{'images':>7}{'MAE':>22}{'bias':>24}{'MAE minus the others':>26}"]
    for group in grouped.groups:
        rest = scores.shown(group.against_rest, sign=True) if group.against_rest else ""
        few = "  few images" if group.is_small else ""
        lines.append(
            f"{group.name:<{width}}{group.images:>7}{scores.shown(group.mae):>22}"
            f"{scores.shown(group.bias, sign=True):>24}{rest:>26}{few}"
        )
    if any(group.is_small for group in grouped.groups):
        lines.append(f"few images: fewer than {FEW}; too few to conclude from, whatever the interval says")
    return "\n".join(lines)


def as_dict(grouped: Grouped) -> list[dict[str, Any]]:
    """Returns the groups in types that JSON has."""
    return [dataclasses.asdict(group) | {"few_images": group.is_small} for group in grouped.groups]


def _cell(score: Score | None) -> str:
    return "" if score is None else page.interval(score.value, score.low, score.high, 2)


def section(grouped: Sequence[Grouped]) -> list[page.Markup]:
    """Returns a section of the evaluation's page for each column."""
    blocks = []
    for one in grouped:
        rows = [
            [
                group.name,
                f"{group.images:,}" + (" (few)" if group.is_small else ""),
                *(_cell(score) for score in (group.mae, group.bias, group.within_12, group.against_rest)),
            ]
            for group in one.groups
        ]
        head = ["group", "number", "MAE, months", "bias, months", "within 12 months, %", "MAE minus the others, months"]
        few = f" Few: fewer than {FEW} images, too few to conclude from." if any(g.is_small for g in one.groups) else ""
        blocks.append(
            page.section(
                f"Errors by {one.column}",
                page.table(head, rows),
                lead=f"Below each value its 95% bootstrap interval.{few}",
            )
        )
    return blocks
