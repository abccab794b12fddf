"""A registered hand against its truth: distances that are known by construction."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from boneage_jax.canvas import Canvas
from boneage_jax.hand import accuracy, masks, quality, register
from boneage_jax.hand.accuracy import Accuracy, against_truth
from boneage_jax.hand.pipeline import Registered

POINTS = np.array([(150.0, 50.0), (250.0, 180.0), (150.0, 350.0)])
"""A hand 300 pixels long, a fifth of its length on the canvas; thumb on the right."""


def registered(key_points, rows=slice(60, 340)):
    image = np.zeros((400, 300), np.uint8)
    inside = np.zeros(image.shape, bool)
    inside[rows, 100:200] = True
    mask = masks.clean([inside.astype(np.float32)], image.shape)
    report = quality.QualityReport((), {})
    return Registered(mask, register.registration(image, inside, key_points), None, report, {}), inside


def test_the_truth_itself_is_without_error():
    hand, mask = registered(POINTS)
    found = against_truth(hand, mask, POINTS)
    assert (found.iou, found.side_right, found.failed) == (1, True, False)
    np.testing.assert_allclose([*found.errors, found.canvas], 0, atol=1e-9)


def test_errors_are_in_percent_of_the_hand_and_in_pixels_of_the_canvas():
    hand, mask = registered(np.add(POINTS, [(0, 0), (3, 4), (0, 0)]))
    found = against_truth(hand, mask, POINTS)
    np.testing.assert_allclose(found.errors, (0, 100 * 5 / 300, 0), atol=1e-9)
    assert found.canvas == pytest.approx(0, abs=1e-9), "the thumb says only which way round the hand lies"
    moved, _ = registered(np.add(POINTS, (6, 0)))
    found = against_truth(moved, mask, POINTS)
    np.testing.assert_allclose(found.errors, 2)
    canvas = Canvas()
    scale = (canvas.capitate[1] - canvas.fingertip[1]) / 300
    assert found.canvas == pytest.approx(6 * scale)
    shorter, _ = registered(POINTS, rows=slice(60, 200))
    assert against_truth(shorter, mask, POINTS).iou == 0.5


def test_a_thumb_on_the_other_side_is_a_failure():
    hand, mask = registered(np.subtract(POINTS, [(0, 0), (200, 0), (0, 0)]))
    assert not against_truth(hand, mask, POINTS).side_right


def test_a_hand_that_was_not_found_is_a_failure():
    hand, mask = registered(POINTS)
    found = against_truth(dataclasses.replace(hand, registration=None), mask, POINTS)
    assert found == Accuracy(1.0, (100.0, 100.0, 100.0), 1500.0, False)
    assert found.failed


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("iou", accuracy.FAILED_IOU, accuracy.FAILED_IOU - 1e-6),
        ("errors", (0.0, accuracy.FAILED_ERROR, 0.0), (0.0, 0.0, accuracy.FAILED_ERROR + 1e-6)),
        ("canvas", accuracy.FAILED_CANVAS, accuracy.FAILED_CANVAS + 1e-6),
        ("side_right", True, False),
    ],
)
def test_each_bar_counts(name, good, bad):
    fine = Accuracy(1.0, (0.0, 0.0, 0.0), 0.0, True)
    assert not dataclasses.replace(fine, **{name: good}).failed
    assert dataclasses.replace(fine, **{name: bad}).failed
