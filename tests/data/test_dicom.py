"""DICOM, against the standard's formulas worked out here, pydicom's own files and encoders, and GDCM's."""

import base64
import builtins
import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from boneage_jax.data import decode, dicom, dicom_header, images
from boneage_jax.errors import UserError
from tests.conftest import REAL, needs_real

pydicom = pytest.importorskip("pydicom")

from pydicom import uid  # noqa: E402
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

from tests.dicom_files import RAMP, dataset, encapsulated, written  # noqa: E402


def shown(pixels=RAMP, **elements):
    return images.decode(written(dataset(pixels, **elements))).astype(int)


def grey_of(fraction):
    return np.clip(np.asarray(fraction, float), 0, 1) * 255


def lut(first, bits, entries, vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries) % 65536, first, bits])
    data = np.asarray(entries, "<u2").tobytes() if vr == "OW" else [int(one) for one in entries]
    item.add_new("LUTData", vr, data)
    return [item]


def windowed(values, center, width):
    """PS3.3 C.11.2.1.2.1, as its pseudo-code has it, one value at a time."""

    def one(x):
        if x <= center - 0.5 - (width - 1) / 2:
            return 0.0
        if x > center - 0.5 + (width - 1) / 2:
            return 1.0
        return (x - (center - 0.5)) / (width - 1) + 0.5

    return grey_of(np.vectorize(one)(np.asarray(values, float)))


STRETCHED = RAMP / 4095 * 255
SIGNED = RAMP.astype(np.int16) - 2048
SQUARES = (np.arange(4096) ** 2 // 4096).astype(np.uint16)
PADDED = np.where(np.arange(64) >= 50, 4000, RAMP // 4).astype(np.uint16)
PADDED[-1, 0] = 1023
CASES = {
    "nothing said": (RAMP, {}, STRETCHED),
    "MONOCHROME1": (RAMP, {"PhotometricInterpretation": "MONOCHROME1"}, 255 - STRETCHED),
    "IDENTITY": (RAMP, {"PresentationLUTShape": "IDENTITY"}, STRETCHED),
    "INVERSE": (RAMP, {"PresentationLUTShape": "INVERSE"}, 255 - STRETCHED),
    "MONOCHROME1 and INVERSE": (
        RAMP,
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        255 - STRETCHED,
    ),
    "signed": (SIGNED, {}, STRETCHED),
    "window": (RAMP, {"WindowCenter": "2000", "WindowWidth": "1000"}, windowed(RAMP, 2000, 1000)),
    "window of 1": (RAMP, {"WindowCenter": "2000", "WindowWidth": "1"}, windowed(RAMP, 2000, 1)),
    "window of signed": (SIGNED, {"WindowCenter": "-48", "WindowWidth": "1000"}, windowed(SIGNED, -48, 1000)),
    "windows": (
        RAMP,
        {"WindowCenter": ["2000", "3000"], "WindowWidth": ["1000", "100"]},
        windowed(RAMP, 2000, 1000),
    ),
    "window and MONOCHROME1": (
        RAMP,
        {"WindowCenter": "2000", "WindowWidth": "1000", "PhotometricInterpretation": "MONOCHROME1"},
        255 - windowed(RAMP, 2000, 1000),
    ),
    "width 0": (RAMP, {"WindowCenter": "2000", "WindowWidth": "0"}, STRETCHED),
    "width below 1": (RAMP, {"WindowCenter": "2000", "WindowWidth": "0.5"}, STRETCHED),
    "negative width": (RAMP, {"WindowCenter": "2000", "WindowWidth": "-5"}, STRETCHED),
    "empty window": (RAMP, {"WindowCenter": "", "WindowWidth": ""}, STRETCHED),
    "center alone": (RAMP, {"WindowCenter": "2000"}, STRETCHED),
    "window beside all values": (RAMP, {"WindowCenter": "90000", "WindowWidth": "10"}, STRETCHED),
    "LINEAR_EXACT": (
        RAMP,
        {"WindowCenter": "2000", "WindowWidth": "0.5", "VOILUTFunction": "LINEAR_EXACT"},
        grey_of((RAMP - 2000.0) / 0.5 + 0.5),
    ),
    "SIGMOID": (
        RAMP,
        {"WindowCenter": "2000", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"},
        grey_of(1 / (1 + np.exp(-4 * (RAMP - 2000.0) / 900))),
    ),
    "rescaled, then window": (
        RAMP,
        {"RescaleSlope": "0.5", "RescaleIntercept": "-100", "WindowCenter": "900", "WindowWidth": "400"},
        windowed(RAMP * 0.5 - 100, 900, 400),
    ),
    "negative slope": (RAMP, {"RescaleSlope": "-1", "RescaleIntercept": "0"}, 255 - STRETCHED),
    "negative slope, then window": (
        RAMP,
        {"RescaleSlope": "-1", "RescaleIntercept": "4095", "WindowCenter": "1000", "WindowWidth": "800"},
        windowed(4095 - RAMP.astype(int), 1000, 800),
    ),
    "slope 0": (RAMP, {"RescaleSlope": "0", "RescaleIntercept": "7"}, STRETCHED),
    "modality table": (RAMP, {"ModalityLUTSequence": lut(0, 16, SQUARES)}, SQUARES[RAMP] / SQUARES.max() * 255),
    "modality table, then window": (
        RAMP,
        {"ModalityLUTSequence": lut(0, 16, SQUARES), "WindowCenter": "1000", "WindowWidth": "800"},
        windowed(SQUARES[RAMP], 1000, 800),
    ),
    "modality table of a part, signed": (
        SIGNED,
        {"ModalityLUTSequence": lut(-1000, 16, SQUARES[:2000])},
        SQUARES[np.clip(SIGNED.astype(int) + 1000, 0, 1999)] / SQUARES[1999] * 255,
    ),
    "table of 8 bits": (
        RAMP,
        {"VOILUTSequence": lut(1000, 8, np.arange(2000) * 255 // 1999)},
        np.clip(RAMP.astype(int) - 1000, 0, 1999) * 255 // 1999,
    ),
    "table of 12 bits as words": (RAMP, {"VOILUTSequence": lut(0, 12, SQUARES, "OW")}, SQUARES[RAMP] / 4095 * 255),
    # Neighbours lie as far apart as can be: an entry off is seen.
    "table of odd and even values": (RAMP, {"VOILUTSequence": lut(0, 8, np.arange(4096) % 2 * 255)}, RAMP % 2 * 255),
    "table of odd and even values from 1001 on": (
        RAMP,
        {"ModalityLUTSequence": lut(1001, 8, np.arange(2000) % 2 * 255)},
        np.clip(RAMP.astype(int) - 1001, 0, 1999) % 2 * 255,
    ),
    "table before window": (
        RAMP,
        {"VOILUTSequence": lut(0, 12, SQUARES), "WindowCenter": "1000", "WindowWidth": "10"},
        SQUARES[RAMP] / 4095 * 255,
    ),
    "rescaled, then table": (
        RAMP,
        {"RescaleSlope": "0.5", "RescaleIntercept": "0", "VOILUTSequence": lut(0, 12, SQUARES)},
        SQUARES[np.round(RAMP / 2).astype(int)] / 4095 * 255,
    ),
    "padding": (PADDED, {"PixelPaddingValue": 4000}, np.where(PADDED == 4000, 0, PADDED / 1023 * 255)),
    "padding, MONOCHROME1": (
        PADDED,
        {"PixelPaddingValue": 4000, "PhotometricInterpretation": "MONOCHROME1"},
        np.where(PADDED == 4000, 0, 255 - PADDED / 1023 * 255),
    ),
    "range of padding": (
        np.where(PADDED == 4000, 3990 + np.arange(64) % 10, PADDED).astype(np.uint16),
        {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 3990},
        np.where(PADDED == 4000, 0, PADDED / 1023 * 255),
    ),
    "padding beyond the window": (
        PADDED,
        {"PixelPaddingValue": 4000, "WindowCenter": "500", "WindowWidth": "400"},
        np.where(PADDED == 4000, 0, windowed(PADDED, 500, 400)),
    ),
    "overlay in the bits above": (RAMP | (RAMP << 12), {}, STRETCHED),
    "signed, overlay above": (((SIGNED & 0x0FFF) | 0x3000).astype(np.int16), {}, STRETCHED),
    "values in the upper bits": (((RAMP << 4) | 0b1010).astype(np.uint16), {"HighBit": 15}, STRETCHED),
    "signed in the upper bits": (((SIGNED << 4) | 0b1010).astype(np.int16), {"HighBit": 15}, STRETCHED),
    "8 bits": ((RAMP >> 4).astype(np.uint8), {"BitsStored": 8, "HighBit": 7}, (RAMP >> 4)),
    "32 bits": (RAMP.astype(np.uint32) << 19, {"BitsStored": 32, "HighBit": 31}, STRETCHED),
    "one value": (np.full_like(RAMP, 77), {}, np.zeros(RAMP.shape)),
    "one frame": (RAMP, {"NumberOfFrames": 1}, STRETCHED),
}


@pytest.mark.parametrize("case", list(CASES))
def test_shown_as_it_asks(case):
    pixels, elements, expected = CASES[case]
    assert np.abs(shown(pixels, **elements) - expected).max() <= 1


COLOUR = np.dstack([RAMP, 4095 - RAMP, RAMP // 2]).astype(np.uint16)
LUMINANCE = COLOUR @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colour_by_its_bits(bits):
    pixels = COLOUR >> 4 if bits == 8 else COLOUR << (bits - 12)
    pixels = pixels.astype(np.uint8 if bits == 8 else np.uint16)
    grey = shown(pixels, BitsStored=bits, HighBit=bits - 1)
    assert np.abs(grey - LUMINANCE / 4095 * 255).max() <= 1.1


@pytest.mark.parametrize("bits", [8, 12])
def test_luminance_of_ybr_is_its_first_plane(bits):
    ybr = np.dstack([RAMP, np.full_like(RAMP, 900), np.full_like(RAMP, 3000)])
    ybr = (ybr >> (12 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    grey = shown(ybr, PhotometricInterpretation="YBR_FULL", BitsStored=bits, HighBit=bits - 1)
    assert np.abs(grey - STRETCHED).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(bits):
    red, green, blue = ((np.arange(256) * factor).astype(int) for factor in (1.0, 0.5, 0.25))
    elements = {"PhotometricInterpretation": "PALETTE COLOR", "BitsStored": 8, "HighBit": 7}
    for name, plane in (("Red", red), ("Green", green), ("Blue", blue)):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        table = plane.astype(np.uint8) if bits == 8 else (plane * 257).astype("<u2")
        elements[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    index = (RAMP >> 4).astype(np.uint8)
    expected = 0.299 * red[index] + 0.587 * green[index] + 0.114 * blue[index]
    assert np.abs(shown(index, **elements) - expected).max() <= 1


# ---- transfer syntaxes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian", "RLELossless"]
)
def test_syntaxes_of_pydicom_alone(syntax):
    made = dataset(syntax=getattr(uid, syntax) if syntax != "RLELossless" else uid.ExplicitVRLittleEndian)
    if syntax == "RLELossless":
        made.compress(uid.RLELossless, encoding_plugin="pydicom")
    little, implicit = syntax != "ExplicitVRBigEndian", syntax == "ImplicitVRLittleEndian"
    options = {"little_endian": little, "implicit_vr": implicit, "force_encoding": True}
    assert np.abs(images.decode(written(made, **options)) - STRETCHED).max() <= 1


@pytest.mark.parametrize(
    ("syntax", "package"),
    [("JPEGLSLossless", "jpeg_ls"), ("JPEGLSNearLossless", "jpeg_ls"), ("JPEG2000Lossless", "openjpeg")],
)
@pytest.mark.parametrize("pixels", [RAMP, SIGNED], ids=["unsigned", "signed"])
def test_syntaxes_that_pydicom_encodes(syntax, package, pixels):
    pytest.importorskip(package)
    if (syntax, pixels is SIGNED) == ("JPEGLSNearLossless", True):
        pytest.skip("pydicom does not encode it")
    made = dataset(pixels)
    made.compress(getattr(uid, syntax), **({"jls_error": 2} if syntax == "JPEGLSNearLossless" else {}))
    assert np.abs(images.decode(written(made)) - STRETCHED).max() <= 1


@pytest.mark.parametrize("pixels", [RAMP, SIGNED, (RAMP >> 4).astype(np.uint8)], ids=["12 bits", "signed", "8 bits"])
def test_lossless_jpeg(pixels):
    """By liblj92, first predictor; decoded by libjpeg-turbo."""
    imagecodecs = pytest.importorskip("imagecodecs")
    bits = 8 if pixels.dtype == np.uint8 else 12
    frame = imagecodecs.ljpeg_encode(
        pixels.view(pixels.dtype.str.replace("i", "u")) & (2**bits - 1), bitspersample=bits
    )
    for syntax in (uid.JPEGLosslessSV1, uid.JPEGLossless):
        made = encapsulated(dataset(pixels, BitsStored=bits, HighBit=bits - 1), syntax, frame)
        assert np.abs(images.decode(written(made)) - (pixels if bits == 8 else STRETCHED)).max() <= 1


def test_jpeg_of_12_bits():
    imagecodecs = pytest.importorskip("imagecodecs")
    frame = imagecodecs.jpeg8_encode(RAMP, level=100, bitspersample=12)
    made = encapsulated(dataset(), uid.JPEGExtended12Bit, frame)
    assert np.abs(images.decode(written(made)) - STRETCHED).max() <= 1


def test_pydicoms_jpeg_of_12_bits():
    """Its JPEG 2000 file shows the same scan."""
    pytest.importorskip("imagecodecs")
    pytest.importorskip("openjpeg")
    twelve, same = (images.read(pathlib.Path(get_testdata_file(f"{name}.dcm"))) for name in ("JPGExtended", "JPEG2000"))
    assert twelve.shape == same.shape == (1024, 256)
    assert np.corrcoef(twelve.ravel(), same.ravel())[0, 1] > 0.9


HTJ2K = (
    "/0//UQApQAAAAAAMAAAAEAAAAAAAAAAAAAAADAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQ"
    "kJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAH8AAf+TwAAmsfUFB3QAAMAAE0AAEwAc/gMHdADs/gKHdADAABNAABOA9foA"
    "i3QAdNP9AINUAMAAFVAABUi006ZN+5fiC3UAsmVlwBjAjLYAwAAtCAAFeKSkpKSkpKSk3gp6enGCeADAQCAQCPz8ABD2IQHsuQD/2Q=="
)
"""By OpenJPH, lossless, of the array below."""


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_high_throughput_jpeg_2000(syntax):
    pytest.importorskip("openjpeg")
    pixels = (np.add.outer(np.arange(16) * 97, np.arange(12) * 211) % 4096).astype(np.uint16)
    made = encapsulated(dataset(pixels, BitsStored=16, HighBit=15), syntax, base64.b64decode(HTJ2K))
    expected = (pixels.astype(float) - pixels.min()) / (int(pixels.max()) - int(pixels.min())) * 255
    assert np.abs(images.decode(written(made)) - expected).max() <= 1


def test_jpeg_of_8_bits():
    eight = (RAMP >> 4).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(eight).save(file, "JPEG", quality=100)
    made = encapsulated(dataset(eight, BitsStored=8, HighBit=7), uid.JPEGBaseline8Bit, file.getvalue())
    assert np.abs(images.decode(written(made)).astype(int) - eight).max() <= 3
    half = file.getvalue()[: len(file.getvalue()) // 2] + b"\xff\xd9"
    made = encapsulated(dataset(eight, BitsStored=8, HighBit=7), uid.JPEGBaseline8Bit, half)
    with pytest.raises(images.ImageError, match="the JPEG is damaged"):
        images.decode(written(made))


MONOCHROME_FILES = (
    *("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm"),
    *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm"),
)


@pytest.mark.parametrize("name", MONOCHROME_FILES)
def test_one_picture_in_many_syntaxes(name):
    """Of pydicom's: the same values, whatever they are packed in."""
    for package in {"jp2k": ["openjpeg"], "jpeg_ls": ["jpeg_ls"]}.get(name[9:].partition("lossless")[0].strip("_"), []):
        pytest.importorskip(package)
    plain = pathlib.Path(get_testdata_file("MR_small.dcm")).read_bytes()
    packed = pathlib.Path(get_testdata_file(name)).read_bytes()
    np.testing.assert_array_equal(images.decode(packed), images.decode(plain))


COLOUR_FILES = (
    *("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm", "SC_rgb_rle.dcm"),
    *("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_gdcm_KY.dcm"),
    *("SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm", "SC_jpeg_no_color_transform.dcm"),
    *("SC_jpeg_no_color_transform_2.dcm", "SC_rgb_jpeg.dcm", "SC_rgb_jpeg_app14_dcmd.dcm", "examples_rgb_color.dcm"),
    *("GDCMJ2K_TextGBR.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm"),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COLOUR_FILES)
def test_luminance_of_pydicoms_colours(name):
    pytest.importorskip("jpeg_ls")
    pytest.importorskip("openjpeg")
    path = pathlib.Path(get_testdata_file(name))
    made = pydicom.dcmread(path)
    reference, bits = pydicom.pixels.pixel_array(made), made.BitsStored
    expected = reference @ np.array([0.299, 0.587, 0.114]) / (2**bits - 1) * 255
    # Chroma is clipped where YBR leaves RGB's cube, luminance is not.
    assert np.percentile(np.abs(images.decode(path.read_bytes()) - expected), 95) <= 2


# ---- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    "two frames": ({"NumberOfFrames": 2, "PixelData": RAMP.tobytes() * 2}, r"holds 2 frames, expected one image"),
    "no pixels": ({"PixelData": None}, r"holds no image but Digital X-Ray Image Storage"),
    "structured report": (
        {"PixelData": None, "SOPClassUID": uid.BasicTextSRStorage},
        r"holds no image but Basic Text SR Storage",
    ),
    "absurd size": ({"Rows": 65535, "Columns": 65535}, r"65535 x 65535 pixels, expected at most"),
    "a strip": ({"Rows": 1, "Columns": 5120}, r"5120 x 1 pixels, expected at least"),
    "no rows": ({"Rows": None}, r"does not state Rows"),
    "too few values": ({"PixelData": RAMP.tobytes()[:-100]}, r"cannot be decoded .*less than expected"),
    "unknown colours": ({"PhotometricInterpretation": "HSV"}, r"cannot be read|HSV"),
    "padding alone": ({"PixelData": bytes(2 * RAMP.size), "PixelPaddingValue": 0}, r"nothing but padding"),
    "short table": ({"VOILUTSequence": lut(0, 16, SQUARES, "OW")}, r"has 4095 entries, expected 4096"),
}
REFUSED["short table"][0]["VOILUTSequence"][0].LUTData = SQUARES[:-1].astype("<u2").tobytes()


@pytest.mark.parametrize("case", list(REFUSED))
def test_refused(case):
    elements, message = REFUSED[case]
    with pytest.raises(images.ImageError, match=message):
        shown(**elements)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", r"MPEG2 Main Profile / Main Level \(1\.2\.840\.10008\.1\.2\.4\.100\)"),
        ("1.2.840.10008.1.2.4.92", r"JPEG 2000 Part 2 .* \(1\.2\.840\.10008\.1\.2\.4\.92\)"),
        ("1.2.3.4.5", r"1\.2\.3\.4\.5"),
    ],
)
def test_syntaxes_that_nothing_decodes_are_named(syntax, name):
    made = encapsulated(dataset(), syntax, b"\0\0")
    data = written(made, little_endian=True, implicit_vr=False)
    with pytest.raises(images.ImageError, match=rf"stored as {name}"):
        images.decode(data)


def test_a_decoder_that_is_not_installed_is_named_with_the_extra(monkeypatch):
    decoder = pydicom.pixels.get_decoder(uid.JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})
    made = encapsulated(dataset(), uid.JPEGLosslessSV1, b"\0\0")
    with pytest.raises(images.ImageError, match=r"JPEG Lossless.*1\.2\.840\.10008\.1\.2\.4\.70.*\[dicom\]"):
        images.decode(written(made))


def test_without_pydicom_the_extra_is_named(monkeypatch):
    original = builtins.__import__

    def without(name, *rest, **options):
        if name.partition(".")[0] == "pydicom":
            raise ImportError(name)
        return original(name, *rest, **options)

    data = written(dataset())
    monkeypatch.setattr(builtins, "__import__", without)
    for read in (images.decode, dicom_header.stated):
        with pytest.raises(UserError, match=r"needs the package 'pydicom'.*\[dicom\]"):
            read(data)


def test_a_directory_is_no_picture():
    data = pathlib.Path(get_testdata_file("DICOMDIR")).read_bytes()
    assert not images.looks_like_image(data[: images.HEAD_BYTES], "")
    with pytest.raises(images.ImageError, match="Media Storage Directory"):
        images.decode(data)
    named = dicom.entries_of_directory(data)
    assert "77654033/CR1/6154" in named
    assert len(named) == 31


# ---- without preamble, without suffix --------------------------------------------------------------------------------


@pytest.mark.parametrize(("little", "implicit"), [(True, True), (True, False), (False, False)])
def test_a_data_set_alone(little, implicit):
    """No preamble, no file meta information: the way that it is written is told from its first element."""
    syntax = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    made = dataset(syntax=syntax)
    del made.file_meta
    made.preamble = None
    data = written(made, little_endian=little, implicit_vr=implicit, force_encoding=True)
    assert data[:4] in (b"\x08\0\x16\0", b"\0\x08\0\x16")
    assert images.looks_like_image(data[: images.HEAD_BYTES], "")
    assert np.abs(images.decode(data) - STRETCHED).max() <= 1
    assert dicom_header.stated(data).male is False


def test_file_meta_information_without_preamble():
    data = written(dataset())[132:]
    assert decode.kind_of(data[: images.HEAD_BYTES]) == "DICOM"
    assert np.abs(images.decode(data) - STRETCHED).max() <= 1


def test_compressed_pixels_of_an_unknown_syntax_are_refused():
    made = dataset(PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    made["PixelData"].is_undefined_length = True
    del made.file_meta
    made.preamble = None
    data = written(made, little_endian=True, implicit_vr=False)
    with pytest.raises(images.ImageError, match="transfer syntax"):
        images.decode(data)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        bytes(1000),
        b"\x08\0",
        b"\x08\0\x05\0CS\xff\xff" + b"x" * 500,
        b"\x08\0\x05\0\x04\0\0\0abcd" + b"\x09\0" + bytes(100),
        b"id,boneage,male\n" * 60,
        b"\x08\0\x10\0" * 100,
    ],
)
def test_what_is_not_taken_for_dicom(head):
    assert not dicom.is_dicom(head)


def test_a_tiff_in_the_preamble_does_not_count():
    data = bytearray(written(dataset()))
    data[:4] = b"II*\0"
    assert np.abs(images.decode(bytes(data)) - STRETCHED).max() <= 1


# ---- sex -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("M", True), ("F", False), ("m ", True), ("O", None), ("", None), (None, None), ("MF", None), ("male", None)],
)
def test_sex(stated, expected):
    made = dataset(PatientSex=None)
    if stated is not None:
        made.add_new("PatientSex", "LO", stated)
        made["PatientSex"].VR = "CS"
    assert dicom_header.stated(written(made)).male is expected


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"DICM", bytes(128) + b"DICM", bytes(128) + b"DICMjunk" * 9]
)
def test_no_sex_in_what_is_no_dicom_or_damaged(data):
    assert dicom_header.stated(data) == dicom_header.Stated()


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", ["plain", "RLELossless", "JPEG2000Lossless", "JPEGLSLossless", "JPEGLossless"])
def test_changed_and_cut_files_are_read_or_refused(syntax):
    """No crash, no other error, no other size without a word."""
    packages = {"JPEG2000Lossless": "openjpeg", "JPEGLSLossless": "jpeg_ls", "JPEGLossless": "imagecodecs"}
    package = pytest.importorskip(packages.get(syntax, "pydicom"))
    made = dataset(RescaleSlope="2", RescaleIntercept="1", WindowCenter="2000", WindowWidth="1500")
    if syntax == "JPEGLossless":
        encapsulated(made, uid.JPEGLossless, package.ljpeg_encode(RAMP, bitspersample=12))
    elif syntax != "plain":
        made.compress(getattr(uid, syntax))
    whole, random = written(made), np.random.default_rng(5)
    for trial in range(150):
        data = bytearray(whole)
        for place in random.integers(132, len(data), 1 + trial % 3):
            data[place] ^= 1 << random.integers(8)
        try:
            grey = images.decode(bytes(data if trial % 5 else data[: random.integers(1, len(data))]))
        except images.ImageError:
            continue
        assert grey.dtype == np.uint8


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        ("JPEG2000Lossless", base64.b64decode(HTJ2K)),
        ("JPEGLossless", b"\xff\xd8\xff\xc3\0\x0b\x0c\xff\xff\xff\xff\x01\x01\x11\0" + bytes(99)),
        ("JPEGLSLossless", b"\xff\xd8\xff\xff\xf7\0\x0b\x0c\xff\xff\xff\xff\x01\x01\x11\0" + bytes(99)),
        ("JPEGBaseline8Bit", b"\xff\xd8\xff\xfe\0\x05abc\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0" + bytes(99)),
        ("JPEGExtended12Bit", b"junk" * 9),
        ("JPEG2000Lossless", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200)),
    ],
)
def test_compressed_pixels_of_another_size_are_refused(syntax, frame):
    """Before a decoder takes memory for them: 65535 x 65535 of 16 bits are 8 GB."""
    with pytest.raises(images.ImageError, match=r"(12 x 16|65535 x 65535|of no size).*, it states 64 x 80"):
        images.decode(written(encapsulated(dataset(), getattr(uid, syntax), frame)))


@needs_real
def test_a_real_radiograph_through_dicom():
    grey = images.read(REAL / "hand_1381" / "original.png")
    made = dataset(grey.astype(np.uint16) * 16 + 5, BitsStored=12)
    expected = (grey.astype(float) - grey.min()) / (grey.max() - grey.min()) * 255
    assert np.abs(images.decode(written(made)) - expected).max() <= 1
