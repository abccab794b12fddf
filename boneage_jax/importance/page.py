"""Tables, plates, animation and page of what `study` found."""

from __future__ import annotations

import dataclasses
import html
import itertools
import json
import pathlib
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy, page
from boneage_jax.analysis import stages
from boneage_jax.analysis.scores import Score
from boneage_jax.analysis.tables import Table
from boneage_jax.data.sources import REGISTERED, Dataset, as_str
from boneage_jax.errors import UserError
from boneage_jax.files import replacing, write_text
from boneage_jax.geometry import Similarity
from boneage_jax.importance import atlas, faithfulness, plates
from boneage_jax.importance.atlas import AREAS, GROUPS, Picture
from boneage_jax.importance.study import ADDITIVE, CAM, INTEGRATED, METHODS, OCCLUSION, SMOOTH, TRUTH, Findings, maps_of

PAGE = "importance.html"
ANIMATION = "ages.gif"
FACTS = "importance.json"

_SHOWN = 5
_SMOOTHING = 12.0
"""Months: standard deviation of the weights by which images of neighbouring ages count in the animation."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
      page: of everything.
      tables: the same as files.
      most_trusted: the method to believe, and why.
      checkpoint: of the run that was asked, and why that one.
    """

    page: pathlib.Path
    tables: list[Table]
    most_trusted: str
    checkpoint: str


def write(findings: Findings) -> Written:
    """Writes tables/, plates, animation, `FACTS` and the page into the request's folder."""
    folder = findings.request.out
    tables = [_faith(findings), _explained(findings), _of_regions(findings), *_by_stage(findings), _of_bones(findings)]
    if findings.regions:
        tables.append(_beside(findings))
    for table in tables:
        table.write(folder / "tables")
    pictures = {"stages.jpg": _plate(findings), "examples.jpg": _examples(findings), ANIMATION: _animation(findings)}
    carried = _carried_back(findings)
    if carried:
        pictures["radiographs.jpg"] = carried
    for name, data in pictures.items():
        with replacing(folder / name) as scratch:
            scratch.write_bytes(data)
    write_text(folder / FACTS, json.dumps(_facts(findings), indent=2) + "\n")
    write_text(folder / PAGE, _page(findings, tables, pictures))
    return Written(folder / PAGE, tables, verdict(findings), findings.loaded.chosen)


def verdict(findings: Findings) -> str:
    """Returns which method to believe, and by how much."""
    name = findings.most_trusted
    one = findings.faith[name]
    if one.groups is None:
        return (
            f"No truth is known of these images. Of the methods, {name} finds best what matters when it is taken away: "
            f"deletion {one.deletion:.2f}, insertion {one.insertion:.2f}."
        )
    return (
        f"Believe {name} first: image by image its order of the groups of bones agrees with the truth by a rank "
        f"correlation of {one.by_image:.2f}; for the mean over all images {_shown(one.groups)}."
    )


def _what(findings: Findings) -> str:
    kind = "rendered phantoms, which say nothing about children" if findings.dataset.is_phantom else "radiographs"
    return f"{findings.dataset.name} {findings.request.split}, {len(findings.subjects.ids)} {kind}"


def _shown(score: Score | None) -> str:
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]" if score else "-"


def _faith(findings: Findings) -> Table:
    rows = []
    for name in METHODS:
        one = findings.faith[name]
        by_image = f"{one.by_image:.2f}" if np.isfinite(one.by_image) else "-"
        rows.append(
            (
                name,
                _shown(one.bones),
                _shown(one.groups),
                by_image,
                f"{one.deletion:.2f}",
                f"{one.insertion:.2f}",
                f"{one.untrained:.2f}",
            )
        )
    caption = (
        "How far each method can be believed. Truth: rank correlation with the change of the prediction when one bone "
        "alone is a year older, over bones, over groups of bones (both for the mean of all images, 95% bootstrap "
        "interval) and over groups image by image. Deletion, insertion: how soon the prediction leaves and regains its "
        "value when groups are replaced in the method's order (0 to 1, more is better). Untrained: rank correlation "
        f"with the same network before training (less is better). {_what(findings)}."
    )
    head = ("method", "truth, bones", "truth, groups", "by image", "deletion", "insertion", "untrained")
    return Table("faithfulness", caption, head, tuple(rows))


def _groups_shown(findings: Findings) -> tuple[str, ...]:
    """The methods whose tables are shown: the truth, where there is one, and the one to believe."""
    return (*((TRUTH,) if TRUTH in findings.groups else ()), findings.most_trusted)


def _by_stage(findings: Findings) -> list[Table]:
    """Shares of groups by stage and sex."""
    subjects = findings.subjects
    tables = []
    for method in _groups_shown(findings):
        rows: list[tuple[str, ...]] = []
        for number, name in enumerate(stages.NAMES):
            for sex, of_sex in (("all", True), ("girls", ~subjects.male), ("boys", subjects.male)):
                members = np.flatnonzero((subjects.stage == number) & of_sex)
                if len(members) < 2:
                    continue
                value, low, high = faithfulness.shares_with_interval(findings.groups[method][members])
                cells_shown = (
                    f"{100 * v:.0f}% [{100 * a:.0f}, {100 * b:.0f}]" for v, a, b in zip(value, low, high, strict=True)
                )
                rows.append((f"{name}, {sex} ({len(members)})", *cells_shown))
        caption = (
            f"Share of each group of bones in all importance, by stage and sex, after {method}; 95% bootstrap "
            f"interval. {_what(findings)}."
        )
        slug = "truth" if method == TRUTH else "trusted"
        tables.append(Table(f"stages_{slug}", caption, ("stage", *GROUPS), tuple(rows)))
    return tables


def _of_bones(findings: Findings) -> Table:
    """Shares of all bones, by every method that goes by bone."""
    methods = [name for name in (TRUTH, *METHODS) if name in findings.bones]
    share = {name: faithfulness.shares(findings.bones[name]) for name in methods}
    order = np.argsort(-share[methods[0]], kind="stable")
    rows = tuple((AREAS[n], *(f"{100 * share[name][n]:.1f}%" for name in methods)) for n in order)
    caption = f"Share of each bone in all importance, over all ages. {_what(findings)}."
    return Table("bones", caption, ("bone", *methods), rows)


def _explained(findings: Findings) -> Table:
    """What predictions differ by, by region, after the methods whose parts add up to it."""
    rows = []
    for name in ADDITIVE:
        parts = atlas.by_region(findings.groups[name])
        value, low, high = faithfulness.shares_with_interval(parts, faithfulness.explained)
        shown = (f"{100 * v:.0f}% [{100 * a:.0f}, {100 * b:.0f}]" for v, a, b in zip(value, low, high, strict=True))
        rows.append((name, *shown, atlas.REGIONS[int(value.argmax())]))
    caption = (
        "Part of each region of the hand in what predictions differ by from image to image; 95% bootstrap interval. "
        f"What a network makes of a region without reason, as often up as down, cancels here. {_what(findings)}."
    )
    return Table("explained", caption, ("method", *atlas.REGIONS, "most important"), tuple(rows))


def _of_regions(findings: Findings) -> Table:
    """Shares of the hand's regions, by every method."""
    rows = []
    for name in ((TRUTH,) if TRUTH in findings.groups else ()) + METHODS:
        value, low, high = faithfulness.shares_with_interval(atlas.by_region(np.abs(findings.groups[name])))
        shown = (f"{100 * v:.0f}% [{100 * a:.0f}, {100 * b:.0f}]" for v, a, b in zip(value, low, high, strict=True))
        rows.append((name, *shown, atlas.REGIONS[int(value.argmax())]))
    caption = f"Share of each region of the hand in all importance; 95% bootstrap interval. {_what(findings)}."
    return Table("hand", caption, ("method", *atlas.REGIONS, "most important"), tuple(rows))


def _beside(findings: Findings) -> Table:
    """The paper's comparison: errors of networks that see one region each, by sex and stage."""
    rows = []
    for name, (months, reading, male) in findings.regions.items():
        for sex, members in (("all", male | ~male), ("girls", ~male), ("boys", male)):
            members = members & np.isfinite(months)
            if members.any():
                found = stages.mae_by_stage(months[members], reading[members], male[members])
                row = (
                    f"{found[stage][1].value:.1f} ({found[stage][0]})" if stage in found else "-"
                    for stage in stages.NAMES
                )
                rows.append((f"{name}, {sex}", *row))
    caption = (
        "Mean absolute error in months (and number of images) of networks that see one region each, by stage: A whole "
        f"hand, B carpals, C metacarpals and proximal phalanges. {findings.dataset.name} {findings.request.split}."
    )
    return Table("regions", caption, ("network", *stages.NAMES), tuple(rows))


def _bones_of(findings: Findings, method: str) -> Float[np.ndarray, "n areas"]:
    """Sizes of importance by bone, groups shared out among theirs."""
    if method in findings.bones:
        return np.abs(findings.bones[method])
    return np.stack([plates.of_groups(row) for row in np.abs(findings.groups[method])])


def _share_of_bones(values: Float[np.ndarray, "n areas"], weights: Float[np.ndarray, " n"]) -> np.ndarray:
    mean = (values * weights[:, None]).sum(0)
    mean[atlas.ELSEWHERE] = 0
    return np.asarray(mean / max(float(mean.sum()), 1e-12))


def _plate(findings: Findings) -> bytes:
    """A row a method, a hand a stage."""
    subjects = findings.subjects
    rows = []
    for method in _groups_shown(findings):
        values, hands = _bones_of(findings, method), []
        shares = {
            number: _share_of_bones(values, (subjects.stage == number).astype(float))
            for number in range(len(anatomy.STAGES))
            if (subjects.stage == number).sum() >= 2
        }
        top = max(float(share.max()) for share in shares.values())
        for number, share in shares.items():
            stage = anatomy.STAGES[number]
            age = (stage.starts[1] + stage.ends[1]) / 2
            hands.append(plates.hand(age, "F", share, top=top, caption=f"{method}: {stage.name}"))
        drawn = plates.row(hands, 330)
        rows += [drawn, plates.bar(top, drawn.shape[1])]
    return plates.as_jpeg(plates.stacked(rows))


def _animation(findings: Findings) -> bytes:
    """Hands over the ages, each with the importance of images about its age."""
    subjects = findings.subjects
    methods = _groups_shown(findings)
    ages = np.arange(max(6, 6 * (int(subjects.reading.min()) // 6)), min(228, int(subjects.reading.max())) + 1, 6)
    values = {method: _bones_of(findings, method) for method in methods}
    near = {age: np.exp(-0.5 * ((subjects.reading - age) / _SMOOTHING) ** 2) for age in ages.tolist()}
    shares = {key: _share_of_bones(values[key[0]], near[key[1]]) for key in itertools.product(methods, near)}
    top = float(np.percentile([share.max() for share in shares.values()], 90))
    frames = [
        np.hstack([plates.hand(age, "F", shares[m, age], top=top, caption=f"{age} months, {m}") for m in methods])
        for age in near
    ]
    half = (frames[0].shape[1] // 2 if len(methods) == 1 else frames[0].shape[1] * 2 // 3, frames[0].shape[0] * 2 // 3)
    return plates.as_gif([cv2.resize(frame, half, interpolation=cv2.INTER_AREA) for frame in frames])


def _examples(findings: Findings) -> bytes:
    """Some images over the ages: the picture, its areas by occlusion, and attributions pixel by pixel."""
    subjects = findings.subjects
    order = np.argsort(subjects.reading)
    rows = order[np.linspace(0, len(order) - 1, _SHOWN + 2).round().astype(int)][1:-1]
    maps = maps_of(findings, rows)
    drawn = []
    for place, n in enumerate(rows):
        for plane in range(subjects.image.shape[-1]):
            picture = subjects.image[n, ..., plane]
            child = (
                f"{'boy' if subjects.male[n] else 'girl'} {subjects.reading[n]:.0f}, said {subjects.predicted[n]:.0f}"
            )
            over = plates.areas_over(picture, subjects.areas[n, ..., plane], np.abs(findings.bones[OCCLUSION][n]))
            shown = [(np.repeat(picture[..., None], 3, -1), child), (over, OCCLUSION)]
            shown += [(plates.heat(picture, maps[name][place, ..., plane]), name) for name in (INTEGRATED, SMOOTH, CAM)]
            drawn.append(plates.row([plates.captioned(_at_least(one), text) for one, text in shown], 300))
    return plates.as_jpeg(plates.stacked(drawn))


def _at_least(picture: np.ndarray, height: int = 260) -> np.ndarray:
    """Enlarged, so that a caption of its width can be read."""
    scale = height / picture.shape[0]
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR))


def _carried_back(findings: Findings) -> bytes:
    """Importance on the original radiographs, where hands were registered from ones that are still there."""
    path = findings.dataset.path / REGISTERED
    if not path.exists():
        return b""
    root = findings.dataset.path.parents[2]
    try:
        source = Dataset.open(root, findings.dataset.origin).split(findings.request.split.split("[")[0])
    except UserError:  # the radiographs need not lie beside the hands; nothing is lost but this picture
        return b""
    known, share = source.numbers(), _bones_of(findings, findings.most_trusted)
    drawn = []
    for n in np.linspace(0, len(findings.numbers) - 1, min(6, len(findings.numbers))).round().astype(int):
        row = findings.records.row(int(findings.numbers[n]))
        matrix = np.asarray(row["to_canvas"], np.float64)
        if as_str(row["id"]) not in known or not np.isfinite(matrix).all():
            continue
        original = source.image(known[as_str(row["id"])])
        place = Picture((original.shape[0], original.shape[1]), Similarity.of_matrix(matrix))
        over = plates.areas_over(original, atlas.on_picture(findings.subjects.territories[n], place), share[n])
        drawn.append(plates.captioned(_at_least(over, 320), f"read {findings.subjects.reading[n]:.0f} months"))
    return plates.as_jpeg(plates.row(drawn, 340)) if drawn else b""


def _facts(findings: Findings) -> dict[str, Any]:
    return {
        "run": str(findings.request.run),
        "checkpoint": findings.loaded.chosen,
        "dataset": findings.dataset.name,
        "split": findings.request.split,
        "phantom": findings.dataset.is_phantom,
        "images": len(findings.subjects.ids),
        "filling": findings.request.filling,
        "most_trusted": findings.most_trusted,
        "faithfulness": {name: dataclasses.asdict(one) for name, one in findings.faith.items()},
        "groups": {
            name: dict(zip(GROUPS, faithfulness.shares(value).round(5).tolist(), strict=True))
            for name, value in findings.groups.items()
        },
        "regions": {
            name: dict(
                zip(atlas.REGIONS, faithfulness.shares(atlas.by_region(np.abs(value))).round(5).tolist(), strict=True)
            )
            for name, value in findings.groups.items()
        },
        "explained": {
            name: dict(
                zip(
                    atlas.REGIONS,
                    faithfulness.explained(atlas.by_region(findings.groups[name])).round(5).tolist(),
                    strict=True,
                )
            )
            for name in ADDITIVE
        },
        "bones": {
            name: dict(zip(AREAS, faithfulness.shares(value).round(5).tolist(), strict=True))
            for name, value in findings.bones.items()
        },
        "notice": NOT_A_MEDICAL_DEVICE,
    }


def _page(findings: Findings, tables: list[Table], pictures: dict[str, bytes]) -> str:
    what = html.escape(_what(findings))
    fillings = {
        "other": "the same place in another child's picture, its grey levels matched to this one's",
        "mean": "the mean of all pictures",
        "blur": "the picture itself, blurred",
        "black": "black",
    }
    captions = {
        "stages.jpg": "Bones by their share in all importance, by stage, on a phantom of the stage's middle age.",
        ANIMATION: "The same over the ages.",
        "examples.jpg": "Pictures with what each method says of them: red makes the age older, blue younger.",
        "radiographs.jpg": "Carried back from the canvas to the radiographs as they came.",
    }
    indicators = page.table(
        ["stage", "months, girls", "months, boys", "what readers look at (Gilsanz and Ratib)"],
        [
            [
                one.name,
                f"{one.starts[1]:.0f} to {one.ends[1]:.0f}",
                f"{one.starts[0]:.0f} to {one.ends[0]:.0f}",
                one.indicators,
            ]
            for one in anatomy.STAGES
        ],
    )

    def shown(name: str) -> str:
        kind = "gif" if name.endswith(".gif") else "jpeg"
        return page.figure(pictures[name], captions[name], kind=kind)

    def as_html(table: Table) -> str:
        body = page.table(list(table.head), [list(row) for row in table.rows])
        return f"<p class='lead'>{html.escape(table.caption)}</p><div style='overflow-x:auto'>{body}</div>"

    by_name = {table.name: table for table in tables}
    by_stage = "".join(as_html(table) for name, table in by_name.items() if name.startswith("stages_"))
    regions = f"<h2>Networks that see one region</h2>{as_html(by_name['regions'])}" if "regions" in by_name else ""
    carried = shown("radiographs.jpg") if "radiographs.jpg" in pictures else ""
    body = f"""<h1>What {html.escape(findings.request.run.name)} rests on</h1>
<p class="notice">{NOT_A_MEDICAL_DEVICE} Measured on {what}.</p>
<p class="lead">{html.escape(verdict(findings))}</p>
<p>Checkpoint of {html.escape(findings.loaded.chosen)}. Parts that are taken away are replaced by
{fillings[findings.request.filling]}.</p>
<h2>Which method to believe</h2>{as_html(by_name["faithfulness"])}
<h2>Regions</h2>{as_html(by_name["hand"])}
<h2>Stages</h2>{shown("stages.jpg")}{by_stage}{indicators}
<h2>Ages</h2>{shown(ANIMATION)}
{regions}
<h2>Pictures</h2>{shown("examples.jpg")}{carried}
<h2>Bones</h2>{as_html(by_name["bones"])}
"""
    return page.document(f"Importance: {findings.request.run.name}", body)


def as_text(written: Written) -> str:
    """Returns the table of trust for people, and where everything lies."""
    shown = [table.as_markdown() for table in written.tables if table.name in ("faithfulness", "hand", "regions")]
    return "\n".join(
        [
            *shown,
            written.most_trusted,
            f"checkpoint of {written.checkpoint}",
            NOT_A_MEDICAL_DEVICE,
            f"page      {written.page}",
            f"tables    {written.page.parent / 'tables'} (CSV, Markdown, LaTeX)",
            f"numbers   {written.page.parent / FACTS}",
        ]
    )
