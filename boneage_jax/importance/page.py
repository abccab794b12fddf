"""Writes what a study found: tables, pictures, numbers and one page of all of it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy, page
from boneage_jax.analysis.tables import Table
from boneage_jax.files import replacing, write_text
from boneage_jax.hand import atlas
from boneage_jax.importance import faithfulness, fillings, pictures, tables, truth
from boneage_jax.importance.method import slug
from boneage_jax.importance.pictures import ByStage
from boneage_jax.importance.study import Findings
from boneage_jax.importance.tables import Estimate, ResultTable
from boneage_jax.importance.truth import TRUTH

PAGE = "importance.html"
ANIMATION = "ages.gif"
FACTS = "importance.json"
PICTURES = "pictures"

_IN_TEXT = ("faithfulness", "hand", "regions")
"""Tables that the command prints."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
      page: the page.
      tables: the same tables as the files hold.
      conclusion: the most faithful method, and by how much.
      checkpoint: of the run, and why that one.
    """

    page: pathlib.Path
    tables: list[Table]
    conclusion: str
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """All pictures of a study; see the functions of `pictures` of the same names."""

    by_stage: ByStage
    animation: page.Picture
    examples: list[page.Card]
    radiographs: list[page.Card]

    def files(self) -> dict[str, bytes]:
        """Returns the pictures as files, by their paths in the study's folder."""
        groups = {"stage": self.by_stage.cards, "image": self.examples, "radiograph": self.radiographs}
        found = {ANIMATION: self.animation.data}
        for kind, cards in groups.items():
            for number, card in enumerate(cards, start=1):
                for picture in card.pictures:
                    name = "-".join(filter(None, (kind, str(number), slug(picture.label))))
                    found[f"{PICTURES}/{name}.jpg"] = picture.data
        return found


def write(findings: Findings) -> Written:
    """Writes tables/, pictures/, the animation, `FACTS` and the page into the request's folder.

    Raises:
      UserError: for a folder that cannot be written.
    """
    folder = findings.request.out
    made = tables.all_tables(findings)
    plain = [table.plain() for table in made.values()]
    for table in plain:
        table.write(folder / "tables")
    drawn = _Pictures(
        pictures.by_stage(findings),
        pictures.animation(findings),
        pictures.examples(findings),
        pictures.radiographs(findings),
    )
    for name, data in drawn.files().items():
        with replacing(folder / name) as scratch:
            scratch.write_bytes(data)
    write_text(folder / FACTS, json.dumps(tables.facts(findings), indent=2) + "\n")
    write_text(folder / PAGE, _page(findings, made, drawn))
    return Written(folder / PAGE, plain, conclusion(findings), findings.loaded.chosen)


def conclusion(findings: Findings) -> str:
    """Returns which method is the most faithful, and by how much, in words."""
    name = findings.most_faithful
    one = findings.faithfulness[name]
    if one.groups is None:
        return (
            "The truth about these images is not known. The most faithful method by deletion and insertion is "
            f"{name}: deletion {one.deletion:.2f}, insertion {one.insertion:.2f}."
        )
    return (
        f"The most faithful method is {name}: image by image, its order of the groups of bones agrees with the truth "
        f"with a rank correlation of {one.by_image:.2f}; for the mean of all images {Estimate.of(one.groups).plain}."
    )


def as_text(written: Written) -> str:
    """Returns the most important tables, and where everything lies, as text."""
    shown = [table.as_markdown() for table in written.tables if table.name in _IN_TEXT]
    return "\n".join(
        [
            *shown,
            written.conclusion,
            f"checkpoint of {written.checkpoint}",
            NOT_A_MEDICAL_DEVICE,
            f"page      {written.page}",
            f"tables    {written.page.parent / 'tables'} (CSV, Markdown, LaTeX)",
            f"numbers   {written.page.parent / FACTS}",
        ]
    )


def _page(findings: Findings, made: Mapping[str, ResultTable], drawn: _Pictures) -> page.Markup:
    request, selection = findings.request, findings.selection
    body = [
        _answer(findings),
        page.section("Regions of the hand", made["hand"].markup(stack=True), made["explained"].markup(stack=True)),
        page.section("How faithful each method is", made["faithfulness"].markup(stack=True), _methods(findings)),
        _stages(findings, made, drawn.by_stage),
        _ages(findings, drawn.animation),
    ]
    if "regions" in made:
        body.append(page.section("Networks that see one region", made["regions"].markup(stack=True)))
    body.append(_images(findings, drawn.examples))
    if drawn.radiographs:
        lead = f"Importance by {findings.most_faithful}, projected from the canvas back onto the original radiographs."
        body.append(page.section("Radiographs", page.cards(drawn.radiographs), lead=lead))
    if "bones" in made:
        body.append(page.section("Bones", made["bones"].markup()))
    return page.document(
        f"Importance of bones and regions for the age network {request.run.name}",
        "".join(body),
        about={
            "Data": f"{selection.dataset.name}, {request.split}, {len(findings.subjects.ids)} images",
            "Model": f"{page.place(request.run, request.out)}, {findings.loaded.chosen}",
        },
        notice=f"Measured on {tables.measured_on(findings)}.",
    )


def _answer(findings: Findings) -> page.Markup:
    """Returns the region that predictions rest on most, the faithfulness of the best method, and the mean error."""
    by = tables.names_shown(findings)[0]
    shares = faithfulness.shares_with_interval(atlas.by_region(np.abs(findings.groups[by])))
    value, low, high = (100 * one for one in shares)
    top = int(value.argmax())
    best = findings.faithfulness[findings.most_faithful]
    subjects = findings.subjects
    error = float(np.abs(subjects.predicted - subjects.reading).mean())
    judged = "rank correlation with the truth, image by image" if best.groups else "mean of deletion and insertion"
    region = atlas.REGIONS[top]
    most = "pixels that belong to no bone" if top == atlas.ELSEWHERE else f"the {region}"
    return page.answer(
        page.KeyFigure(
            f"{region.capitalize()}: share of all importance",
            f"{value[top]:.0f}%",
            note=f"95% interval {low[top]:.0f} to {high[top]:.0f}; by {tables.called(by)}",
        ),
        page.KeyFigure(f"{findings.most_faithful}: faithfulness", f"{best.merit:.2f}", note=judged),
        page.KeyFigure("Mean absolute error of the network", f"{error:.1f}", "months", "on these images"),
        sentence=f"By {tables.called(by)}, the predictions rest most on {most}. {conclusion(findings)}",
    )


def _methods(findings: Findings) -> page.Markup:
    """Returns what each method does."""
    rows = [
        [one.name, one.kind, "yes" if one.additive else "no", one.sentence, one.reference] for one in findings.methods
    ]
    if findings.truth:
        rows.insert(0, [TRUTH, "drawn again", "no", truth.SENTENCE, "phantoms only"])
    lead = (
        f"Parts that are taken away are replaced by {fillings.FILLINGS[findings.request.filling].sentence}. The values "
        "of additive methods add up to a difference between two predictions, in months."
    )
    table = page.table(["method", "kind", "additive", "how it works", "source"], rows, stack=True)
    return page.Markup(page.paragraph(lead) + table)


def _stages(findings: Findings, made: Mapping[str, ResultTable], drawn: ByStage) -> page.Markup:
    """Returns hands and tables by stage, and what radiologists look at in each."""
    scales = [
        page.figure(
            pictures.scale(),
            f"Share of a bone in all importance by {tables.called(name)}, from 0% to {100 * top:.1f}%.",
        )
        for name, top in drawn.tops.items()
    ]
    shown = [made[tables.stage_table(name)].markup(stack=True) for name in drawn.tops]
    months = "{:.0f} to {:.0f}"
    indicators = page.table(
        ["stage", "girls, months", "boys, months", "what radiologists look at"],
        [
            [
                one.name,
                months.format(one.starts[1], one.ends[1]),
                months.format(one.starts[0], one.ends[0]),
                one.indicators,
            ]
            for one in anatomy.STAGES
        ],
        stack=True,
    )
    return page.section(
        "Stages of development",
        page.cards(drawn.cards),
        page.pair(*scales),
        *shown,
        page.paragraph("What radiologists look at in each stage (Gilsanz and Ratib):"),
        indicators,
        lead="Bones by their share in all importance, on a phantom of the stage's middle age.",
    )


def _ages(findings: Findings, animation: page.Picture) -> page.Markup:
    """Returns the animation."""
    names = tables.names_shown(findings)
    hands = [tables.called(name) for name in names]
    title = f"By {hands[0]} (left) and by {hands[1]} (right)" if len(hands) > 1 else f"By {hands[0]}"
    lead = "Bones by their share in all importance, over images of about each age; brighter is more."
    return page.section("Importance over the ages", page.cards([page.Card(title, [animation])], width=30), lead=lead)


def _images(findings: Findings, cards: Sequence[page.Card]) -> page.Markup:
    """Returns the single images."""
    lead = (
        "Single images with what each method finds. Methods by part tint the areas of bones, the most important the "
        "brightest. Methods by pixel colour pixels: red makes the predicted age older, blue younger."
    )
    # All images of a child side by side on a wide screen, and no wider than they are.
    width = 1 + 9 * max(len(card.pictures) for card in cards)
    return page.section("Images", page.cards(cards, width=width, height=11), lead=lead)
