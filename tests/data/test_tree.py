"""One listing for folders, links and zips: what is found, what is named, and that nothing goes on for ever."""

import io
import os
import pathlib
import struct
import zipfile

import pytest

from boneage_jax.data import tree as trees
from boneage_jax.data.tree import Tree, UnreadableFile


def listed(root):
    """Content by shown path, and the problems."""
    with Tree() as tree:
        return {ref.shown: ref.read() for ref in tree.files(root)}, dict(tree.problems)


def write(path: pathlib.Path, data: bytes = b"data") -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def zipped(entries: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return data.getvalue()


def patched(data: bytes, field: str, value: int) -> bytes:
    """The zip with a field of all its headers changed (APPNOTE 4.3.7 and 4.3.12)."""
    local, central = {"flags": (6, 8), "method": (8, 10), "crc": (14, 16)}[field]
    changed = bytearray(data)
    for signature, at in ((b"PK\3\4", local), (b"PK\1\2", central)):
        place = data.find(signature)
        while place >= 0:
            struct.pack_into("<I" if field == "crc" else "<H", changed, place + at, value)
            place = data.find(signature, place + 4)
    return bytes(changed)


def test_files_are_listed_in_order_without_what_programs_leave_behind(tmp_path):
    for name in ("b/2.png", "a.csv", ".hidden/1.png", ".DS_Store", "b/~$labels.xlsx", "__MACOSX/b/._2.png"):
        write(tmp_path / name)
    found, problems = listed(tmp_path)
    assert list(found) == ["a.csv", "b/2.png"]
    assert not problems


def test_links_to_folders_are_followed_once(tmp_path):
    """A folder's own path counts before a link's; cycles end."""
    write(tmp_path / "root" / "own" / "1.png")
    write(tmp_path / "elsewhere" / "deep" / "2.png")
    root = tmp_path / "root"
    (root / "a_link").symlink_to(root / "own")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(root)
    (root / "own" / "up").symlink_to("..")
    (root / "3.png").symlink_to(tmp_path / "elsewhere" / "deep" / "2.png")
    found, problems = listed(root)
    assert list(found) == ["3.png", "linked/deep/2.png", "own/1.png"]
    assert not problems


def test_links_into_nowhere_and_in_circles_are_named(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").symlink_to("/nowhere/at/all")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    found, problems = listed(tmp_path)
    assert not found
    assert problems.keys() == {"gone.png", "folder", "round"}
    assert problems["folder"] == "a link to /nowhere/at/all: No such file or directory"


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    """Root may read everything, so the system's answer is played."""
    write(tmp_path / "locked" / "1.png")
    write(tmp_path / "open" / "2.png")
    real = os.scandir

    def scandir(path):
        if isinstance(path, pathlib.Path) and path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, problems = listed(tmp_path)
    assert list(found) == ["open/2.png"]
    assert problems == {"locked": "Permission denied"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_within_zips(tmp_path, method):
    inner = zipped({"deep/1.png": b"one", "__MACOSX/deep/._1.png": b"junk"}, method)
    write(tmp_path / "Outer.ZIP", zipped({"inner.zip": inner, "2.png": b"two", "folder/": b""}, method))
    found, problems = listed(tmp_path)
    assert found == {"Outer.ZIP/2.png": b"two", "Outer.ZIP/inner.zip/deep/1.png": b"one"}
    assert not problems
    assert list(listed(tmp_path / "Outer.ZIP")[0]) == ["2.png", "inner.zip/deep/1.png"]


def test_entries_with_backslashes(tmp_path):
    data = zipped({"train/1.png": b"one", "train/2.png": b"two"}).replace(b"train/", b"train\\")
    write(tmp_path / "a.zip", data)
    assert listed(tmp_path)[0] == {"a.zip/train/1.png": b"one", "a.zip/train/2.png": b"two"}


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (lambda data: patched(data, "flags", 1), "a.zip/1.png", "entry is encrypted"),
        (lambda data: patched(data, "method", 9), "a.zip/1.png", "packed by Deflate64"),
        (lambda data: patched(data, "method", 99), "a.zip/1.png", "packed by AES"),
        (lambda data: patched(data, "method", 77), "a.zip/1.png", "packed by method 77"),
        (lambda data: data[: len(data) // 2], "a.zip", "not a readable zip"),
        (lambda data: b"PK not really", "a.zip", "not a readable zip"),
        (lambda data: b"", "a.zip", "not a readable zip"),
    ],
)
def test_zips_that_cannot_be_unpacked_are_named(tmp_path, damage, name, reason):
    write(tmp_path / "a.zip", damage(zipped({"1.png": b"one" * 100})))
    write(tmp_path / "2.png", b"two")
    found, problems = listed(tmp_path)
    assert found == {"2.png": b"two"}
    assert list(problems) == [name]
    assert reason in problems[name]


def test_entries_of_one_name(tmp_path):
    data = zipped({"1.png": b"one", "2.png": b"two", "3.png": b"three"})
    write(tmp_path / "a.zip", data.replace(b"2.png", b"1.png").replace(b"3.png", b"1.png"))
    found, problems = listed(tmp_path)
    assert not found
    assert "several entries of this name" in problems["a.zip/1.png"]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("crc", 1, "Bad CRC-32"), ("method", zipfile.ZIP_BZIP2, "cannot be unpacked|Invalid data stream")],
)
def test_damage_is_found_on_reading(tmp_path, field, value, reason):
    write(tmp_path / "a.zip", patched(zipped({"1.png": bytes(range(256)) * 50}), field, value))
    with Tree() as tree:
        (ref,) = tree.files(tmp_path)
        with pytest.raises(UnreadableFile, match=reason):
            ref.read()


def test_zips_that_go_on_for_ever_end(tmp_path, monkeypatch):
    deep = zipped({"1.png": b"one"})
    for _ in range(9):
        deep = zipped({"next.zip": deep})
    write(tmp_path / "deep.zip", deep)
    found, problems = listed(tmp_path)
    assert not found
    assert "zips within zips 6 deep" in next(iter(problems.values()))
    (tmp_path / "deep.zip").unlink()
    monkeypatch.setattr(trees, "_MAX_INNER", 7)
    wide = zipped({f"{n}.zip": zipped({f"{m}.zip": zipped({"1.png": b"one"}) for m in range(4)}) for n in range(4)})
    write(tmp_path / "wide.zip", wide)
    found, problems = listed(tmp_path)
    assert 0 < len(found) < 16
    assert all("found over 7 zips within zips" in why for why in problems.values())


def test_files_that_are_too_large_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "MAX_BYTES", 100)
    write(tmp_path / "large.png", bytes(101))
    write(tmp_path / "bomb.zip", zipped({"large.png": bytes(5000)}))
    with Tree() as tree:
        for ref in tree.files(tmp_path):
            assert ref.head(10) == bytes(10)
            with pytest.raises(UnreadableFile, match="expected a file of less than"):
                ref.read()


def test_names_that_are_not_utf8_are_shown_all_the_same(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"one")
    except OSError:
        pytest.skip("this file system takes no such names")
    found, _ = listed(tmp_path)
    assert found == {"caf\\xe9.png": b"one"}


def test_nothing_unpacked_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    write(tmp_path / "root" / "a.zip", zipped({"b.zip": zipped({"1.png": b"one"})}))
    assert listed(tmp_path / "root")[0] == {"a.zip/b.zip/1.png": b"one"}
    assert not list((tmp_path / "scratch").iterdir())
