"""Decoding, fitting and encoding, against NumPy and Pillow."""

import io
import re
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from boneage_jax.data import images
from boneage_jax.errors import UserError
from tests.conftest import REAL, needs_real

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (40, 30), dtype=np.uint8)
SMOOTH = cv2.GaussianBlur(RANDOM.integers(0, 256, (400, 300), dtype=np.uint8), (0, 0), 2)


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


def saved(image, kind, **options):
    """By Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name, content):
    """Of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of_size(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png(GREY)[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def jpeg_of_size(width, height):
    data = bytearray(saved(Image.fromarray(GREY), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_of_size(width, height):
    data = bytearray(saved(Image.fromarray(GREY), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def tiff_of_size(width, height):
    data = bytearray(saved(Image.fromarray(GREY), "TIFF"))
    for at in range(len(data) - 12):
        tag, kind, count = struct.unpack_from("<HHI", data, at)
        if (tag, count) in ((256, 1), (257, 1)) and kind in (3, 4):
            struct.pack_into("<HII", data, at + 2, 4, 1, width if tag == 256 else height)
    return bytes(data)


def webp_of_size(width, height):
    data = bytearray(saved(Image.fromarray(GREY).convert("RGB"), "WEBP"))
    at = data.index(b"\x9d\x01\x2a")  # VP8's start code: the size follows in 14 bits each
    data[at + 3 : at + 7] = struct.pack("<HH", width, height)
    return bytes(data)


def tiff_of_tiles(array, compression, side=128):
    """Deflated, as Pillow writes none: the tiles, then the directory (TIFF 6.0, section 15)."""
    rows, columns = (length // side for length in array.shape)
    tiles = [
        zlib.compress(array[side * row : side * (row + 1), side * column : side * (column + 1)].tobytes())
        for row in range(rows)
        for column in range(columns)
    ]
    sizes = [len(tile) for tile in tiles]
    starts = [8 + sum(sizes[:n]) for n in range(len(tiles))]
    lists = 8 + sum(sizes)
    directory = lists + 8 * len(tiles)
    height, width = array.shape
    tags = [(256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, compression), (262, 1, 1), (277, 1, 1)]
    tags += [(322, 1, side), (323, 1, side), (324, len(tiles), lists), (325, len(tiles), lists + 4 * len(tiles))]
    entries = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in tags)
    head = struct.pack("<2sHI", b"II", 42, directory)
    numbers = struct.pack(f"<{2 * len(tiles)}I", *starts, *sizes)
    return head + b"".join(tiles) + numbers + struct.pack("<H", len(tags)) + entries + bytes(4)


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
        (png(GREY)[:-30], "the PNG is truncated"),
        (png(GREY)[:8], "the PNG is truncated"),
        (cv2.imencode(".jpg", GREY)[1].tobytes()[:-200], "the JPEG is truncated"),
        (cv2.imencode(".jpg", GREY)[1].tobytes()[:30], "the JPEG is"),
        (saved(Image.fromarray(GREY), "BMP")[:-200], "the BMP cannot be read"),
        (saved(Image.fromarray(GREY), "TIFF")[:-200], "the TIFF cannot be read"),
        (saved(Image.fromarray(GREY), "TIFF", compression="tiff_lzw")[:-200], "the TIFF cannot be read"),
        (saved(Image.fromarray(GREY), "WEBP")[:-200], "the WebP cannot be read"),
    ],
)
def test_bad_bytes(data, reason):
    with pytest.raises(images.ImageError, match=reason):
        images.decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(Image.fromarray(GREY), kind, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    np.testing.assert_array_equal(images.decode(data), expected)
    assert images.is_stored_as_is(data) == (kind in ("PNG", "JPEG") and orientation == 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_orientation_in_xmp_is_applied(kind):
    """Where there is no EXIF, as Pillow does."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = saved(Image.fromarray(GREY), kind)
    if kind == "PNG":
        data = data[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + data[33:]
    else:
        segment = b"http://ns.adobe.com/xap/1.0/\0" + xmp
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert expected.shape == (30, 40)
    np.testing.assert_array_equal(images.decode(data), expected)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk" * 5])
def test_damaged_exif_leaves_the_picture_as_it_is(exif):
    data = saved(Image.fromarray(GREY), "PNG")
    data = data[:33] + chunk(b"eXIf", exif[6:]) + data[33:]
    np.testing.assert_array_equal(images.decode(data), GREY)


MODES = {
    "bits": Image.fromarray(GREY > 127),
    "grey": Image.fromarray(GREY),
    "grey and alpha": Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)]), "LA"),
    "colour": Image.fromarray(RANDOM.integers(0, 256, (40, 30, 3), dtype=np.uint8)),
    "palette": Image.fromarray(RANDOM.integers(0, 256, (40, 30, 3), dtype=np.uint8)).quantize(17),
    "palette of grey": Image.fromarray(GREY).convert("P"),
}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", list(MODES))
def test_kinds_of_pixels(kind, mode):
    if (kind, mode) == ("BMP", "grey and alpha"):
        pytest.skip("there is no such BMP")
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = saved(MODES[mode], kind, **options)
    expected = np.asarray(MODES[mode].convert("L"), int)
    assert np.abs(images.decode(data) - expected).max() <= 1


@pytest.mark.parametrize(
    "array",
    [
        RANDOM.integers(700, 60_000, (40, 30), dtype=np.uint16),
        RANDOM.integers(-2000, 2000, (40, 30)).astype(np.int32),
        RANDOM.normal(0, 1e-3, (40, 30)).astype(np.float32),
        RANDOM.normal(0, 1e38, (40, 30)).clip(-3e38, 3e38).astype(np.float32),
    ],
    ids=["uint16", "int32", "small floats", "large floats"],
)
def test_tiff_of_more_than_8_bits_is_stretched(array):
    low, high = float(array.min()), float(array.max())
    expected = (array.astype(float) - low) / (high - low) * 255
    assert np.abs(images.decode(saved(Image.fromarray(array), "TIFF")) - expected).max() <= 0.51


def test_what_is_no_number_is_black():
    array = np.linspace(1, 3, 1200, dtype=np.float32).reshape(40, 30)
    array[0, 0], array[0, 1], array[1, 0] = np.nan, np.inf, -np.inf
    grey = images.decode(saved(Image.fromarray(array), "TIFF"))
    assert (grey[0, 0], grey[0, 1], grey[1, 0]) == (0, 255, 0)
    assert abs(int(grey[20, 15]) - 255 * (array[20, 15] - array[0, 2]) / (3 - array[0, 2])) <= 1


@pytest.mark.parametrize("value", [0, 77, 65535])
def test_one_value_everywhere_is_black(value):
    flat = np.full((40, 30), value)
    assert not images.decode(png(flat.astype(np.uint16))).any()
    assert not images.decode(saved(Image.fromarray(flat.astype(np.float32)), "TIFF")).any()


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_tiff_whose_smallest_value_is_white(bits, dtype):
    array = np.linspace(0, 2**bits - 1, 1200).astype(dtype).reshape(40, 30)
    data = bytearray(saved(Image.fromarray(array), "TIFF"))
    at = next(n for n in range(len(data)) if struct.unpack_from("<HHI", data, n) == (262, 3, 1))
    struct.pack_into("<H", data, at + 8, 0)
    assert np.abs(images.decode(bytes(data)) - (255 - array / (2**bits - 1) * 255)).max() <= 1


def test_tiff_of_several_pages_is_refused():
    pages = [Image.fromarray(GREY)] * 3
    with pytest.raises(images.ImageError, match="holds 3 pages"):
        images.decode(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_of_colours(mode, progressive):
    colours = [SMOOTH, 255 - SMOOTH, SMOOTH // 2, SMOOTH // 3][: len(mode)]
    data = saved(Image.merge(mode, list(map(Image.fromarray, colours))), "JPEG", progressive=progressive)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("L"), int)
    assert np.abs(images.decode(data) - expected).max() <= 2


@pytest.mark.parametrize("data", [png(GREY), saved(Image.fromarray(GREY), "JPEG", quality=95)], ids=["PNG", "JPEG"])
def test_bytes_behind_the_end_do_not_matter(data):
    np.testing.assert_array_equal(images.decode(data + b"\0behind" * 5000), images.decode(data))


def test_each_damaged_byte_of_a_png_is_found():
    data = png(GREY)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x40
        with pytest.raises(images.ImageError):
            images.decode(bytes(damaged))


JPEG = saved(Image.fromarray(SMOOTH), "JPEG", quality=90)


@pytest.mark.parametrize(
    "damaged",
    [
        JPEG[:5000] + bytes(512) + JPEG[5512:],
        JPEG[: len(JPEG) // 2] + b"\xff\xd9",
        JPEG[: len(JPEG) // 2],
        JPEG[:6000] + JPEG[7000:],
        JPEG[:6000] + JPEG[6000:7000][::-1] + JPEG[7000:],
    ],
    ids=["zeroed block", "cut with an end marker", "cut", "block left out", "block scrambled"],
)
def test_damaged_jpeg_is_refused(damaged, tmp_path):
    with pytest.raises(images.ImageError, match=r"the JPEG is (damaged|truncated)"):
        images.decode(damaged)
    (tmp_path / "hand.jpg").write_bytes(damaged)
    with pytest.raises(UserError, match=r"hand\.jpg: the JPEG is (damaged|truncated)"):
        images.read(tmp_path / "hand.jpg")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("tail", [b"\xff\xd9", b"\xff\xd9behind", b""], ids=["end marker", "more behind", "no end"])
def test_progressive_jpeg_without_its_last_scans_is_refused(mode, tail):
    picture = Image.merge(mode, [Image.fromarray(SMOOTH)] * len(mode))
    data = saved(picture, "JPEG", progressive=True, restart_marker_blocks=20)
    assert images.decode(data).shape == SMOOTH.shape
    scans = [found.start() for found in re.finditer(rb"\xff\xda", data)]  # data hold no such bytes: zeros follow \xff
    assert len(scans) > 5
    for start in scans[1:]:
        with pytest.raises(images.ImageError, match="the JPEG is truncated"):
            images.decode(data[:start] + tail)


def test_progressive_jpeg_of_an_unknown_minor_kind_needs_its_last_scans_too():
    data = bytearray(saved(Image.fromarray(SMOOTH), "JPEG", progressive=True))
    data[data.index(b"JFIF\0") + 5] = 2
    assert images.decode(bytes(data)).shape == SMOOTH.shape
    with pytest.raises(images.ImageError, match="the JPEG is truncated"):
        images.decode(bytes(data[: data.rindex(b"\xff\xda")] + b"\xff\xd9"))


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_deflate"])
@pytest.mark.parametrize("tiled", [False, True])
def test_changed_bytes_of_a_deflated_tiff_are_found(compression, tiled):
    array = SMOOTH[:384, :256]
    number = TiffImagePlugin.COMPRESSION_INFO_REV[compression]
    data = tiff_of_tiles(array, number) if tiled else saved(Image.fromarray(array), "TIFF", compression=compression)
    np.testing.assert_array_equal(images.decode(data), array)
    zeroed = bytearray(data)
    zeroed[20_000:20_100] = bytes(100)
    with pytest.raises(images.ImageError, match="the TIFF is damaged"):
        images.decode(bytes(zeroed))


SPOIL = """
import sys
from boneage_jax import environment
environment.prepare()
from boneage_jax.data import images
for name in sys.argv[1:]:
    data = open(name, "rb").read()
    for spoilt in (data[: len(data) // 2], data[:-50], data[:9000] + bytes(500) + data[9500:]):
        try:
            images.decode(spoilt)
        except images.ImageError as error:
            print(error)
"""


def test_damage_is_said_once(tmp_path):
    """Not by Pillow's warnings, nor by libtiff's lines."""
    ways = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    for way in ways:
        Image.fromarray(SMOOTH).save(tmp_path / f"{way}.tif", compression=way)
    Image.fromarray(SMOOTH).save(tmp_path / "a.webp", lossless=True)
    done = subprocess.run(
        [sys.executable, "-c", SPOIL, *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 2 * (len(ways) + 1)


def test_a_byte_changed_in_a_jpeg_is_refused_or_changes_little_that_can_be_known():
    """JPEG has no checksum: some changes are valid JPEGs of another picture. None crashes or changes the size."""
    refused = 0
    for place in RANDOM.integers(len(JPEG) // 4, len(JPEG) - 2, 200):
        damaged = bytearray(JPEG)
        damaged[place] ^= 1 << RANDOM.integers(8)
        try:
            assert images.decode(bytes(damaged)).shape == SMOOTH.shape
        except images.ImageError:
            refused += 1
    assert refused > 20


def test_jpeg_of_an_unknown_minor_kind_is_whole():
    """Of such versions libjpeg warns, and decodes all of the picture."""
    data = bytearray(JPEG)
    data[data.index(b"JFIF\0") + 5] = 2
    np.testing.assert_array_equal(images.decode(bytes(data)), images.decode(JPEG))
    data[5000:5512] = bytes(512)
    with pytest.raises(images.ImageError, match="the JPEG is damaged"):
        images.decode(bytes(data))


@pytest.mark.parametrize(("mode", "code"), [("RGB", 2), ("RGB", 9), ("CMYK", 1), ("CMYK", 9), ("CMYK", 0)])
def test_jpeg_of_an_unknown_colour_transform(mode, code):
    """Then it counts as YCbCr, or YCCK of four inks, as Pillow has it. Adobe's segment: T.872, 6.5.3."""
    colours = [SMOOTH, 255 - SMOOTH, SMOOTH // 2, SMOOTH // 3][: len(mode)]
    data = saved(Image.merge(mode, list(map(Image.fromarray, colours))), "JPEG", quality=90)
    if b"Adobe" not in data:
        data = data[:2] + b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, code) + data[20:]  # for JFIF
    at = data.index(b"Adobe") + 11
    data = data[:at] + bytes([code]) + data[at + 1 :]
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("L"), int)
    assert np.abs(images.decode(data) - expected).max() <= 2
    at = data.index(b"\xff\xda") + 5000
    with pytest.raises(images.ImageError, match="the JPEG is damaged"):
        images.decode(data[:at] + bytes(512) + data[at + 512 :])


@pytest.mark.parametrize(
    "make", [png_of_size, jpeg_of_size, bmp_of_size, tiff_of_size, webp_of_size], ids=lambda f: f.__name__[:4]
)
@pytest.mark.parametrize(("width", "height"), [(16_000, 16_000), (1, 3000), (3000, 1), (7, 7), (8, 161), (161, 8)])
def test_sizes_that_no_radiograph_has(make, width, height, capfd):
    with pytest.raises(images.ImageError, match=rf"{width} x {height} pixels, expected "):
        images.decode(make(width, height))
    assert capfd.readouterr() == ("", "")


def test_sizes_beyond_all_limits_of_decoders(capfd):
    for data in (png_of_size(2**31 - 1, 2**31 - 1), tiff_of_size(2**31, 2**31), bmp_of_size(2**30, 2**30)):
        with pytest.raises(images.ImageError):
            images.decode(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("head", "suffix", "expected"),
    [
        (png(GREY), "", True),
        (JPEG, ".bak", True),
        (saved(Image.fromarray(GREY), "TIFF"), "", True),
        (saved(Image.fromarray(GREY), "BMP"), "", True),
        (saved(Image.fromarray(GREY), "WEBP"), "", True),
        (b"", ".PNG", True),
        (b"damaged", ".jfif", True),
        (b"BM,I,male\n1,2,3\n" * 9, ".csv", False),
        (b"id,boneage,male\n", ".csv", False),
        (b"%PDF-1.4", ".pdf", False),
        (bytes(200), "", False),
        (b"", "", False),
    ],
)
def test_what_looks_like_a_picture(head, suffix, expected):
    assert images.looks_like_image(head[: images.HEAD_BYTES], suffix) is expected


def test_what_is_stored_as_it_is():
    assert images.is_stored_as_is(png(GREY))
    assert images.is_stored_as_is(JPEG)
    for kind in ("TIFF", "BMP", "WEBP"):
        assert not images.is_stored_as_is(saved(Image.fromarray(GREY), kind))


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 9999), (9999, 8)])
def test_fit_of_strips(shape):
    assert images.fit(np.full(shape, 200, np.uint8), 50, 40).shape == (50, 40)


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


@needs_real
def test_a_real_radiograph():
    grey = images.read(REAL / "hand_1381" / "original.png")
    assert grey.shape == (520, 385)
    assert grey.std() > 5
