"""The TFDS builders: lossless, the same bytes for any number of workers, readable by TFDS, whole or not at all."""

import io
import pathlib

import cv2
import numpy as np
import pytest

from boneage_jax import anatomy
from boneage_jax.data import build, images
from boneage_jax.data.sources import INDEX, Dataset
from boneage_jax.errors import UserError
from tests import rsna_layouts as make

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
    dataset = build.build("rsna_bone_age", tmp_path / "data", source=download, workers=1)
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


def test_the_number_of_workers_does_not_show(download, tmp_path):
    for workers in (1, 3):
        build.build("rsna_bone_age", tmp_path / f"rsna{workers}", source=download, workers=workers)
        build.build(
            "hand_phantom/tiny",
            tmp_path / f"phantom{workers}",
            workers=workers,
            counts={"train": 9, "validation": 2, "test": 2},
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
        "rsna_bone_age", tmp_path / "data", source=download, workers=1, size=(24, 24), encoding=encoding
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


def test_raw_phantoms_come_in_several_shapes(tmp_path):
    counts = {"train": 2, "validation": 1, "test": 1}
    records = build.build("hand_phantom/raw", tmp_path, workers=2, counts=counts).split("train")
    shapes = [images.decode(records.row(n)["image"]).shape for n in range(2)]
    assert shapes == [(records.row(n)["height"], records.row(n)["width"]) for n in range(2)]
    assert len(set(shapes)) == 2
    with pytest.raises(UserError, match="at least 64 pixels"):
        build.build("hand_phantom/raw", tmp_path, workers=1, size=(48, 64), counts=counts)


def test_a_built_dataset_is_not_built_again(download, tmp_path):
    first = build.build("rsna_bone_age", tmp_path / "data", source=download, workers=1)
    before = {p: p.stat().st_mtime_ns for p in first.path.iterdir()}
    again = build.build("rsna_bone_age", tmp_path / "data", source=download, workers=1)
    assert again == first
    assert {p: p.stat().st_mtime_ns for p in first.path.iterdir()} == before


def test_fingerprints_follow_the_records(download, tmp_path):
    a = build.build("rsna_bone_age", tmp_path / "a", source=download, workers=1)
    b = build.build("rsna_bone_age", tmp_path / "b", source=download, workers=1)
    assert a.fingerprint == b.fingerprint
    (download / "boneage-training-dataset" / "1377.png").write_bytes(make.children(1, 5000)[0].png)
    c = build.build("rsna_bone_age", tmp_path / "c", source=download, workers=1)
    assert c.fingerprint != a.fingerprint


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n\x1a\n not really", TRAIN[0].png[:-40]])
def test_corrupt_images_are_named_and_nothing_stays(download, tmp_path, damage):
    for name in ("1378", "1380"):
        (download / "boneage-training-dataset" / f"{name}.png").write_bytes(damage)
    with pytest.raises(UserError) as error:
        build.build("rsna_bone_age", tmp_path / "data", source=download, workers=2)
    message = str(error.value)
    assert "(2)" in message
    assert "boneage-training-dataset/1378.png: " in message
    assert "boneage-training-dataset/1380.png: " in message
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


def test_a_failed_build_leaves_finished_ones_alone(download, tmp_path):
    """Also under a folder that is itself called .config, as TFDS calls its notes."""
    data = tmp_path / ".config" / "data"
    done = build.build("rsna_bone_age/full", data, source=download, workers=1)
    before = contents(done.path)
    (download / "boneage-training-dataset" / "1378.png").write_bytes(b"")
    with pytest.raises(UserError, match="1378"):
        build.build("rsna_bone_age/small", data, source=download, workers=1)
    assert contents(done.path) == before


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
        build.build("imagenet", tmp_path, workers=1)
    with pytest.raises(UserError, match="unknown config 'huge'"):
        build.build("hand_phantom/huge", tmp_path, workers=1)
    with pytest.raises(UserError, match="nothing is built there"):
        Dataset.open(tmp_path, "hand_phantom/tiny")
    with pytest.raises(UserError, match="needs a fixed --size"):
        build.build("rsna_bone_age", tmp_path, source=tmp_path, workers=1, encoding="raw")


def test_description(phantoms, data_dir):
    text = build.as_text(build.describe(data_dir, phantoms.name))
    assert "train" in text
    assert "72" in text
    assert io.StringIO(build.as_json(build.describe(data_dir, phantoms.name))).read().startswith("{")
