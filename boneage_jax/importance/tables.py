"""The tables of a study, for files and for the page, and its numbers as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from boneage_jax import NOT_A_MEDICAL_DEVICE, page
from boneage_jax.analysis import stages
from boneage_jax.analysis.scores import Score
from boneage_jax.analysis.tables import Table
from boneage_jax.hand import atlas
from boneage_jax.hand.atlas import AREAS, GROUPS
from boneage_jax.importance import faithfulness
from boneage_jax.importance.study import Findings
from boneage_jax.importance.truth import TRUTH


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and its 95% interval.

    Attributes:
      value: the number.
      low: lower end of the interval; NaN for a number without one.
      high: upper end.
      digits: decimals that are shown.
      unit: behind the number, such as `%`.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    digits: int = 2
    unit: str = ""

    @classmethod
    def of(cls, score: Score) -> Estimate:
        """Returns that of a score."""
        return cls(score.value, score.low, score.high)

    @property
    def plain(self) -> str:
        """As text, such as `40% [32, 48]`."""
        value, low, high = (f"{number:.{self.digits}f}" for number in (self.value, self.low, self.high))
        return f"{value}{self.unit} [{low}, {high}]" if math.isfinite(self.low) else f"{value}{self.unit}"

    @property
    def markup(self) -> page.Markup:
        """As HTML, the interval below the number."""
        value, low, high = (page.rounded(number, self.digits) for number in (self.value, self.low, self.high))
        below = f"<small>{low} to {high}</small>" if math.isfinite(self.low) else ""
        return page.Markup(f"{value}{self.unit}{below}")


Entry = str | Estimate

NONE = "-"
"""An entry without a number."""


@dataclasses.dataclass(frozen=True)
class ResultTable:
    """A table whose numbers keep their intervals apart.

    Attributes:
      name: of its files.
      caption: what it shows.
      head: of the columns.
      rows: entries of each row.
      note: what the numbers are measured on; ends the caption of the files.
      meanings: of columns that need one, by the column's name.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    note: str
    meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def plain(self) -> Table:
        """Returns the table of texts that files hold."""
        rows = tuple(tuple(one.plain if isinstance(one, Estimate) else one for one in row) for row in self.rows)
        meanings = [f"{name.capitalize()}: {meaning}." for name, meaning in self.meanings.items()]
        return Table(self.name, " ".join([self.caption, *meanings, self.note]), self.head, rows)

    def markup(self, *, stack: bool = False) -> page.Markup:
        """Returns the table as HTML, below its caption and above its meanings; `stack` as in `page.table`."""
        rows = [[one.markup if isinstance(one, Estimate) else one for one in row] for row in self.rows]
        blocks = [page.paragraph(self.caption), page.table(self.head, rows, stack=stack)]
        if self.meanings:
            blocks.append(page.table(["column", "what it is"], list(map(list, self.meanings.items())), stack=True))
        return page.Markup("".join(blocks))


def measured_on(findings: Findings) -> str:
    """Returns what a study's numbers are measured on, in words."""
    selection = findings.selection
    kind = "rendered phantoms, which say nothing about children" if selection.dataset.is_phantom else "radiographs"
    return f"{selection.dataset.name} {findings.request.split}, {len(findings.subjects.ids)} {kind}"


def names_shown(findings: Findings) -> tuple[str, ...]:
    """Returns whose importance is shown by stage and age: the truth, if there is one, and the most faithful method."""
    return (*((TRUTH,) if findings.truth else ()), findings.most_faithful)


def called(name: str) -> str:
    """Returns a method's name, or that of the truth, as a sentence has it."""
    return "the truth" if name == TRUTH else name


def all_tables(findings: Findings) -> dict[str, ResultTable]:
    """Returns the tables of a study by name."""
    makers: list[Callable[[Findings], ResultTable]] = [_faithfulness, _explained, _regions]
    makers += [_bones] if findings.areas else []
    makers += [_compared] if findings.compared else []
    made = [*(make(findings) for make in makers), *(_by_stage(findings, name) for name in names_shown(findings))]
    return {table.name: table for table in made}


def stage_table(name: str) -> str:
    """Returns the name of the table of importance by stage, by the truth or the most faithful method."""
    return "stages_truth" if name == TRUTH else "stages_most_faithful"


def _shares(
    importance: Float[np.ndarray, "n parts"],
    of: Callable[[Float[np.ndarray, "n parts"]], Float[np.ndarray, " parts"]] = faithfulness.shares,
) -> tuple[Estimate, ...]:
    """Returns each part's share, in percent."""
    ends = faithfulness.shares_with_interval(importance, of)
    return tuple(Estimate(100 * v, 100 * low, 100 * high, 0, "%") for v, low, high in zip(*ends, strict=True))


def _first(shares: Sequence[Estimate], names: Sequence[str]) -> str:
    """Returns the name of the greatest share."""
    return names[int(np.argmax([share.value for share in shares]))]


def _faithfulness(findings: Findings) -> ResultTable:
    rows: list[tuple[Entry, ...]] = []
    for method in findings.methods:
        one = findings.faithfulness[method.name]
        against = (Estimate.of(score) if score else NONE for score in (one.bones, one.groups))
        by_image = Estimate(one.by_image) if math.isfinite(one.by_image) else NONE
        rows.append((method.name, *against, by_image, *map(Estimate, (one.deletion, one.insertion, one.untrained))))
    caption = "Faithfulness of each method to the network, by six scores; 95% bootstrap intervals."
    head = ("method", "truth, bones", "truth, groups", "by image", "deletion", "insertion", "untrained")
    return ResultTable("faithfulness", caption, head, tuple(rows), f"{measured_on(findings)}.", _SCORES)


_SCORES = {
    "truth, bones": "rank correlation with the truth over bones, for the mean of all images; 1 is best",
    "truth, groups": "the same over groups of bones",
    "by image": "the same over groups, image by image, then the mean",
    "deletion": "how soon the prediction departs from its value when groups are replaced in the method's order; about "
    "0 to 1, more is better",
    "insertion": "how soon it returns when groups are put back in that order; about 0 to 1, more is better",
    "untrained": "rank correlation with the method's answer for the network before training; less is better",
}
"""What the columns of the table of faithfulness are; see `faithfulness.Faithfulness`."""


def _by_stage(findings: Findings, name: str) -> ResultTable:
    """Returns the shares of groups by stage and sex."""
    subjects, groups = findings.subjects, findings.groups[name]
    everyone = np.ones_like(subjects.male)
    rows: list[tuple[Entry, ...]] = []
    for number, stage in enumerate(stages.NAMES):
        for sex, of_sex in (("all", everyone), ("girls", ~subjects.male), ("boys", subjects.male)):
            members = np.flatnonzero((subjects.stage == number) & of_sex)
            # A single image has no interval.
            if len(members) > 1:
                rows.append((f"{stage}, {sex} ({len(members)})", *_shares(groups[members])))
    caption = (
        f"Share of each group of bones in all importance by {called(name)}, by stage and sex (number of images); 95% "
        "bootstrap interval."
    )
    return ResultTable(stage_table(name), caption, ("stage", *GROUPS), tuple(rows), f"{measured_on(findings)}.")


def _bones(findings: Findings) -> ResultTable:
    """Returns the shares of all bones, in the order of the truth or of the first method that is asked about bones."""
    share = {name: faithfulness.shares(areas) for name, areas in findings.areas.items()}
    order = np.argsort(-next(iter(share.values())), kind="stable")
    rows = tuple((AREAS[n], *(f"{100 * one[n]:.1f}%" for one in share.values())) for n in order)
    caption = "Share of each bone in all importance, over all ages."
    return ResultTable("bones", caption, ("bone", *share), rows, f"{measured_on(findings)}.")


def _explained(findings: Findings) -> ResultTable:
    """Returns what predictions differ by, by region, after the additive methods."""
    rows: list[tuple[Entry, ...]] = []
    for name in _additive(findings):
        shares = _shares(atlas.by_region(findings.groups[name]), faithfulness.explained)
        rows.append((name, *shares, _first(shares, atlas.REGIONS)))
    caption = (
        "Part of each region of the hand in the variance of the predictions from image to image, by the additive "
        "methods; 95% bootstrap interval. An effect of a region that has nothing to do with the prediction, positive "
        "as often as negative, cancels here."
    )
    head = ("method", *atlas.REGIONS, "most important")
    return ResultTable("explained", caption, head, tuple(rows), f"{measured_on(findings)}.")


def _regions(findings: Findings) -> ResultTable:
    """Returns the shares of the hand's regions, by the truth and every method."""
    rows: list[tuple[Entry, ...]] = []
    for name, groups in findings.groups.items():
        shares = _shares(atlas.by_region(np.abs(groups)))
        rows.append((name, *shares, _first(shares, atlas.REGIONS)))
    caption = "Share of each region of the hand in all importance; 95% bootstrap interval."
    head = ("method", *atlas.REGIONS, "most important")
    return ResultTable("hand", caption, head, tuple(rows), f"{measured_on(findings)}.")


def _compared(findings: Findings) -> ResultTable:
    """Returns the errors of networks that see one region each, by sex and stage."""
    rows: list[tuple[Entry, ...]] = []
    for name, run in findings.compared.items():
        finite = np.isfinite(run.predicted)
        for sex, of_sex in (("all", finite), ("girls", ~run.male), ("boys", run.male)):
            members = finite & of_sex
            if members.any():
                found = stages.mae_by_stage(run.predicted[members], run.reading[members], run.male[members])
                errors = (
                    f"{found[stage][1].value:.1f} ({found[stage][0]})" if stage in found else NONE
                    for stage in stages.NAMES
                )
                rows.append((f"{name}, {sex}", *errors))
    caption = (
        "Mean absolute error in months (and number of images) of networks that see one region each, by stage: A whole "
        "hand, B carpals, C metacarpals and proximal phalanges."
    )
    note = f"{findings.selection.dataset.name} {findings.request.split}."
    return ResultTable("regions", caption, ("network", *stages.NAMES), tuple(rows), note)


def _additive(findings: Findings) -> list[str]:
    return [method.name for method in findings.methods if method.additive]


def facts(findings: Findings) -> dict[str, Any]:
    """Returns the numbers of a study as JSON can hold them."""

    def named(names: Iterable[str], values: np.ndarray) -> dict[str, float]:
        return dict(zip(names, values.round(5).tolist(), strict=True))

    return {
        "run": str(findings.request.run),
        "checkpoint": findings.loaded.chosen,
        "dataset": findings.selection.dataset.name,
        "split": findings.request.split,
        "phantom": findings.selection.dataset.is_phantom,
        "images": len(findings.subjects.ids),
        "filling": findings.request.filling,
        "most_faithful": findings.most_faithful,
        "faithfulness": {name: dataclasses.asdict(one) for name, one in findings.faithfulness.items()},
        "groups": {name: named(GROUPS, faithfulness.shares(groups)) for name, groups in findings.groups.items()},
        "regions": {
            name: named(atlas.REGIONS, faithfulness.shares(atlas.by_region(np.abs(groups))))
            for name, groups in findings.groups.items()
        },
        "explained": {
            name: named(atlas.REGIONS, faithfulness.explained(atlas.by_region(findings.groups[name])))
            for name in _additive(findings)
        },
        "bones": {name: named(AREAS, faithfulness.shares(areas)) for name, areas in findings.areas.items()},
        "notice": NOT_A_MEDICAL_DEVICE,
    }
