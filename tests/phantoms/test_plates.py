"""Reference plates: the files against phantoms drawn anew, and which plate stands for which age."""

import itertools

import numpy as np
import pytest

from boneage_jax.phantoms import plates


@pytest.mark.parametrize(
    ("months", "nearest"), [(-5, 0), (0, 0), (1.4, 0), (1.6, 3), (100, 99), (101, 102), (239, 240), (300, 240)]
)
def test_the_nearest_plate(months, nearest):
    assert plates.plate(months, "F").months == nearest


@pytest.mark.parametrize(
    ("months", "around"), [(0, [0, 6]), (12, [6, 12, 18]), (96, [84, 96, 108]), (97, [84, 96, 108]), (240, [228, 240])]
)
def test_a_step_younger_and_older(months, around):
    found = plates.around(months, "M")
    assert [one.months for one in found] == around
    for one in found:
        assert one.image.shape == (plates.HEIGHT, plates.WIDTH)
        assert one.image.max() > 150
    for first, second in itertools.pairwise(found):
        assert np.abs(first.image.astype(float) - second.image).mean() > 0.1, "another plate"


def test_a_sheet_gives_back_its_plates(monkeypatch):
    noise = np.random.default_rng(0)
    drawn = [noise.integers(0, 256, (plates.HEIGHT, plates.WIDTH)).astype(np.uint8) for _ in plates.AGES]
    monkeypatch.setattr(plates, "_sheet", lambda sex: plates.sheet(drawn))
    for months, image in zip(plates.AGES, drawn, strict=True):
        np.testing.assert_array_equal(plates.plate(months, "F").image, image)


@pytest.mark.integration
@pytest.mark.parametrize(("months", "sex"), [(24, "F"), (150, "M")])
def test_the_files_show_the_phantoms(months, sex):
    """But for JPEG: within 3 grey levels on average."""
    difference = np.abs(plates.plate(months, sex).image.astype(float) - plates.drawn(months, sex))
    assert difference.mean() < 3
