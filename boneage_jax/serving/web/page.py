"""The server's pages: where radiographs are dropped, what came out, problems, and the login."""

from __future__ import annotations

import functools
import html
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from boneage_jax import page
from boneage_jax.data.decode import IMAGE_SUFFIXES
from boneage_jax.page import Markup
from boneage_jax.serving.web import problems, uploads
from boneage_jax.serving.web.worker import Answer
from boneage_jax.workflows import assess_text, case_page
from boneage_jax.workflows.assessment import UNCALIBRATED_NOTICE, Assessment, as_years_and_months

Made = Callable[[str], str]
"""A page, but for the nonce that marks its script and styles as its own."""

_TITLE = "Bone age from a hand radiograph"


@functools.cache
def _file(suffix: str) -> str:
    return pathlib.Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")


def _document(title: str, body: str, *, notice: str = "", networks: Sequence[str] = (), script: bool = False) -> Made:
    def made(nonce: str) -> str:
        # Without an icon of its own a page has the browser ask for one.
        head = f'<link rel="icon" href="data:,"><style nonce="{nonce}">{_file(".css")}</style>'
        end = f'<script nonce="{nonce}">{_file(".js")}</script>' if script else ""
        about = {"Networks": "; ".join(line.partition(": ")[0] for line in networks)}
        return page.document(title, body + end, about=about, notice=notice, head=Markup(head), nonce=nonce)

    return made


def front(*, networks: Sequence[str], remarks: Sequence[str], most_bytes: int, keeps: bool) -> Made:
    """Returns the page where radiographs are dropped.

    Args:
      networks: where each network comes from.
      remarks: what must be said with the ages.
      most_bytes: of a request.
      keeps: whether results are kept on the server.
    """
    mebibytes = most_bytes >> 20
    stored = (
        "The server keeps the result of each radiograph, as whoever started it has asked."
        if keeps
        else "Radiographs stay in the server's memory until they are read; nothing of them is kept."
    )
    accept = html.escape(",".join(IMAGE_SUFFIXES))
    body = f"""
<form id="form" method="post" action="/api/v1/assessments" enctype="multipart/form-data" data-most="{most_bytes}"
  data-most-text="{mebibytes} MiB">
<div id="drop" class="drop"><label for="file">Radiographs of one hand each</label>
<input id="file" type="file" name="{uploads.FILE}" multiple required accept="{accept}" aria-describedby="about-file">
<p id="about-file">PNG, JPEG, DICOM, TIFF, BMP or WebP, {mebibytes} MiB at most.
<span class="scripted">Or drop them here.</span></p><ul id="chosen" class="chosen" aria-label="Chosen files"></ul></div>
<div class="told"><fieldset class="switch"><legend>Sex of these children</legend>
<label><input type="radio" name="{uploads.SEX}" value="F"><span>Female</span></label>
<label><input type="radio" name="{uploads.SEX}" value="M"><span>Male</span></label>
<label><input type="radio" name="{uploads.SEX}" value="" checked><span>From the DICOM header</span></label></fieldset>
<fieldset class="age"><legend>Age since birth, for the SD score (optional)</legend>
<label><input type="number" name="{uploads.YEARS}" min="0" max="130" step="any" inputmode="decimal"> years</label>
<label><input type="number" name="{uploads.MONTHS}" min="0" max="1560" step="any" inputmode="decimal"> months</label>
<p>Years and months add up. Empty: as the DICOM header has it.</p></fieldset></div>
<p><button type="submit">Read bone age</button> <span id="state" role="status"></span></p>
<p class="lead">{html.escape(stored)}</p>
</form>
<section id="results" hidden aria-labelledby="results-title"><h2 id="results-title">Results</h2>
<ul id="list" class="results"></ul></section>
"""
    return _document(_TITLE, body, notice=" ".join(remarks), networks=networks, script=True)


def results(answers: Sequence[Answer], *, networks: Sequence[str], remarks: Sequence[str]) -> Made:
    """Returns the page of what came out: for each radiograph a line, and its whole case below.

    Args:
      answers: assessments, and what they were made from.
      networks: where each network comes from.
      remarks: what must be said with the ages.
    """
    notices = list(remarks)
    if not all(one.calibrated for one, _ in answers):
        notices.append(UNCALIBRATED_NOTICE)
    opened = " open" if len(answers) == 1 else ""
    shown = "".join(
        f'<li><details class="result"{opened}><summary>{_line(one)}</summary>{case_page.body(one, seen)}</details></li>'
        for one, seen in answers
    )
    back = page.links([("Read other radiographs", "/")], name="pages")
    title = case_page.title(answers[0][0]) if len(answers) == 1 else f"Bone ages of {len(answers)} radiographs"
    body = f'{back}<ul class="results">{shown}</ul>'
    return _document(title, body, notice=" ".join(notices), networks=networks)


def _line(one: Assessment) -> str:
    """What a radiograph's line says: its name, age, interval, SD score and flags."""
    parts = [f'<span class="name">{page.text(assess_text.legible(one.file))}</span>']
    if np.isfinite(one.months):
        parts.append(f'<span class="bone-age"><b>{as_years_and_months(one.months)}</b> {one.months:.1f} months</span>')
        if one.intervals:
            widest = one.intervals[-1]
            parts.append(f"<span>{100 * widest.level:.0f}%: {widest.low:.0f} to {widest.high:.0f} months</span>")
        if one.sd_score is not None:
            parts.append(f"<span>SD score {page.text(f'{one.sd_score:+.1f}'.replace('-', '−'))}</span>")
        parts.append(f"<span>{ {'F': 'female', 'M': 'male'}.get(one.sex, 'sex not given') }</span>")
    else:
        parts.append('<span class="bone-age"><b>No age</b></span>')
    if one.problem:
        parts.append(page.badge("not used", "failed"))
    elif one.flags:
        parts += [
            page.badge(marked, "failed" if name in one.refused else "flag")
            for name, marked in zip(one.flags, one.marked_flags, strict=True)
        ]
    else:
        parts.append(page.badge("no flags", "good"))
    return "".join(parts)


def problem(document: Mapping[str, Any]) -> Made:
    """Returns the page of a problem, from its document."""
    facts = {name: str(document[name]) for name in ("found", "expected", "advice") if document[name]}
    named = {"advice": "what to do"}
    blocks = [page.paragraph(document["detail"]), page.facts({named.get(k, k): v for k, v in facts.items()})]
    files = document.get("files", ())
    if files:
        rows = [[assess_text.legible(one["file"]), one["problem"]] for one in files]
        blocks.append(page.table(["file", "problem"], rows, stack=True))
    blocks.append(page.links([("Back", "/")], name="pages"))
    return _document(document["title"], "".join(blocks))


def kinds() -> Made:
    """Returns the page of all kinds of problems, which their types refer to."""
    rows = [[Markup(f'<span id="{one.name}">{one.name}</span>'), str(one.status), one.title] for one in problems.KINDS]
    return _document("Problems that requests may have", page.table(["type", "status", "meaning"], rows, stack=True))


def login(*, failed: bool) -> Made:
    """Returns the page that asks for the token.

    Args:
      failed: whether a wrong one was given.
    """
    wrong = '<p role="alert">This is not the token.</p>' if failed else ""
    body = f"""{wrong}<form class="login" method="post" action="/login"><label for="token">Token</label>
<input id="token" type="password" name="token" required autocomplete="current-password">
<button type="submit">Log in</button></form>
<p class="lead">Whoever started this server has the token.</p>"""
    return _document("Log in", body)
