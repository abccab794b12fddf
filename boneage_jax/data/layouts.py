"""Finds radiographs and their labels in the folders and zips that people have.

Known layouts: the official download (zips, zips within zips, or unpacked), the Kaggle mirror kmader/rsna-bone-age with
its doubly nested folders, RHPE (Escobar et al. 2019), and a plain folder of images with one table. All are read the
same way: list every image and table, tell each one's split from its path and header, match by id within the split.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Literal

from boneage_jax.data import images, labels
from boneage_jax.errors import UserError, fail_if_any, listed

SPLITS = ("train", "validation", "test")
Missing = Literal["error", "skip"]


@dataclasses.dataclass(frozen=True)
class FileRef:
    """A file on disk, or a member of a zip.

    Attributes:
      path: of the file, or of the zip.
      member: name inside the zip, or empty.
      shown: path relative to the folder that was searched, for people and for splits.
    """

    path: str
    member: str
    shown: str

    @property
    def stem(self) -> str:
        return pathlib.PurePosixPath(self.member or self.path).stem

    @property
    def suffix(self) -> str:
        return pathlib.PurePosixPath(self.member or self.path).suffix.lower()

    def read(self) -> bytes:
        """Returns the content. Raises OSError or zipfile.BadZipFile."""
        if not self.member:
            return pathlib.Path(self.path).read_bytes()
        return _open_zip(self.path).read(self.member)


@functools.lru_cache(maxsize=8)
def _open_zip(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@dataclasses.dataclass(frozen=True)
class Record:
    """An image with its label.

    Attributes:
      image: where its bytes are.
      label: its row of the table.
    """

    image: FileRef
    label: labels.Label


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
      records: by split, in the table's order.
      tables: by split, the table that its labels came from.
      missing: rows without an image, one line each.
      unlabelled: images without a row, one line each.
    """

    records: dict[str, list[Record]]
    tables: dict[str, str]
    missing: list[str]
    unlabelled: list[str]


@contextlib.contextmanager
def search(root: pathlib.Path, *, missing: Missing = "error") -> Iterator[Found]:
    """Finds all labelled radiographs under a folder; zips within zips are unpacked for as long as the context lasts.

    Args:
      root: folder that holds images and tables, packed or not.
      missing: `error` to refuse rows without an image and images without a row, `skip` to leave them out.

    Raises:
      UserError: no such folder; no table; two tables for one split; bad rows; rows without an image or images without a
        row unless `missing` is `skip`; nothing left.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the folder that holds the RSNA download or images and a CSV")
    with tempfile.TemporaryDirectory(prefix="boneage-unzip-") as scratch:
        files = list(_list_files(root, pathlib.Path(scratch)))
        try:
            yield _match(root, files, missing)
        finally:
            _open_zip.cache_clear()


def _list_files(root: pathlib.Path, scratch: pathlib.Path) -> Iterator[FileRef]:
    """All images and tables under the folder, in a fixed order."""
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")):
        shown = path.relative_to(root).as_posix()
        if path.suffix.lower() == ".zip":
            yield from _list_zip(path, shown, scratch)
        elif path.suffix.lower() in images.IMAGE_SUFFIXES + labels.TABLE_SUFFIXES:
            yield FileRef(str(path), "", shown)


def _list_zip(path: pathlib.Path, shown: str, scratch: pathlib.Path) -> Iterator[FileRef]:
    try:
        members = sorted(_open_zip(str(path)).infolist(), key=lambda info: info.filename)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: not a readable zip ({error}); download it again") from error
    for info in members:
        name = pathlib.PurePosixPath(info.filename)
        if info.is_dir() or name.parts[0] == "__MACOSX" or name.name.startswith("."):
            continue
        if name.suffix.lower() == ".zip":
            inner = scratch / f"{len(list(scratch.iterdir()))}-{name.name}"
            with _open_zip(str(path)).open(info) as source, inner.open("wb") as target:
                shutil.copyfileobj(source, target)
            yield from _list_zip(inner, f"{shown}/{name}", scratch)
        elif name.suffix.lower() in images.IMAGE_SUFFIXES + labels.TABLE_SUFFIXES:
            yield FileRef(str(path), info.filename, f"{shown}/{name}")


_SPLIT_WORDS = (
    ("validation", re.compile(r"valid|(?<![a-z])val(?![a-z])")),
    ("train", re.compile("train")),
    ("test", re.compile("test")),
)


def _split_of_path(shown: str) -> str:
    """The split that a path names, or an empty string. Later parts of the path win: `test/train.csv` is training."""
    for part in reversed(pathlib.PurePosixPath(shown.lower()).parts):
        for split, word in _SPLIT_WORDS:
            if word.search(part):
                return split
    return ""


def _match(root: pathlib.Path, files: list[FileRef], missing: Missing) -> Found:
    tables = [file for file in files if file.suffix in labels.TABLE_SUFFIXES]
    pictures = [file for file in files if file.suffix in images.IMAGE_SUFFIXES]
    if not tables:
        raise UserError(
            f"{root}: no label table found ({len(pictures)} images); expected a CSV or XLSX file with columns such as "
            "'id,boneage,male'"
        )
    by_split: dict[str, list[FileRef]] = {}
    for table in tables:
        by_split.setdefault(_split_of_path(table.shown) or "train", []).append(table)
    for split, candidates in by_split.items():
        if len(candidates) > 1:
            raise UserError(
                f"{root}: {len(candidates)} label tables for the split {split!r}:\n"
                f"{listed([c.shown for c in candidates])}\nKeep one, or give each split its own folder."
            )
    rows: dict[str, list[labels.Label]] = {split: [] for split in SPLITS}
    offenders: list[str] = []
    for split, (table,) in sorted(by_split.items()):
        good, bad = labels.read_table(table.shown, _read_table(root, table))
        offenders += bad
        for label in good:
            if label.split and label.split not in SPLITS:
                offenders.append(f"{table.shown}, row {label.row}: unknown split {label.split!r}, expected {SPLITS}")
            else:
                rows[label.split or split].append(label)
    fail_if_any(offenders, f"{root}: rows that cannot be used", "Correct or remove these rows.")
    return _pair(root, rows, pictures, {split: table.shown for split, (table,) in by_split.items()}, missing)


def _read_table(root: pathlib.Path, table: FileRef) -> bytes:
    try:
        return table.read()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{root}/{table.shown}: cannot be read ({error})") from error


def _pair(
    root: pathlib.Path,
    rows: dict[str, list[labels.Label]],
    pictures: list[FileRef],
    tables: dict[str, str],
    missing: Missing,
) -> Found:
    """Gives each row its image: the one of its id in its split, else the only one of its id anywhere."""
    by_id: dict[str, list[FileRef]] = {}
    for picture in pictures:
        by_id.setdefault(picture.stem, []).append(picture)
    by_number: dict[int, list[FileRef]] = {}
    for stem, found in by_id.items():
        if stem.isdecimal():
            by_number.setdefault(int(stem), []).extend(found)
    used: set[FileRef] = set()
    records: dict[str, list[Record]] = {split: [] for split in SPLITS}
    without_image: list[str] = []
    ambiguous: list[str] = []
    for split in SPLITS:
        for label in rows[split]:
            candidates = by_id.get(label.id, [])
            if not candidates and label.id.isdecimal():
                # RHPE's tables say 17 where its images say 00017.
                candidates = by_number.get(int(label.id), [])
            own = [c for c in candidates if _split_of_path(c.shown) == split]
            chosen = own or [c for c in candidates if not _split_of_path(c.shown)] or candidates
            if not chosen:
                without_image.append(f"{tables.get(split, 'table')}, row {label.row}: no image {label.id!r}")
            elif len(chosen) > 1:
                ambiguous.append(f"id {label.id!r}: {', '.join(c.shown for c in chosen)}")
            else:
                used.add(chosen[0])
                records[split].append(Record(chosen[0], dataclasses.replace(label, id=chosen[0].stem)))
    fail_if_any(ambiguous, f"{root}: ids with several images", "Keep one image for each id.")
    unlabelled = [f"{picture.shown}: no row for this image" for picture in pictures if picture not in used]
    if missing == "error":
        fail_if_any(
            without_image + unlabelled,
            f"{root}: rows without an image, or images without a row",
            "Complete the folder, or leave these out with --missing=skip.",
        )
    if not any(records.values()):
        count = sum(map(len, rows.values()))
        raise UserError(
            f"{root}: none of {count} labelled ids has an image ({len(pictures)} images found); expected files named "
            f"like {next((label.id for split in SPLITS for label in rows[split]), 'ID')}.png"
        )
    return Found(records, tables, without_image, unlabelled)
