"""Every layout that people have, and every way in which one can be broken."""

import math

import pytest

from boneage_jax.data import layouts
from boneage_jax.errors import UserError
from tests import rsna_layouts as make
from tests.conftest import REAL, needs_real

TRAIN, VALIDATION, TEST = make.children(6, 1377), make.children(4, 1386), make.children(4, 4360)


def read(root, **options):
    """Per split: id -> (months, male, bytes)."""
    with layouts.search(root, **options) as found:
        return {
            split: {r.label.id: (r.label.months, r.label.male, r.image.read()) for r in records}
            for split, records in found.records.items()
        }


def expected(some, shift=0.0):
    return {c.id: (c.months + shift, c.male, c.png) for c in some}


OFFICIAL = {"train": expected(TRAIN), "validation": expected(VALIDATION), "test": expected(TEST, 0.25)}


def test_official_folders(tmp_path):
    # Ids of splits may collide: each row's image is the one of its own split.
    assert read(make.official(tmp_path, TRAIN, VALIDATION, TEST)) == OFFICIAL


def test_official_zips_within_zips(tmp_path):
    unpacked = make.official(tmp_path / "unpacked", TRAIN, VALIDATION, TEST)
    assert read(make.zipped(tmp_path / "zips", unpacked)) == OFFICIAL


def test_kaggle_mirror(tmp_path):
    found = read(make.kaggle(tmp_path, TRAIN, TEST))
    assert found["train"] == expected(TRAIN)
    assert found["test"].keys() == {c.id for c in TEST}
    assert all(math.isnan(months) for months, _, _ in found["test"].values())


def test_rhpe(tmp_path):
    """Ids are those of the files, so that its key points, which name files, are found."""
    found = read(make.rhpe(tmp_path, TRAIN, VALIDATION, TEST))
    for split, some in (("train", TRAIN), ("validation", VALIDATION)):
        assert found[split] == {image_id.zfill(5): label for image_id, label in expected(some).items()}
    assert found["test"].keys() == {c.id.zfill(5) for c in TEST}
    assert all(math.isnan(months) for months, _, _ in found["test"].values())


def test_plain_folder(tmp_path):
    assert read(make.plain(tmp_path, TRAIN)) == {"train": expected(TRAIN), "validation": {}, "test": {}}


def test_plain_folder_with_a_split_column(tmp_path):
    make.write_images(tmp_path, TRAIN)
    rows = "".join(f"{c.id},{c.months},{c.male},{'test' if n < 2 else 'train'}\n" for n, c in enumerate(TRAIN))
    (tmp_path / "labels.csv").write_text("id,boneage,male,split\n" + rows)
    found = read(tmp_path)
    assert found["test"] == expected(TRAIN[:2])
    assert found["train"] == expected(TRAIN[2:])


@pytest.mark.parametrize("layout", ["official", "zipped"])
def test_reading_leaves_nothing_behind(tmp_path, layout):
    root = make.official(tmp_path / "unpacked", TRAIN, VALIDATION, TEST)
    if layout == "zipped":
        root = make.zipped(tmp_path / "zips", root)
    before = sorted(p for p in root.rglob("*"))
    read(root)
    assert sorted(p for p in root.rglob("*")) == before


def refused(root, **options):
    with pytest.raises(UserError) as error:
        read(root, **options)
    return str(error.value)


def test_a_row_without_an_image(tmp_path):
    make.plain(tmp_path, TRAIN)
    (tmp_path / f"{TRAIN[2].id}.png").unlink()
    message = refused(tmp_path)
    assert f"labels.csv, row 4: no image '{TRAIN[2].id}'" in message
    assert "--missing=skip" in message
    assert read(tmp_path, missing="skip")["train"].keys() == {c.id for c in TRAIN} - {TRAIN[2].id}


def test_an_image_without_a_row(tmp_path):
    make.plain(tmp_path, TRAIN)
    make.write_images(tmp_path, make.children(1, 9999))
    assert "9999.png: no row for this image" in refused(tmp_path)
    assert read(tmp_path, missing="skip")["train"] == expected(TRAIN)


def test_many_offenders_are_listed_and_counted(tmp_path):
    make.plain(tmp_path, make.children(30, 100))
    for n in range(100, 125):
        (tmp_path / f"{n}.png").unlink()
    message = refused(tmp_path)
    assert message.count("no image") == 20
    assert "(25):" in message
    assert "... and 5 more" in message


def test_duplicate_ids_in_the_table(tmp_path):
    make.plain(tmp_path, TRAIN)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(f"{TRAIN[0].id},12,True\n")
    assert f"row 8: duplicate id '{TRAIN[0].id}', first in row 2" in refused(tmp_path)


def test_two_images_for_one_id(tmp_path):
    make.plain(tmp_path, TRAIN)
    make.write_images(tmp_path / "again", TRAIN[:1])
    assert f"id '{TRAIN[0].id}': " in refused(tmp_path)


@pytest.mark.parametrize(("age", "sex"), [("abc", "True"), ("300", "True"), ("-4", "True"), ("12", "maybe")])
def test_bad_ages_and_sexes(tmp_path, age, sex):
    make.plain(tmp_path, TRAIN)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(f"7,{age},{sex}\n")
    message = refused(tmp_path)
    assert "labels.csv, row 8: " in message
    assert (age if sex == "True" else sex) in message


def test_no_table(tmp_path):
    make.write_images(tmp_path, TRAIN)
    assert "no label table found (6 images)" in refused(tmp_path)


def test_two_candidate_tables(tmp_path):
    make.plain(tmp_path, TRAIN)
    make.write_csv(tmp_path / "more.csv", TRAIN)
    message = refused(tmp_path)
    assert "2 label tables for the split 'train'" in message
    assert "labels.csv" in message
    assert "more.csv" in message


def test_no_such_folder(tmp_path):
    assert "no such folder" in refused(tmp_path / "nowhere")


def test_a_broken_zip(tmp_path):
    (tmp_path / "boneage-training-dataset.zip").write_bytes(b"PK not really")
    assert "not a readable zip" in refused(tmp_path)


@needs_real
def test_the_real_tables_with_what_images_there_are(tmp_path):
    """Three tables, three spellings, and three of 14,236 images."""
    for name in ("train.csv", "validation.csv", "test.csv"):
        (tmp_path / name).write_bytes((REAL / "rsna" / name).read_bytes())
    for source, name in (
        ("hand_1381/original.png", "1381"),
        ("hands/15600_masked.png", "15600"),
        ("hands/4556_registered.png", "4556"),
    ):
        (tmp_path / f"{name}.png").write_bytes((REAL / source).read_bytes())
    assert "(14233)" in refused(tmp_path)
    with layouts.search(tmp_path, missing="skip") as found:
        assert len(found.missing) == 14233
        records = {r.label.id: r.label for split in found.records.values() for r in split}
    assert {k: (v.months, v.male) for k, v in records.items()} == {
        "1381": (82.0, False),
        "15600": (144.0, False),
        "4556": pytest.approx((129.0, False), abs=0.6),
    }
