"""The TFDS builders: lossless, the same bytes for any number of workers, readable by TFDS, whole or not at all."""

import concurrent.futures
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from boneage_jax import anatomy
from boneage_jax.data import annotations as drawn
from boneage_jax.data import describe, folds, images
from boneage_jax.data.examples import View
from boneage_jax.data.sources import INDEX, Dataset
from boneage_jax.errors import UserError
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest
from tests import rsna_layouts as make
from tests.conftest import REAL, needs_real
from tests.data.test_tree import zipped

TRAIN, VALIDATION, TEST = make.children(10, 1377), make.children(6, 1386), make.children(4, 4360)


@pytest.fixture
def download(tmp_path):
    return make.official(tmp_path / "rsna", TRAIN, VALIDATION, TEST)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_are_kept_as_they_are(download, tmp_path):
    """Grey, colour, alpha, 16-bit and JPEG files come back byte for byte, in TFDS's reader too."""
    import tensorflow_datasets as tfds

    generator = np.random.default_rng(0)
    folder = download / "boneage-training-dataset"
    kinds = {
        "2001.png": generator.integers(0, 256, (20, 16, 3), dtype=np.uint8),
        "2002.png": generator.integers(0, 256, (20, 16, 4), dtype=np.uint8),
        "2003.png": generator.integers(0, 65536, (20, 16), dtype=np.uint16),
        "2004.jpg": generator.integers(0, 256, (20, 16), dtype=np.uint8),
    }
    for name, picture in kinds.items():
        cv2.imwrite(str(folder / name), picture)
    with (download / "train.csv").open("a") as file:
        file.writelines(f"{name[:4]},100,True\n" for name in kinds)
    dataset = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=1))
    assert dataset.splits == {"train": 14, "validation": 6, "test": 4}
    records = dataset.split("train")
    files = {p.stem: p for p in folder.iterdir()}
    for n, image_id in enumerate(records.ids()):
        row = records.row(n)
        assert row["image"] == files[image_id].read_bytes()
        grey = images.read(files[image_id])
        np.testing.assert_array_equal(records[n]["image"], grey)
        assert (row["height"], row["width"]) == grey.shape
        assert row["source"].decode().endswith(files[image_id].name)
    by_tfds = tfds.builder_from_directory(str(dataset.path)).as_data_source(split="validation")
    for row in by_tfds:
        (child,) = [c for c in VALIDATION if c.id == row["id"].decode()]
        np.testing.assert_array_equal(row["image"].squeeze(), images.decode(child.png))
        assert (row["bone_age"], row["male"]) == (child.months, child.male)


@pytest.mark.integration
def test_the_number_of_workers_does_not_show(download, tmp_path):
    for workers in (1, 3):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / f"rsna{workers}", source=download, workers=workers))
        build.build(
            BuildRequest(
                "hand_phantom/tiny",
                out=tmp_path / f"phantom{workers}",
                workers=workers,
                counts={"train": 9, "validation": 2, "test": 2},
            )
        )
    for name in ("rsna", "phantom"):
        one, three = contents(tmp_path / f"{name}1"), contents(tmp_path / f"{name}3")
        assert one.keys() == three.keys()
        assert any("array_record" in path for path in one)
        for path in one:
            # TFDS notes the folder that it was given.
            assert (
                one[path].replace(b"1", b"") == three[path].replace(b"3", b"").replace(b"1", b"")
                or one[path] == three[path]
            ), path


@pytest.mark.parametrize("encoding", ["png", "jpeg", "raw"])
def test_small_and_cheap_to_decode(download, tmp_path, encoding):
    dataset = build.build(
        BuildRequest(
            "rsna_bone_age", out=tmp_path / "data", source=download, workers=1, size=(24, 24), encoding=encoding
        )
    )
    assert dataset.name == f"rsna_bone_age/24x24_{'jpeg95' if encoding == 'jpeg' else encoding}"
    records = dataset.split("test")
    by_id = {c.id: c for c in TEST}
    for n, image_id in enumerate(records.ids()):
        expected = images.fit(images.decode(by_id[image_id].png), 24, 24)
        difference = np.abs(records[n]["image"].astype(int) - expected)
        assert difference.max() <= (40 if encoding == "jpeg" else 0)
        row = records.row(n)
        assert (row["height"], row["width"]) == (40, 32)


def test_phantom_features(phantoms):
    records = phantoms.split("test")
    row = records.row(0)
    mask = images.decode(row["mask"])
    assert mask.shape == records[0]["image"].shape == (192, 144)
    assert set(np.unique(mask)) == {0, 255}
    assert row["key_points"].shape == (len(anatomy.KEY_POINTS), 2)
    assert row["bone_maturity"].shape == (len(anatomy.BONES),)
    assert set(phantoms.features) == {
        "image", "id", "bone_age", "true_bone_age", "male", "height", "width", "source",
        "mask", "instances", "key_points", "joints", "areas", "regions", "bone_maturity",
    }  # fmt: skip


def test_phantoms_carry_their_truth(phantoms):
    """Every bone, joint and area, and a label that a reader gave: less noisy in the test split."""
    row = phantoms.split("train").row(0)
    instances = images.decode(row["instances"])
    assert instances.shape == (192, 144)
    assert instances.max() <= len(anatomy.INSTANCES)
    assert (images.decode(row["mask"])[instances > 0] == 255).mean() > 0.99
    assert row["joints"].shape == (len(anatomy.JOINTS), 2)
    assert row["areas"].shape == (len(anatomy.OSSIFICATION_AREAS), 4)
    assert row["regions"].shape == (len(anatomy.CANVAS_REGIONS), 4, 2)
    errors = {}
    for split in ("train", "test"):
        records = phantoms.split(split)
        rows = [records.row(n) for n in range(len(records))]
        errors[split] = np.std([row["bone_age"] - row["true_bone_age"] for row in rows])
    assert 4.5 < errors["train"] < 9.5
    assert 1.5 < errors["test"] < 4.5


@pytest.mark.integration
def test_raw_phantoms_come_in_several_shapes(tmp_path):
    counts = {"train": 2, "validation": 1, "test": 1}
    records = build.build(BuildRequest("hand_phantom/raw", out=tmp_path, workers=2, counts=counts)).split("train")
    shapes = [images.decode(records.row(n)["image"]).shape for n in range(2)]
    assert shapes == [(records.row(n)["height"], records.row(n)["width"]) for n in range(2)]
    assert len(set(shapes)) == 2
    with pytest.raises(UserError, match="at least 64 pixels"):
        build.build(BuildRequest("hand_phantom/raw", out=tmp_path, workers=1, size=(48, 64), counts=counts))


def test_a_built_dataset_is_not_built_again(download, tmp_path):
    first = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=1))
    before = {p: p.stat().st_mtime_ns for p in first.path.iterdir()}
    again = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=1))
    assert again == first
    assert {p: p.stat().st_mtime_ns for p in first.path.iterdir()} == before


def test_fingerprints_follow_the_records(download, tmp_path):
    a = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "a", source=download, workers=1))
    b = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "b", source=download, workers=1))
    assert a.fingerprint == b.fingerprint
    (download / "boneage-training-dataset" / "1377.png").write_bytes(make.children(1, 5000)[0].png)
    c = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "c", source=download, workers=1))
    assert c.fingerprint != a.fingerprint


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n\x1a\n not really", TRAIN[0].png[:-40]])
def test_corrupt_images_are_named_and_nothing_stays(download, tmp_path, damage):
    for name in ("1378", "1380"):
        (download / "boneage-training-dataset" / f"{name}.png").write_bytes(damage)
    with pytest.raises(UserError) as error:
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=2))
    message = str(error.value)
    assert "(2)" in message
    assert "boneage-training-dataset/1378.png: " in message
    assert "boneage-training-dataset/1380.png: " in message
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


def test_a_failed_build_leaves_finished_ones_alone(download, tmp_path):
    """Also under a folder that is itself called .config, as TFDS calls its notes."""
    data = tmp_path / ".config" / "data"
    done = build.build(BuildRequest("rsna_bone_age/full", out=data, source=download, workers=1))
    before = contents(done.path)
    (download / "boneage-training-dataset" / "1378.png").write_bytes(b"")
    with pytest.raises(UserError, match="1378"):
        build.build(BuildRequest("rsna_bone_age/small", out=data, source=download, workers=1))
    assert contents(done.path) == before


def dicom_of(picture, sex=""):
    """The bytes of a DICOM file."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.PatientSex = sex
    dataset.Rows, dataset.Columns = picture.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = picture.tobytes()
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def pillow_of(picture, kind, orientation=1):
    """The bytes of a picture in one of Pillow's formats."""
    image, file = Image.fromarray(picture), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(
        file, kind, **({"exif": exif} if orientation != 1 else {}), **({"lossless": True} if kind == "WEBP" else {})
    )
    return file.getvalue()


PICTURE = np.arange(20 * 16, dtype=np.uint8).reshape(20, 16)
STORED = {
    "DICOM": ("1.dcm", lambda: dicom_of(PICTURE), None),
    "DICOM without an ending": ("1.2.840.7", lambda: dicom_of(PICTURE), None),
    "TIFF": ("1.tif", lambda: pillow_of(PICTURE, "TIFF"), None),
    "BMP": ("1.bmp", lambda: pillow_of(PICTURE, "BMP"), None),
    "WebP": ("1.webp", lambda: pillow_of(PICTURE, "WEBP"), None),
    "PNG that is turned": ("1.png", lambda: pillow_of(np.rot90(PICTURE), "PNG", 6), None),
    "upright PNG": ("1.png", lambda: pillow_of(PICTURE, "PNG"), "its own"),
    "JPEG that is turned": ("1.jpg", lambda: pillow_of(np.rot90(PICTURE), "JPEG", 6), None),
    "upright JPEG": ("1.jpg", lambda: pillow_of(PICTURE, "JPEG"), "its own"),
}


@pytest.mark.parametrize("kind", STORED)
def test_every_format_is_stored_so_that_every_reader_sees_it_upright(tmp_path, kind):
    import tensorflow_datasets as tfds

    name, make_data, kept = STORED[kind]
    data = make_data()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_bytes(data)
    (tmp_path / "set" / "t.csv").write_text(f"id,boneage,male\n{name},12,True\n")
    dataset = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=tmp_path / "set", workers=1))
    records = dataset.split("train")
    row = records.row(0)
    assert (row["image"] == data) == (kept == "its own")
    assert (row["height"], row["width"]) == (20, 16)
    largest = 12 if "JPEG" in kind else 0
    assert np.abs(records[0]["image"].astype(int) - PICTURE).max() <= largest
    (by_tfds,) = tfds.builder_from_directory(str(dataset.path)).as_data_source(split="train")
    np.testing.assert_array_equal(by_tfds["image"].squeeze(), records[0]["image"])


def test_sexes_of_dicom_headers(tmp_path):
    """They count where the table says nothing; one that contradicts the table is refused by name."""
    root = tmp_path / "set"
    root.mkdir()
    for name, sex in (("1", "M"), ("2", "F"), ("3", "O"), ("4", "")):
        (root / f"{name}.dcm").write_bytes(dicom_of(PICTURE, sex))
    (root / "t.csv").write_text("id,boneage,male\n1,12,\n2,12,False\n3,12,1\n4,12,0\n")
    records = build.build(
        BuildRequest("rsna_bone_age", out=tmp_path / "a", source=root, workers=1, validation=0)
    ).split("train")
    assert dict(zip(records.ids(), records.labels()[1], strict=True)) == {"1": True, "2": False, "3": True, "4": False}
    (root / "t.csv").write_text("id,boneage,male\n1,12,0\n2,12,False\n3,12,1\n4,12,\n")
    with pytest.raises(UserError) as error:
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "b", source=root, workers=1))
    message = str(error.value)
    assert "1.dcm: the sexes contradict each other: M in the DICOM header, F in t.csv, row 2" in message
    assert "4.dcm: no sex, neither in t.csv, row 5 nor in a DICOM header" in message
    (root / "t.csv").write_text("id,boneage\n1,12\n2,12\n")
    (root / "3.dcm").unlink()
    (root / "4.dcm").unlink()
    records = build.build(
        BuildRequest("rsna_bone_age", out=tmp_path / "c", source=root, workers=1, validation=0)
    ).split("train")
    assert dict(zip(records.ids(), records.labels()[1], strict=True)) == {"1": True, "2": False}


def test_children_of_one_file_name_are_two_records(tmp_path):
    root = tmp_path / "set"
    for name, child in (("A", TRAIN[0]), ("B", TRAIN[1]), ("C", TRAIN[2])):
        make.write_images(root / name, [child])
        (root / name / f"{child.id}.png").rename(root / name / ("1.png" if name != "C" else "2.png"))
    rows = "".join(f"{name}/1.png,{c.months},{c.male}\n" for name, c in (("A", TRAIN[0]), ("B", TRAIN[1])))
    (root / "t.csv").write_text(f"id,boneage,male\n{rows}2.png,{TRAIN[2].months},{TRAIN[2].male}\n")
    records = build.build(
        BuildRequest("rsna_bone_age", out=tmp_path / "data", source=root, workers=1, validation=0)
    ).split("train")
    assert {image_id: records.row(n)["image"] for n, image_id in enumerate(records.ids())} == {
        "A/1": TRAIN[0].png,
        "B/1": TRAIN[1].png,
        "2": TRAIN[2].png,
    }


def test_validation_is_dealt_where_there_is_none(tmp_path, capsys):
    """What `train` asks for is there, said aloud, noted in the dataset, and not changed behind the user's back."""
    root = make.kaggle(tmp_path / "kaggle", make.children(40, 100), TEST)
    dataset = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=root, workers=1))
    assert dataset.splits.keys() == {"train", "validation", "test"}
    assert dataset.splits["train"] + dataset.splits["validation"] == 40
    said = capsys.readouterr().err
    assert "no table and no folder names a validation split" in said
    assert "no ages, so nothing that learns or scores ages" in said
    note = json.loads((dataset.path / "metadata.json").read_text())["validation"]
    assert note["share"] == 0.08
    assert (
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=root, workers=1, validation=0.08))
        == dataset
    )
    with pytest.raises(UserError, match=r"already built with --validation 0\.08, asked for 0\.5"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=root, workers=1, validation=0.5))
    none = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "none", source=root, workers=1, validation=0))
    assert none.splits == {"train": 40, "test": 4}
    assert none.fingerprint != dataset.fingerprint
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="expected a share from 0"):
            build.build(BuildRequest("rsna_bone_age", out=tmp_path / "bad", source=root, workers=1, validation=share))
    with pytest.raises(UserError, match="phantoms have a validation split"):
        build.build(BuildRequest("hand_phantom/tiny", out=tmp_path / "bad", workers=1, validation=0.1))


def test_validation_that_the_data_name_is_not_touched(download, tmp_path):
    usual = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "a", source=download, workers=1))
    other = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "b", source=download, workers=1, validation=0.5))
    assert usual.fingerprint == other.fingerprint
    assert (
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "a", source=download, workers=1, validation=0.3))
        == usual
    )
    assert json.loads((usual.path / "metadata.json").read_text())["validation"] == {"named": True}


def test_a_zip_is_built_as_it_is(download, tmp_path):
    with zipfile.ZipFile(tmp_path / "rsna.zip", "w") as archive:
        for path in sorted(p for p in download.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(download.parent))
    packed = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "a", source=tmp_path / "rsna.zip", workers=2))
    assert packed.splits == {"train": 10, "validation": 6, "test": 4}
    with pytest.raises(UserError, match="no such folder"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "b", source=tmp_path / "none.zip", workers=1))


def test_damage_in_zips_is_named(download, tmp_path):
    folder = download / "boneage-training-dataset"
    data = zipped({path.name: path.read_bytes() for path in folder.iterdir()}, zipfile.ZIP_STORED)
    shutil.rmtree(folder)
    (download / "boneage-training-dataset.zip").write_bytes(data.replace(TRAIN[3].png[60:80], bytes(20)))
    with pytest.raises(UserError, match=rf"\(1\):\n  boneage-training-dataset\.zip/{TRAIN[3].id}\.png: .*Bad CRC-32"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=2))


@needs_real
def test_real_radiographs_as_they_are_unpacked(tmp_path):
    """A few dozen of each split of the real set, whose folders and tables name the validation split."""
    script = REAL / "rsna299" / "unpack.py"
    subprocess.run([sys.executable, script, "--out", tmp_path, "--only", "24"], check=True, capture_output=True)
    dataset = build.build(
        BuildRequest("rsna_bone_age", out=tmp_path / "data", source=tmp_path / "radiographs", workers=2)
    )
    assert dataset.splits == {"train": 24, "validation": 24}
    assert json.loads((dataset.path / "metadata.json").read_text())["validation"] == {"named": True}
    masks, points = (tuple(drawn.read(tmp_path / "annotations" / name)) for name in ("masks", "key_points.json"))
    view = View(64, 48, layers=("key_points",), labels=drawn.AnnotatedLabels(points=points))
    splits = [dataset.split(split, view) for split in dataset.splits]
    found = [records[n]["key_points"] for records in splits for n in range(len(records))]
    assert len(found) == len(points) == 19
    assert all((placed > -1).all() and (placed < [48, 64]).all() for placed in found)
    assert len(masks) == 24
    for annotation in masks:
        path = next((tmp_path / "radiographs").rglob(f"{annotation.id}.png"))
        assert annotation.mask(images.read(path).shape).any()
    with pytest.raises(UserError, match="may be a mask, beside 1 annotation files"):
        drawn.read(tmp_path / "annotations")


def test_parts_of_splits(phantoms):
    assert len(phantoms.split("train[:25%]")) == 18
    with pytest.raises(UserError, match="no split 'holdout'; expected one of"):
        phantoms.split("holdout")


def test_the_index_says_what_the_records_say(phantoms):
    whole, part = phantoms.split("train"), phantoms.split("train[:100%]")
    assert (phantoms.path / INDEX).exists()
    rows = [whole.row(n) for n in range(len(whole))]
    for records in (whole, part):
        ages, male = records.labels()
        np.testing.assert_array_equal(ages, np.array([r["bone_age"] for r in rows], np.float32))
        np.testing.assert_array_equal(male, [r["male"] for r in rows])
        assert records.ids() == [r["id"].decode() for r in rows]


def test_unknown_names(tmp_path):
    with pytest.raises(UserError, match="unknown dataset 'imagenet'"):
        build.build(BuildRequest("imagenet", out=tmp_path, workers=1))
    with pytest.raises(UserError, match="unknown config 'huge'"):
        build.build(BuildRequest("hand_phantom/huge", out=tmp_path, workers=1))
    with pytest.raises(UserError, match="nothing is built there"):
        Dataset.open(tmp_path, "hand_phantom/tiny")
    with pytest.raises(UserError, match="needs a fixed --size"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path, source=tmp_path, workers=1, encoding="raw"))


def test_description(phantoms, data_dir):
    text = describe.as_text(describe.describe(data_dir, phantoms.name))
    assert "train" in text
    assert "72" in text
    assert io.StringIO(describe.as_json(describe.describe(data_dir, phantoms.name))).read().startswith("{")


def clinics(root):
    """Two children of one number: one in training, one in test, in folders that name no split."""
    for folder, child in (("clinicA", TRAIN[0]), ("clinicB", TRAIN[1])):
        (root / folder).mkdir(parents=True)
        (root / folder / "1.png").write_bytes(child.png)
        (root / folder / "2.png").write_bytes(child.png)
    rows = [f"clinic{c}/{n}.png,{100 + n},1,{split}" for c, split in (("A", "train"), ("B", "test")) for n in (1, 2)]
    (root / "labels.csv").write_text("\n".join(["id,boneage,male,split", *rows]) + "\n")
    return build.build(BuildRequest("rsna_bone_age", out=root.parent / "data", source=root, workers=1, validation=0))


def masks_in(folder, *names):
    """Masks by path, each with another row of pixels."""
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((40, 32), np.uint8)
        mask[n] = 255
        cv2.imwrite(str(folder / name), mask)
    return drawn.AnnotatedLabels(tuple(drawn.read(folder)))


def masked(dataset, labels):
    """By split and id the row of pixels that its mask has."""
    found = {}
    for split in dataset.splits:
        records = dataset.split(split, View(64, 48, layers=("hand",), labels=labels))
        found |= {(split, i): int(np.flatnonzero(records.mask(n))[0] // 32) for n, i in enumerate(records.ids())}
    return found


AGE = {"new": None, "without paths in its index": "source", "without index": "all"}


def aged(dataset, age):
    """The dataset as it was built by earlier versions."""
    index = json.loads((dataset.path / INDEX).read_text())
    if age == "all":
        (dataset.path / INDEX).unlink()
    elif age:
        (dataset.path / INDEX).write_text(
            json.dumps({split: {k: v for k, v in said.items() if k != age} for split, said in index.items()})
        )
    return dataset


@pytest.mark.parametrize("age", AGE)
def test_annotations_of_two_splits_are_told_apart_by_their_folders(tmp_path, age):
    dataset = aged(clinics(tmp_path / "set"), AGE[age])
    assert masked(dataset, masks_in(tmp_path / "a", "clinicA/1.png")) == {("train", "clinicA/1"): 0}
    assert masked(dataset, masks_in(tmp_path / "b", "clinicB/1.png")) == {("test", "clinicB/1"): 0}
    both = masks_in(tmp_path / "c", "x/clinicA/1.png", "x/clinicB/1.png")
    assert masked(dataset, both) == {("train", "clinicA/1"): 0, ("test", "clinicB/1"): 1}
    for n, (names, reason) in enumerate(
        {
            ("1.png",): r"no image '1\.png'; of that name there is clinic./1\.png, clinic./1\.png",
            ("clinicC/1.png",): r"no image 'clinicC/1\.png'; of that name there is",
            ("clinicA/1.png", "clinicB/2.png", "clinicC/2.png"): r"no image 'clinicC/2\.png'",
        }.items()
    ):
        with pytest.raises(UserError, match=reason):
            masked(dataset, masks_in(tmp_path / f"bad{n}", *names))
    more = masks_in(tmp_path / "d", "clinicA/1.png", "clinicB/1.png", "clinicC/1.png")
    assert masked(dataset, more) == {("train", "clinicA/1"): 0, ("test", "clinicB/1"): 1}


@pytest.mark.parametrize("age", AGE)
def test_patients_by_path_of_all_splits(tmp_path, age):
    dataset = aged(clinics(tmp_path / "set"), AGE[age])
    (tmp_path / "pat.csv").write_text(
        "id,patient\nclinicA/1.png,p1\nclinicA/2.png,p1\nclinicB/1.png,p2\nclinicB/2.png,p3\n"
    )
    patients = folds.read_patients(tmp_path / "pat.csv")
    for split, child in (("train", {"p1"}), ("test", {"p2", "p3"})):
        kept = [dataset.split(split, View(fold=folds.Fold(5, k, True, patients))).ids() for k in range(5)]
        assert sorted(i for ids in kept for i in ids) == sorted(dataset.split(split).ids())
        assert sum(map(bool, kept)) == len({k for c in child for k in range(5) if folds.Fold(5, k, True).keeps(c)})


def test_masks_by_number_are_of_the_split_that_is_read(tmp_path):
    """RSNA's numbers overlap: masks of the training images go by these alone."""
    overlapping = make.children(4, int(TRAIN[3].id), seed=5)
    root = make.official(tmp_path / "rsna", TRAIN, make.children(2, 9000), overlapping)
    dataset = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=root, workers=1))
    assert set(dataset.split("train").ids()) & set(dataset.split("test").ids()) == {c.id for c in overlapping}
    name = TRAIN[3].id
    assert ("train", name) in masked(dataset, masks_in(tmp_path / "a", f"{name}.png"))
    by_path = masks_in(tmp_path / "b", f"boneage-training-dataset/{name}.png")
    assert masked(dataset, by_path) == {("train", name): 0}
    mixed = masks_in(tmp_path / "c", f"{name}.png", "boneage-training-dataset/1377.png")
    with pytest.raises(UserError, match=rf"'{name}\.png' may be .*Test Set Images/{name}\.png"):
        masked(dataset, mixed)


def test_another_source_under_the_same_name_is_refused(download, tmp_path, capsys):
    dataset = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=1))
    moved = download.rename(tmp_path / "moved")
    capsys.readouterr()
    assert build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=moved, workers=1)) == dataset
    assert capsys.readouterr().err == f"already built: {dataset.path}\n"
    other = make.plain(tmp_path / "other", TRAIN)
    with pytest.raises(UserError, match=r"already built from 'rsna', .*other; choose another --out, or remove"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=other, workers=1))
    table = moved / "train.csv"
    table.write_text(table.read_text().replace("True", "Male", 1))
    with pytest.raises(UserError, match="already built from 'rsna'"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=moved, workers=1))
    note = dataset.path / "metadata.json"
    note.write_text(json.dumps({k: v for k, v in json.loads(note.read_text()).items() if k != "source"}))
    capsys.readouterr()
    build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=other, workers=1))
    assert capsys.readouterr().err == f"already built: {dataset.path}\n"


def test_sources_that_are_files(download, tmp_path):
    (download / "DICOMDIR").write_bytes(b"")
    dataset = build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download / "DICOMDIR", workers=1))
    assert dataset.splits == {"train": 10, "validation": 6, "test": 4}
    with pytest.raises(UserError, match=r"train\.csv: a file; expected a folder or a zip"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "b", source=download / "train.csv", workers=1))


def test_nothing_of_a_failed_build_stays(download, tmp_path):
    (download / "boneage-training-dataset" / "1378.png").write_bytes(b"")
    with pytest.raises(UserError, match="1378"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "new" / "data", source=download, workers=1))
    assert not (tmp_path / "new").exists()


def test_folders_that_array_record_cannot_write_to(download, tmp_path):
    out = tmp_path / "n\udcff"
    with pytest.raises(UserError, match=r"n\\xff: this folder's name is not UTF-8.*choose another --out"):
        build.build(BuildRequest("rsna_bone_age", out=out, source=download, workers=1))
    assert not out.exists()


def test_what_a_killed_builder_left_is_no_dataset_and_goes(download, tmp_path):
    """TFDS's folder of unfinished versions, all its files in it, as at a kill right before it is renamed."""
    request = BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=1)
    built = build.build(request)
    whole = contents(built.path)
    unfinished = built.path.rename(built.path.with_name(f"incomplete.ABC123_{built.path.name}"))
    with pytest.raises(UserError, match=r"no such dataset .nothing is built there"):
        Dataset.open(tmp_path / "data", built.name)
    assert contents(build.build(request).path) == whole
    assert not unfinished.exists()


def test_two_builders_of_one_dataset(download, tmp_path, monkeypatch):
    """The second is told, and touches nothing of the first, which has written nothing yet."""
    monkeypatch.setattr(build, "_LOCK_SECONDS", 0.1)
    request = BuildRequest("rsna_bone_age/full", out=tmp_path / "data", source=download, workers=1)
    place = tmp_path / "data" / "rsna_bone_age" / "full"
    with build.alone(place):
        (place / "incomplete.ABC123_1.0.0").mkdir()
        with pytest.raises(build.DatasetInUse, match="another command builds this dataset now"):
            build.build(request)
        assert (place / "incomplete.ABC123_1.0.0").is_dir()
    assert build.DatasetInUse.exit_status == 77
    assert build.build(request).splits == {"train": 10, "validation": 6, "test": 4}


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "labels.json"])
@pytest.mark.parametrize("damage", [b"", b'{"splits": [{"name"', b"\xff\xfe"])
def test_damage_beside_the_records_is_named(download, tmp_path, name, damage):
    request = BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=1)
    built = build.build(request)
    (built.path / name).write_bytes(damage)
    with pytest.raises(UserError, match=rf"{name}: damaged, not what was written there"):
        Dataset.open(tmp_path / "data", built.name).split("train").ids()
    if name != "labels.json":
        with pytest.raises(UserError, match=rf"{name}: damaged, not what was written there"):
            build.build(request)


@pytest.mark.parametrize("damage", ["emptied", "truncated", "flipped"])
def test_damaged_records_are_named(download, tmp_path, damage):
    """Cut short, or with a byte changed anywhere in a record's data: array_record knows by its hashes."""
    request = BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=1)
    built = build.build(request)
    (shard,) = built.path.glob("*train.array_record*")
    whole = shard.read_bytes()
    at = whole.index(TRAIN[3].png[40:60])
    damaged = {"emptied": b"", "truncated": whole[:at], "flipped": whole[:at] + b"?" + whole[at + 1 :]}
    shard.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"the records of the split 'train' are damaged \(.*build the dataset again"):
        [Dataset.open(tmp_path / "data", built.name).split("train").row(n) for n in range(10)]


def test_a_worker_that_is_killed_is_named(download, tmp_path, monkeypatch):
    """As by a kernel out of memory: the process that reads the images ends at once, without a word."""
    monkeypatch.setattr(concurrent.futures.ProcessPoolExecutor, "submit", _killed)
    with pytest.raises(UserError, match=r"a worker process was ended from outside.*fewer --workers"):
        build.build(BuildRequest("rsna_bone_age", out=tmp_path / "data", source=download, workers=2))
    assert not (tmp_path / "data").exists()


SUBMIT = concurrent.futures.ProcessPoolExecutor.submit


def _killed(pool, *_):
    return SUBMIT(pool, os._exit, 9)
