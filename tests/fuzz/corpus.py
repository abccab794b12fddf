"""Small whole files of every kind that the readers take, by the reader and the file's name."""

from __future__ import annotations

import io
import json
import pathlib
import zipfile

import cv2
import numpy as np
import openpyxl
import PIL.Image
import pydicom
import pydicom.data
import pydicom.uid
from pydicom.dataset import FileDataset, FileMetaDataset

Files = dict[str, bytes]

_MOST_BYTES = 300_000


def pictures() -> Files:
    """PNG, JPEG, TIFF, BMP and WebP: grey, colour, alpha, 16 bits, palette, turned."""
    draw = np.random.default_rng(0)
    grey, colour = draw.integers(0, 256, (24, 20), dtype=np.uint8), draw.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    found = {
        "grey.png": _by_opencv(".png", grey),
        "alpha.png": _by_opencv(".png", draw.integers(0, 256, (24, 20, 4), dtype=np.uint8)),
        "deep.png": _by_opencv(".png", draw.integers(0, 65536, (24, 20), dtype=np.uint16)),
        "grey.jpg": _by_opencv(".jpg", cv2.GaussianBlur(grey, (5, 5), 0)),
        "colour.jpg": _by_opencv(".jpg", colour),
        "grey.tif": _by_opencv(".tif", grey),
        "grey.bmp": _by_opencv(".bmp", grey),
        "grey.webp": _by_opencv(".webp", colour),
    }
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    for name, picture, options in (
        ("palette.png", PIL.Image.fromarray(colour).quantize(16), {}),
        ("bits.png", PIL.Image.fromarray(grey).convert("1"), {}),
        ("turned.png", PIL.Image.fromarray(grey), {"exif": turned}),
        ("turned.jpg", PIL.Image.fromarray(grey), {"exif": turned, "progressive": True}),
        ("cmyk.jpg", PIL.Image.fromarray(colour).convert("CMYK"), {}),
        ("packed.tif", PIL.Image.fromarray(grey), {"compression": "tiff_lzw"}),
    ):
        file = io.BytesIO()
        picture.save(file, {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF"}[pathlib.Path(name).suffix], **options)
        found[name] = file.getvalue()
    return found


def dicom() -> Files:
    """Data sets of our own, and those that come with pydicom and are small."""
    found = {f"{name}.dcm": _dicom(bits, photometric) for name, bits, photometric in _KINDS}
    for path in sorted(pathlib.Path(pydicom.data.DATA_ROOT, "test_files").glob("*.dcm")):
        if path.stat().st_size < _MOST_BYTES:
            found[path.name] = path.read_bytes()
    return found


_KINDS = (("eight", 8, "MONOCHROME2"), ("twelve", 12, "MONOCHROME1"), ("colour", 8, "RGB"))


def _dicom(bits: int, photometric: str) -> bytes:
    samples = 3 if photometric == "RGB" else 1
    kind = np.uint8 if bits == 8 else np.uint16
    pixels = np.random.default_rng(bits).integers(0, 2**bits, (24, 20, samples)).astype(kind)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns, data.SamplesPerPixel = 24, 20, samples
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * kind().itemsize, bits, bits - 1
    data.PixelRepresentation, data.PhotometricInterpretation = 0, photometric
    if samples == 3:
        data.PlanarConfiguration = 0
    else:
        data.WindowCenter, data.WindowWidth, data.RescaleSlope, data.RescaleIntercept = 100, 200, 2, -10
        data.PixelPaddingValue = 0
    data.PatientSex = "F"
    data.PixelData = pixels.tobytes()
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def tables() -> Files:
    """Label tables as CSV in several forms and as XLSX."""
    rows = [
        ["id", "boneage", "male"],
        ["1377", "180", "False"],
        ["sub/1378.png", "12.5", "True"],
        ["1379.0", "94", "M"],
    ]
    plain = "".join(",".join(row) + "\n" for row in rows)
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return {
        "plain.csv": plain.encode(),
        "bom.csv": plain.encode("utf-8-sig"),
        "wide.csv": plain.encode("utf-16"),
        "semicolons.csv": ("sep=;\r" + plain.replace(",", ";").replace("12.5", '"12,5"').replace("\n", "\r")).encode(),
        "atlas.csv": b"id,gender,reading1,reading2\n3001,ASIF02,2.5,3\n3002,M,4,4.5\n",
        "book.xlsx": file.getvalue(),
    }


def archives() -> Files:
    """Zips of pictures with their table; one within another."""

    def packed(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return file.getvalue()

    grey = _by_opencv(".png", np.random.default_rng(1).integers(0, 256, (12, 10), dtype=np.uint8))
    inside = {"images/1.png": grey, "images\\2.png": grey, "train.csv": b"id,boneage,male\n1,100,True\n2,50,False\n"}
    inner = packed(inside)
    return {
        "train.zip": inner,
        "stored.zip": packed(inside, zipfile.ZIP_STORED),
        "lzma.zip": packed(inside, zipfile.ZIP_LZMA),
        "outer.zip": packed({"deep/train.zip": inner}),
    }


def annotations() -> Files:
    """COCO, VIA, Labelme and Pascal VOC."""
    corners = [10.0, 10.0, 60.0, 12.0, 55.0, 70.0]
    coco = {
        "images": [{"id": 1, "file_name": "1.png", "width": 80, "height": 100}],
        "categories": [{"id": 1, "name": "hand", "keypoints": ["middle fingertip", "thumb tip", "capitate"]}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [corners], "bbox": [10, 10, 50, 60]},
            {"id": 2, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 2], "num_keypoints": 3},
        ],
    }
    runs = json.loads(json.dumps(coco))
    runs["annotations"][0]["segmentation"] = {"size": [100, 80], "counts": [500, 100, 7400]}
    via = {
        "1.png1": {
            "filename": "1.png",
            "size": 1,
            "regions": [
                {"shape_attributes": {"name": "polygon", "all_points_x": [1, 9, 5], "all_points_y": [1, 2, 9]},
                 "region_attributes": {"label": "hand"}},
                {"shape_attributes": {"name": "ellipse", "cx": 5, "cy": 5, "rx": 3, "ry": 2, "theta": 0.5},
                 "region_attributes": {}},
                {"shape_attributes": {"name": "point", "cx": 5, "cy": 5}, "region_attributes": {"name": "capitate"}},
            ],
        }
    }  # fmt: skip
    labelme = {
        "imagePath": "1.png", "imageWidth": 80, "imageHeight": 100,
        "shapes": [
            {"label": "hand", "shape_type": "polygon", "points": [[1, 1], [50, 2], [40, 80]]},
            {"label": "capitate", "shape_type": "point", "points": [[5, 5]]},
            {"label": "hand", "shape_type": "rectangle", "points": [[1, 1], [50, 60]]},
        ],
    }  # fmt: skip
    voc = (
        b"<annotation><filename>1.png</filename><size><width>80</width><height>100</height></size><object><name>DIP"
        b"</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
    csv_row = (
        b"filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
        b'1.png,1,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":3,""height"":4}","{""label"":""hand""}"\n'
    )
    named = {"coco": coco, "runs": runs, "via": via, "labelme": labelme}
    return {**{f"{name}.json": json.dumps(one).encode() for name, one in named.items()}, "v.xml": voc, "v.csv": csv_row}


def _by_opencv(suffix: str, picture: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, picture)
    assert done
    return data.tobytes()
