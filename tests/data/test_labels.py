"""Label tables in every published spelling, and what is said of bad rows."""

import io
import math

import openpyxl
import pytest

from boneage_jax.data.labels import Label, OtherTable, parse_sex, read_whole_table
from boneage_jax.errors import UserError
from tests.conftest import REAL, needs_real

SPELLINGS = {
    "train": "id,boneage,male\n1377,180,False\n1378,12,True\n",
    "validation": "Image ID,male,Bone Age (months)\n1377,FALSE,180\n1378,TRUE,12\n",
    "test": "Case ID,Sex,Ground truth bone age (months)\n1377,F,180.0\n1378,M,12.0\n",
    "deeplasia": "image_ID,dir,patient_ID,sex,bone_age\n1377,a,p1,Female,180\n1378,b,p2,Male,12\n",
    "rhpe": "ID,Male,Boneage,Chronological\n1377,False,180,190\n1378,True,12,11\n",
    "digital hand atlas": "id,gender,reading1,reading2\n1377.jpg,F,14.5,15.5\n1378.jpg,M,1,1\n",
    "its categories": "Image ID;Category;Bone age (years)\n1377;ASIF14;15\n1378;hism;1.0\n",
    "semicolons": "\ufeffid;boneage;male\r\n1377;180;0\r\n1378;12;1\r\n",
    "file names": "file,male,months\n1377.png,no,180\n1378.png,yes,12\n",
}


def read_table(name, data):
    """Good rows, and what is said of bad ones."""
    table = read_whole_table(name, data)
    return table.labels, table.offenders


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings(spelling):
    labels, offenders = read_table("t.csv", SPELLINGS[spelling].encode())
    assert not offenders
    assert [(x.id, x.months, x.male) for x in labels] == [("1377", 180, False), ("1378", 12, True)]


def test_years_that_are_none():
    labels, offenders = read_table("t.csv", b"id,gender,reading1,reading2\n1,F,14,x\n2,F,21,20\n3,BLKX,1,1\n4,F,2,3\n")
    assert [x.months for x in labels] == [30.0]
    for line, reason in zip(offenders, ("'x' is not a number", "outside 0 to 20 years", "unknown sex"), strict=True):
        assert reason in line


def test_kaggles_test_table_has_no_ages():
    labels, offenders = read_table("boneage-test-dataset.csv", b"Case ID,Sex\n4360,M\n")
    assert not offenders
    assert math.isnan(labels[0].months)


def test_xlsx():
    book = openpyxl.Workbook()
    for row in [["Case ID", "Sex", "Ground truth bone age (months)"], [4360, "M", 168.93], [4361, "F", 24]]:
        book.active.append(row)
    data = io.BytesIO()
    book.save(data)
    labels, offenders = read_table("Bone age ground truth.xlsx", data.getvalue())
    assert not offenders
    assert [(x.id, x.months, x.male) for x in labels] == [("4360", 168.93, True), ("4361", 24.0, False)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,abc,True", "bone age 'abc' is not a number"),
        ("1,,True", "bone age '' is not a number"),
        ("1,241,True", "outside 0 to 240"),
        ("1,-1,True", "outside 0 to 240"),
        ("1,nan,True", "bone age 'nan' is not a number"),
        ("1,1_0,True", "bone age '1_0' is not a number"),
        ("1,#N/A,True", "bone age '#N/A' is not a number"),
        ("1,=B2+1,True", "found the formula '=B2+1' without its value"),
        ("=A2,12,True", "the id is the formula '=A2' without its value"),
        ("1,12,5,True", "unknown sex '5'"),
        ("1,12,True,5", "found 4 cells, expected the header's 3"),
        ("1,12,x", "unknown sex 'x'"),
        (",12,True", "no id"),
        ("9,12,True", "duplicate id '9', first in row 2"),
        ("9.0,12,True", "duplicate id '9', first in row 2"),
        ("9.png,12,True", "duplicate id '9', first in row 2"),
    ],
)
def test_offending_rows_are_named(row, reason):
    labels, offenders = read_table("t.csv", f"id,boneage,male\n9,12,True\n{row}\n".encode())
    assert len(labels) == 1
    assert len(offenders) == 1
    assert offenders[0].startswith("t.csv, row 3: ")
    assert reason in offenders[0]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "id,boneage,male\n", "id,boneage\n1,2\n"])
def test_tables_that_cannot_be_used(text):
    with pytest.raises(UserError, match=r"t\.csv"):
        read_table("t.csv", text.encode())


@pytest.mark.parametrize("text", ["1", "0", "1.0", "true", "FALSE", "no", "2"])
def test_numbers_in_a_column_that_is_called_sex_are_not_guessed(text):
    """1 is male for some and female for others; in a column that is called male there is no doubt."""
    labels, offenders = read_table("t.csv", f"id,boneage,sex\n1,12,{text}\n".encode())
    assert not labels
    assert f"{text!r}" in offenders[0]
    assert "expected M or F" in offenders[0]


def test_columns_of_sex_that_contradict_each_other():
    labels, offenders = read_table(
        "t.csv", b"id,boneage,male,sex\n1,12,True,M\n2,12,True,F\n3,12,,F\n4,12,0,\n5,12,,\n"
    )
    assert [(x.id, x.male) for x in labels] == [("1", True), ("3", False), ("4", False)]
    assert "row 3: the columns 'male' and 'sex' contradict each other" in offenders[0]
    assert "row 6: unknown sex ''" in offenders[1]


def test_rows_without_a_sex_are_taken_where_a_file_may_say_it():
    table = read_whole_table("t.csv", b"id,boneage\n1,12\n", sex_needed=False)
    assert [x.male for x in table.labels] == [None]
    assert (table.ages, table.sexes) == ("'boneage' in months", "")
    table = read_whole_table("t.csv", b"id,boneage,male\n1,12,\n2,12,1\n3,12,x\n", sex_needed=False)
    assert [x.male for x in table.labels] == [None, True]
    assert "unknown sex 'x'" in table.offenders[0]
    with pytest.raises(OtherTable, match="found the columns 'id', 'height'"):
        read_whole_table("t.csv", b"id,height\n1,12\n", sex_needed=False)


def test_what_a_row_says_besides():
    labels, _ = read_table("t.csv", b"path,male,months,split,Patient ID\nclinic\\017.PNG,1,12,Val,p1\n")
    assert labels == [Label("clinic/017", 12.0, True, "val", 2, "clinic\\017.PNG", "p1")]


def test_sex():
    assert [parse_sex(text) for text in (" m ", "TRUE", "Female", "0", "1.0", "0.0", "1,0", "0.")] == [
        *(True, True, False, False),
        *(True, False, True, False),
    ]
    with pytest.raises(ValueError, match="unknown sex"):
        parse_sex("2")


@needs_real
@pytest.mark.parametrize(
    ("name", "count", "male", "mean"),
    [("train", 12611, 6833, 127.3), ("validation", 1425, 773, 127.2), ("test", 200, 100, 132.1)],
)
def test_the_real_tables(name, count, male, mean):
    labels, offenders = read_table(f"{name}.csv", (REAL / "rsna" / f"{name}.csv").read_bytes())
    assert not offenders
    assert (len(labels), sum(x.male for x in labels)) == (count, male)
    assert sum(x.months for x in labels) / count == pytest.approx(mean, abs=0.05)
