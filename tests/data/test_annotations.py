"""Annotation formats: what their tools write is read, what we write comes back, what is malformed is named."""

import csv
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.data import annotations as drawn
from boneage_jax.data.annotations import AnnotatedLabels, Annotation, convert, outlines_of
from boneage_jax.errors import UserError
from tests.conftest import REAL, needs_real

POINTS = {"middle fingertip": (40.0, 5.5), "thumb tip": (70.25, 40.0), "capitate": (42.0, 80.0)}


def blob(h=96, w=80):
    mask = np.zeros((h, w), np.uint8)
    cv2.ellipse(mask, (38, 50), (25, 38), 20, 0, 360, 1, -1)
    return mask > 0


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def one(path):
    (annotation,) = drawn.read(path)
    return annotation


SQUARE = {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [20, 20, 50, 50]}
POINT = {"name": "point", "cx": 12, "cy": 34}
RECT = {"name": "rect", "x": 1, "y": 2, "width": 10, "height": 20}


def via_json(shapes):
    regions = [{"shape_attributes": s, "region_attributes": {"label": f"part {n}"}} for n, s in enumerate(shapes)]
    return {"1377.png123": {"filename": "1377.png", "size": 123, "regions": regions, "file_attributes": {}}}


def square_of(mask):
    y, x = np.nonzero(mask)
    return x.min(), x.max(), y.min(), y.max()


@pytest.mark.parametrize("project", [False, True])
def test_via_json(tmp_path, project):
    content = via_json([SQUARE, POINT, RECT])
    content = {"_via_settings": {}, "_via_img_metadata": content} if project else content
    found = one(write(tmp_path / "via.json", content))
    assert found.id == "1377"
    assert square_of(found.mask((100, 100))) == (10, 30, 20, 50)
    assert found.points == {"part 1": (12.0, 34.0)}
    assert found.boxes == (("part 2", (1.0, 2.0, 11.0, 22.0)),)


def test_via_json_of_version_1_keeps_regions_by_number(tmp_path):
    content = via_json([SQUARE])
    content["1377.png123"]["regions"] = {"0": content["1377.png123"]["regions"][0]}
    assert square_of(one(write(tmp_path / "v1.json", content)).mask((100, 100))) == (10, 30, 20, 50)


@pytest.mark.parametrize("mark", ["", "#"])
def test_via_csv(tmp_path, mark):
    path = tmp_path / "via.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
        writer.writerow((mark + header).split(","))
        for n, shape in enumerate([SQUARE, POINT]):
            writer.writerow(["1377.png", 1, "{}", 2, n, json.dumps(shape), json.dumps({"name": "capitate"})])
        writer.writerow(["1380.png", 1, "{}", 0, 0, "{}", "{}"])
    found = one(path)
    assert found.points == {"capitate": (12.0, 34.0)}
    assert square_of(found.mask((100, 100))) == (10, 30, 20, 50)


def coco(**changes):
    keypoints = [v for x, y in POINTS.values() for v in (x, y, 2)]
    return {
        "images": [{"id": 7, "file_name": "boneage-training-dataset/1377.png", "width": 80, "height": 96}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40], "keypoints": keypoints, **changes}
        ],
        "categories": [{"id": 1, "name": "hand", "keypoints": list(POINTS)}],
    }


def test_coco_key_points(tmp_path):
    found = one(write(tmp_path / "coco.json", coco()))
    assert (found.id, found.points, found.boxes) == ("1377", POINTS, (("hand", (1.0, 2.0, 31.0, 42.0)),))


def test_bonets_seventeen_points_without_names(tmp_path):
    """BoNet's and RHPE's layout: 17 triples; those of visibility 0 are not labelled; ours are picked by number."""
    flat = [v for n in range(17) for v in (10 * n, 5 * n, 0 if n == 3 else 2)]
    content = coco(keypoints=flat)
    del content["categories"][0]["keypoints"]
    path = write(tmp_path / "bonet.json", content)
    found = one(path)
    assert len(found.points) == 16
    assert found.points["17"] == (160.0, 80.0)
    names = {"middle fingertip": "9", "thumb tip": "1", "capitate": "17"}
    text = convert.convert(path, tmp_path / "ours.json", names=names)
    assert "1 with points" in text
    labels = AnnotatedLabels(points=tuple(drawn.read(tmp_path / "ours.json")))
    np.testing.assert_allclose(labels.key_points("1377"), [(80, 40), (0, 0), (160, 80)])


def test_labelme(tmp_path):
    shapes = [
        {"label": "hand", "points": [[10, 20], [30, 20], [30, 50], [10, 50]], "shape_type": "polygon"},
        {"label": "capitate", "points": [[12, 34]], "shape_type": "point"},
        {"label": "Radius", "points": [[11, 22], [1, 2]], "shape_type": "rectangle"},
    ]
    content = {"version": "5", "shapes": shapes, "imagePath": "..\\x\\1377.png", "imageHeight": 96, "imageWidth": 80}
    folder = tmp_path / "labelme"
    folder.mkdir()
    write(folder / "1377.json", content)
    found = one(folder)
    assert found.id == "1377"
    assert square_of(found.mask()) == (10, 30, 20, 50)
    assert found.points == {"capitate": (12.0, 34.0)}
    assert found.boxes == (("Radius", (1.0, 2.0, 11.0, 22.0)),)


def test_mask_folders_nested_by_id(tmp_path):
    """As in Zenodo record 7611677: pictures of masks named by id; 0 and 1, or 0 and 255."""
    (tmp_path / "train").mkdir()
    for name, value in (("1377", 255), ("1378", 1)):
        cv2.imwrite(str(tmp_path / "train" / f"{name}.png"), blob().astype(np.uint8) * value)
    found = drawn.read(tmp_path)
    assert [a.id for a in found] == ["1377", "1378"]
    for annotation in found:
        np.testing.assert_array_equal(annotation.mask((96, 80)), blob())
    with pytest.raises(UserError, match=r"found a mask of 96 x 80 pixels, expected the image's 100 x 80"):
        found[0].mask((100, 80))


@needs_real
def test_pascal_voc_of_koitka():
    found = drawn.read(REAL / "koitka_rois" / "annotations" / "train")
    assert len(found) == 240
    assert {name for a in found for name, _ in a.boxes} == {"DIP", "PIP", "MCP", "Radius", "Ulna", "Wrist"}


def test_pascal_voc(tmp_path):
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox>"
    write(
        tmp_path / "1377.xml",
        "<annotation><filename>x</filename><size><width>80</width><height>96</height></size>"
        f"<object><name>Ulna</name>{box}</object></annotation>",
    )
    found = one(tmp_path)
    assert (found.id, found.width, found.boxes) == ("1377", 80, (("Ulna", (1.0, 2.0, 11.0, 22.0)),))


@given(st.integers(0, 2**32 - 1))
def test_masks_without_holes_come_back_from_their_outlines(seed):
    generator = np.random.default_rng(seed)
    mask = np.zeros((40, 50), np.uint8)
    for _ in range(4):
        x, y, w, h = generator.integers(0, 30), generator.integers(0, 25), *generator.integers(2, 20, 2)
        mask[y : y + h, x : x + w] = 1
    filled = np.zeros_like(mask)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    back = Annotation("x.png", 50, 40, outlines_of(mask > 0)).mask()
    np.testing.assert_array_equal(back, filled > 0)


def test_round_trip_through_coco_and_masks(tmp_path):
    boxes = (("hand", (1.0, 2.0, 30.0, 40.0)), ("Ulna", (5.0, 6.0, 7.5, 9.0)), ("Ulna", (1.0, 1.0, 2.0, 2.0)))
    ours = [
        Annotation("1377.png", 80, 96, outlines_of(blob()), POINTS, boxes),
        Annotation("1378.png", 80, 96, points={"capitate": (1.0, 2.0), "other": (3.0, 4.0)}),
    ]
    drawn.write(ours, tmp_path / "coco.json")
    first, second = drawn.read(tmp_path / "coco.json")
    np.testing.assert_array_equal(first.mask(), blob())
    assert (first.points, first.boxes) == (POINTS, boxes)
    assert second.points == ours[1].points
    drawn.write([first, second], tmp_path / "masks")
    np.testing.assert_array_equal(one(tmp_path / "masks").mask((96, 80)), blob())
    drawn.write(drawn.read(tmp_path / "masks"), tmp_path / "again.json")
    assert np.array_equal(one(tmp_path / "again.json").mask((96, 80)), blob())


def bad_via():
    return via_json([SQUARE, {**SQUARE, "all_points_x": [1, 2]}])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", r"a\.json: not JSON"),
        ("a.json", {"what": 1}, r"a\.json: JSON of an unknown kind"),
        ("a.json", bad_via(), r"a\.json: entry '1377.png123': region 1: polygon: found 2 x and 4 y"),
        ("a.json", via_json([{"name": "point", "cx": 1}]), r"region 0: found no 'cy'"),
        ("a.json", via_json([{"name": "star"}]), r"region 0: found shape 'star'"),
        ("a.json", coco(keypoints=[1, 2]), r"image 0: annotation 0: keypoints: found 2 numbers"),
        ("a.json", coco(keypoints=[1, 2, 2]), r"annotation 0: keypoints: found 1 points, expected the category's 3"),
        ("a.json", coco(bbox=[1, 2, -3, 4]), r"annotation 0: box: found"),
        ("a.json", coco(image_id=9), r"annotation 0: found image_id 9"),
        ("a.json", coco(segmentation={"counts": "x"}), r"found run lengths"),
        ("a.csv", "a,b\n1,2\n", r"a\.csv: found no column 'filename'"),
        ("a.xml", "<annotation><object></object></annotation>", r"a\.xml: file: object 0: found no <bndbox/xmin>"),
        ("a.xml", "<html/>", r"a\.xml: file: found <html>"),
        ("a.txt", "", r"a\.txt: expected a \.json"),
    ],
)
def test_malformed_files_are_named_with_entry_and_reason(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        drawn.read(write(tmp_path / name, content))


def test_a_csv_row_that_is_not_json_is_named(tmp_path):
    write(tmp_path / "a.csv", 'filename,region_shape_attributes,region_attributes\n1.png,"{oops",{}\n')
    with pytest.raises(UserError, match=r"file '1\.png': row 2"):
        drawn.read(tmp_path / "a.csv")


def test_sizes_are_asked_for_where_the_format_has_none(tmp_path):
    path = write(tmp_path / "via.json", via_json([SQUARE]))
    with pytest.raises(UserError, match="--images"):
        convert.convert(path, tmp_path / "out.json")
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "1377.png"), np.zeros((96, 80), np.uint8))
    convert.convert(path, tmp_path / "out.json", folder=tmp_path / "pictures")
    assert (one(tmp_path / "out.json").height, one(tmp_path / "out.json").width) == (96, 80)
    (tmp_path / "pictures" / "1377.png").rename(tmp_path / "pictures" / "1378.png")
    with pytest.raises(UserError, match="not there"):
        convert.convert(path, tmp_path / "out.json", folder=tmp_path / "pictures")


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        drawn.read(tmp_path / "missing.json")
    with pytest.raises(UserError, match="found no masks"):
        drawn.read(tmp_path)
