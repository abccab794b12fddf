"""Decoding, fitting and encoding, against NumPy."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.data import images
from boneage_jax.errors import UserError
from tests.conftest import REAL, needs_real

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (40, 30), dtype=np.uint8)


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


def test_grey_png_is_kept_exactly():
    np.testing.assert_array_equal(images.decode(png(GREY)), GREY)


def test_colour_becomes_luminance():
    colour = RANDOM.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    blue, green, red = colour[..., 0], colour[..., 1], colour[..., 2]
    expected = 0.114 * blue + 0.587 * green + 0.299 * red
    assert np.abs(images.decode(png(colour)) - expected).max() <= 1


def test_transparency_is_black():
    alpha = np.zeros_like(GREY)
    alpha[:20] = 255
    rgba = np.dstack([GREY, GREY, GREY, alpha])
    decoded = images.decode(png(rgba))
    np.testing.assert_array_equal(decoded[:20], GREY[:20])
    assert not decoded[20:].any()


def test_16_bits_are_stretched():
    deep = RANDOM.integers(500, 4096, (40, 30), dtype=np.uint16)
    low, high = int(deep.min()), int(deep.max())
    expected = (deep.astype(float) - low) / (high - low) * 255
    assert np.abs(images.decode(png(deep)) - expected).max() <= 0.5
    deep_rgba = np.dstack([deep, deep, deep, np.full_like(deep, 65535)])
    np.testing.assert_array_equal(images.decode(png(deep_rgba)), images.decode(png(deep)))


def test_jpeg_is_close():
    smooth = cv2.GaussianBlur(GREY, (0, 0), 5)
    data = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert np.abs(images.decode(data).astype(int) - smooth).mean() < 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a readable"),
        (png(GREY)[:-30], "truncated|not a readable"),
        (cv2.imencode(".jpg", GREY)[1].tobytes()[:-200], "truncated|not a readable"),
    ],
)
def test_bad_bytes(data, reason):
    with pytest.raises(images.ImageError, match=reason):
        images.decode(data)


@given(st.integers(1, 90), st.integers(1, 90))
def test_fit_keeps_proportions_and_fills_one_side(height, width):
    fitted = images.fit(np.full((height, width), 200, np.uint8), 50, 40)
    assert fitted.shape == (50, 40)
    rows, columns = np.flatnonzero(fitted.any(1)), np.flatnonzero(fitted.any(0))
    assert len(rows) == 50 or len(columns) == 40
    scale = min(50 / height, 40 / width)
    assert abs(len(rows) - max(1, height * scale)) <= 0.5
    assert abs(len(columns) - max(1, width * scale)) <= 0.5


def test_fit_averages_areas():
    image = RANDOM.integers(0, 256, (100, 80), dtype=np.uint8)
    expected = image.reshape(50, 2, 40, 2).mean((1, 3))
    assert np.abs(images.fit(image, 50, 40) - expected).max() <= 1


@pytest.mark.parametrize("factor", [4, 6, 8])
def test_fit_averages_areas_in_two_steps_too(factor):
    image = RANDOM.integers(0, 256, (25 * factor, 20 * factor), dtype=np.uint8)
    expected = image.reshape(25, factor, 20, factor).mean((1, 3))
    assert np.abs(images.fit(image, 25, 20) - expected).max() <= 1


@pytest.mark.parametrize("width", range(300, 312))
def test_fit_of_any_size_shifts_by_a_quarter_of_a_pixel_at_most(width):
    """On a ramp a shift shows as a difference of grey."""
    ramp = np.tile(np.linspace(0, 255, width), (200, 1)).round().astype(np.uint8)
    exact = cv2.resize(ramp, (60, 40), interpolation=cv2.INTER_AREA).astype(int)
    fitted = images.fit(ramp, 40, 60)
    rows = np.flatnonzero(fitted.any(1))
    slope = 255 / 60
    assert np.abs(fitted[rows[0]].astype(int) - exact[0]).max() <= 0.25 * slope + 1


def test_dicom_is_windowed_and_bone_is_bright(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    pixels = np.linspace(0, 4000, 40 * 30).reshape(40, 30).astype(np.uint16)
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
        dataset.PixelData = pixels.tobytes()
        path = tmp_path / f"{photometric}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        grey = images.read(path)
        expected = np.round(pixels / 4000 * 255)
        expected = 255 - expected if photometric == "MONOCHROME1" else expected
        assert np.abs(grey - expected).max() <= 1
    (tmp_path / "broken.dcm").write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"broken\.dcm"):
        images.read(tmp_path / "broken.dcm")
    assert pydicom.__version__


def test_finding_images(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("2.png", "b/1.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in images.find([tmp_path])] == ["2.png", "1.JPG"]
    with pytest.raises(UserError, match="no such file"):
        images.find([tmp_path / "no.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image found"):
        images.find([tmp_path / "empty"])


@needs_real
def test_a_real_radiograph():
    grey = images.read(REAL / "hand_1381" / "original.png")
    assert grey.shape == (520, 385)
    assert grey.std() > 5
