"""Similarities against plain matrices; laws of inverse and composition."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from boneage_jax.canvas import Canvas, hand_length, thumb_side
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity

finite = st.floats(-50, 50, allow_nan=False)
angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)


@st.composite
def similarities(draw):
    angle, scale = draw(angles), draw(scales)
    return Similarity(
        scale * np.cos(angle), scale * np.sin(angle), draw(finite), draw(finite), mirrored=draw(st.booleans())
    )


points = st.lists(st.tuples(finite, finite), min_size=1, max_size=6).map(np.array)


@given(similarities(), points)
def test_the_inverse_undoes_a_transform(transform, some):
    np.testing.assert_allclose(transform.inverse()(transform(some)), some, atol=1e-6)


@given(similarities(), similarities(), points)
def test_composition_is_one_after_the_other(first, second, some):
    expected = second(first(some))
    np.testing.assert_allclose(first.then(second)(some), expected, atol=1e-6 * (1 + np.abs(expected).max()))


@given(similarities(), similarities(), similarities())
def test_composition_is_associative(a, b, c):
    left, right = a.then(b).then(c).matrix, a.then(b.then(c)).matrix
    np.testing.assert_allclose(left, right, atol=1e-7 * (1 + np.abs(right).max()))


@given(similarities())
def test_angles_are_kept_and_lengths_scaled(transform):
    matrix = transform.matrix[:, :2]
    np.testing.assert_allclose(matrix.T @ matrix, transform.scale**2 * np.eye(2), rtol=1e-9, atol=1e-9)
    assert (np.linalg.det(matrix) < 0) == transform.mirrored


@given(st.floats(-180, 180), st.integers(1, 400), st.integers(1, 400))
def test_an_image_is_turned_about_its_middle(degrees, height, width):
    transform = Similarity.turning(degrees, height, width)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    np.testing.assert_allclose(transform(middle), middle, atol=1e-9)
    radians = np.deg2rad(degrees)
    np.testing.assert_allclose(
        transform(middle + np.array([1, 0])) - middle, [np.cos(radians), np.sin(radians)], atol=1e-9
    )


@given(*(st.floats(-500, 500) for _ in range(2)), *(st.floats(1, 900) for _ in range(2)), *(st.integers(8, 600),) * 2)
def test_a_framed_rectangle_lies_whole_in_the_middle_and_touches_two_edges(top, left, rows, columns, height, width):
    transform = Similarity.framing((top, top + rows), (left, left + columns), height, width)
    corners = np.array([(left - 0.5, top - 0.5), (left + columns - 0.5, top + rows - 0.5)])
    (x0, y0), (x1, y1) = transform(corners)
    margins = np.array([[x0 + 0.5, width - 0.5 - x1], [y0 + 0.5, height - 0.5 - y1]])
    np.testing.assert_allclose(margins[:, 0], margins[:, 1], atol=1e-6)
    assert margins.min() == pytest.approx(0, abs=1e-6)


@given(similarities(), st.lists(st.tuples(finite, finite), min_size=3, max_size=8, unique=True).map(np.array))
def test_least_squares_finds_what_was_done(transform, some):
    assume(np.ptp(some, axis=0).max() >= 1e-2)
    found = Similarity.between(some, transform(some), mirrored=transform.mirrored)
    np.testing.assert_allclose(found(some), transform(some), atol=1e-5)


@given(similarities(), st.floats(0.05, 0.9), st.floats(0.1, 0.9))
def test_every_hand_comes_to_the_same_place(pose, across, along):
    """However a hand lies, mirrored or not, fingertip and capitate go to their places and the thumb to the right."""
    canvas = Canvas()
    on_canvas = np.array([canvas.fingertip, (800 + 1500 * across, 1600 - 1500 * along), canvas.capitate])
    lying = pose(on_canvas)
    transform = canvas.transform(lying)
    np.testing.assert_allclose(transform(lying), on_canvas, atol=1e-4)
    assert transform.mirrored == pose.mirrored
    assert thumb_side(transform(lying)) == pytest.approx(across, abs=1e-6)
    assert hand_length(lying) == pytest.approx(1500 * pose.scale)


def test_points_that_coincide_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        Canvas().transform([(3, 3), (9, 9), (3, 3)])
    with pytest.raises(ValueError, match="finite"):
        Similarity.between([(0, 0), (np.nan, 1)], [(0, 0), (1, 1)])
    with pytest.raises(ValueError, match="scale of 0"):
        Similarity(a=0.0).inverse()


def test_scaling_keeps_the_edges():
    """Doubled, the first pixel's left edge (-0.5) stays, and pixel n covers pixels 2n and 2n + 1."""
    double = Similarity.scaling(2.0)
    np.testing.assert_allclose(double([(-0.5, -0.5), (0, 3)]), [(-0.5, -0.5), (0.5, 6.5)])
    assert double.degrees == 0
    assert Similarity(0.0, 1.0).degrees == pytest.approx(90)


def test_another_canvas_has_its_places_where_they_are_named():
    canvas = Canvas.of(520, 400, 210, 30, 190, 380)
    points = np.array([(90.0, 10.0), (160.0, 120.0), (100.0, 200.0)])
    placed = canvas.transform(points)(points)
    np.testing.assert_allclose(placed[[0, 2]], [(210, 30), (190, 380)], atol=1e-9)
    assert thumb_side(placed) > 0
    with pytest.raises(UserError, match="fingertip above"):
        Canvas.of(520, 400, 210, 380, 190, 30)
