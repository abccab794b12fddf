"""The picture of a bone age for people: the radiograph with what was found on it, and beside it what was read.

It is shown by viewers of radiographs, in dark rooms: a dark ground, one accent colour, units with every number. It
names no person, identifier or date.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__
from boneage_jax.analysis import sd_score
from boneage_jax.data.images import Grey
from boneage_jax.workflows import pictures
from boneage_jax.workflows.assessment import Assessment, Seen, as_years_and_months

Picture = UInt8[np.ndarray, "_h _w 3"]
"""Red, green, blue."""

HEIGHT, WIDTH = 1024, 1280
_RADIOGRAPH = 792
"""Width of the radiograph's part; the words have the rest."""
_MARGIN = 32

_GROUND = (11, 14, 18)
_TEXT = (236, 240, 243)
_MUTED = (150, 161, 171)
_RULE = (45, 53, 61)
_ACCENT = (240, 185, 66)
"""Of what the software has found or found wanting: outline, key points, flags. Colours are chosen by eye."""

_SEXES = {"M": "male", "F": "female", "": "not given"}
_SIDES = {"L": "left hand", "R": "right hand", "": "not stated"}


_Colour = tuple[int, int, int]
_Words = tuple[str, int, _Colour, bool]
"""Text, size of its letters, colour, whether bold."""

_ABOUT: tuple[_Words, ...] = (
    ("Research software, not a medical device", 23, _TEXT, True),
    (NOT_A_MEDICAL_DEVICE.partition(": ")[2].capitalize(), 19, _MUTED, False),
    (f"boneage-jax {__version__}", 17, _MUTED, False),
)


def draw(assessment: Assessment, seen: Seen, *, no_age: Sequence[str] = (), remarks: Sequence[str] = ()) -> Picture:
    """Returns the picture, 1280 wide and 1024 high; its words can be read at a width of 1024 too.

    Args:
      assessment: what was read.
      seen: what it was made from.
      no_age: why there is no age; empty where there is one.
      remarks: what else people must know: the terms of the networks.
    """
    sheet = Image.new("RGB", (WIDTH, HEIGHT), _GROUND)
    radiograph = Image.fromarray(_marked(seen.image, seen.mask, seen.key_points))
    sheet.paste(radiograph, ((_RADIOGRAPH - radiograph.width) // 2, (HEIGHT - radiograph.height) // 2))
    _Panel(sheet).write(assessment, no_age, remarks)
    return np.asarray(sheet)


def _marked(image: Grey, mask: Bool[np.ndarray, "h w"] | None, key_points: Float[np.ndarray, "3 2"] | None) -> Picture:
    """The part of the radiograph about the hand, as large as there is room, with outline and key points.

    What lies elsewhere is black, for names and dates may be burnt in: the radiograph itself lies in the same study.
    """
    part = pictures.about_hand(image, mask, key_points)
    height, width = part.image.shape
    scale = min((_RADIOGRAPH - 2 * _MARGIN) / width, (HEIGHT - 2 * _MARGIN) / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.resize(part.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    drawn = np.repeat(shown[..., None], 3, axis=-1)
    if part.inside is not None:
        larger = cv2.resize(part.inside.astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
        outlines, _ = cv2.findContours(larger, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, _ACCENT, 2, cv2.LINE_AA)
    if part.key_points is not None:
        for x, y in (part.key_points + 0.5) * scale - 0.5:
            centre = (round(x), round(y))
            cv2.circle(drawn, centre, 9, _GROUND, 6, cv2.LINE_AA)  # a dark rim, so that it is seen on bone as well
            cv2.circle(drawn, centre, 9, _ACCENT, 3, cv2.LINE_AA)
    return drawn


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A value under its label, and a note under it."""

    label: str
    value: str
    note: str = ""
    colour: _Colour = _TEXT


class _Panel:
    """The words, from the top down; what is said of the software stands at the bottom."""

    def __init__(self, sheet: Image.Image):
        """Draws on a sheet."""
        self._draw = ImageDraw.Draw(sheet)
        self._left, self._right = _RADIOGRAPH + _MARGIN // 2, WIDTH - _MARGIN
        self._y, self._bottom = 40, HEIGHT - _MARGIN

    def write(self, assessment: Assessment, no_age: Sequence[str], remarks: Sequence[str]) -> None:
        """Writes all of it; what the software is has its room, whatever else there is to say."""
        about = self._broken(_ABOUT)
        self._bottom -= _heights(about) + 24
        self._lines("BONE AGE", 24, _MUTED)
        self._y += 8
        if no_age:
            self._lines("No age", 64, _TEXT, bold=True)
            self._lines(f"Not read: {', '.join(no_age)}", 26, _ACCENT)
            self._y += 14
        else:
            self._age(assessment)
        self._rule()
        compared = []
        if assessment.chronological_months is not None:
            months = assessment.chronological_months
            compared.append(_Entry("Chronological age", f"{months:.1f} months", as_years_and_months(months)))
        if assessment.sd_score is not None and not no_age:
            score = f"{assessment.sd_score:+.1f} SD".replace("-", "\u2212")
            compared.append(_Entry("SD score", score, sd_score.REFERENCE))
        self._entries(*compared)
        self._entries(
            _Entry("Sex", _SEXES[assessment.sex], "as told to the networks"),
            _Entry("Side", _SIDES[assessment.stated.laterality], "by its header"),
        )
        if assessment.turned:
            self._entries(_Entry("Turned before reading", f"{assessment.turned}\u00b0 counterclockwise"))
        flags = ", ".join(assessment.marked_flags)
        self._entries(_Entry("Quality flags", flags or "none", colour=_ACCENT if flags else _TEXT))
        self._software(about, self._broken([(remark, 17, _MUTED, False) for remark in remarks]))

    def _age(self, assessment: Assessment) -> None:
        number, unit = _font(84, bold=True), _font(36)
        text = f"{assessment.months:.1f}"
        base = self._y + 76
        self._draw.text((self._left, base), text, _TEXT, number, anchor="ls")
        self._draw.text((self._left + number.getlength(text) + 14, base), "months", _TEXT, unit, anchor="ls")
        self._y = base + 18
        if round(assessment.months) >= 24:  # below, ages are told in months alone
            self._lines(as_years_and_months(assessment.months), 32, _TEXT)
        self._y += 16
        if assessment.intervals:
            widest = assessment.intervals[-1]
            self._entries(
                _Entry(
                    f"{100 * widest.level:g}% prediction interval",
                    f"{widest.low:.1f} to {widest.high:.1f} months",
                    f"{as_years_and_months(widest.low)} to {as_years_and_months(widest.high)}",
                )
            )
        elif np.isfinite(assessment.spread):
            spread = f"\u00b1 {assessment.spread:.1f} months"
            self._entries(_Entry("Standard deviation, as the networks state it", spread))

    def _software(self, about: list[_Words], remarks: list[_Words]) -> None:
        """Writes what the software is, and as many lines of remarks as there is room for."""
        room = self._bottom - self._y
        if _heights(remarks) > room:
            fitting = max(0, room // _height(17) - 1)
            remarks = [*remarks[:fitting], ("\u2026", 17, _MUTED, False)] if room >= _height(17) else []
        self._bottom = HEIGHT - _MARGIN
        self._y = self._bottom - _heights(about) - _heights(remarks)
        self._draw.line((self._left, self._y - 14, self._right, self._y - 14), _RULE, 2)
        for line, size, colour, bold in (*about, *remarks):
            self._lines(line, size, colour, bold=bold)

    def _broken(self, said: Sequence[_Words]) -> list[_Words]:
        """Texts in lines that fit."""
        width = self._right - self._left
        return [
            (line, size, colour, bold)
            for text, size, colour, bold in said
            for line in _broken(text, _font(size, bold), width)
        ]

    def _entries(self, *entries: _Entry) -> None:
        """Writes entries beside each other."""
        top, bottom = self._y, self._y
        width = (self._right - self._left - 16 * (len(entries) - 1)) // max(1, len(entries))
        for n, entry in enumerate(entries):
            self._y = top
            left = self._left + n * (width + 16)
            self._lines(entry.label, 20, _MUTED, left=left, width=width)
            self._lines(entry.value, 26, entry.colour, left=left, width=width)
            self._lines(entry.note, 17, _MUTED, left=left, width=width)
            bottom = max(bottom, self._y + 14)
        self._y = bottom

    def _rule(self) -> None:
        self._y += 4
        self._draw.line((self._left, self._y, self._right, self._y), _RULE, 2)
        self._y += 16

    def _lines(
        self,
        text: str,
        size: int,
        colour: _Colour,
        *,
        bold: bool = False,
        left: int | None = None,
        width: int | None = None,
    ) -> None:
        """Writes a text in as many lines as it needs, or as there is room for."""
        left = self._left if left is None else left
        lines = _broken(text, _font(size, bold), width or self._right - self._left)
        fitting = max(0, (self._bottom - self._y) // _height(size))
        if len(lines) > fitting:
            lines = [*lines[: fitting - 1], "\u2026"] if fitting else []
        for line in lines:
            self._draw.text((left, self._y), line, colour, _font(size, bold))
            self._y += _height(size)


def _broken(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Returns a text in lines that fit; a word that is too long is broken too."""
    lines = [""]
    for word in text.split():
        wider = f"{lines[-1]} {word}".strip()
        if font.getlength(wider) <= width:
            lines[-1] = wider
            continue
        lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line]


def _heights(lines: Sequence[_Words]) -> int:
    """Height of lines."""
    return sum(_height(size) for _, size, _, _ in lines)


def _height(size: int) -> int:
    """Height of a line."""
    return round(1.3 * size)


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings along: the same letters on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
