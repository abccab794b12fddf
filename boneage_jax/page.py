"""Self-contained HTML pages: one stylesheet, and the building blocks of every page.

A page is made of blocks, from the answer to the details: `document` around `answer`, `section`, `table`, `figure` and
`cards`. `document` puts the title, what the page is about and the notice, so that no page lacks them. Nothing is loaded
from elsewhere: styles and pictures are inside. Blocks return `Markup`; every plain text is escaped.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import functools
import html
import io
import json
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__

PALETTE = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "bluish green": "#009E73",
    "reddish purple": "#CC79A7",
    "yellow": "#F0E442",
    "grey": "#6B7882",
}
"""Colours that people with any colour vision tell apart: Okabe and Ito, Color Universal Design, 2008; and a grey."""

ACCENT = PALETTE["blue"]
"""The one accent colour of pages and charts."""


class Markup(str):
    """HTML that the blocks pass on as it is; any other text is escaped."""

    __slots__ = ()


def text(content: str) -> Markup:
    """Returns a text as HTML: escaped, unless it is `Markup` already."""
    return content if isinstance(content, Markup) else Markup(html.escape(content))


@functools.cache
def _style() -> str:
    return pathlib.Path(__file__).with_suffix(".css").read_text(encoding="utf-8")


def document(
    title: str,
    body: str,
    *,
    about: Mapping[str, str] | None = None,
    notice: str = "",
    date: datetime.date | None = None,
    head: Markup = Markup(""),
    nonce: str = "",
) -> Markup:
    """Returns a whole page, under its title, what it is about and the notice that this is no medical device.

    Args:
      title: says what is shown.
      body: HTML.
      about: what the page is about, by label, such as `Data` and `Model`; date and version are added here.
      notice: what else a reader must know before the numbers; stands after the notice of every page.
      date: of the page; None for today.
      head: more of what stands before the page's content, such as a script.
      nonce: that marks the styles as the page's own, for a content security policy; empty for none.
    """
    facts = {
        **(about or {}),
        "Date": (date or datetime.date.today()).isoformat(),
        "Version": f"boneage-jax {__version__}",
    }
    shown = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items() if value)
    own = f' nonce="{html.escape(nonce)}"' if nonce else ""
    warning = f"{text(NOT_A_MEDICAL_DEVICE)} {text(notice)}".strip()
    return Markup(f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title><style{own}>{_style()}</style>{head}</head><body><div class="page">
<header><h1>{text(title)}</h1><dl class="about">{shown}</dl></header>
<p class="notice" role="note">{warning}</p>
<main>
{body}
</main>
<footer>boneage-jax {text(__version__)}, {facts["Date"]}. {text(NOT_A_MEDICAL_DEVICE)}</footer>
</div></body></html>
""")


@dataclasses.dataclass(frozen=True)
class KeyFigure:
    """One number of the answer.

    Attributes:
      label: what the number is.
      value: the number, rounded for people.
      unit: of the number; empty for none.
      note: its interval, or what to compare it with.
    """

    label: str
    value: str
    unit: str = ""
    note: str = ""


def answer(*figures: KeyFigure, sentence: str = "") -> Markup:
    """Returns the answer of a page: its key figures, the most important first, and one sentence above them."""
    shown = "".join(
        f'<div><dt>{text(one.label)}</dt><dd><span class="value">{text(one.value)}'
        + (f' <span class="unit">{text(one.unit)}</span>' if one.unit else "")
        + "</span></dd>"
        + (f'<dd class="note">{text(one.note)}</dd>' if one.note else "")
        + "</div>"
        for one in figures
    )
    above = paragraph(sentence) if sentence else ""
    return Markup(f'{above}<dl class="answer">{shown}</dl>')


def section(title: str, *blocks: str, lead: str = "") -> Markup:
    """Returns blocks of HTML below a heading.

    Args:
      title: of the section.
      blocks: HTML.
      lead: a sentence below the heading; escaped here.
    """
    below = f'<p class="lead">{text(lead)}</p>' if lead else ""
    return Markup(f"<section><h2>{text(title)}</h2>{below}{''.join(blocks)}</section>")


def paragraph(content: str) -> Markup:
    """Returns a paragraph."""
    return Markup(f"<p>{text(content)}</p>")


def details(summary: str, content: str) -> Markup:
    """Returns a long text as it is, folded below its summary."""
    return Markup(f"<details><summary>{text(summary)}</summary><pre>{text(content)}</pre></details>")


def pair(*blocks: str) -> Markup:
    """Returns blocks of HTML in two columns, or below each other on narrow screens."""
    return Markup(f'<div class="pair">{"".join(blocks)}</div>')


@dataclasses.dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Attributes:
      data: the bytes of the file.
      width: in pixels.
      height: in pixels.
      label: what it is, shown below it; empty for none.
      alt: what it shows, for those who cannot see it; empty for the label.
      kind: `png`, `jpeg` or `gif`.
    """

    data: bytes
    width: int
    height: int
    label: str = ""
    alt: str = ""
    kind: str = "jpeg"


def picture(
    pixels: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"], label: str = "", *, alt: str = "", quality: int = 88
) -> Picture:
    """Returns pixels as a JPEG.

    Args:
      pixels: grey, or red, green and blue.
      label: what it is, shown below it; empty for none.
      alt: what it shows, for those who cannot see it; empty for the label.
      quality: of the JPEG, from 1 to 95.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return Picture(buffer.getvalue(), pixels.shape[1], pixels.shape[0], label, alt)


def figure(
    picture: bytes | Picture, caption: str, *, kind: str = "png", alt: str = "", dark: bool = False, wide: bool = False
) -> Markup:
    """Returns a picture over its caption, both as HTML, the picture's bytes inside.

    Args:
      picture: encoded.
      caption: text; escaped here.
      kind: of bytes: `png`, `jpeg` or `gif`.
      alt: what the picture shows, for those who cannot see it; empty for the caption.
      dark: whether the picture is dark, as radiographs are; it then lies on a dark mat.
      wide: whether it needs the page's whole width; on a narrow screen it then scrolls sideways by itself.
    """
    shown = _image(picture, alt or caption, kind)
    if wide:
        name = html.escape(caption)
        shown = f'<div class="scroll wide" role="region" tabindex="0" aria-label="{name}">{shown}</div>'
    if dark:
        shown = f'<div class="mat">{shown}</div>'
    return Markup(f"<figure>{shown}<figcaption>{text(caption)}</figcaption></figure>")


def _image(picture: bytes | Picture, alt: str, kind: str) -> str:
    size = ""
    if isinstance(picture, Picture):
        alt, kind, size = picture.alt or alt, picture.kind, f' width="{picture.width}" height="{picture.height}"'
        picture = picture.data
    data = base64.b64encode(picture).decode()
    return f'<img alt="{html.escape(alt)}"{size} src="data:image/{kind};base64,{data}">'


@dataclasses.dataclass(frozen=True)
class Layer:
    """Something drawn over a picture that a reader can switch on and off.

    Attributes:
      label: of the switch.
      content: SVG in the picture's pixels, or another picture of the same size.
      shown: whether it is switched on at first.
      mark: how it is marked, shown beside its label; None for none.
    """

    label: str
    content: Markup | Picture
    shown: bool = True
    mark: Mark | None = None


def layers(base: Picture, members: Sequence[Layer]) -> Markup:
    """Returns a large picture on a dark mat, with a switch for each of its layers; needs no script.

    Args:
      base: the picture.
      members: from the lowest layer to the highest; at most 4.
    """
    if len(members) > _MOST_LAYERS:
        raise ValueError(f"found {len(members)} layers, expected {_MOST_LAYERS} at most")
    switches = "".join(
        f'<label><input type="checkbox" class="layer{n}"{" checked" if one.shown else ""}>'
        f"{_sign(one.mark) if one.mark else ''}{text(one.label)}</label>"
        for n, one in enumerate(members)
    )
    over = "".join(f'<div class="layer{n}">{_layer(one.content, base)}</div>' for n, one in enumerate(members))
    head = f'<fieldset><legend class="hidden">Shown on the picture</legend>{switches}</fieldset>' if members else ""
    below = f"<figcaption>{text(base.label)}</figcaption>" if base.label else ""
    return Markup(
        f'<figure class="layers">{head}<div class="mat"><div class="stacked" style="--ratio: '
        f'{base.width / base.height:.4f}">{_image(base, base.label, base.kind)}{over}</div></div>{below}</figure>'
    )


_MOST_LAYERS = 4
"""As many as the stylesheet has switches for."""


def _layer(content: Markup | Picture, base: Picture) -> str:
    if isinstance(content, Picture):
        return _image(content, content.label, content.kind)
    return (
        f'<svg viewBox="0 0 {base.width} {base.height}" aria-hidden="true" preserveAspectRatio="none">{content}</svg>'
    )


def links(members: Sequence[tuple[str, str]], *, name: str) -> Markup:
    """Returns links in a row.

    Args:
      members: text and address of each; an empty address for one that leads nowhere.
      name: of the row, for those who cannot see it.
    """
    shown = "".join(
        f'<a href="{html.escape(address)}">{text(label)}</a>' if address else f"<span>{text(label)}</span>"
        for label, address in members
    )
    return Markup(f'<nav class="links" aria-label="{html.escape(name)}">{shown}</nav>')


def link(label: str, address: str) -> Markup:
    """Returns a link."""
    return Markup(f'<a href="{html.escape(address)}">{text(label)}</a>')


def facts(members: Mapping[str, str]) -> Markup:
    """Returns facts by name, one a line; those without a value are left out."""
    shown = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in members.items() if value
    )
    return Markup(f'<dl class="facts">{shown}</dl>')


def small_picture(one: Picture) -> Markup:
    """Returns a picture for a table's cell, on a dark mat."""
    return Markup(f'<span class="mat small">{_image(one, one.label, one.kind)}</span>')


@dataclasses.dataclass(frozen=True)
class Card:
    """Pictures of one thing, with text about it below them.

    Attributes:
      title: of the card.
      pictures: side by side on a dark mat.
      lines: text below the title.
      badges: HTML of `badge` or `flags`.
    """

    title: str
    pictures: Sequence[Picture]
    lines: Sequence[str] = ()
    badges: Markup = Markup("")


def cards(members: Sequence[Card], *, width: float = 15.0, height: float = 17.0) -> Markup:
    """Returns cards in a grid.

    Args:
      members: the cards.
      width: the least of a card, in rem (the size of the page's letters); they grow to fill the row.
      height: the least of a picture, in rem, where the card is wide enough for it.
    """
    shown = "".join(map(_card, members))
    return Markup(f'<ul class="cards" style="--card: {width:g}rem; --tall: {height:g}rem">{shown}</ul>')


def _card(card: Card) -> str:
    pictures = "".join(
        f'<span style="--ratio: {one.width / one.height:.4f}">{_image(one, one.label or card.title, one.kind)}'
        + (f"<small>{text(one.label)}</small>" if one.label else "")
        + "</span>"
        for one in card.pictures
    )
    mat = f'<div class="mat">{pictures}</div>' if pictures else ""
    lines = "".join(f"<p>{text(line)}</p>" for line in card.lines)
    return f'<li class="card">{mat}<div class="text"><h3>{text(card.title)}</h3>{lines}{card.badges}</div></li>'


_NUMBER = re.compile(r"[-−+±<>~≤≥]?\s*\d[\d.,]*(e[-+]?\d+)?\s*(%|\[.*\]|\(.*\))?$")
_NOTHING = ("", "-", "–")
_LONG = 32
"""Characters of a cell above which its column counts as text and may wrap; chosen by eye."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", stack: bool = False) -> Markup:
    """Returns a table; a cell is escaped here unless it is `Markup`. Columns of numbers are set to the right.

    Args:
      head: of the columns.
      rows: cells of each row.
      caption: what it shows; empty for none.
      stack: whether rows become blocks on a narrow screen; otherwise the table scrolls sideways by itself.
    """
    columns = [[row[n] for row in rows] for n in range(len(head))]
    kinds = ["", *map(_class_of, columns[1:])]
    top = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(head, kinds, strict=True))
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(
            f'<td{kind} data-label="{html.escape(name)}">{text(cell)}</td>'
            for cell, name, kind in zip(row[1:], head[1:], kinds[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    above = f"<caption>{text(caption)}</caption>" if caption else ""
    stacked = ' class="stack"' if stack else ""
    # A region that scrolls has to be reached by the keyboard.
    name = html.escape(caption or ", ".join(name for name in head if name))
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table{stacked}>{above}'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _class_of(column: Sequence[str]) -> str:
    known = [re.sub(r"<small>.*", "", cell) for cell in column if cell not in _NOTHING]
    if known and all(_NUMBER.match(cell) for cell in known):
        return ' class="number"'
    # A sentence in a table that scrolls would become a column of single words.
    return ' class="long"' if any(len(cell) > _LONG and not isinstance(cell, Markup) for cell in column) else ""


BadgeKind = Literal["good", "flag", "failed", "neutral"]

_SIGNS: dict[BadgeKind, str] = {"good": "✓", "flag": "!", "failed": "✕", "neutral": "·"}


def badge(word: str, kind: BadgeKind = "neutral") -> Markup:
    """Returns a word as a badge; a sign as well as a colour shows its kind."""
    return Markup(
        f'<span class="badge {kind}"><b aria-hidden="true">{_SIGNS[kind]}</b><span>{text(word)}</span></span>'
    )


def badges(*members: Markup) -> Markup:
    """Returns badges in a row that wraps."""
    return Markup(f'<div class="badges">{"".join(members)}</div>')


def flags(names: Sequence[str], *, none: str = "no flags") -> Markup:
    """Returns a badge for each flag of quality control, or a badge "no flags"."""
    return badges(*(badge(name, "flag") for name in names)) if names else badges(badge(none, "good"))


Shape = Literal["circle", "square", "triangle", "line"]

_SHAPES: dict[Shape, str] = {
    "circle": '<circle cx="8" cy="8" r="6"/>',
    "square": '<rect x="2.5" y="2.5" width="11" height="11"/>',
    "triangle": '<path d="M8 2 14.5 14h-13z"/>',
    "line": '<path d="M0 8h16" stroke-width="4"/>',
}


@dataclasses.dataclass(frozen=True)
class Mark:
    """How something is marked on pictures.

    Attributes:
      label: what it marks.
      colour: as `#RRGGBB`, of `PALETTE`.
      shape: that tells it from other marks without colour.
    """

    label: str
    colour: str
    shape: Shape


def legend(marks: Sequence[Mark]) -> Markup:
    """Returns the legend of marks: each by its shape, colour and name."""
    return Markup(
        '<ul class="legend">' + "".join(f"<li>{_sign(mark)}{text(mark.label)}</li>" for mark in marks) + "</ul>"
    )


def _sign(mark: Mark) -> str:
    """A mark as it is drawn on pictures."""
    edge = mark.colour if mark.shape == "line" else "#17212b"
    return (
        f'<svg viewBox="0 0 16 16" aria-hidden="true" fill="{mark.colour}" stroke="{edge}">{_SHAPES[mark.shape]}</svg>'
    )


def drawn_mark(mark: Mark, x: float, y: float, size: float) -> Markup:
    """Returns a mark as SVG about a place of a picture.

    Args:
      mark: circle, square or triangle.
      x: to the right, in pixels of the picture.
      y: down.
      size: height and width, in pixels.
    """
    scale = size / 16
    return Markup(
        f'<g transform="translate({x - size / 2:.1f} {y - size / 2:.1f}) scale({scale:.3f})" fill="{mark.colour}" '
        f'stroke="#0d1216">{_SHAPES[mark.shape]}</g>'
    )


def rounded(value: float, digits: int = 1) -> str:
    """Returns a number of so many decimals, with a true minus and thousands apart; a dash for none."""
    if not math.isfinite(value):
        return "–"
    # Adding zero makes minus zero plain.
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def significant(value: float, digits: int = 3) -> str:
    """Returns a number of so many significant digits; with an exponent only below a ten-thousandth."""
    if not math.isfinite(value) or value == 0:
        return rounded(value, 0)
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if size < -4:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    decimals = digits - 1 - size
    return f"{round(value, decimals):,.{max(0, decimals)}f}".replace("-", "−")


def interval(value: float, low: float, high: float, digits: int = 1) -> Markup:
    """Returns a number over its interval, for a table's cell."""
    return Markup(f"{rounded(value, digits)}<small>{rounded(low, digits)} to {rounded(high, digits)}</small>")


_UP = 2
_PARTS = 2
"""Most folders up in a relative path of `place`, and parts that it keeps of other paths; chosen by eye."""


def place(path: pathlib.Path | str, beside: pathlib.Path | str) -> str:
    """Returns the place of a file for a page: never an absolute path of this machine.

    Args:
      path: of the file or folder; one with a scheme, such as `gs://bucket/runs`, stays as it is.
      beside: folder of the page.

    Returns:
      The path from the page's folder, where that is at most two folders up; otherwise its last two parts.
    """
    if "://" in str(path):
        return str(path)
    absolute = pathlib.Path(os.path.abspath(path))
    relative = pathlib.PurePath(os.path.relpath(absolute, os.path.abspath(beside)))
    if relative.parts.count("..") <= _UP and relative.parts[-1:] != ("..",):
        return relative.as_posix()
    return "…/" + "/".join(absolute.parts[1:][-_PARTS:])


def as_json(value: Any, beside: pathlib.Path | str) -> str:
    """Returns a value as JSON for people, the absolute paths in it replaced by `place`.

    Args:
      value: of what JSON can hold.
      beside: folder of the page.
    """

    def for_page(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {key: for_page(member) for key, member in part.items()}
        if isinstance(part, list | tuple):
            return [for_page(member) for member in part]
        return place(part, beside) if isinstance(part, str) and os.path.isabs(part) else part

    return json.dumps(for_page(value), indent=2, ensure_ascii=False)
