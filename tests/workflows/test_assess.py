"""`boneage assess` on all kinds of input, with networks whose age in months is the image's mean."""

import csv
import dataclasses
import io
import os
import pathlib
import shutil
import tracemalloc
import urllib.parse
import zipfile

import cv2
import numpy as np
import pytest

from boneage_jax.data import images
from boneage_jax.errors import EXIT_PARTIAL, UserError
from boneage_jax.hand.age_ensemble import Ages, EnsembleAges
from boneage_jax.workflows import assess_command, pictures, radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.assessment import Assessment
from boneage_jax.workflows.flags import SEX_DIFFERS
from boneage_jax.workflows.requests import AssessRequest

pydicom = pytest.importorskip("pydicom")

from pydicom.data import get_testdata_file  # noqa: E402

from tests.dicom_files import dataset, written  # noqa: E402


class Means:
    """In place of trained networks: the mean of an image, and 100 months more for a boy."""

    regions, labels, members = (), (), ("whole radiograph",)

    def __init__(self, needs_sex=True):
        self.needs_sex = needs_sex

    def on_canvas(self, picture):
        return {}

    def predict(self, regions, images, males):
        months = np.array([image.mean() + 100 * bool(male) for image, male in zip(images, males, strict=True)])
        ages = Ages(months, np.ones(len(months)))
        return EnsembleAges(ages, (ages,))


@pytest.fixture(autouse=True)
def _means(monkeypatch):
    def init(self, request):
        self._request, self.ensemble, self._pipeline, self._finds_hands = request, Means(), None, False
        self.networks, self.remarks, self.age_calibration, self.intervals = (), (), None, None
        self._networks, self.calibrated = (), True

    monkeypatch.setattr(Assessor, "__init__", init)


def grey(level, shape=(60, 40)):
    """A picture of this mean that is no picture of one value."""
    picture = np.full(shape, level, np.uint8)
    picture[0, 0], picture[0, 1] = level - 9, level + 9
    return picture


def png(level):
    return images.encode(grey(level), "png")


WINDOW = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}
"""By which 8 of 16 bits come out as they are."""


def dcm(level, sex=None):
    """Of 16 bits, so windowed that 8 of them come out as they are."""
    return written(dataset(grey(level).astype(np.uint16), PatientSex=sex, **WINDOW))


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def assess(tmp_path, *paths, **options):
    """Returns rows by file, text, exit status; the folder is a new one each time."""
    request = AssessRequest(paths, **({"sex": "F"} | options))
    out = tmp_path / f"ages{len(list(tmp_path.glob('ages*')))}"
    text, status = assess_command.assess(request, out)
    return rows_of(out / "ages.csv"), text, status


FAULTS = {
    "empty.png": (b"", "the file is empty"),
    "text.png": (b"no picture", "not a readable"),
    "cut.png": (png(9)[:-20], "the PNG is truncated"),
    "flipped.png": (png(9).replace(b"IDAT", b"IDAS"), "the PNG is damaged"),
    "cut.jpg": (images.encode(grey(9, (300, 200)), "jpeg")[:400], "the JPEG is"),
    "strip.png": (images.encode(np.zeros((1, 900), np.uint8), "png"), "900 x 1 pixels"),
    "huge.bmp": (
        b"BM" + bytes(12) + b"\x28\0\0\0" + b"\xa0\x86\x01\0" * 2 + b"\x01\0\x18\0" + bytes(24),
        "100000 x 100000 pixels",
    ),
    "report.dcm": (written(dataset(PixelData=None)), "holds no image but Digital X-Ray"),
    "frames.dcm": (written(dataset(NumberOfFrames=3)), "holds 3 frames"),
    "boy.dcm": (dcm(50, "M"), "PatientSex is M, F was given"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("batch_size", [1, 16])
def test_one_fault_in_a_folder_leaves_the_others_their_ages(fault, batch_size, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for level in (30, 60, 90):
        (folder / f"{level}.png").write_bytes(png(level))
    content, why = FAULTS[fault]
    (folder / fault).write_bytes(content)
    rows, text, status = assess(tmp_path, folder, batch_size=batch_size)
    assert status == EXIT_PARTIAL == 4
    assert len(rows) == 4
    for level in (30, 60, 90):
        row = rows[f"{folder}/{level}.png"]
        assert (float(row["months"]), row["sex"], row["problem"]) == (level, "F", "")
    row = rows[f"{folder}/{fault}"]
    assert (row["months"], row["spread"], row["flags"]) == ("", "", "")
    pages = [(tmp_path / "ages0" / "index.html").read_text()]
    pages += [path.read_text() for path in (tmp_path / "ages0" / "cases").glob("*.html") if fault in path.read_text()]
    for shown in (row["problem"], text, *pages):
        assert why in shown
    assert "1 of 4 could not be used" in text
    assert "3 of 4" in text
    assert len(pages) == 2


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_alone_is_refused_and_nothing_is_written(fault, tmp_path):
    (tmp_path / fault).write_bytes(FAULTS[fault][0])
    with pytest.raises(UserError, match=rf"(?s)nothing was written.*{fault}: .*{FAULTS[fault][1]}"):
        assess(tmp_path, tmp_path / fault)
    assert sorted(os.listdir(tmp_path)) == [fault]


def test_each_file_is_decoded_once(tmp_path, monkeypatch):
    for level in range(20, 30):
        (tmp_path / f"{level}.png").write_bytes(png(level))
    decoded, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda data: decoded.append(data) or decode(data))
    rows, _, status = assess(tmp_path, tmp_path, batch_size=3)
    assert status == 0
    assert len(decoded) == len(rows) == 10


def test_memory_does_not_grow_with_the_folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000), dtype=np.uint8)
    for n in range(40):
        (tmp_path / f"{n}.bmp").write_bytes(cv2.imencode(".bmp", noise[: 1000 - 20 * n])[1].tobytes())
    tracemalloc.start()
    try:
        for _ in Assessor(AssessRequest((tmp_path,), sex="F", batch_size=2)).assess():
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6, "40 pictures of up to 1 MB"


# ---- where radiographs are found -------------------------------------------------------------------------------------


def packed(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def test_folders_and_zips_give_what_is_a_picture_by_content_or_name(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    for name, content in {
        "a.PNG": png(20),
        "b": dcm(30),
        "deep/c.jfif": images.encode(grey(40), "jpeg"),
        "deep/er/d.tif": cv2.imencode(".tif", grey(50))[1].tobytes(),
        "deep/e.bmp": cv2.imencode(".bmp", grey(60))[1].tobytes(),
        "deep/f.webp": cv2.imencode(".webp", grey(70), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(),
        "deep/z.zip": packed(x__g=png(80), inner__zip=b"", **{"y.zip": packed(h=png(90))}),
        "notes.txt": b"BM, a table\n",
        "table.csv": b"file,male\n",
        "._a.PNG": b"of macOS",
        "DICOMDIR": pathlib.Path(get_testdata_file("DICOMDIR")).read_bytes(),
    }.items():
        (folder / name).write_bytes(content)
    rows, _, status = assess(tmp_path, folder)
    assert status == 0
    expected = {
        "a.PNG": 20,
        "b": 30,
        "deep/c.jfif": 40,
        "deep/er/d.tif": 50,
        "deep/e.bmp": 60,
        "deep/f.webp": 70,
        "deep/z.zip/x/g": 80,
        "deep/z.zip/y.zip/h": 90,
    }
    assert {name: float(row["months"]) for name, row in rows.items()} == pytest.approx(
        {f"{folder}/{name}": level for name, level in expected.items()}, abs=0.6
    )
    of_zip, _, _ = assess(tmp_path, folder / "deep" / "z.zip")
    assert list(of_zip) == [f"{folder}/deep/z.zip/x/g", f"{folder}/deep/z.zip/y.zip/h"]


def test_what_cannot_be_looked_into_has_a_row(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(20))
    (folder / "b.png").symlink_to("nowhere.png")
    (folder / "c.zip").write_bytes(packed(a=png(30))[:50])
    rows, _, status = assess(tmp_path, folder)
    assert status == EXIT_PARTIAL
    assert rows[f"{folder}/a.png"]["months"] == "20.0"
    assert "nowhere.png" in rows[f"{folder}/b.png"]["problem"]
    assert "not a readable zip" in rows[f"{folder}/c.zip"]["problem"]
    with pytest.raises(UserError, match=r"c\.zip: not a readable zip"):
        assess(tmp_path, folder / "c.zip")


def test_a_dicomdir_gives_the_pictures_that_it_names(tmp_path):
    disc = tmp_path / "disc"
    shutil.copytree(pathlib.Path(get_testdata_file("DICOMDIR")).parent / "77654033", disc / "77654033")
    shutil.copy(get_testdata_file("DICOMDIR"), disc / "DICOMDIR")
    (disc / "icon.png").write_bytes(png(30))
    (disc / "77654033" / "CR1").rename(disc / "77654033" / "cr1")
    rows, _, status = assess(tmp_path, disc / "DICOMDIR")
    assert status == EXIT_PARTIAL
    assert len(rows) == 31
    there = {name for name, row in rows.items() if not row["problem"]}
    assert f"{disc}/77654033/cr1/6154" in there
    assert len(there) == 7
    missing = rows[f"{disc}/98892001/CT2N/6293"]
    assert "DICOMDIR names it" in missing["problem"]


@pytest.mark.parametrize(("name", "message"), [("nowhere", "no such file or folder"), ("empty", "no image found")])
def test_where_there_is_nothing(name, message, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        assess(tmp_path, tmp_path / name)


# ---- sex -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "stated", "conflict", "sex", "flags", "problem"),
    [
        ("", "M", "error", "M", "", ""),
        ("", "F", "error", "F", "", ""),
        ("", "O", "error", "", "", "neither its PatientSex nor"),
        ("", "", "error", "", "", "neither its PatientSex nor"),
        ("F", "O", "error", "F", "", ""),
        ("F", None, "error", "F", "", ""),
        ("M", "M", "error", "M", "", ""),
        ("F", "M", "error", "", "", "its PatientSex is M, F was given"),
        ("M", "F", "error", "", "", "its PatientSex is F, M was given"),
        ("F", "M", "keep-given", "F", SEX_DIFFERS, ""),
        ("F", "M", "use-dicom", "M", SEX_DIFFERS, ""),
        ("", "M", "keep-given", "M", "", ""),
        ("F", "", "use-dicom", "F", "", ""),
    ],
)
@pytest.mark.parametrize("way", ["--sex", "--sex-csv"])
def test_whose_sex_counts(given, stated, conflict, sex, flags, problem, way, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(dcm(50, stated))
    (folder / "known.dcm").write_bytes(dcm(60, given or "F"))
    (tmp_path / "sexes.csv").write_text(f"file,sex\na,{given}\nknown,{given}\n")
    options = {"sex": given} if way == "--sex" or not given else {"sex": "", "sex_csv": tmp_path / "sexes.csv"}
    rows, _, status = assess(tmp_path, folder, sex_conflict=conflict, **options)
    row = rows[f"{folder}/a.dcm"]
    assert (row["sex"], row["flags"]) == (sex, flags)
    assert problem in row["problem"]
    assert status == (EXIT_PARTIAL if problem else 0)
    assert row["months"] == ("" if problem else str(50.0 + 100 * (sex == "M")))


def test_files_whose_sex_nobody_can_say_are_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "decode", lambda data: pytest.fail("work has begun"))
    (tmp_path / "a.dcm").write_bytes(dcm(50))
    (tmp_path / "b.png").write_bytes(png(50))
    with pytest.raises(UserError, match=r"(?s)sex, which is not given for these files \(1\).*b\.png.*--sex-csv"):
        assess(tmp_path, tmp_path, sex="")


CLINICS = {"north/1.png": 20, "south/1.png": 40, "south/2.png": 60}


@pytest.mark.parametrize(
    ("cells", "paths", "expected"),
    [
        (["north/1.png,M", "south/1.png,F", "2,M"], ["."], "MFM"),
        (["south\\1.PNG,F", "./north/1,M", "south/2,M"], ["."], "MFM"),
        (["north/1.png,M", "south/1.png,F", "2,M"], ["north", "south"], "MFM"),
        (["north/1.png,M", "south/1.png,F", "2,M"], list(CLINICS), "MFM"),
        (["in/north/1.png,F", "in/south/1.png,M", "in/south/2.png,F"], ["."], "FMF"),
        (["1.png,M", "2,M"], ["."], r"'1\.png' may be north/1\.png, south/1\.png"),
        (["1,M", "2,M"], ["north", "south"], r"'1' may be 1\.png, 1\.png"),
        (["north/1.png,M", "1.png,F", "2,M"], ["."], r"may be"),
        (["north/1,M", "in/north/1.png,F", "south/1,F", "2,M"], ["."], r"north/1\.png: named by row 2 .*row 3"),
    ],
)
def test_a_table_gives_each_child_its_own_sex(cells, paths, expected, tmp_path):
    folder = tmp_path / "in"
    for name, level in CLINICS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(level))
    (tmp_path / "sexes.csv").write_text("\n".join(["file,sex", *cells]) + "\n")
    options = {"sex": "", "sex_csv": tmp_path / "sexes.csv"}
    if not set(expected) <= set("MF"):
        with pytest.raises(UserError, match=expected):
            assess(tmp_path, *(folder / path for path in paths), **options)
        return
    rows, _, _ = assess(tmp_path, *(folder / path for path in paths), **options)
    found = {name: float(row["months"]) for name, row in rows.items()}
    assert found == {
        f"{folder}/{name}": level + 100 * (sex == "M")
        for (name, level), sex in zip(CLINICS.items(), expected, strict=True)
    }


@pytest.mark.parametrize(
    "paths",
    [
        ["north/1.png", "."],
        ["north/1.png", "north/../north/1.png", "south", "."],
        ["north", "south", "link/1.png", "south/2.png"],
        [".", "."],
        [".", "north"],
    ],
)
def test_a_file_that_is_named_twice_counts_once(paths, tmp_path):
    folder = tmp_path / "in"
    for name, level in CLINICS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(level))
    (tmp_path / "link").symlink_to(folder / "north")
    paths = [tmp_path / path if path.startswith("link") else folder / path for path in paths]
    (tmp_path / "sexes.csv").write_text("file,sex\nnorth/1.png,M\nsouth/1.png,F\n2,M\n")
    rows, _, _ = assess(tmp_path, *paths, sex="", sex_csv=tmp_path / "sexes.csv")
    assert sorted(float(row["months"]) for row in rows.values()) == [40, 120, 160]


def test_members_that_are_found_twice_count_once(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    inner = packed(**{"b.png": png(40)})
    (folder / "a.zip").write_bytes(packed(**{"a.png": png(20), "inner.zip": inner, "bad.zip": b"no zip"}))
    rows, _, _ = assess(tmp_path, folder / "a.zip", folder, folder / "a.zip")
    assert list(rows) == [f"{folder}/a.zip/{name}" for name in ("a.png", "inner.zip/b.png", "bad.zip")]


def test_links_of_two_children_to_one_file_are_two(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "stored").write_bytes(png(40))
    for name in ("a.png", "b.png"):
        (folder / name).symlink_to(tmp_path / "stored")
    assert len(assess(tmp_path, folder)[0]) == 2


def test_a_row_without_a_sex_leaves_it_to_the_file(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dcm(50, "M"))
    (tmp_path / "sexes.csv").write_text("file,sex\na,\n")
    rows, _, _ = assess(tmp_path, tmp_path / "a.dcm", sex="", sex_csv=tmp_path / "sexes.csv")
    assert rows[f"{tmp_path}/a.dcm"]["sex"] == "M"


def test_a_table_without_sexes_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dcm(50, "M"))
    (tmp_path / "sexes.csv").write_text("file,boneage\na,50\n")
    with pytest.raises(UserError, match="no column with sexes"):
        assess(tmp_path, tmp_path / "a.dcm", sex="", sex_csv=tmp_path / "sexes.csv")


# ---- in memory -------------------------------------------------------------------------------------------------------


def test_arrays_and_datasets_go_the_way_of_files(capsys):
    assessor = Assessor(AssessRequest(()))
    found = [
        radiographs.of_array(grey(20), "a"),
        radiographs.of_dicom(pydicom.dcmread(io.BytesIO(dcm(30, "M"))), "b"),
        radiographs.of_array(np.zeros(5), "c"),
    ]
    for _ in range(2):
        rows = [assessment for assessment, _ in assessor.assess(found, [False, None, True], progress=False)]
        assert [(row.file, row.sex, bool(row.problem)) for row in rows] == [
            ("a", "F", False),
            ("b", "M", False),
            ("c", "M", True),
        ]
        assert [row.months for row in rows[:2]] == [20, 130]
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match=r"(?s)sex, which is not given for these files \(1\)"):
        list(assessor.assess(found, [None, None, False]))


def test_flags_of_uncalibrated_thresholds_are_marked():
    assessment = Assessment("a", 1.0, 1.0, "F", ("cut off", SEX_DIFFERS), calibrated=False)
    assert assessment.marked_flags == ("cut off (uncalibrated)", SEX_DIFFERS)
    assert dataclasses.replace(assessment, calibrated=True).marked_flags == assessment.flags


# ---- outputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("in", r"--out .*in: holds other files"),
        ("in/a.png", r"--out .*a\.png: this is a file"),
        ("link.png", r"--out .*link\.png: this is a file"),
        ("in/a.png/b", r"cannot be written"),
    ],
)
def test_destinations_are_checked_before_the_work(out, message, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "decode", lambda data: pytest.fail("work has begun"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(20))
    (tmp_path / "link.png").symlink_to(tmp_path / "in" / "a.png")
    with pytest.raises(UserError, match=message):
        assess_command.assess(AssessRequest((tmp_path / "in",), sex="F"), tmp_path / out)
    assert os.listdir(tmp_path / "in") == ["a.png"]
    assert (tmp_path / "in" / "a.png").read_bytes() == png(20)


NAMES = [b"bad\xff\xfe.png", "Zoë 手.png".encode(), b"line\nbreak.png", b'quo"te, and more.png', b"esc\x1b[31m.png"]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_comes_through(name, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    path = os.fsencode(folder) + b"/" + name
    try:
        pathlib.Path(os.fsdecode(path)).write_bytes(png(20))
    except OSError:
        pytest.skip("this file system does not take the name")
    rows, text, status = assess(tmp_path, folder)
    assert status == 0
    (written_name,) = rows
    if written_name.startswith("file://"):
        assert urllib.parse.unquote_to_bytes(written_name.removeprefix("file://")) == path
    else:
        assert os.fsencode(written_name) == path
    pages = (tmp_path / "ages0").rglob("*.html")
    for shown in (text, *(path.read_text(encoding="utf-8") for path in pages)):
        assert shown.encode("utf-8")
        assert "\x1b" not in shown
    assert "line\nbreak" not in text


@pytest.mark.parametrize("shape", [(8, 160), (160, 8), (3000, 150)])
def test_an_overlay_of_a_narrow_picture(shape):
    drawn = pictures.overlay(np.zeros(shape, np.uint8), np.ones(shape, bool), None)
    assert max(drawn.shape) <= 320
    assert min(drawn.shape[:2]) >= 1


def test_chronological_ages_and_sd_scores(tmp_path):
    """From the header, else as given; both where they differ; none where the reference ends."""
    files = {
        "dates.dcm": dataset(grey(90).astype(np.uint16), PatientBirthDate="20100101", StudyDate="20180101", **WINDOW),
        "months.dcm": dataset(grey(90).astype(np.uint16), PatientAge="096M", **WINDOW),
        "adult.dcm": dataset(grey(90).astype(np.uint16), PatientAge="030Y", **WINDOW),
        "none.dcm": dataset(grey(90).astype(np.uint16), **WINDOW),
    }
    for name, made in files.items():
        (tmp_path / name).write_bytes(written(made))
    rows, text, _ = assess(tmp_path, *(tmp_path / name for name in files))
    scores = {pathlib.Path(name).name: (row["chronological_months"], row["sd_score"]) for name, row in rows.items()}
    # A girl of 96 months: 10.23 months in the Brush Foundation's table; 90 - 96 months are -0.59 of them.
    assert scores == {
        "dates.dcm": ("96.0", "-0.59"),
        "months.dcm": ("96.0", "-0.59"),
        "adult.dcm": ("366.0", ""),
        "none.dcm": ("", ""),
    }
    assert "(chronological age 96.0 months, PatientBirthDate and StudyDate)  (SD score -0.6, Brush Foundation" in text
    rows, text, _ = assess(tmp_path, tmp_path / "months.dcm", tmp_path / "none.dcm", chronological_age=100.0)
    assert [row["chronological_months"] for row in rows.values()] == ["100.0"] * 2
    assert "(chronological age 100.0 months, as given; PatientAge has 96.0)" in text
    assert "(chronological age 100.0 months, as given)" in text
