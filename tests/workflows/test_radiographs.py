"""Radiographs in memory are read as the same radiographs in files, and which sex counts."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from boneage_jax.data import images
from boneage_jax.workflows import flags, radiographs


def encoded(array):
    """As a PNG, colours in the order of OpenCV."""
    return cv2.imencode(".png", array)[1].tobytes()


def noise(shape, dtype=np.uint8, high=256):
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "order"),
    [((60, 40), ...), ((60, 40, 1), ...), ((60, 40, 3), [2, 1, 0]), ((60, 40, 4), [2, 1, 0, 3])],
)
def test_an_array_is_read_as_the_file_of_it(shape, order):
    array = noise(shape)
    read = radiographs.read(radiographs.of_array(array, "mine"))
    assert (read.stated.male, read.problem) == (None, "")
    np.testing.assert_array_equal(read.image, images.decode(encoded(array if order is ... else array[..., order])))


def test_more_than_8_bits_are_stretched_as_those_of_a_file():
    array = noise((60, 40), np.uint16, 4096)
    read = radiographs.read(radiographs.of_array(array))
    np.testing.assert_array_equal(read.image, images.decode(encoded(array)))
    floats = radiographs.read(radiographs.of_array(array / 4096))
    np.testing.assert_allclose(floats.image.astype(int), read.image.astype(int), atol=1)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros(9), r"shape \(9,\), expected \(h, w\)"),
        (np.zeros((60, 40, 2)), r"shape \(60, 40, 2\)"),
        (np.zeros((1, 900)), "900 x 1 pixels"),
        (np.full((60, 40), np.nan), "not finite"),
        (np.full((60, 40), "a"), "cannot be used as an image"),
        (np.zeros((60, 40, 4)), "cannot be used as an image"),
    ],
)
def test_what_is_no_image_is_a_problem(array, problem):
    read = radiographs.read(radiographs.of_array(array))
    assert read.image is None
    assert re.search(problem, read.problem)


@pytest.mark.parametrize(("sex", "male"), [("M", True), ("F", False), (None, None)])
def test_a_dicom_dataset_is_read_as_its_file(sex, male):
    pytest.importorskip("pydicom")
    from tests.dicom_files import dataset, written

    stored = dataset(noise((60, 40), np.uint16, 4096), PatientSex=sex)
    radiograph = radiographs.of_dicom(stored, "mine")
    read = radiographs.read(radiograph)
    assert radiograph.states_sex
    assert radiograph.readable
    assert (read.stated.male, read.problem) == (male, "")
    np.testing.assert_array_equal(read.image, images.decode(written(stored)))


def test_a_dicom_dataset_without_pixels_is_a_problem():
    pydicom = pytest.importorskip("pydicom")
    from tests.dicom_files import dataset

    assert "holds no image" in radiographs.read(radiographs.of_dicom(dataset(PixelData=None))).problem
    assert radiographs.read(radiographs.of_dicom(pydicom.Dataset())).problem


@pytest.mark.parametrize(
    ("given", "stated", "conflict", "male"),
    [
        (None, True, "error", True),
        (False, None, "error", False),
        (False, True, "keep-given", False),
        (False, True, "use-dicom", True),
    ],
)
def test_which_sex_counts(given, stated, conflict, male):
    sex = radiographs.sex_that_counts(given, stated, conflict, needed=True)
    assert (sex.male, sex.problem) == (male, "")
    assert sex.flags == ((flags.SEX_DIFFERS,) if given is not None and stated not in (None, given) else ())


@pytest.mark.parametrize(("given", "stated"), [(None, None), (True, False)])
def test_a_sex_that_is_not_known_or_contradicts_is_a_problem(given, stated):
    assert radiographs.sex_that_counts(given, stated, "error", needed=True).problem
    assert not radiographs.sex_that_counts(None, None, "error", needed=False).problem
