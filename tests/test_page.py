"""Blocks of the HTML pages: what is said is escaped, nothing is loaded, nothing is told by colour alone."""

import base64
import datetime
import html.parser
import math
import pathlib
import re

import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__, page

BAD = "<b>&\"'"
PICTURE = page.Picture(b"\xff\xd8 a JPEG", 300, 400)
VOID = {"meta", "img", "rect", "circle", "path"}


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser does: elements closed in order, their attributes, and the text."""

    def __init__(self, source: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def everything(word: str) -> str:
    """A page of every block, each with this text in it."""
    card = page.Card(word, [page.Picture(b"x", 2, 1, word, word)], [word], page.flags([word]))
    body = page.answer(page.KeyFigure(word, word, word, word), sentence=word)
    body += page.section(
        word,
        page.paragraph(word),
        page.pair(page.figure(b"x", word), page.figure(PICTURE, word, dark=True)),
        page.cards([card]),
        page.legend([page.Mark(word, page.ACCENT, shape) for shape in ("circle", "square", "triangle", "line")]),
        page.table([word, word], [[word, page.badge(word, "failed")]], caption=word),
        page.table([word, word], [[word, word]], stack=True),
        page.details(word, word),
        lead=word,
    )
    return page.document(word, body, about={word: word}, notice=word)


def test_every_text_is_escaped_and_every_element_closed():
    read = Reader(everything(BAD))
    assert read.text == Reader(everything("WORD")).text.replace("WORD", BAD)
    # The only bold letters are the signs of badges.
    assert all("aria-hidden" in attributes for attributes in read.all("b"))
    assert {image["alt"] for image in read.all("img")} == {BAD}


def test_nothing_is_loaded_from_elsewhere():
    source = everything("word")
    assert not re.search(r"https?:|url\(|@import|<script|<link", source)
    assert not re.search(r'(src|href)="(?!data:)', source)


def test_a_page_says_what_when_and_with_which_version():
    source = page.document("Ages", "<p>body</p>", about={"Data": "some"}, date=datetime.date(2024, 5, 6))
    read = Reader(source)
    for said in ("Ages", "some", "2024-05-06", f"boneage-jax {__version__}", "body"):
        assert said in read.text
    assert read.text.index(said) > read.text.index(NOT_A_MEDICAL_DEVICE) > read.text.index("2024-05-06")


def test_the_notice_stands_on_every_page():
    """Also where a page says more, and where it says nothing."""
    for source in (page.document("", ""), page.document("Ages", "", notice="Phantoms only.")):
        notice = re.search(r'<p class="notice"[^>]*>(.*?)</p>', source)
        assert notice is not None
        assert notice[1].startswith(NOT_A_MEDICAL_DEVICE)
    assert notice[1].endswith("Phantoms only.")


def test_pictures_keep_their_bytes_and_sizes():
    read = Reader(page.figure(PICTURE, "A hand.", alt="hand") + page.figure(b"png", "A chart."))
    first, second = read.all("img")
    assert (first["width"], first["height"], first["alt"]) == ("300", "400", "hand")
    assert first["src"] == "data:image/jpeg;base64," + base64.b64encode(PICTURE.data).decode()
    assert second["src"] == "data:image/png;base64," + base64.b64encode(b"png").decode()
    assert second["alt"] == "A chart."


def test_cards_keep_the_shapes_of_their_pictures():
    wide = page.Picture(b"x", 200, 100, "seen")
    source = page.cards([page.Card("first", [PICTURE, wide]), page.Card("no picture", [])])
    assert re.findall(r"--ratio: ([\d.]+)", source) == ["0.7500", "2.0000"]
    assert source.count('class="mat"') == 1
    assert [image["alt"] for image in Reader(source).all("img")] == ["first", "seen"]


def test_columns_of_numbers_are_set_to_the_right():
    head = ["name", "months", "interval", "share", "word", "empty"]
    rows = [
        ["1", "1,234.5", page.interval(1, 0, 2), "12%", "12 of 13", "-"],
        ["2", "-", "3.1 [2.0, 4.2]", "−3.5%", "none", ""],
    ]
    source = page.table(head, rows)
    right = [attributes.get("class") == "number" for attributes in Reader(source).all("th")[:6]]
    assert right == [False, True, True, True, False, False]
    assert len(re.findall(r'<td class="number"', source)) == 6


def test_tables_scroll_by_themselves_or_become_blocks():
    for stack in (False, True):
        source = page.table(["a", "b"], [["1", "2"]], stack=stack)
        (region,) = Reader(source).all("div")
        assert (region["role"], region["tabindex"], region["aria-label"]) == ("region", "0", "a, b")
        assert ('class="stack"' in source) == stack
        assert 'data-label="b"' in source


def test_a_table_refuses_rows_of_another_length():
    with pytest.raises((ValueError, IndexError)):
        page.table(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="zip"):
        page.table(["a", "b"], [["1", "2", "3"]])


def test_badges_are_told_by_sign_and_word():
    texts = {kind: Reader(page.badge("word", kind)).text for kind in ("good", "flag", "failed", "neutral")}
    assert all(text.endswith("word") for text in texts.values())
    assert len(set(texts.values())) == 4
    assert "no flags" in page.flags([])
    assert Reader(page.flags(["small", "dark"])).text == "!small!dark"


def contrast(one: str, other: str) -> float:
    """Contrast ratio after WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_can_be_read():
    """4.5 is what WCAG asks of text."""
    assert math.isclose(contrast("#000000", "#ffffff"), 21)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9A-Fa-f]{6})", everything("word")))
    for text, ground in (
        ("ink", "#ffffff"),
        ("muted", "#ffffff"),
        ("muted", colours["surface"]),
        ("accent", "#ffffff"),
        ("accent", colours["surface"]),
        ("warn", colours["warn-surface"]),
        ("ink", colours["warn-surface"]),
        ("on-mat", colours["mat"]),
    ):
        assert contrast(colours[text], ground) >= 4.5, (text, ground)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (page.rounded(12.345), "12.3"),
        (page.rounded(-0.04), "0.0"),
        (page.rounded(-1234.5, 0), "−1,234"),
        (page.rounded(math.nan), "–"),
        (page.significant(0.0012345), "0.00123"),
        (page.significant(9.996), "10.0"),
        (page.significant(-12345.6), "−12,300"),
        (page.significant(0.0), "0"),
        (page.significant(3.21e-7, 2), "3.2e−07"),
        (page.significant(math.inf), "–"),
        (page.interval(1.26, -0.5, 3), "1.3<small>−0.5 to 3.0</small>"),
    ],
)
def test_numbers_are_rounded_for_people(shown, expected):
    assert shown == expected


@pytest.mark.parametrize(
    ("path", "beside", "expected"),
    [
        ("/volume/team/runs/a/veto.txt", "/volume/team/runs/a", "veto.txt"),
        ("/volume/team/runs/a/veto.txt", "/volume/team/runs/a/rounds/1", "../../veto.txt"),
        ("/volume/team/runs/a", "/volume/team/runs/a", "."),
        ("/volume/team/runs/b", "/volume/team/runs/a", "../b"),
        ("/data/built/rsna", "/volume/team/runs/a", "…/built/rsna"),
        ("/data", "/volume/team/runs/a", "…/data"),
        ("/volume/team", "/volume/team/runs/a", "…/volume/team"),
        ("gs://bucket/runs/a", "/volume/team", "gs://bucket/runs/a"),
    ],
)
def test_places_are_said_without_the_machines_paths(path, beside, expected):
    assert page.place(path, pathlib.Path(beside)) == expected


def test_places_given_relative_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert page.place("runs/a/veto.txt", "runs/a") == "veto.txt"
    assert str(tmp_path) not in page.place("a", "/somewhere/far/away")
