"""Polygons as masks, against Matplotlib's test of points in polygons and OpenCV's outlines."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path

from boneage_jax.data.annotations.fill import fill
from boneage_jax.data.annotations.model import outlines_of

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(3, 40), st.integers(1, 50), st.integers(1, 50))
def test_pixels_whose_centre_lies_inside(seed, count, height, width):
    generator = np.random.default_rng(seed)
    angles, radii = np.sort(generator.uniform(0, 2 * np.pi, count)), generator.uniform(0, 30, count)
    corners = 20 + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)
    rows, columns = np.mgrid[:height, :width]
    centres = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    expected = Path(np.concatenate([corners, corners[:1]]), closed=True).contains_points(centres)
    np.testing.assert_array_equal(fill(corners, (height, width)), expected.reshape(height, width))


@given(seeds, st.floats(0.3, 4.0), st.floats(0.02, 0.98))
def test_outlines_of_masks_of_any_shape_give_them_back(seed, smooth, share):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((40, 30)), (0, 0), smooth)
    mask = noise > np.quantile(noise, share)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    without_holes = cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, 1, cv2.FILLED) > 0
    found = np.any([fill(outline, mask.shape) for outline in outlines_of(mask)], axis=0)
    np.testing.assert_array_equal(found, without_holes)


@pytest.mark.parametrize(
    ("corners", "pixels"),
    [
        ([(2, 3)], [(3, 2)]),
        ([(1, 1), (4, 1)], [(1, 1), (1, 2), (1, 3), (1, 4)]),
        ([(0, 0), (3, 3)], [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ([(0.4, 0.4), (1.6, 0.4), (1.6, 1.6), (0.4, 1.6)], [(1, 1)]),
        ([(1.1, 1.1), (1.9, 1.1), (1.9, 1.9), (1.1, 1.9)], []),
        ([(-9, 2), (99, 2), (99, 2.5), (-9, 2.5)], [(2, x) for x in range(6)]),
    ],
)
def test_points_lines_and_polygons_between_pixels(corners, pixels):
    expected = np.zeros((5, 6), bool)
    expected[tuple(np.array(pixels, int).reshape(-1, 2).T)] = True
    np.testing.assert_array_equal(fill(np.array(corners, float), (5, 6)), expected)


def test_areas_are_true_to_a_fraction_of_a_pixel():
    """Rounded corners and drawn edges made a disc of 20 pixels' radius 5% too large."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    areas = []
    for shift in np.random.default_rng(0).uniform(30, 31, (50, 2)):
        areas.append(fill(shift + 20 * np.stack([np.cos(angles), np.sin(angles)], axis=-1), (64, 64)).sum())
    assert np.mean(areas) == pytest.approx(np.pi * 20**2, rel=0.002)
