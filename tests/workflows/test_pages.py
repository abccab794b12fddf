"""What the pages of the workflows say and show: the answer first, no path of this machine, marks told by shape."""

import itertools
import re

import numpy as np
import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy
from boneage_jax.data import images
from boneage_jax.workflows import assess_page, mining_page, pictures
from boneage_jax.workflows.assessment import PHANTOMS_ONLY, UNCALIBRATED_NOTICE, Assessment, Seen

GREY = np.full((120, 90), 60, np.uint8)


def text_of(path):
    return path.read_text(encoding="utf-8")


def without_pictures(source):
    return re.sub(r'src="[^"]*"', "", source)


def written(tmp_path, *assessments, regions=(GREY,), remarks=()):
    drawn = assess_page.Drawn()
    for one in assessments:
        seen = Seen(GREY, GREY > 0, np.array([[45.0, 10.0], [10.0, 60.0], [45.0, 100.0]]), regions)
        drawn.add(one, None if one.problem else seen)
    path = tmp_path / "pages" / "ages.html"
    networks = (f"{tmp_path}/runs/ages: step 3, the best", "the shipped bundle x: step 5")
    assess_page.write(assessments, drawn, path, networks=networks, remarks=remarks)
    return without_pictures(text_of(path))


def test_one_radiograph_is_answered_by_its_age(tmp_path):
    source = written(tmp_path, Assessment(f"{tmp_path}/in/hand.png", 132.44, 6.1, "F"), remarks=[PHANTOMS_ONLY])
    assert "<h1>Bone age of a radiograph</h1>" in source
    assert source.index('class="value">132.4') < source.index("<img") < source.index("<table")
    assert "6.1 months" in source
    assert "no flags" in source
    assert f"{NOT_A_MEDICAL_DEVICE} {PHANTOMS_ONLY}" in source
    assert "outline of the hand" in source


def test_many_radiographs_are_answered_by_how_many_were_read(tmp_path):
    source = written(
        tmp_path,
        Assessment(f"{tmp_path}/in/a.png", 100.0, np.nan, "F"),
        Assessment("b.png", 200.0, 5.0, "M", flags=("cut off", "dim"), calibrated=False),
        Assessment("c.png", np.nan, np.nan, "", problem="the file is empty"),
    )
    assert "<h1>Bone ages of 3 radiographs</h1>" in source
    assert re.search(r'Ages read</dt><dd><span class="value">2 <span class="unit">of 3', source)
    assert "from 100.0 to 200.0 months" in source
    for said in ("cut off (uncalibrated)", "dim (uncalibrated)", "not used", "the file is empty"):
        assert f"<span>{said}</span>" in source or f">{said}<" in source
    assert UNCALIBRATED_NOTICE in source
    assert "1 more without pictures" in source


def test_the_page_of_ages_says_no_path_of_this_machine(tmp_path):
    source = written(tmp_path, Assessment(f"{tmp_path}/in/hand.png", 132.0, 6.0, "F"))
    assert str(tmp_path) not in source
    assert "../in/hand.png" in source
    assert "../runs/ages: step 3, the best" in source


def test_what_two_networks_saw_alike_is_shown_once(tmp_path):
    one = Assessment("a.png", 100.0, 5.0, "F")
    assert written(tmp_path, one, regions=(GREY, GREY.copy())).count("<img") == 2
    assert written(tmp_path, one, regions=(GREY, GREY + 1)).count("<img") == 3


def test_memory_does_not_grow_with_the_number_of_radiographs(tmp_path):
    source = written(tmp_path, *(Assessment(f"{n}.png", 100.0, 5.0, "F") for n in range(70)), regions=())
    assert source.count("<img") == 60
    assert "10 more without pictures" in source


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
