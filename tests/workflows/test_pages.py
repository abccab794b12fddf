"""What the pages of the workflows say and show: the answer first, no path of this machine, marks told by shape."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy
from boneage_jax.data import images
from boneage_jax.workflows import assess_page, case_page, flags, mining_page, pictures
from boneage_jax.workflows.assessment import (
    PHANTOMS_ONLY,
    UNCALIBRATED_NOTICE,
    Assessment,
    Interval,
    NetworkAge,
    Seen,
)

GREY = np.full((120, 90), 60, np.uint8)


def text_of(path):
    return path.read_text(encoding="utf-8")


def without_pictures(source):
    return re.sub(r'src="[^"]*"', "", source)


SEEN = Seen(GREY, GREY > 0, np.array([[45.0, 10.0], [10.0, 60.0], [45.0, 100.0]]), (GREY,))


def index(tmp_path, *assessments, remarks=(), pictured=True):
    """The page of all ages."""
    path = tmp_path / "pages" / "index.html"
    networks = (f"{tmp_path}/runs/ages: step 3, the best", "the shipped bundle x: step 5")
    small = assess_page.picture(SEEN).data if pictured else None
    rows = [
        assess_page.Row(one, f"cases/{n:04}.html", None if one.problem else small)
        for n, one in enumerate(assessments, 1)
    ]
    assess_page.write(rows, path, networks=networks, remarks=remarks)
    return without_pictures(text_of(path))


def case(one, seen=SEEN, *, remarks=(), **options):
    """The page of a radiograph."""
    around = case_page.Around(("runs/ages",), tuple(remarks), index="../index.html", following="0002.html")
    return without_pictures(case_page.document(one, seen, around, **options))


def test_a_radiograph_is_answered_by_its_age():
    one = Assessment(
        "/srv/in/hand.png",
        132.44,
        6.1,
        "F",
        intervals=(Interval(0.8, 120.0, 145.2), Interval(0.9, 115.0, 150.0)),
        chronological_months=120.0,
        chronological_source="as given",
        sd_score=1.06,
        networks=(NetworkAge("A", 130.0, 6.0), NetworkAge("B and C", 139.5, 8.0)),
    )
    source = case(one, remarks=[PHANTOMS_ONLY])
    assert "<h1>Bone age of hand.png</h1>" in source
    assert source.index("11 years") < source.index("132.4 months") < source.index("<img") < source.index("<table")
    for said in ("120 to 145", "115 to 150", "+1.1", "10 years", "no flags", "9.5 months apart", "female"):
        assert said in source
    assert f"{NOT_A_MEDICAL_DEVICE} {PHANTOMS_ONLY}" in source
    assert "/srv" not in source
    assert source.count("<svg viewBox") >= 2, "outline and key points lie over the picture"
    assert len(re.findall(r'<input type="checkbox" class="layer\d" checked>', source)) == 2
    assert 'href="../index.html"' in source
    assert 'href="0002.html"' in source
    assert source.count("<small>phantom, girl") == 3, "one younger, one alike, one older"


def test_flags_are_explained_and_refusal_is_said_first():
    refused = Assessment("a.png", np.nan, np.nan, "F", flags=("cut off", "uncertain mask"), refused=("cut off",))
    source = case(refused)
    assert source.index("No age is given") < source.index("<table")
    for name in refused.flags:
        for sentence in flags.MEANINGS[name]:
            assert sentence in source
    assert "phantom, girl" not in source
    uncalibrated = case(dataclasses.replace(refused, calibrated=False, refused=(), months=100.0))
    assert "cut off (uncalibrated)" in uncalibrated
    assert UNCALIBRATED_NOTICE in uncalibrated
    problem = case(Assessment("a.png", np.nan, np.nan, "", problem="the file is empty"), None)
    assert "This file cannot be used: the file is empty." in problem
    assert "<img" not in problem


def test_what_two_networks_saw_alike_is_shown_once():
    one = Assessment("a.png", 100.0, 5.0, "", networks=(NetworkAge("A", 100.0, 5.0),) * 2)
    alike = case(one, dataclasses.replace(SEEN, regions=(GREY, GREY.copy())))
    other = case(one, dataclasses.replace(SEEN, regions=(GREY, GREY + 1)))
    assert other.count("<img") == alike.count("<img") + 1


def test_many_radiographs_are_answered_by_how_many_were_read(tmp_path):
    source = index(
        tmp_path,
        Assessment(f"{tmp_path}/in/a.png", 100.0, np.nan, "F"),
        Assessment("b.png", 200.0, 5.0, "M", flags=("cut off", "low contrast"), calibrated=False),
        Assessment("c.png", np.nan, np.nan, "", problem="the file is empty"),
        Assessment("d.png", np.nan, np.nan, "", flags=("no hand",), refused=("no hand",)),
    )
    assert "<h1>Bone ages of 4 radiographs</h1>" in source
    assert re.search(r'Ages read</dt><dd><span class="value">2 <span class="unit">of 4', source)
    assert "8 years 4 months to 16 years 8 months" in source
    for said in ("cut off (uncalibrated)", "low contrast (uncalibrated)", "not used", "the file is empty"):
        assert f"<span>{said}</span>" in source or f">{said}<" in source
    assert UNCALIBRATED_NOTICE in source
    assert source.count("<img") == 3
    assert re.findall(r'href="(cases/\d+\.html)"', source) == [f"cases/{n:04}.html" for n in range(1, 5)]


def test_the_page_of_ages_says_no_path_of_this_machine(tmp_path):
    source = index(tmp_path, Assessment(f"{tmp_path}/in/hand.png", 132.0, 6.0, "F"))
    assert str(tmp_path) not in source
    assert "../in/hand.png" in source
    assert "../runs/ages" in source


def rgb(colour):
    return [int(colour[n : n + 2], 16) for n in (1, 3, 5)]


def test_key_points_are_told_apart_by_colour_and_by_shape():
    places = np.array([[50.0, 40.0], [200.0, 150.0], [120.0, 260.0]])
    drawn = pictures.overlay(np.zeros((320, 320), np.uint8), None, places)
    shapes = []
    for (x, y), mark in zip(places.astype(int), pictures.POINTS, strict=True):
        np.testing.assert_array_equal(drawn[y, x], rgb(mark.colour))
        around = (drawn[y - 12 : y + 13, x - 12 : x + 13] == rgb(mark.colour)).all(-1)
        assert around.sum() == (drawn == rgb(mark.colour)).all(-1).sum(), "it stands at its place alone"
        shapes.append(around)
    assert not any((one == other).all() for n, one in enumerate(shapes) for other in shapes[:n])
    legend = pictures.legend()
    for name in anatomy.KEY_POINTS:
        assert name in legend


CONES = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""Linear RGB as people without one kind of cone see it: Machado, Oliveira and Fernandes 2009, severity 1."""


def apart(one, other, kind):
    """How far two colours are from each other, without one kind of cone."""
    coded = np.array([rgb(one), rgb(other)]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(CONES[kind]).T, 0, 1)
    return np.abs(seen[0] - seen[1]).sum()


@pytest.mark.parametrize("kind", list(CONES))
def test_marks_are_told_apart_by_people_who_see_fewer_colours(kind):
    colours = [mark.colour for mark in (pictures.OUTLINE, *pictures.POINTS)]
    least = min(apart(*pair, kind) for pair in itertools.combinations(colours, 2))
    assert least > 0.3
    if kind == "deuteranopia":
        assert least > apart("#ff5050", "#50dc50", kind), "better than red and green"


@pytest.mark.parametrize("shape", [(8, 160), (160, 8), (3000, 150), (40, 40)])
def test_pictures_are_reduced_and_never_enlarged(shape):
    small = pictures.reduced(np.zeros(shape, np.uint8), 64)
    assert max(small.shape) == min(64, max(shape))
    assert min(small.shape) >= 1


class Hands:
    """Records of grey images."""

    def __init__(self, ids):
        self._numbers = {image_id: n for n, image_id in enumerate(ids)}

    def numbers(self):
        return self._numbers

    def image(self, n):
        return GREY


def test_the_page_of_a_mining_round(tmp_path):
    scores = {"a/1": 0.2, "2": 0.9, "3": 0.6}
    place = tmp_path / "rounds" / "1"
    for image_id in scores:
        path = place / "masks" / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode(images.of_mask(GREY > 0), "png"))
    curve = [
        {"round": n, "by_hand": 20, "trained_on": 20 + n, "accepted": n, "held_out": 0.9 - 0.1 * n, "iou": 0.8}
        for n in range(2)
    ]
    (tmp_path / "reference.json").write_text('{"iou": 0.95}')
    mining_page.write(tmp_path, Hands(scores), place, curve, scores, {"2"})
    source = without_pictures(text_of(place / "round.html"))
    assert NOT_A_MEDICAL_DEVICE in source
    assert str(tmp_path) not in source
    assert "../../veto.txt" in source
    assert "../../corrections/ID.png" in source
    assert "best so far: 0.9000 in round 0" in source
    titles = re.findall(r"<h3>(.*?)</h3><p>score ([\d.]+)</p>.*?<span>(accepted|rejected)</span>", source)
    worst = [("a/1", "0.200", "rejected"), ("3", "0.600", "rejected"), ("2", "0.900", "accepted")]
    assert titles == [*worst, worst[2], worst[1], worst[0]], "the worst; the accepted; the rejected, best first"
    assert re.search(r"all masks</th>.*0\.9500</td></tr>", source)
