"""Annotation formats: what their tools write is read, what we write comes back, what is malformed is named."""

import base64
import csv
import dataclasses
import itertools
import json
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from boneage_jax.data import annotations as drawn
from boneage_jax.data.annotations import AnnotatedLabels, Annotation, convert, outlines_of, reading, runs
from boneage_jax.data.annotations.malformed import Malformed
from boneage_jax.data.pairing import Images
from boneage_jax.errors import UserError
from tests.conftest import REAL, needs_real
from tests.data import points

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
    np.testing.assert_allclose(labels.key_points("1377", (96, 80)), [(80, 40), (0, 0), (160, 80)])


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


def labelme(shapes, **changes):
    return {"shapes": shapes, "imagePath": "1377.png", "imageHeight": 96, "imageWidth": 80, **changes}


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
        ("a.json", coco(segmentation={"counts": "x"}), r"segmentation: found the size None"),
        ("a.json", coco(segmentation={"counts": [1], "size": [96, 80]}), r"add up to 1, expected the 7680 pixels"),
        ("a.json", coco(segmentation={"counts": [-1, 7681], "size": [96, 80]}), r"add up to 7680, expected"),
        ("a.json", coco(segmentation={"counts": "Po", "size": [96, 80]}), r"that is not packed run lengths"),
        ("a.json", coco(segmentation={"counts": "\N{SNOWMAN}", "size": [96, 80]}), r"that is not packed run lengths"),
        ("a.json", coco(segmentation={"counts": "P" * 9 + "0", "size": [96, 80]}), r"that is not packed run lengths"),
        ("a.json", coco(segmentation={"counts": [7680], "size": [10**9, 10**9]}), r"expected height and width"),
        ("a.json", coco(segmentation={"counts": [6400], "size": [80, 80]}), r"run lengths of 80 x 80 pixels, expected"),
        ("a.json", coco(segmentation=[[1, 2, 3, 4]]), r"polygon: found 2 x and 2 y"),
        ("a.json", coco(segmentation=[1, 2, 3, 4, 5]), r"polygon: found 3 x and 2 y"),
        ("a.json", coco(segmentation=[[1, 2, 3, 4, 1e300, 6]]), r"x: found 1e\+300, expected pixels"),
        ("a.json", coco(segmentation=[[1, 2, 3, 4, float("nan"), 6]]), r"x: found nan, expected pixels"),
        ("a.json", coco(bbox=[10**400, 2, 3, 4]), r"bbox: found a number beyond all sizes"),
        ("a.json", coco(bbox=5), r"annotation 0: bbox: found 5, expected x, y, width and height"),
        ("a.json", coco(image_id=[1]), r"found image_id \[1\]"),
        ("a.json", coco() | {"annotations": {"1": {}}}, r"annotations: found .*, expected a list"),
        ("a.json", coco() | {"annotations": ["x"]}, r"annotations: found 'x' as number 0, expected an object"),
        ("a.json", coco() | {"images": None}, r"annotation 0: found image_id 7, expected one of the 0"),
        ("a.json", coco() | {"categories": 5}, r"categories: found 5, expected a list"),
        ("a.json", coco() | {"images": [{"id": 7}, {"id": "7"}]}, r"image 1: found the id '7' of image 0 again"),
        ("a.json", coco() | {"images": [{"id": 7, "width": -5}]}, r"width: found -5"),
        ("a.json", coco() | {"images": [{"id": 7, "width": "wide"}]}, r"width: found 'wide', expected a number"),
        ("a.json", "[" * 100_000, r"a\.json: not JSON"),
        ("a.json", via_json(["x"]), r"region 0: found 'x' and"),
        ("a.json", via_json([{"name": "ellipse", "cx": 1, "cy": 1, "rx": 0, "ry": 2}]), r"found the radii 0 and 2"),
        ("a.json", {"a": {"filename": "1.png", "regions": ["x"]}}, r"regions: found 'x' as number 0"),
        ("a.json", labelme([{"label": "x", "points": [], "shape_type": "point"}]), r"found a 'point' without points"),
        ("a.json", labelme([{"label": "x", "points": [[1, 2]] * 3, "shape_type": "rectangle"}]), r"of 3 points"),
        (
            "a.json",
            labelme([{"label": "x", "points": [[0, 5], [5, 0], [10, 5], [5, 10]], "shape_type": "rectangle"}]),
            r"found a rectangle that is turned",
        ),
        (
            "a.json",
            labelme([{"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "line"}]),
            r"found shape_type 'line'",
        ),
        ("a.json", labelme([{"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "mask", "mask": "?"}]), r"mask: "),
        (
            "a.xml",
            "<annotation><size><width>x</width></size></annotation>",
            r"<size/width>: found 'x', expected a number",
        ),
        ("a.xml", "<?xml version='1.0' encoding='no-such'?><annotation/>", r"a\.xml: file: not XML"),
        ("a.csv", 'filename,region_shape_attributes,region_attributes\n1.png,"{}\n', r"line 2: cannot be read as CSV"),
        (
            "a.csv",
            "filename,region_shape_attributes,region_attributes\n1.png\n",
            r"row 2: found no 'region_shape_attrib",
        ),
        ("a.csv", "a,b\n1,2\n", r"a\.csv: found no column 'filename'"),
        ("a.xml", "<annotation><object></object></annotation>", r"a\.xml: file: object 0: found no <bndbox/xmin>"),
        ("a.xml", "<html/>", r"a\.xml: file: found <html>"),
        ("a.txt", "", r"a\.txt: expected a \.json"),
    ],
)
def test_malformed_files_are_named_with_entry_and_reason(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        drawn.read(write(tmp_path / name, content))


def fresh_runs(mask, *, packed):
    """A mask's run lengths as pycocotools writes them."""
    coder = pytest.importorskip("pycocotools.mask")
    found = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    if packed:
        return {"size": found["size"], "counts": found["counts"].decode()}
    pixels, counts = mask.T.ravel().tolist(), []
    for value, group in itertools.groupby([False, *pixels]):
        counts.append(len(list(group)) - (not counts))
        assert value == (len(counts) % 2 == 0)
    return {"size": list(mask.shape), "counts": counts}


@pytest.mark.parametrize("packed", [False, True])
@given(mask=arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))), grow=st.integers(1, 40))
def test_run_lengths_are_those_of_pycocotools(packed, mask, grow):
    """Any mask, with long runs too; and what we write is what it reads."""
    coder = pytest.importorskip("pycocotools.mask")
    mask = np.repeat(np.repeat(mask, grow, 0), grow, 1)
    decoded = runs.parse(fresh_runs(mask, packed=packed))
    np.testing.assert_array_equal(decoded.mask(), mask)
    ours = runs.as_json(runs.of_mask(mask))
    np.testing.assert_array_equal(coder.decode(coder.frPyObjects(ours, *mask.shape)), mask)


@given(st.text(max_size=30) | st.lists(st.integers(-5, 2**40), max_size=9))
def test_run_lengths_of_any_kind_are_read_or_refused(counts):
    try:
        decoded = runs.parse({"size": [4, 3], "counts": counts})
    except Malformed:
        return
    assert decoded.mask().shape == (4, 3)


@pytest.mark.parametrize("crowd", [0, 1])
@pytest.mark.parametrize("packed", [False, True])
def test_coco_run_lengths(tmp_path, packed, crowd):
    """Holes stay holes, and stay when they are written again."""
    mask = blob() & ~np.pad(blob()[::2, ::2], ((24, 24), (20, 20)))
    found = one(write(tmp_path / "a.json", coco(segmentation=fresh_runs(mask, packed=packed), iscrowd=crowd)))
    np.testing.assert_array_equal(found.mask((96, 80)), mask)
    np.testing.assert_array_equal(found.mask(), mask)
    drawn.write([found], tmp_path / "b.json")
    np.testing.assert_array_equal(one(tmp_path / "b.json").mask(), mask)
    drawn.write([found], tmp_path / "masks")
    np.testing.assert_array_equal(one(tmp_path / "masks").mask(), mask)


def test_masks_with_holes_are_written_as_run_lengths(tmp_path):
    mask = blob() & ~np.pad(blob()[::2, ::2], ((24, 24), (20, 20)))
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "1377.png"), mask.astype(np.uint8) * 255)
    convert.convert(tmp_path / "masks", tmp_path / "b.json")
    np.testing.assert_array_equal(one(tmp_path / "b.json").mask(), mask)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mask_comes_back_from_coco(tmp_path, mask):
    """Lone pixels, lines, holes, nothing at all."""
    drawn.write([Annotation("1.png", *mask.shape[::-1], runs=(runs.of_mask(mask),))], tmp_path / "a.json")
    found = one(tmp_path / "a.json")
    np.testing.assert_array_equal(found.mask(), mask)
    assert len(found.boxes) == mask.any()


@pytest.mark.parametrize("image_id", [7, "7", 7.0, " 7"])
@pytest.mark.parametrize("other", [7, "7", 7.0])
def test_coco_ids_of_mixed_types(tmp_path, image_id, other):
    content = coco(image_id=other, category_id="1")
    content["images"][0]["id"] = image_id
    assert one(write(tmp_path / "a.json", content)).points == POINTS


def test_coco_polygon_without_its_outer_list(tmp_path):
    flat = [10, 20, 30, 20, 30, 50, 10, 50]
    for segmentation in (flat, [flat]):
        found = one(write(tmp_path / "a.json", coco(segmentation=segmentation)))
        assert square_of(found.mask()) == (10, 30, 20, 50)


@pytest.mark.parametrize("theta", [0.0, 0.5, -1.2, 3.0])
def test_via_ellipses_are_turned_as_via_draws_them(tmp_path, theta):
    """By the test that VIA has for a click inside an ellipse (is_inside_ellipse, with rr = theta)."""
    cx, cy, rx, ry = 45.0, 52.0, 30.0, 12.0
    shape = {"name": "ellipse", "cx": cx, "cy": cy, "rx": rx, "ry": ry, "theta": theta}
    mask = one(write(tmp_path / "a.json", via_json([shape]))).mask((100, 90))
    py, px = np.mgrid[:100, :90]
    dx = np.cos(-theta) * (cx - px) - np.sin(-theta) * (cy - py)
    dy = np.sin(-theta) * (cx - px) + np.cos(-theta) * (cy - py)
    truth = dx**2 / rx**2 + dy**2 / ry**2 < 1
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_via_shapes_of_every_kind(tmp_path):
    line = {"name": "polyline", "all_points_x": [10, 30, 30, 10], "all_points_y": [20, 20, 50, 50]}
    circle = {"name": "circle", "cx": 60, "cy": 60, "r": 10}
    found = one(write(tmp_path / "a.json", via_json([line, circle, POINT, RECT])))
    assert len(found.outlines) == 2
    assert square_of(found.mask((100, 100))[55:, 50:]) == (0, 20, 0, 15)
    assert (found.points, len(found.boxes)) == ({"part 2": (12.0, 34.0)}, 1)


@pytest.mark.parametrize("path", [None, "", "no key"])
def test_labelme_without_the_images_path(tmp_path, path):
    content = labelme([{"label": "capitate", "points": [[1, 2]], "shape_type": "point"}], imagePath=path)
    if path == "no key":
        del content["imagePath"]
    assert one(write(tmp_path / "1377.json", content)).id == "1377"


@pytest.mark.parametrize(
    "points",
    [
        [[1, 2], [11, 22]],
        [[11, 22], [1, 2]],
        [[1, 2], [11, 2], [11, 22], [1, 22]],
        [[11, 2], [11, 22], [1, 22], [1, 2]],
    ],
)
def test_labelme_rectangles(tmp_path, points):
    content = labelme([{"label": "Ulna", "points": points, "shape_type": "rectangle"}])
    assert one(write(tmp_path / "a.json", content)).boxes == (("Ulna", (1.0, 2.0, 11.0, 22.0)),)


def test_labelme_circles_and_masks(tmp_path):
    circle = {"label": "hand", "points": [[40, 40], [43, 44]], "shape_type": "circle"}
    found = one(write(tmp_path / "a.json", labelme([circle])))
    assert square_of(found.mask()) == (35, 45, 35, 45)
    part = blob()[10:60, 20:70]
    text = base64.b64encode(cv2.imencode(".png", part.astype(np.uint8) * 255)[1].tobytes()).decode()
    mask = {"label": "hand", "points": [[20, 10], [69, 59]], "shape_type": "mask", "mask": text}
    expected = np.zeros((96, 80), bool)
    expected[10:60, 20:70] = part
    np.testing.assert_array_equal(one(write(tmp_path / "a.json", labelme([mask]))).mask(), expected)


def test_pascal_voc_without_a_size(tmp_path):
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox>"
    found = one(write(tmp_path / "1.xml", f"<annotation><object><name>Ulna</name>{box}</object></annotation>"))
    assert (found.width, found.height, len(found.boxes)) == (0, 0, 1)


SIZED = {
    "COCO polygon": coco(segmentation=[[10, 20, 30, 20, 30, 50]]),
    "COCO run lengths": coco(segmentation={"size": [96, 80], "counts": [100, 7580]}),
    "Labelme": labelme([{"label": n, "points": [[1, 2], [30, 2], [5, 40]]} for n in ("a", "b")]),
}


@pytest.mark.parametrize("kind", SIZED)
def test_annotations_of_another_size_are_refused_with_both(tmp_path, kind):
    found = one(write(tmp_path / "a.json", SIZED[kind]))
    labels = AnnotatedLabels((found,)).among(Images(("1377",)))
    assert labels.mask("1377", (96, 80)).any()
    with pytest.raises(
        UserError, match=r"a\.json: .*states an image of 96 x 80 pixels, expected the image's 200 x 160"
    ):
        labels.mask("1377", (200, 160))


def test_key_points_of_another_size_are_refused_with_both(tmp_path):
    labels = AnnotatedLabels(points=(one(write(tmp_path / "a.json", coco())),)).among(Images(("1377",)))
    np.testing.assert_array_equal(labels.key_points("1377", (96, 80)), list(POINTS.values()))
    with pytest.raises(UserError, match=r"states an image of 96 x 80 pixels, expected the image's 200 x 160"):
        labels.key_points("1377", (200, 160))
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "1377.png"), np.zeros((200, 160), np.uint8))
    with pytest.raises(UserError, match=r"1377\.png: .*96 x 80 pixels, expected the image's 200 x 160"):
        convert.convert(tmp_path / "a.json", tmp_path / "b.json", folder=tmp_path / "pictures")


def test_radiographs_are_not_taken_for_masks(tmp_path):
    picture = np.tile(np.arange(80, dtype=np.uint8) * 3, (96, 1))
    cv2.imwrite(str(tmp_path / "1377.png"), picture)
    with pytest.raises(UserError, match=r"1377\.png: found 50% of the pixels of a middle grey, expected a mask"):
        one(tmp_path).mask((96, 80))
    mask = blob().astype(np.uint8) * 255
    for name, data in (
        ("1377.jpg", cv2.imencode(".jpg", mask)[1]),
        ("1377.png", cv2.imencode(".png", cv2.GaussianBlur(mask, (3, 3), 0))[1]),
    ):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_bytes(data.tobytes())
        assert (one(folder).mask((96, 80)) != blob()).mean() < 0.01


def file_names(**names):
    """COCO of a square on each of several images."""
    content = coco()
    content["images"] = [
        {"id": n, "file_name": name, "width": 80, "height": 96} for n, name in enumerate(names.values())
    ]
    content["annotations"] = [
        {"id": n, "image_id": n, "segmentation": [[n, 0, n + 9, 0, n + 9, 9, n, 9]]} for n in range(len(names))
    ]
    return content


@pytest.mark.parametrize(
    ("name", "ids", "image_id"),
    [
        ("1377.png", ["1377", "1378"], "1377"),
        ("boneage-training-dataset/1377.png", ["1377", "1378"], "1377"),
        ("..\\x\\1377.PNG", ["1377", "1378"], "1377"),
        ("/scans/me/1377.dcm", ["1377", "1378"], "1377"),
        ("17.png", ["00017", "1378"], "00017"),
        ("00017.png", ["17", "1378"], "17"),
        ("17.0", ["17", "170"], "17"),
        ("e\u0301.png", ["\u00e9"], "\u00e9"),
        ("A/1.png", ["A/1", "B/1"], "A/1"),
        ("data\\B\\1", ["A/1", "B/1"], "B/1"),
        ("9.png", ["1", "2"], None),
    ],
)
def test_images_are_paired_as_files_are(tmp_path, name, ids, image_id):
    found = drawn.read(write(tmp_path / "a.json", file_names(a=name)))
    labels = AnnotatedLabels(tuple(found)).among(Images(tuple(ids)))
    assert labels.ids("hand") == frozenset({image_id} - {None})


@pytest.mark.parametrize(
    ("names", "ids", "reason"),
    [
        (["1.png"], ["A/1", "B/1"], "image 0: no image '1.png'; of that name there is A/1, B/1"),
        (["1.png"], ["A/1"], "image 0: no image '1.png'; of that name there is A/1"),
        (["C/1.png"], ["A/1", "B/1"], "image 0: no image 'C/1.png'; of that name there is A/1, B/1"),
        (["A/1.png", "B/1.png"], ["1"], "1: named by .*image 0 \\('A/1.png'\\), .*image 1"),
        (["1.png", "01.png"], ["1"], "1: named by .*image 1 .*image 0 "),
    ],
)
def test_images_that_are_not_told_apart_are_named(tmp_path, names, ids, reason):
    path = write(tmp_path / "a.json", file_names(**{f"n{n}": name for n, name in enumerate(names)}))
    labels = AnnotatedLabels(tuple(drawn.read(path))).among(Images(tuple(ids)))
    with pytest.raises(UserError, match=reason):
        labels.ids("hand")


def test_masks_of_one_name_keep_their_folders(tmp_path):
    path = write(tmp_path / "a.json", file_names(a="A/1.png", b="B/1.png", c="B/2.png"))
    drawn.write(drawn.read(path), tmp_path / "masks")
    assert sorted(p.relative_to(tmp_path / "masks").as_posix() for p in (tmp_path / "masks").rglob("*.png")) == [
        *("2.png", "A/1.png", "B/1.png"),
    ]
    given = drawn.paired(drawn.read(tmp_path / "masks"), Images(("A/1", "B/1", "2")))
    assert {image_id: square_of(a.mask())[0] for image_id, a in given.items()} == {"A/1": 0, "B/1": 1, "2": 2}
    for name in ("../1", "/1", "a//1", ""):
        with pytest.raises(UserError, match="expected one that can be a file's name"):
            drawn.mask_folder.write_one(name, blob(), tmp_path)
    with pytest.raises(UserError, match=r"image '\./A.*1\.png': .*image 0 and .*image 1"):
        drawn.read(write(tmp_path / "b.json", file_names(a="A/1.png", b="./A\\1.png")))


def test_images_of_the_folder_are_paired_as_files_are(tmp_path):
    for n, name in enumerate(("A/1.png", "B/1.png")):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "pictures" / name), np.zeros((50 + n, 40), np.uint8))
    content = {
        f"{folder}/1.png": {"filename": f"{folder}/1.png", "regions": via_json([SQUARE])["1377.png123"]["regions"]}
        for folder in "BA"
    }
    path = write(tmp_path / "a.json", content)
    convert.convert(path, tmp_path / "b.json", folder=tmp_path / "pictures")
    assert {a.file: a.height for a in drawn.read(tmp_path / "b.json")} == {"A/1.png": 50, "B/1.png": 51}
    content["A/1.png"]["filename"] = "1.png"
    with pytest.raises(UserError, match=r"no image '1\.png'; of that name there is A/1\.png, B/1\.png"):
        convert.convert(write(path, content), tmp_path / "c.json", folder=tmp_path / "pictures")


def folder_of(tmp_path, *parts):
    """A folder with a mask, its picture, COCO, Labelme, VIA or Pascal VOC files."""
    point = [{"label": "capitate", "points": [[1, 2]], "shape_type": "point"}]
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox>"
    content = {
        "mask": lambda: cv2.imwrite(str(tmp_path / "1377.png"), blob().astype(np.uint8) * 255),
        "nested mask": lambda: cv2.imwrite(str(tmp_path / "masks/1377.png"), blob().astype(np.uint8) * 255),
        "coco": lambda: write(tmp_path / "coco.json", coco()),
        "labelme": lambda: write(tmp_path / "1377.json", labelme(point)),
        "labelme of another": lambda: write(tmp_path / "1377.json", labelme(point, imagePath="1377.jpg")),
        "via": lambda: write(
            tmp_path / "via.csv",
            'filename,region_shape_attributes,region_attributes\n9.png,"{""name"":""point"",""cx"":1,""cy"":2}","{}"\n',
        ),
        "voc": lambda: write(
            tmp_path / "1377.xml",
            f"<annotation><filename>x/1377.png</filename><object><name>U</name>{box}</object></annotation>",
        ),
        "voc of another": lambda: write(
            tmp_path / "8.xml", f"<annotation><object><name>U</name>{box}</object></annotation>"
        ),
        "pictures": lambda: [
            cv2.imwrite(str(tmp_path / f"{n}.png"), np.tile(np.arange(80, dtype=np.uint8) * 3, (96, 1)))
            for n in range(3)
        ],
        "zip": lambda: zipfile.ZipFile(tmp_path / "more.zip", "w").writestr("1.png", b"x"),
        "table": lambda: write(tmp_path / "labels.csv", "id,male\n1377,1\n"),
    }
    (tmp_path / "masks").mkdir()
    for part in parts:
        content[part]()
    return tmp_path


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        (["mask", "table"], 1),
        (["mask", "labelme"], 1),
        (["mask", "voc"], 1),
        (["mask", "labelme", "pictures"], 1),
        (["coco", "pictures"], 1),
        (["labelme", "voc of another", "via", "table"], 3),
    ],
)
def test_folders_of_several_kinds_are_put_together(tmp_path, parts, count):
    """A picture that lies beside the Labelme or Pascal VOC file that names it is the radiograph, not a mask."""
    found = drawn.read(folder_of(tmp_path, *parts))
    assert len(found) == count
    assert sum(a.has_mask for a in found) == (parts == ["mask", "table"])


@pytest.mark.parametrize(
    "parts",
    [
        ["mask", "coco"],
        ["nested mask", "coco"],
        ["mask", "labelme of another"],
        ["nested mask", "labelme"],
        ["mask", "via"],
        ["mask", "voc of another"],
    ],
)
def test_masks_beside_other_annotations_are_not_dropped(tmp_path, parts):
    with pytest.raises(
        UserError, match=r"found 1 images, among them .*1377\.png, which may be a mask, beside 1 annotation files"
    ):
        drawn.read(folder_of(tmp_path, *parts))


@pytest.mark.parametrize("parts", [["mask", "zip"], ["labelme", "zip"]])
def test_zips_beside_annotations_are_not_dropped(tmp_path, parts):
    with pytest.raises(UserError, match=r"more\.zip: a zip\nUnpack"):
        drawn.read(folder_of(tmp_path, *parts))


def test_one_image_in_two_files_is_named(tmp_path):
    with pytest.raises(UserError, match=r"image '1377\.png': .*1377\.xml: file and .*1377\.json: file"):
        drawn.read(folder_of(tmp_path, "labelme", "voc"))


def test_fingerprints_follow_what_is_drawn():
    def of(**changes):
        return AnnotatedLabels((dataclasses.replace(Annotation("1.png", 80, 96, outlines_of(blob())), **changes),))

    same = {of().fingerprint, of().among(Images(("1", "2"))).fingerprint, of(width=0).fingerprint}
    assert len(same) == 1
    other = {of(file="2.png").fingerprint, of(runs=(runs.of_mask(blob()),)).fingerprint, of(outlines=()).fingerprint}
    assert len(other | same) == 4


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "images",
                        "annotations",
                        "id",
                        "image_id",
                        "regions",
                        "shapes",
                        "points",
                        "filename",
                        "segmentation",
                        "size",
                        "counts",
                        "keypoints",
                        "bbox",
                        "label",
                        "shape_attributes",
                        "name",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_read_or_told(tmp_path, content):
    try:
        found = drawn.read(
            write(
                tmp_path / "a.json", {"images": [], "annotations": [], **(content if isinstance(content, dict) else {})}
            )
        )
    except UserError as error:
        told = str(error)
    else:
        told = "a.json" if isinstance(found, list) else ""
    assert "a.json" in told


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


@pytest.mark.parametrize("path", ["1.png", "..\\B\\1.png", None])
def test_paths_of_labelme_files_go_from_their_own_folders(tmp_path, path):
    shapes = [{"label": "hand", "points": [[1, 2], [30, 2], [5, 40]]}]
    for folder, name in (("A", "1.png"), ("B", path)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.json").write_text(json.dumps(labelme(shapes, imagePath=name)))
        cv2.imwrite(str(tmp_path / folder / "1.png"), np.tile(np.arange(80, dtype=np.uint8) * 3, (96, 1)))
    assert [a.file for a in drawn.read(tmp_path)] == ["A/1.png", "B/1.png"]


@pytest.mark.parametrize("path", ["/scans/me/1.png", "C:\\me\\1.png"])
def test_absolute_paths_of_labelme_files_stay(tmp_path, path):
    (tmp_path / "A").mkdir()
    content = labelme([{"label": "hand", "points": [[1, 2], [30, 2], [5, 40]]}], imagePath=path)
    (tmp_path / "A" / "1.json").write_text(json.dumps(content))
    assert [a.file for a in drawn.read(tmp_path)] == [path.replace("\\", "/")]


def test_a_new_format_is_one_declaration(tmp_path, monkeypatch):
    """One file, `points`, and one line: as docs/how-to/extend.md shows it."""
    monkeypatch.setattr(reading, "FORMATS", (*reading.FORMATS, points.FORMAT))
    write(tmp_path / "1377.points", "capitate 12 34\nthumb tip 5 6.5\n")
    assert one(tmp_path / "1377.points").points == {"capitate": (12.0, 34.0), "thumb tip": (5.0, 6.5)}
    write(tmp_path / "coco.json", coco() | {"images": [{"id": 7, "file_name": "1400.png", "width": 80, "height": 96}]})
    assert [a.id for a in drawn.read(tmp_path)] == ["1377", "1400"]
    with pytest.raises(UserError, match=r"expected a \.json, \.xml, \.csv or \.points file"):
        drawn.read(write(tmp_path / "a.txt", ""))
    with pytest.raises(UserError, match=r"1377\.points: file: "):
        drawn.read(write(tmp_path / "1377.points", "capitate 12 x\n"))
