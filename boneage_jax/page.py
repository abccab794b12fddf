"""Self-contained HTML pages: one stylesheet, and the building blocks of every page.

A page is made of blocks, from the answer to the details: `document` around `answer`, `section`, `table`, `figure` and
`cards`. `document` puts the title, what the page is about and the notice, so that no page lacks them. Nothing is loaded
from elsewhere: styles and pictures are inside. Blocks return `Markup`; every plain text is escaped.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import html
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Literal

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

_STYLE = (
    f":root {{ --accent: {ACCENT}; }}"
    + """
:root { color-scheme: light; --ink: #17212b; --muted: #55636f; --line: #dbe2e7; --surface: #f4f7f9; --mat: #0d1216;
  --on-mat: #c6d0d8; --warn: #8a4300; --warn-line: #d08a35; --warn-surface: #fff6ea; }
* { box-sizing: border-box; }
body { margin: 0; border-top: 4px solid var(--accent); background: #fff; color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.page { max-width: 72rem; margin: 0 auto; padding: 1.6rem clamp(1rem, 4vw, 2rem) 2rem; }
h1, h2, h3 { line-height: 1.2; text-wrap: balance; }
h1 { font-size: clamp(1.5rem, 1.1rem + 2vw, 2.1rem); margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 0 0 .6rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
section { margin-top: 2.6rem; padding-top: 1.4rem; border-top: 1px solid var(--line); }
p, .lead { max-width: 46rem; margin: .5rem 0; } .lead { color: var(--muted); }
a { color: var(--accent); }
.about { display: flex; flex-wrap: wrap; gap: .1rem 1.4rem; margin: 0; font-size: .9rem; }
.about div { display: flex; gap: .4rem; } .about dd { margin: 0; }
.about dt { color: var(--muted); white-space: nowrap; }
.notice { max-width: none; margin: 1rem 0 1.4rem; padding: .55rem .9rem; border-left: 4px solid var(--warn-line);
  background: var(--warn-surface); font-size: .9rem; line-height: 1.45; }
.answer { display: flex; flex-wrap: wrap; gap: 1px; margin: .8rem 0; background: var(--line); overflow: hidden;
  border: 1px solid var(--line); border-radius: 6px; }
.answer div { flex: 1 1 11rem; padding: .8rem 1rem .9rem; background: var(--surface); }
.answer dt { color: var(--muted); font-size: .85rem; line-height: 1.3; }
.answer dd { margin: 0; } .answer .value { font-size: 1.6rem; line-height: 1.25; font-weight: 650; }
.answer div:first-child .value { color: var(--accent); } .answer .unit { font-size: .95rem; font-weight: 450;
  display: inline-block; line-height: 1.2; }
.answer .note { color: var(--muted); font-size: .85rem; line-height: 1.35; }
.scroll { overflow-x: auto; margin: .8rem 0; background: linear-gradient(90deg, #fff 30%, #fff0) 0 / 2.5rem 100%,
  linear-gradient(-90deg, #fff 30%, #fff0) 100% / 2.5rem 100%, linear-gradient(90deg, #0d121633, #0d121600) 0 / .8rem
  100%, linear-gradient(-90deg, #0d121633, #0d121600) 100% / .8rem 100%; background-repeat: no-repeat;
  background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; min-width: min(100%, 24rem); font-variant-numeric: tabular-nums; font-size: .92rem;
  line-height: 1.4; overflow-wrap: normal; }
caption { text-align: left; color: var(--muted); padding-bottom: .4rem; }
th, td { padding: .42rem .9rem .42rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th:last-child, td:last-child { padding-right: .2rem; }
thead th { color: var(--muted); font-size: .85rem; font-weight: 600; vertical-align: bottom; border-color: #aab6bf; }
tbody th { font-weight: 500; } .number { text-align: right; white-space: nowrap; }
td small { color: var(--muted); display: block; font-size: .8rem; white-space: nowrap; }
figure { margin: 1rem 0; } img { display: block; max-width: 100%; height: auto; }
figure > img { width: 100%; max-width: 44rem; }
figcaption { max-width: 44rem; margin-top: .45rem; color: var(--muted); font-size: .9rem; line-height: 1.45; }
.mat { background: var(--mat); border-radius: 6px; padding: .5rem; } .mat > img { margin: 0 auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .5rem 2rem;
  align-items: start; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--card)), 1fr)); gap: 1.2rem;
  margin: 1rem 0; padding: 0; list-style: none; }
.card { display: flex; flex-direction: column; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
.card .mat { flex: 1; display: flex; flex-wrap: wrap; justify-content: center; align-content: center; gap: .5rem;
  border-radius: 0; }
.card .mat > span { flex: var(--ratio) 1 calc(var(--ratio) * var(--tall)); max-width: calc(var(--ratio) * 1.6 *
  var(--tall)); min-width: 0; }
.card .mat img { width: 100%; } .mat small { display: block; margin-top: .2rem; color: var(--on-mat);
  font-size: .75rem; line-height: 1.25; }
.card .text { padding: .6rem .8rem .7rem; font-size: .9rem; line-height: 1.4; }
.card h3 { margin: 0; font-size: .95rem; } .card p { margin: .15rem 0 0; color: var(--muted); }
.badges { display: flex; flex-wrap: wrap; gap: .25rem; margin-top: .35rem; } td .badges { margin: 0; }
.badge { display: inline-flex; gap: .35em; padding: .05rem .5rem; border: 1px solid; border-radius: 1rem;
  font-size: .82rem; line-height: 1.45; white-space: nowrap; color: var(--muted); background: #fff; }
.badge.good { color: var(--accent); } .badge.flag { color: var(--warn); background: var(--warn-surface); }
.badge.failed { color: #fff; background: var(--ink); border-color: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .6rem 0; padding: 0; list-style: none;
  font-size: .9rem; } .legend li { display: flex; gap: .4rem; align-items: center; }
.legend svg { width: 1rem; height: 1rem; flex: none; }
code, pre { font: .85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
code { background: var(--surface); padding: .1em .3em; border-radius: 3px; }
pre { background: var(--surface); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; overflow-wrap: normal; }
summary { cursor: pointer; color: var(--accent); }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--muted);
  font-size: .85rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 40rem) {
  .answer div { flex-basis: 8rem; } .answer div:first-child { flex-basis: 100%; }
  .cards { grid-template-columns: repeat(auto-fill, minmax(min(100%, calc(.6 * var(--card))), 1fr)); gap: .8rem; }
  .stack thead { position: absolute; clip-path: inset(50%); } .stack, .stack tbody { display: block; }
  .stack tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  .stack tbody th, .stack td { display: grid; grid-template-columns: minmax(5.5rem, 36%) 1fr; gap: .6rem; border: 0;
    padding: .12rem 0; text-align: left; white-space: normal; overflow-wrap: anywhere; }
  .stack tbody th { display: block; font-weight: 650; }
  .stack td::before { content: attr(data-label); color: var(--muted); }
}
@media print {
  @page { margin: 15mm; } body { border: 0; font-size: 10pt; } .page { max-width: none; padding: 0; }
  .mat, .notice, .badge, .answer, .answer div, .legend { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, h3, caption { break-after: avoid; } figure, .card, tr, .answer, .notice { break-inside: avoid; }
  section { margin-top: 1.2rem; padding-top: .8rem; } .scroll { overflow: visible; background: none; }
}
"""
)


class Markup(str):
    """HTML that the blocks pass on as it is; any other text is escaped."""

    __slots__ = ()


def text(content: str) -> Markup:
    """Returns a text as HTML: escaped, unless it is `Markup` already."""
    return content if isinstance(content, Markup) else Markup(html.escape(content))


def document(
    title: str,
    body: str,
    *,
    about: Mapping[str, str] | None = None,
    notice: str = "",
    date: datetime.date | None = None,
) -> Markup:
    """Returns a whole page, under its title, what it is about and the notice that this is no medical device.

    Args:
      title: says what is shown.
      body: HTML.
      about: what the page is about, by label, such as `Data` and `Model`; date and version are added here.
      notice: what else a reader must know before the numbers; stands after the notice of every page.
      date: of the page; None for today.
    """
    facts = {
        **(about or {}),
        "Date": (date or datetime.date.today()).isoformat(),
        "Version": f"boneage-jax {__version__}",
    }
    shown = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items() if value)
    warning = f"{text(NOT_A_MEDICAL_DEVICE)} {text(notice)}".strip()
    return Markup(f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title><style>{_STYLE}</style></head><body><div class="page">
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
    said = paragraph(sentence) if sentence else ""
    return Markup(f'{said}<dl class="answer">{shown}</dl>')


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
    """Returns blocks of HTML side by side where there is room, otherwise below each other."""
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


def figure(picture: bytes | Picture, caption: str, *, kind: str = "png", alt: str = "", dark: bool = False) -> Markup:
    """Returns a picture over its caption, both as HTML, the picture's bytes inside.

    Args:
      picture: encoded.
      caption: text; escaped here.
      kind: of bytes: `png`, `jpeg` or `gif`.
      alt: what the picture shows, for those who cannot see it; empty for the caption.
      dark: whether the picture is dark, as radiographs are; it then lies on a dark mat.
    """
    shown = _image(picture, alt or caption, kind)
    if dark:
        shown = f'<div class="mat">{shown}</div>'
    return Markup(f"<figure>{shown}<figcaption>{text(caption)}</figcaption></figure>")


def _image(picture: bytes | Picture, alt: str, kind: str = "jpeg") -> str:
    size = ""
    if isinstance(picture, Picture):
        alt, kind, size = picture.alt or alt, picture.kind, f' width="{picture.width}" height="{picture.height}"'
        picture = picture.data
    data = base64.b64encode(picture).decode()
    return f'<img alt="{html.escape(alt)}"{size} src="data:image/{kind};base64,{data}">'


@dataclasses.dataclass(frozen=True)
class Card:
    """Pictures of one thing, with what is said of it as text below them.

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
        f'<span style="--ratio: {one.width / one.height:.4f}">{_image(one, one.label or card.title)}'
        + (f"<small>{text(one.label)}</small>" if one.label else "")
        + "</span>"
        for one in card.pictures
    )
    mat = f'<div class="mat">{pictures}</div>' if pictures else ""
    lines = "".join(f"<p>{text(line)}</p>" for line in card.lines)
    return f'<li class="card">{mat}<div class="text"><h3>{text(card.title)}</h3>{lines}{card.badges}</div></li>'


_NUMBER = re.compile(r"[-−+±<>~≤≥]?\s*\d[\d.,]*(e[-+]?\d+)?\s*(%|\[.*\]|\(.*\))?$")
_NOTHING = ("", "-", "–")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", stack: bool = False) -> Markup:
    """Returns a table; a cell is escaped here unless it is `Markup`. Columns of numbers are set to the right.

    Args:
      head: of the columns.
      rows: cells of each row.
      caption: what it shows; empty for none.
      stack: whether rows become blocks on a narrow screen; otherwise the table scrolls sideways by itself.
    """
    columns = [[row[n] for row in rows] for n in range(len(head))]
    numeric = [_is_numeric(column) and n > 0 for n, column in enumerate(columns)]
    top = "".join(
        f'<th scope="col"{_number_class(number)}>{text(name)}</th>' for name, number in zip(head, numeric, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(
            f'<td{_number_class(number)} data-label="{html.escape(name)}">{text(cell)}</td>'
            for cell, name, number in zip(row[1:], head[1:], numeric[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    said = f"<caption>{text(caption)}</caption>" if caption else ""
    kind = ' class="stack"' if stack else ""
    # A region that scrolls has to be reached by the keyboard.
    name = html.escape(caption or ", ".join(name for name in head if name))
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table{kind}>{said}'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_numeric(column: Sequence[str]) -> bool:
    known = [re.sub(r"<small>.*", "", cell) for cell in column if cell not in _NOTHING]
    return bool(known) and all(_NUMBER.match(cell) for cell in known)


def _number_class(number: bool) -> str:
    return ' class="number"' if number else ""


Verdict = Literal["good", "flag", "failed", "neutral"]

_SIGNS: dict[Verdict, str] = {"good": "✓", "flag": "!", "failed": "✕", "neutral": "·"}


def badge(word: str, verdict: Verdict = "neutral") -> Markup:
    """Returns a word with its verdict, told by a sign as well as by colour."""
    return Markup(
        f'<span class="badge {verdict}"><b aria-hidden="true">{_SIGNS[verdict]}</b><span>{text(word)}</span></span>'
    )


def badges(*members: Markup) -> Markup:
    """Returns badges in a row that wraps."""
    return Markup(f'<div class="badges">{"".join(members)}</div>')


def flags(names: Sequence[str], *, none: str = "no flags") -> Markup:
    """Returns a badge for each flag of quality control; one that says so where there is none."""
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
    """How something is drawn on pictures.

    Attributes:
      label: what it marks.
      colour: as `#RRGGBB`, of `PALETTE`.
      shape: that tells it without colour.
    """

    label: str
    colour: str
    shape: Shape


def legend(marks: Sequence[Mark]) -> Markup:
    """Returns the legend of marks: each by its shape, colour and name."""
    return Markup(
        '<ul class="legend">'
        + "".join(
            f'<li><svg viewBox="0 0 16 16" aria-hidden="true" fill="{mark.colour}" '
            f'stroke="{mark.colour if mark.shape == "line" else "#17212b"}">{_SHAPES[mark.shape]}</svg>'
            f"{text(mark.label)}</li>"
            for mark in marks
        )
        + "</ul>"
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


def place(path: pathlib.Path | str, beside: pathlib.Path | str) -> str:
    """Returns where a file lies as a page may say it: never by a path of this machine.

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
