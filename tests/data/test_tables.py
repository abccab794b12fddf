"""Tables as programs write them: any line ends, letters, separators and sheets; what is none is told in one message."""

import codecs
import csv
import io
import re
import zipfile

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.data import labels, tables
from boneage_jax.data.tables import xlsx as xlsx_format
from boneage_jax.errors import UserError
from tests.data import json_lines

ROWS = [["id", "boneage", "male"], ["1377", "120.5", "1"], ["1378", "12", "0"]]
PLAIN = "id,boneage,male\n1377,120.5,1\n1378,12,0\n"
GERMAN = "id;boneage;male\n1377;120,5;1,0\n1378;12;0,0\n"


def read_table(name, data):
    """Good rows, and what is said of bad ones."""
    table = labels.read_whole_table(name, data)
    return table.labels, table.offenders


CSV = {
    "plain": PLAIN.encode(),
    "CR LF": PLAIN.replace("\n", "\r\n").encode(),
    "CR alone": PLAIN.replace("\n", "\r").encode(),
    "no line end at the end": PLAIN.strip().encode(),
    "UTF-8 with its mark": codecs.BOM_UTF8 + PLAIN.encode(),
    "UTF-16 LE with its mark": codecs.BOM_UTF16_LE + PLAIN.encode("utf-16-le"),
    "UTF-16 BE with its mark": codecs.BOM_UTF16_BE + PLAIN.replace("\n", "\r\n").encode("utf-16-be"),
    "UTF-32 with its mark": codecs.BOM_UTF32_LE + PLAIN.encode("utf-32-le"),
    "decimal commas": GERMAN.encode(),
    "line of the separator": b"sep=;\r\n" + GERMAN.replace("\n", "\r\n").encode(),
    "line of the separator, quoted": b'"sep=;"\n' + GERMAN.encode(),
    "line of the separator, tab": b"sep=\t\n" + PLAIN.replace(",", "\t").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "bars": PLAIN.replace(",", "|").encode(),
    "all quoted": b'"id","boneage","male"\n"1377","120.5","1"\n"1378","12","0"\n',
    "quoted decimal comma": b'id,boneage,male\n1377,"120,5",1\n1378,12,0\n',
    "separators at the end": b"id,boneage,male,,\n1377,120.5,1,,\n1378,12,0,,\n",
    "blank lines": b"\n\nid,boneage,male\n\n1377,120.5,1\n,,\n   \n1378,12,0\n\n",
    "blanks in the header and around": b' id , Bone Age (months) ,male\n 1377, 120.5, 1.0\n1378 , "12",0.0\n',
    "floats of pandas": b"id,boneage,male\n1377.0,120.5,1.0\n1378.0,12.0,0.0\n",
    "a comma in a name of the header": b'id;"boneage";"notes, if any";male\n1377;120,5;"a, b; c";1\n1378;12;;0\n',
    "a line end within a cell": b'id,notes,boneage,male\n1377,"one\ntwo",120.5,1\n1378,,12,0\n',
    "Windows letters": "id,Röntgen,boneage,male\n1377,ü,120.5,1\n1378,ß,12,0\n".encode("cp1252"),
    "a cell of 200,000 letters": b"id,notes,boneage,male\n1377," + b"x" * 200_000 + b",120.5,1\n1378,,12,0\n",
}


@pytest.mark.parametrize("kind", CSV)
def test_csv(kind):
    found, offenders = read_table("t.csv", CSV[kind])
    assert not offenders
    assert [(x.id, x.months, x.male) for x in found] == [("1377", 120.5, True), ("1378", 12.0, False)]


def test_reading_leaves_pythons_limit_as_it_was():
    before = csv.field_size_limit()
    tables.read("t.csv", CSV["a cell of 200,000 letters"])
    assert csv.field_size_limit() == before


def test_rows_are_numbered_as_an_editor_counts_lines():
    """Whatever stands above them: blank lines, the separator's line, cells of several lines."""
    table = tables.read("t.csv", b'sep=;\n\nid;notes\n1;"a\nb"\n\n2;c\n')
    assert table.rows == [(4, ["1", "a\nb"]), (7, ["2", "c"])]


@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=8), min_size=3, max_size=3), max_size=6)
)
def test_what_python_writes_comes_back(body):
    for separator in ",;\t|":
        file = io.StringIO()
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([["id", "b", "c"], *body])
        table = tables.read("t.csv", file.getvalue().encode())
        assert [cells for _, cells in table.rows] == [row for row in body if any(cell.strip() for cell in row)]


def xlsx(*sheets, names=None):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for n, rows in enumerate(sheets):
        sheet = book.create_sheet((names or [f"sheet {n}"] * len(sheets))[n])
        for row in rows:
            sheet.append(row)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def changed(data, pattern, replacement, name="xl/worksheets/sheet1.xml"):
    """The spreadsheet with text of a sheet replaced, as other programs would have written it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == name:
                content, count = re.subn(pattern, replacement, content)
                assert count
            target.writestr(info.filename, content)
    return out.getvalue()


VALUES = [["id", "boneage", "male"], [1377, 120.5, True], [1378, 12, False]]
XLSX = {
    "plain": xlsx(VALUES),
    "a stated size that is too small": changed(xlsx(VALUES), rb'<dimension ref="[^"]*"', b'<dimension ref="A1"'),
    "no stated size": changed(xlsx(VALUES), rb"<dimension [^>]*/>", b""),
    "another sheet first": xlsx([["read me"], ["nothing here"]], [[]], VALUES, names=["about", "empty", "labels"]),
    "empty rows and columns": xlsx(
        [[], [], ["id", None, "boneage", "male"], [1377, None, 120.5, 1], [], [1378, "", 12, 0]]
    ),
    "text for numbers": xlsx([["id", "boneage", "male"], ["1377", "120,5", "1.0"], ["01378", "12", "0.0"]]),
}


@pytest.mark.parametrize("kind", XLSX)
def test_xlsx(kind):
    # The content tells, not the name.
    for name in ("t.xlsx", "t.csv"):
        found, offenders = read_table(name, XLSX[kind])
        assert not offenders
        assert [(x.id.lstrip("0"), x.months, x.male) for x in found] == [("1377", 120.5, True), ("1378", 12.0, False)]


def test_rows_of_a_spreadsheet_have_its_own_numbers():
    table = tables.read("t.xlsx", XLSX["empty rows and columns"])
    assert [n for n, _ in table.rows] == [4, 6]
    assert tables.read("t.xlsx", XLSX["another sheet first"], labels.is_label_table).sheet == "labels"


def test_formulas_without_a_value_are_named():
    """The library writes formulas alone; a spreadsheet program that saves the file puts the value beside each."""
    data = xlsx([["id", "boneage", "male", "notes"], [1377, "=10*12", True, "=1/0"], [1378, 12, False, None]])
    found, offenders = read_table("t.xlsx", data)
    assert [x.id for x in found] == ["1378"]
    assert offenders == [
        "t.xlsx, row 2: found the formula '=10*12' without its value; open the table in a spreadsheet and save it"
    ]
    valued = changed(data, rb"<f>10\*12</f><v ?/>|<f>10\*12</f><v></v>", b"<f>10*12</f><v>120</v>")
    found, offenders = read_table("t.xlsx", valued)
    assert not offenders
    assert found[0].months == 120.0


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("t.csv", b"", "the table is empty"),
        ("t.csv", b"\n \n,,,\n", "the table is empty"),
        ("t.xlsx", xlsx([]), "the table is empty"),
        ("t.csv", b"id,boneage,male\n1,\0,1\n", r"found the character '\\x00', so not a text table"),
        ("t.csv", PLAIN.encode("utf-16-le"), r"found the character '\\x00'"),
        ("t.csv", codecs.BOM_UTF16_LE + b"odd", "not text"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text table|not text"),
        ("t.csv", b"\x81\x8d\x8f", "not text"),
        ("t.csv", b'id,boneage,male\n1,12,1\n2,"12,1\n3,12,1\n', "line 3: cannot be read as CSV"),
        ("t.csv", b'id,boneage,male\n1,"12"x,1\n', "line 2: cannot be read as CSV"),
        ("t.csv", b"id,boneage,male\n1," + b"9" * (1 << 24) + b"9,1\n", "line 2: cannot be read as CSV .*field larger"),
        ("t.xlsx", b"id,boneage,male\n", "not a readable XLSX table"),
        ("t.xlsx", xlsx(VALUES)[:-200], "not a readable XLSX table"),
        ("t.xlsx", b"PK\3\4 not really", "not a readable XLSX table"),
        ("t.xlsx", changed(xlsx(VALUES), rb"<sheetData>", b"<sheetData"), "not a readable XLSX table"),
        ("t.xlsx", changed(xlsx(VALUES), rb'<row r="3"', b'<row r="99999999999"'), "found over 1048576 rows"),
        ("t.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "protected by a password or of the old kind"),
        ("t.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "protected by a password or of the old kind"),
    ],
)
def test_what_is_no_table_is_told_in_one_message(name, data, reason):
    with pytest.raises(UserError, match=f"t\\.(csv|xlsx).*({reason})"):
        read_table(name, data)


def test_spreadsheets_that_unpack_without_end(monkeypatch):
    monkeypatch.setattr(xlsx_format, "_MAX_UNPACKED", 1000)
    with pytest.raises(UserError, match="it unpacks to"):
        tables.read("t.xlsx", xlsx(VALUES))


@given(st.binary(max_size=300) | st.integers(0, 400).map(lambda n: XLSX["plain"][:n] + b"\0" + XLSX["plain"][n + 1 :]))
def test_whatever_comes_is_read_or_told(data):
    for name in ("t.csv", "t.xlsx"):
        try:
            read_table(name, data)
        except UserError as error:
            told = str(error)
        else:
            told = ""
        assert told.startswith("t.") or not told


def test_a_new_format_is_one_declaration(monkeypatch):
    """One file, `json_lines`, and one line: as docs/how-to/extend.md shows it."""
    monkeypatch.setattr(tables, "FORMATS", (json_lines.FORMAT, *tables.FORMATS))
    data = b'{"id": 1377, "boneage": 120.5, "male": true}\n{"id": 1378, "boneage": 250, "male": false}\n'
    found, offenders = read_table("t.jsonl", data)
    assert [(x.id, x.months, x.male) for x in found] == [("1377", 120.5, True)]
    assert offenders == ["t.jsonl, row 2: bone age '250' is outside 0 to 240 months"]
    with pytest.raises(UserError, match=r"t\.jsonl: not JSON Lines"):
        read_table("t.jsonl", b"{1377}")
    assert read_table("t.csv", PLAIN.encode())[0][0].id == "1377"
