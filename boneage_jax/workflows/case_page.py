"""The page of one radiograph: its age with all that a reader needs to check it."""

from __future__ import annotations

import dataclasses
import pathlib

import cv2
import numpy as np

from boneage_jax import page
from boneage_jax.analysis import sd_score
from boneage_jax.data.images import Grey
from boneage_jax.hand import register
from boneage_jax.hand.attribution import Attribution
from boneage_jax.hand.regions import named
from boneage_jax.phantoms import plates
from boneage_jax.workflows import assess_text, flags, pictures
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE, Assessment, Seen, as_years_and_months

SIDE = 960
"""Longest side of the radiograph on the page, in pixels; chosen by eye."""

_SMALL = 300
"""Longest side of what the networks saw, in pixels."""


@dataclasses.dataclass(frozen=True)
class Around:
    """Where a page lies among others.

    Attributes:
      networks: places that the networks come from, for people.
      remarks: what must be said with the age.
      previous: address of the page before; empty for none.
      following: address of the page after; empty for none.
      index: address of the page with all ages; empty for none.
    """

    networks: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    previous: str = ""
    following: str = ""
    index: str = ""


def document(one: Assessment, seen: Seen | None, around: Around, *, keep_identifiers: bool = False) -> page.Markup:
    """Returns the whole page, with nothing to be loaded from elsewhere.

    Args:
      one: the assessment.
      seen: what it was made from; None where the radiograph could not be used.
      around: where the page lies.
      keep_identifiers: whether the picture is shown as it is, with text that may be burnt in.
    """
    blocks = [navigation(around), body(one, seen, keep_identifiers=keep_identifiers)]
    notices = list(around.remarks)
    if not one.calibrated:
        notices.append(UNCALIBRATED_NOTICE)
    about = {"Networks": "; ".join(around.networks)}
    return page.document(title(one), page.Markup("".join(blocks)), about=about, notice=" ".join(notices))


def navigation(around: Around) -> page.Markup:
    """Returns links to the pages about this one; nothing where there are none."""
    if not around.index:
        return page.Markup("")
    return page.links(
        [("All radiographs", around.index), ("Previous", around.previous), ("Next", around.following)],
        name="radiographs",
    )


def title(one: Assessment) -> str:
    """Returns the title: the radiograph's name."""
    return f"Bone age of {assess_text.legible(pathlib.PurePath(one.file).name)}"


def body(one: Assessment, seen: Seen | None, *, keep_identifiers: bool = False) -> page.Markup:
    """Returns the page's content; see `document`."""
    blocks = [answer(one), _flags(one)]
    if seen is not None:
        blocks += [_radiograph(one, seen, keep_identifiers=keep_identifiers)]
        if np.isfinite(one.months):
            own = _on_canvas(seen)
            blocks.append(_beside_phantoms(one, own))
            blocks.append(_networks(one, seen))
            blocks.append(_rests_on(seen.attribution, own))
    blocks.append(_known(one))
    return page.Markup("".join(blocks))


def answer(one: Assessment) -> page.Markup:
    """Returns the key figures, or why there is no age."""
    if one.problem:
        return page.answer(page.KeyFigure("Bone age", "none"), sentence=f"This file cannot be used: {one.problem}.")
    if not np.isfinite(one.months):
        names = ", ".join(one.refused)
        return page.answer(
            page.KeyFigure("Bone age", "none", note="refused"),
            sentence=f"No age is given, for this is no usable radiograph of one whole hand: {names}.",
        )
    figures = [page.KeyFigure("Bone age", as_years_and_months(one.months), note=f"{one.months:.1f} months")]
    figures += [
        page.KeyFigure(
            f"{100 * of.level:.0f}% interval",
            f"{of.low:.0f} to {of.high:.0f}",
            "months",
            f"{as_years_and_months(of.low)} to {as_years_and_months(of.high)}",
        )
        for of in one.intervals
    ]
    if not one.intervals and np.isfinite(one.spread):
        figures.append(page.KeyFigure("Standard deviation", f"{one.spread:.1f}", "months", "as the networks state it"))
    if one.chronological_months is not None:
        figures.append(
            page.KeyFigure(
                "Chronological age",
                as_years_and_months(one.chronological_months),
                note=f"{one.chronological_months:.1f} months, {one.chronological_source}",
            )
        )
    if one.sd_score is not None:
        figures.append(page.KeyFigure("SD score", f"{one.sd_score:+.1f}".replace("-", "−"), "SD", sd_score.REFERENCE))
    figures.append(page.KeyFigure("Sex", {"F": "female", "M": "male"}.get(one.sex, "not given"), note="as it was read"))
    return page.answer(*figures)


def _flags(one: Assessment) -> page.Markup:
    if one.problem:
        return page.Markup("")
    if not one.flags:
        return page.flags(())
    rows = [
        [
            page.badges(page.badge(marked, "failed" if name in one.refused else "flag")),
            *flags.MEANINGS[name],
            "no age" if name in one.refused else "age given",
        ]
        for name, marked in zip(one.flags, one.marked_flags, strict=True)
    ]
    return page.section("Flags", page.table(["flag", "what it means", "what to do", "answer"], rows, stack=True))


def _radiograph(one: Assessment, seen: Seen, *, keep_identifiers: bool) -> page.Markup:
    part = pictures.about_hand(seen.image, seen.mask, seen.key_points, whole=keep_identifiers)
    small, members, legend = pictures.reduced(part.image, SIDE), [], page.Markup("")
    if part.inside is not None:
        outline = pictures.outline_svg(part.inside, *small.shape)
        members.append(page.Layer("outline of the hand", outline, mark=pictures.OUTLINE))
    if part.inside is not None and part.key_points is not None:
        scale = small.shape[0] / part.image.shape[0]
        marks = pictures.key_points_svg(part.key_points, scale, max(small.shape) / 45)
        members.append(page.Layer("key points", marks, mark=pictures.POINTS[0]))
        legend = page.legend(pictures.POINTS)
    caption = "The radiograph"
    if one.turned:
        caption += f", turned by {one.turned} degrees counterclockwise"
    if part.inside is not None:
        caption += ", in the grey levels of the hand"
    if keep_identifiers:
        caption += "."
    elif part.inside is not None:
        caption += ". What lies beyond the hand is covered: it may name the patient."
    else:
        caption += ". It is coarse on purpose: it may name the patient."
    return page.section("Radiograph", page.layers(page.picture(small, caption), members), legend)


def _beside_phantoms(one: Assessment, own: Grey | None) -> page.Markup:
    """The registered hand between rendered hands of known ages."""
    if own is None or one.sex not in ("F", "M"):
        return page.Markup("")
    of_sex = {"F": "girl", "M": "boy"}[one.sex]
    drawn = [
        page.Card(as_years_and_months(of.months), [page.picture(of.image, f"phantom, {of_sex}, {of.months} months")])
        for of in plates.around(one.months, one.sex)
    ]
    shown = [page.Card("This hand", [page.picture(own, f"read as {one.months:.1f} months")]), *drawn]
    return page.section(
        "Beside rendered hands of known bone age",
        page.cards(shown, width=10, height=13),
        lead="Phantoms are drawn from a model of how bones mature, and are no radiographs of children.",
    )


def _on_canvas(seen: Seen) -> Grey | None:
    """The whole hand on the paper's canvas, as large as a plate; None where no hand was found."""
    if seen.mask is None or seen.key_points is None:
        return None
    whole = named([f"whole@{2 * plates.HEIGHT}x{2 * plates.WIDTH}"])
    registration = register.registration(seen.image, seen.mask, seen.key_points)
    (cut,) = register.cut(seen.image, seen.mask, registration, whole).values()
    return np.asarray(cv2.resize(cut, (plates.WIDTH, plates.HEIGHT), interpolation=cv2.INTER_AREA))


def _networks(one: Assessment, seen: Seen) -> page.Markup:
    """What each network saw and read."""
    if len(one.networks) < 2 and not seen.regions:
        return page.Markup("")
    rows = [
        [
            of.region,
            page.rounded(of.months),
            as_years_and_months(of.months) if np.isfinite(of.months) else "–",
            page.rounded(of.spread),
        ]
        for of in one.networks
    ]
    # Several networks may have seen the same region: each once.
    labels = seen.labels or ("input",) * len(seen.regions)
    regions = {
        (region.shape, region.tobytes()): (label, region) for label, region in zip(labels, seen.regions, strict=True)
    }
    cards = [
        page.Card(label, [page.picture(pictures.reduced(region, _SMALL), "as a network sees it")])
        for label, region in regions.values()
    ]
    blocks = [page.table(["region", "bone age, months", "the same", "standard deviation, months"], rows, stack=True)]
    if cards:
        blocks.append(page.cards(cards, width=10, height=11))
    apart = one.disagreement
    lead = "Each network reads its own region of the registered hand; the answer is their blend."
    if apart is not None:
        lead += f" They lie {apart:.1f} months apart."
    return page.section("Ages by region", *blocks, lead=lead)


def _rests_on(found: Attribution | None, own: Grey | None) -> page.Markup:
    """Which bones the age rests on."""
    if found is None or own is None:
        return page.Markup("")
    largest = max(map(abs, found.months.values())) or 1.0
    values = np.array([0.0, *found.months.values()]) / largest
    shown = page.picture(pictures.coloured(own, values[found.areas]), "older: orange, younger: blue")
    rows = [
        [kind, page.rounded(months) if months < 0 else f"+{page.rounded(months)}"]
        for kind, months in sorted(found.months.items(), key=lambda pair: -abs(pair[1]))
    ]
    return page.section(
        "Bones that the age rests on",
        page.pair(
            page.table(["bones", "months"], rows),
            page.cards([page.Card("On the canvas", [shown])], width=12, height=18),
        ),
        lead="By how many months the age falls when bones of one kind are blurred; below 0 they speak for a younger "
        "hand. A blurred bone may look like one of another age.",
    )


def _known(one: Assessment) -> page.Markup:
    """What is known of the radiograph."""
    stated = one.stated
    spacing = f"{stated.spacing_mm:.3f} mm ({stated.spacing_source})" if stated.spacing_mm else ""
    known = {
        "file": assess_text.legible(pathlib.PurePath(one.file).name),
        "sex in the header": "" if stated.male is None else ("female", "male")[stated.male],
        "laterality": {"L": "left", "R": "right"}.get(stated.laterality, ""),
        "modality": stated.modality,
        "body part": stated.body_part.lower(),
        "pixel spacing": spacing,
        "hand length": f"{one.hand_mm:.0f} mm, middle fingertip to capitate" if one.hand_mm is not None else "",
        **dict(one.identifiers),
    }
    return page.section("What is known of the radiograph", page.facts(known))
