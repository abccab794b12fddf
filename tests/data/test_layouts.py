"""Every layout that people have, and every way in which one can be broken."""

import dataclasses
import hashlib
import math
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.data import layouts
from boneage_jax.data.labels import Label
from boneage_jax.data.tree import FileRef
from boneage_jax.errors import UserError
from tests import rsna_layouts as make
from tests.conftest import REAL, needs_real
from tests.data.test_tree import patched, zipped

TRAIN, VALIDATION, TEST = make.children(6, 1377), make.children(4, 1386), make.children(4, 4360)


def read(root, **options):
    """Per split: id -> (months, male, bytes). Nothing is dealt, unless asked for."""
    with layouts.search(root, **{"validation": 0, **options}) as found:
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
    name = f"{TRAIN[0].id}.png"
    assert f"labels.csv, row 2: '{TRAIN[0].id}' may be {name}, again/{name}" in refused(tmp_path)


@pytest.mark.parametrize(("age", "sex"), [("abc", "True"), ("300", "True"), ("-4", "True"), ("12", "maybe")])
def test_bad_ages_and_sexes(tmp_path, age, sex):
    make.plain(tmp_path, TRAIN)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(f"7,{age},{sex}\n")
    message = refused(tmp_path)
    assert "labels.csv, row 8: " in message
    assert (age if sex == "True" else sex) in message


@pytest.mark.parametrize("header", ["id,boneage,male", "id,boneage"])
def test_rows_without_a_sex_are_named_before_any_image_is_read(tmp_path, header):
    make.write_images(tmp_path, TRAIN[:2])
    blank = "," if header.endswith("male") else ""
    write_rows(tmp_path / "t.csv", [f"{c.id},12{blank}" for c in TRAIN[:2]], header)
    message = refused(tmp_path)
    assert f"(2):\n  t.csv, row 2: no sex, and {TRAIN[0].id}.png is no DICOM file" in message


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


def write_rows(path, rows, header="id,boneage,male"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def two_clinics(root):
    """The same file names in two folders: a girl of 100 months and a boy of 200."""
    for name, child in (("clinicA", TRAIN[0]), ("clinicB", TRAIN[1])):
        make.write_images(root / name, [dataclasses.replace(child, id="1")])
    return {"clinicA/1": (100.0, False, TRAIN[0].png), "clinicB/1": (200.0, True, TRAIN[1].png)}


@pytest.mark.parametrize("spelling", ["clinic{}/1.png", "./clinic{}/1.PNG", "clinic{}\\1", "data/clinic{}/001.png"])
def test_children_of_one_file_name_keep_their_own_sexes(tmp_path, spelling):
    expected_ids = two_clinics(tmp_path / "data")
    write_rows(tmp_path / "data" / "t.csv", [f"{spelling.format('B')},200,True", f"{spelling.format('A')},100,False"])
    assert read(tmp_path / "data")["train"] == expected_ids


def test_children_of_one_file_name_are_not_told_apart_by_it(tmp_path):
    two_clinics(tmp_path)
    write_rows(tmp_path / "t.csv", ["1,100,False"])
    assert "t.csv, row 2: '1' may be clinicA/1.png, clinicB/1.png" in refused(tmp_path)
    assert "may be" in refused(tmp_path, missing="skip")
    write_rows(tmp_path / "t.csv", ["clinicC/1.png,100,False", "clinicA/1,100,F", "clinicB/1,200,M"])
    assert "row 2: no image 'clinicC/1.png'; of that name there is clinicA/1.png, clinicB/1.png" in refused(tmp_path)


def test_rows_that_end_at_one_image(tmp_path):
    make.write_images(tmp_path, [dataclasses.replace(TRAIN[0], id="00017")])
    write_rows(tmp_path / "t.csv", ["17,100,False", "017,100,True"])
    assert "00017.png: named by t.csv, row 2 ('17'), t.csv, row 3 ('017')" in refused(tmp_path)


def test_an_image_in_another_splits_folder_is_another_childs(tmp_path):
    """RSNA's training and test numbers overlap: 4360 of the test is not 4360 of the training."""
    make.write_images(tmp_path / "boneage-test-dataset", TEST)
    make.write_images(tmp_path / "boneage-training-dataset", TRAIN)
    rows = [f"{c.id},{c.months},{c.male}" for c in TRAIN]
    write_rows(tmp_path / "boneage-training-dataset.csv", [*rows, f"{TEST[0].id},12,True"])
    assert f"row 8: no image '{TEST[0].id}'; of that name there is boneage-test-dataset/" in refused(tmp_path)
    assert read(tmp_path, missing="skip") == {"train": expected(TRAIN), "validation": {}, "test": {}}


def test_one_table_for_images_in_folders_of_splits(tmp_path):
    parts = {"train": TRAIN, "val": VALIDATION, "test": TEST}
    for name, some in parts.items():
        make.write_images(tmp_path / "images" / name, some)
    make.write_csv(tmp_path / "labels.csv", [*TRAIN, *VALIDATION, *TEST])
    assert read(tmp_path) == {name: expected(some) for name, some in zip(layouts.SPLITS, parts.values(), strict=True)}


def test_a_column_of_splits_parts_images_wherever_they_lie(tmp_path):
    make.write_images(tmp_path / "train_images", TRAIN)
    rows = [f"{c.id},{c.months},{c.male},{'Validation Set' if n < 2 else 'training'}" for n, c in enumerate(TRAIN)]
    write_rows(tmp_path / "t.csv", rows, "id,boneage,male,split")
    assert read(tmp_path) == {"train": expected(TRAIN[2:]), "validation": expected(TRAIN[:2]), "test": {}}
    write_rows(tmp_path / "t.csv", [rows[0].replace("Validation Set", "holdout")], "id,boneage,male,split")
    assert "row 2: unknown split 'holdout'" in refused(tmp_path)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("boneage-test-dataset", "test"),
        ("Bone Age Validation Set", "validation"),
        ("BoneAgeTestSet", "test"),
        ("RSNATraining", "train"),
        ("val", "validation"),
        ("train_1", "train"),
        ("train1", "train"),
        ("TRAIN", "train"),
        ("RHPE_Boneage_val.csv", "validation"),
        ("test.zip", "test"),
        ("test/train.csv", "train"),
        ("test/deep/er", "test"),
        ("latest", ""),
        ("contest_2017", ""),
        ("trainee", ""),
        ("invalid", ""),
        ("evaluation", ""),
        ("intervals", ""),
        ("attestation", ""),
        ("retrained", ""),
        ("train_test_split.csv", ""),
        ("test/train_test_split", "test"),
        ("", ""),
    ],
)
def test_splits_are_named_by_whole_words(path, split):
    assert layouts.split_of(path) == split


@pytest.mark.parametrize("folder", ["latest", "contest_2017", "trainee", "invalid"])
def test_folders_that_sound_like_splits(tmp_path, folder):
    make.plain(tmp_path / folder, TRAIN)
    assert read(tmp_path) == {"train": expected(TRAIN), "validation": {}, "test": {}}


def test_names_of_images_are_no_splits(tmp_path):
    some = [dataclasses.replace(c, id=f"{word}_{c.id}") for c, word in zip(TRAIN, ("test", "val") * 3, strict=True)]
    make.plain(tmp_path, some)
    assert read(tmp_path)["train"] == expected(some)


def test_the_outcome_is_told(tmp_path):
    with layouts.search(make.official(tmp_path, TRAIN, VALIDATION, TEST)) as found:
        lines = found.summary.splitlines()
    assert f"{tmp_path}: 14 images with labels" in lines[0]
    ages = [c.months for c in TRAIN]
    start = f"  train            6 images, 3 boys, {min(ages):g} to {max(ages):g} months, mean {sum(ages) / 6:.0f}; "
    assert lines[1] == start + "by the folder 'boneage-training-dataset'"
    assert "by the folder 'Bone Age Validation Set/boneage-validation-dataset-1' and 1 more" in lines[2]
    assert "  table train.csv: 6 rows; ages: 'boneage' in months; sex: 'male'" in lines
    assert not any("left out" in line or "dealt" in line for line in lines)


def test_tables_without_ages_are_told(tmp_path):
    with layouts.search(make.kaggle(tmp_path, TRAIN, TEST)) as found:
        assert "test             4 images, 2 boys, no ages, so nothing that learns or scores ages" in found.summary
        assert "boneage-test-dataset.csv: 4 rows; ages: no column of ages; sex: 'Sex'" in found.summary


@pytest.mark.parametrize("layout", ["kaggle", "plain", "training zip alone"])
def test_a_set_without_validation_gets_one(tmp_path, layout):
    some = make.children(60, 100)
    if layout == "kaggle":
        make.kaggle(tmp_path, some, TEST)
    elif layout == "plain":
        make.plain(tmp_path, some)
    else:
        unpacked = make.official(tmp_path / "unpacked", some, [], [])
        packed = make.zipped(tmp_path / "zips", unpacked)
        tmp_path = tmp_path / "only"
        tmp_path.mkdir()
        for name in ("boneage-training-dataset.zip", "boneage-training-dataset-annotations.zip"):
            (packed / name).rename(tmp_path / name)
    with layouts.search(tmp_path) as found:
        assert not found.named
        ids = {split: [r.label.id for r in records] for split, records in found.records.items()}
        assert "no table and no folder names a validation split" in found.summary
        assert "dealt from training" in found.summary
    assert sorted(ids["train"] + ids["validation"]) == sorted(c.id for c in some)
    # The same on every machine, by the definition alone.
    digests = {c.id: hashlib.sha256(f"validation {c.id}".encode()).hexdigest() for c in some}
    assert set(ids["validation"]) == {i for i, digest in digests.items() if int(digest, 16) / 16**64 < 0.08}
    assert read(tmp_path, validation=0)["validation"] == {}
    with layouts.search(tmp_path, validation=0) as found:
        assert "names a validation split, and none was dealt (--validation 0" in found.summary


@pytest.mark.parametrize("layout", ["official", "zipped", "rhpe", "column"])
def test_a_set_with_validation_keeps_it(tmp_path, layout):
    root = tmp_path / "a"
    if layout == "column":
        make.write_images(root, TRAIN)
        rows = [f"{c.id},{c.months},{c.male},{'val' if n < 2 else 'train'}" for n, c in enumerate(TRAIN)]
        write_rows(root / "t.csv", rows, "id,boneage,male,split")
    elif layout == "zipped":
        root = make.zipped(tmp_path / "zips", make.official(tmp_path / "unpacked", TRAIN, VALIDATION, TEST))
    else:
        getattr(make, layout)(root, TRAIN, VALIDATION, TEST)
    assert read(root) == read(root, validation=0.5)
    with layouts.search(root, validation=0.5) as found:
        assert found.named
        assert "dealt" not in found.summary


def records_of(children, patients=None):
    return [
        layouts.Record(
            FileRef(f"{child}.png", ""), Label(child, 12, True, "", 2, patient=(patients or {}).get(child, ""))
        )
        for child in children
    ]


@given(
    st.sets(st.text(min_size=1, max_size=5), max_size=60),
    st.floats(0, 1, exclude_max=True, exclude_min=True),
    st.data(),
)
def test_dealing(ids, share, data):
    """Each in one part; children whole; nobody changes sides when others come or go, but for the two that must."""
    patients = {image_id: data.draw(st.sampled_from(["p1", "p2", "p3", "p4", ""])) for image_id in ids}
    train, validation = layouts.deal(records_of(ids, patients), share)
    assert {r.label.id for r in train} | {r.label.id for r in validation} == ids
    assert len(train) + len(validation) == len(ids)
    children = [{r.label.patient or r.label.id for r in part} for part in (train, validation)]
    assert not children[0] & children[1]
    if len(children[0] | children[1]) > 1:
        assert train
        assert validation
    more = layouts.deal(records_of([*ids, "one more"], patients), share)
    moved = children[1] ^ {r.label.patient or r.label.id for r in more[1]}
    assert len(moved - {"one more"}) <= 1


def test_the_share_is_about_what_was_asked_for():
    train, validation = layouts.deal(records_of([str(n) for n in range(12611)]), layouts.VALIDATION_SHARE)
    assert len(train) + len(validation) == 12611
    # Five standard deviations of a binomial distribution about the paper's 1,000.
    assert abs(len(validation) - 0.08 * 12611) < 5 * (12611 * 0.08 * 0.92) ** 0.5


def test_patients_stay_together(tmp_path):
    some = make.children(40, 100)
    make.write_images(tmp_path, some)
    rows = [f"{c.id},{c.months},{c.male},p{n // 4}" for n, c in enumerate(some)]
    write_rows(tmp_path / "t.csv", rows, "image_ID,bone_age,male,patient_ID")
    with layouts.search(tmp_path, validation=0.3) as found:
        parts = [{r.label.patient for r in found.records[split]} for split in ("train", "validation")]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 10


def test_folders_that_are_links(tmp_path):
    make.write_images(tmp_path / "disk" / "boneage-training-dataset", TRAIN)
    make.write_csv(tmp_path / "rsna" / "train.csv", TRAIN)
    (tmp_path / "rsna" / "images").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "boneage-training-dataset" / "back").symlink_to(tmp_path / "rsna")
    assert read(tmp_path / "rsna")["train"] == expected(TRAIN)
    (tmp_path / "rsna" / "more").symlink_to(tmp_path / "nowhere")
    message = refused(tmp_path / "rsna")
    assert f"more: a link to {tmp_path}/nowhere: No such file or directory" in message
    assert "--missing=skip" in message
    with layouts.search(tmp_path / "rsna", missing="skip") as found:
        assert "more: a link to" in found.summary
        assert sum(map(len, found.records.values())) == 6


def test_encrypted_images_are_all_named(tmp_path):
    root = make.plain(tmp_path, TRAIN)
    data = zipped({"9.png": TRAIN[0].png, "8.png": TRAIN[1].png})
    (root / "more.zip").write_bytes(patched(data, "flags", 1))
    message = refused(root)
    assert "(2):" in message
    assert "more.zip/8.png: the zip's entry is encrypted" in message
    assert read(root, missing="skip")["train"] == expected(TRAIN)


def test_a_zip_alone_is_taken(tmp_path):
    make.plain(tmp_path / "set", TRAIN)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").iterdir()):
            archive.write(path, f"set/{path.name}")
    assert read(tmp_path / "set.zip")["train"] == expected(TRAIN)


def test_pictures_are_found_by_content(tmp_path):
    """DICOM files have no endings in many archives."""
    make.plain(tmp_path, TRAIN)
    for child, name in ((TRAIN[0], "1.2.840.1"), (TRAIN[1], "1.2.840.2"), (TRAIN[2], "IM000003")):
        (tmp_path / f"{child.id}.png").rename(tmp_path / name)
    (tmp_path / "README").write_text("BM: notes about these images")
    text = (tmp_path / "labels.csv").read_text()
    for child, name in ((TRAIN[0], "1.2.840.1"), (TRAIN[1], "1.2.840.2"), (TRAIN[2], "IM000003")):
        text = text.replace(f"{child.id},", f"{name},")
    (tmp_path / "labels.csv").write_text(text)
    assert read(tmp_path)["train"].keys() == {"1.2.840.1", "1.2.840.2", "IM000003", *(c.id for c in TRAIN[3:])}


def test_tables_of_other_things_are_left_aside_and_told(tmp_path):
    make.plain(tmp_path, TRAIN)
    write_rows(tmp_path / "sizes.csv", ["1377,40,32"], "id,height,width")
    (tmp_path / "~$labels.xlsx").write_bytes(b"lock")
    with layouts.search(tmp_path, validation=0) as found:
        assert "  sizes.csv: no label table, not used" in found.summary
        assert len(found.records["train"]) == 6
    (tmp_path / "labels.csv").unlink()
    assert "sizes.csv: found the columns 'id', 'height', 'width', expected an id and a sex" in refused(tmp_path)


def test_what_is_not_read_is_told(tmp_path):
    make.write_images(tmp_path, TRAIN)
    (tmp_path / "labels.xls").write_bytes(b"old")
    (tmp_path / "more.tar.gz").write_bytes(b"packed")
    assert "Not read: labels.xls, more.tar.gz; unpack archives, and save tables as CSV or XLSX" in refused(tmp_path)


@pytest.mark.integration
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
        assert "rows without an image (14233)" in found.summary
        assert found.named
        records = {r.label.id: r.label for split in found.records.values() for r in split}
    assert {k: (v.months, v.male) for k, v in records.items()} == {
        "1381": (82.0, False),
        "15600": (144.0, False),
        "4556": pytest.approx((129.0, False), abs=0.6),
    }


def test_sexes_that_headers_say_are_no_girls(tmp_path):
    for n in range(1, 4):
        (tmp_path / f"{n}.dcm").write_bytes(b"")
    (tmp_path / "t.csv").write_text("id,boneage,male\n1,12,1\n2,12,\n3,12,\n")
    with layouts.search(tmp_path, validation=0) as found:
        assert "3 images, 1 boy by the table, sex of 2 by the DICOM header, 12 to 12 months" in found.summary


def test_what_was_dealt_is_counted(tmp_path):
    some = make.children(40, 100)
    make.plain(tmp_path / "a", some)
    with layouts.search(tmp_path / "a", validation=0.001) as found:
        assert "1 of 40 training images became one, by a hash" in found.summary
    make.write_images(tmp_path / "b", some)
    rows = "".join(f"{c.id},12,1,p{n // 2}\n" for n, c in enumerate(some))
    (tmp_path / "b" / "t.csv").write_text(f"id,boneage,male,patient\n{rows}")
    with layouts.search(tmp_path / "b", validation=0.001) as found:
        assert "2 of 40 training images became one, of 1 of 20 children, by a hash" in found.summary


def test_a_note_follows_paths_sizes_and_tables(tmp_path):
    root = make.plain(tmp_path / "a", TRAIN)
    note = layouts.note_of(root)
    assert note["name"] == "a"
    assert layouts.note_of(root / "." / ".." / "a") == note
    picture = next(p for p in root.rglob("*.png"))
    digests = {note["digest"]}
    picture.write_bytes(picture.read_bytes() + b"x")
    digests.add(layouts.note_of(root)["digest"])
    picture.rename(picture.with_name("x.png"))
    digests.add(layouts.note_of(root)["digest"])
    table = next(p for p in root.rglob("*.csv"))
    table.write_text(table.read_text().replace("True", "TRUE", 1))
    digests.add(layouts.note_of(root)["digest"])
    assert len(digests) == 4
