"""Whether grey levels change along the outline of a mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from boneage_jax.hand import masks, outline, quality


def disc(radius: float, side: int = 400, x: float = 200.0, y: float = 200.0):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(columns - x, rows - y) < radius


def image_of(mask, *, hand=120.0, air=60.0, noise=2.0):
    levels = np.where(mask, hand, air) + np.random.default_rng(0).normal(0, noise, mask.shape)
    return levels.clip(0, 255).astype(np.uint8)


def test_steps_are_what_is_brighter_inside():
    mask = disc(90)
    found = outline.steps(image_of(mask), mask)
    assert len(found) > 0.9 * 2 * np.pi * 89
    np.testing.assert_allclose(found, 60, atol=3)
    np.testing.assert_allclose(outline.steps(255 - image_of(mask), mask), -60, atol=3)


def test_an_outline_in_sight_is_not_faint_whichever_way_round():
    mask = disc(90)
    assert outline.faint(image_of(mask), mask) == 0
    assert outline.faint(255 - image_of(mask), mask) == 0
    assert outline.faint(image_of(mask, hand=64.0, noise=3.0), mask) < 0.02


@pytest.mark.parametrize("turned", [False, True])
def test_what_fades_into_black_is_faint(turned):
    """A sixth of the circle has the grey level of the air."""
    mask = disc(90)
    y, x = np.mgrid[:400, :400] - 200.0
    sector = np.abs(np.degrees(np.arctan2(y, x))) < 30
    picture = image_of(mask & ~sector)
    assert outline.faint(255 - picture if turned else picture, mask) == pytest.approx(1 / 6, abs=0.04)


def test_a_mask_that_leaves_the_hand_is_faint():
    """A bulge into the air, of which all but its foot has air on both sides."""
    hand = disc(90)
    bulge = disc(40, x=310)
    wide = hand | bulge
    _, outer = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 3) for m in (hand, ~hand))
    edge = wide & ~cv2.erode(wide.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    expected = (edge & (outer > 6)).sum() / edge.sum()
    assert outline.faint(image_of(hand), wide) == pytest.approx(expected, abs=0.05)
    assert outline.faint(image_of(hand), hand) == 0


def test_large_pictures_are_judged_as_small_ones():
    mask = disc(90)
    picture = image_of(mask & (np.indices(mask.shape)[1] < 250))
    large = cv2.resize(picture, (2400, 2400), interpolation=cv2.INTER_CUBIC)
    large_mask = cv2.resize(mask.astype(np.uint8), (2400, 2400), interpolation=cv2.INTER_NEAREST) > 0
    assert outline.faint(large, large_mask) == pytest.approx(outline.faint(picture, mask), abs=0.02)


@pytest.mark.parametrize("mask", [np.zeros((50, 40), bool), np.ones((50, 40), bool)])
def test_without_an_outline_nothing_bears_it_out(mask):
    assert len(outline.steps(np.full((50, 40), 99, np.uint8), mask)) == 0
    assert outline.faint(np.full((50, 40), 99, np.uint8), mask) == 1


def test_a_faint_outline_makes_the_mask_uncertain():
    mask = disc(90)
    found = masks.clean([mask.astype(np.float32)] * 2, mask.shape)
    assert "uncertain mask" not in quality.check(image_of(mask), found, None, None).flags
    half = image_of(mask & (np.indices(mask.shape)[1] < 200))
    report = quality.check(half, found, None, None)
    assert "uncertain mask" in report.flags
    assert report.measures["faint"] == outline.faint(half, mask)
