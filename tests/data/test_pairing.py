"""Every spelling of a path that names a file finds it; nothing else does; and what is ambiguous is said."""

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.data import images, pairing
from boneage_jax.data.pairing import Index, Row, ids_of, pair
from boneage_jax.errors import UserError


def found(cell, shown, root="", **options):
    return [shown[n] for n in Index(shown, root).find(cell, **options)]


FILES = ["clinicA/1.png", "clinicB/1.png", "clinicB/2.PNG", "deep/clinicA/3.png", "00017.png", "18.jpg", "0018.jpg"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("clinicA/1.png", ["clinicA/1.png"]),
        ("clinicA/1", ["clinicA/1.png"]),
        ("clinicA\\1.png", ["clinicA/1.png"]),
        (".\\clinicA\\1.PNG", ["clinicA/1.png"]),
        ("./clinicA/./1.png", ["clinicA/1.png"]),
        ("clinicA//1.png ", ["clinicA/1.png"]),
        ("clinicC/../clinicA/1.png", ["clinicA/1.png"]),
        ("clinicA/1.0", ["clinicA/1.png"]),
        ("clinicA/001", ["clinicA/1.png"]),
        ("clinicA/1.dcm", ["clinicA/1.png"]),
        ("1.png", ["clinicA/1.png", "clinicB/1.png"]),
        ("1", ["clinicA/1.png", "clinicB/1.png"]),
        ("2.png", ["clinicB/2.PNG"]),
        ("2", ["clinicB/2.PNG"]),
        ("clinicA/3.png", ["deep/clinicA/3.png"]),
        ("17", ["00017.png"]),
        ("17.0", ["00017.png"]),
        ("17,0", ["00017.png"]),
        ("00017", ["00017.png"]),
        ("17.png", ["00017.png"]),
        ("18", ["18.jpg"]),
        ("18.0", ["18.jpg"]),
        ("0018", ["0018.jpg"]),
        ("018", ["18.jpg", "0018.jpg"]),
        ("clinicA/2.png", []),
        ("elsewhere/00017.png", ["00017.png"]),
        ("17.5", []),
        ("1.png.txt", []),
        ("", []),
        (".", []),
        ("9" * 5000, []),
    ],
)
def test_what_a_cell_names(cell, expected):
    assert found(cell, FILES) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("radiographs/clinicA/1.png", ["clinicA/1.png"]),
        ("/data/radiographs/clinicA/1.png", ["clinicA/1.png"]),
        ("C:\\of another computer\\radiographs\\clinicA\\1.png", ["clinicA/1.png"]),
        ("radiographs/00017.png", ["00017.png"]),
        ("elsewhere/00017.png", []),
        ("other/clinicA/1.png", []),
        ("17", ["00017.png"]),
    ],
)
def test_paths_that_begin_above_the_folder_go_through_its_name(cell, expected):
    assert found(cell, FILES, "/data/radiographs") == expected


def test_each_file_may_have_its_own_root():
    """As for `predict clinicA clinicB`: both show `1.png`."""
    index = Index(["1.png", "1.png"], ["/data/clinicA", "/data/clinicB"])
    assert index.find("clinicB/1.png") == [1]
    assert index.find("1.png") == [0, 1]
    assert index.find("clinicC/1.png") == []


def test_a_zip_is_the_folder_that_it_will_be():
    assert found("train/1.png", ["train.zip/1.png", "test.zip/1.png"]) == ["train.zip/1.png"]


def test_a_whole_path_wins_over_a_part_of_one():
    files = ["a/1.png", "b/a/1.png", "1.png"]
    assert found("a/1.png", files) == ["a/1.png"]
    assert found("1.png", files) == files
    assert found("./1.png", files) == ["1.png"]
    assert found("1.png", files, whole=True) == ["1.png"]


def test_names_with_points_are_whole():
    """As DICOM files are called by their UIDs."""
    files = ["1.2.840.113619.2.5", "1.2.840.113619.2.6", "1.2.840.113619.2.6.dcm"]
    assert found("1.2.840.113619.2.5", files) == files[:1]
    assert found("1.2.840.113619.2.6.dcm", files) == files[2:]
    assert ids_of(files[:2]) == files[:2]
    assert found("17.0", ["17.0.png", "17.png"]) == ["17.0.png"]


PART = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\.,"), min_size=1, max_size=5)
SPELLINGS = {
    "as it is": lambda path: path,
    "backslashes": lambda path: path.replace("/", "\\"),
    "from here": lambda path: f"./{path}",
    "blanks around": lambda path: f" {path}\t",
    "doubled": lambda path: path.replace("/", "//"),
    "suffix in capitals": lambda path: path.removesuffix(".png") + ".PNG",
    "without suffix": lambda path: path.removesuffix(".png"),
    "composed": lambda path: unicodedata.normalize("NFC", path),
    "decomposed": lambda path: unicodedata.normalize("NFD", path),
    "from above": lambda path: f"/root/{path}",
}


@given(st.lists(st.lists(PART, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8), st.data())
def test_any_spelling_of_a_path_finds_its_file_alone(paths, data):
    """Where several spellings are one file, NFC says so; numbers in several lengths are another law."""
    by_name = {unicodedata.normalize("NFC", path): f"{path}.png" for path in paths if not path[-1].isdecimal()}
    shown = list(by_name.values())
    if not shown:
        return
    n = data.draw(st.integers(0, len(shown) - 1))
    spelling = data.draw(st.sampled_from(sorted(SPELLINGS)))
    cell = SPELLINGS[spelling](shown[n])
    if posixpath.normpath(cell.strip().replace("\\", "/")).strip("/").startswith(".."):
        return
    assert Index(shown, "/root").find(cell, whole=True) == [n]


@given(st.integers(0, 99999), st.integers(0, 4), st.integers(0, 4), st.sampled_from(["", ".0", ",0", ".00"]))
def test_a_number_is_its_file_with_any_zeros_before_it(number, of_file, of_cell, tail):
    shown = [f"{'0' * of_file}{number}.png", f"{number + 1}.png"]
    assert Index(shown).find(f"{'0' * of_cell}{number}{tail}") == [0]


@given(st.lists(st.lists(PART, min_size=1, max_size=3).map("/".join), max_size=8, unique=True))
def test_ids_are_unique_and_names_where_these_are(paths):
    shown = [unicodedata.normalize("NFC", f"{path}.png") for path in paths]
    shown = list(dict.fromkeys(shown))
    ids = ids_of(shown)
    assert len(set(ids)) == len(ids)
    names = [path.rpartition("/")[2].removesuffix(".png") for path in shown]
    for path, name, image_id in zip(shown, names, ids, strict=True):
        assert image_id == (name if names.count(name) == 1 else path.removesuffix(".png"))


def test_ids_of_names_that_repeat():
    assert ids_of(["a/1.png", "b/1.png", "b/2.png"]) == ["a/1", "b/1", "2"]
    assert ids_of(["a/1.png", "a/1.jpg", "2.dcm"]) == ["a/1.png", "a/1.jpg", "2"]
    assert ids_of([unicodedata.normalize("NFD", "é.png")]) == ["é"]


def rows(*cells):
    return [Row(cell, f"t.csv, row {n}") for n, cell in enumerate(cells, 2)]


def test_pairs():
    index = Index(["a/1.png", "b/1.png", "b/2.png", "3.png"])
    pairs = pair(rows("a/1.png", "b\\1", "2", "4", "a/2.png"), index)
    assert pairs.files == (0, 1, 2, None, None)
    assert pairs.rows == (0, 1, 2, None)
    assert pairs.missing == (
        "t.csv, row 5: no image '4'",
        "t.csv, row 6: no image 'a/2.png'; of that name there is b/2.png",
    )
    assert pairs.wrong_folder == pairs.missing[1:]
    assert not pairs.ambiguous + pairs.twice


def test_one_name_in_two_folders_is_never_guessed():
    pairs = pair(rows("1.png", "2"), Index(["a/1.png", "b/1.png", "b/2.png"]))
    assert pairs.files == (None, 2)
    assert pairs.rows == (None, None, 1)
    assert pairs.ambiguous == ("t.csv, row 2: '1.png' may be a/1.png, b/1.png",)
    with pytest.raises(UserError, match=r"unclear \(1\):\n  t\.csv, row 2: '1\.png' may be a/1\.png, b/1\.png"):
        pairs.refuse_unclear("unclear")


@pytest.mark.parametrize("other", ["17.png", "17.0", "00017", "./17", "17.PNG", "17.jpg"])
def test_two_rows_at_one_file_are_both_named(other):
    pairs = pair(rows("17", other), Index(["17.png", "18.png"]))
    assert pairs.files == (None, None)
    assert pairs.rows == (None, None)
    assert pairs.twice == (f"17.png: named by t.csv, row 2 ('17'), t.csv, row 3 ({other!r})",)


def test_all_endings_of_pictures_are_known():
    assert set(images.IMAGE_SUFFIXES) <= set(pairing.PICTURE_SUFFIXES)
