"""Finds radiographs and their labels in the folders and zips that people have.

Known layouts: the official download (zips, zips within zips, or unpacked), the Kaggle mirror kmader/rsna-bone-age with
its doubly nested folders, RHPE (Escobar et al. 2019), and a plain folder of images with one table. All are read the
same way: list every image and table, tell each one's split from its path and header, give each row its image by the
rules of `pairing`, within the split.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from boneage_jax.data import dicom, images, labels, pairing, tables
from boneage_jax.data.choices import Missing
from boneage_jax.data.tree import FileRef, Tree, UnreadableFile
from boneage_jax.errors import UserError, fail_if_any, listed, printable

SPLITS = ("train", "validation", "test")

VALIDATION_NOTE = "validation"
"""In a built dataset's metadata: how its validation split came to be."""

VALIDATION_SHARE = 0.08
"""Share of the training images that becomes the validation split where there is none: about the 1,000 of 12,611 that
Iglovikov et al. (2017) set apart."""

_NO_IMAGES = (".txt", ".md", ".json", ".xml", ".pdf", ".html", ".py", ".yaml", ".yml", ".log", ".npy", ".npz", ".mat")
"""Endings of files that are not looked into."""
_WITHOUT_SEX = tuple(suffix for suffix in images.IMAGE_SUFFIXES if suffix not in dicom.SUFFIXES)
"""Endings of images that never state a sex."""
_UNREAD = (*tables.UNREAD_SUFFIXES, ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
"""Endings of tables and archives that nothing here reads."""


@dataclasses.dataclass(frozen=True)
class Record:
    """An image with its label.

    Attributes:
      image: where its bytes are.
      label: its row of the table, under the image's id in the dataset.
      where: the row, for people.
    """

    image: FileRef
    label: labels.Label
    where: str = ""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
      records: by split, in the table's order.
      named: whether a table or a folder names a validation split; otherwise training images may have become one.
      summary: the outcome for people: tables, splits, numbers of images, why, and what was left out.
      note: what was searched; see `note_of`.
    """

    records: dict[str, list[Record]]
    named: bool
    summary: str
    note: dict[str, str]


@contextlib.contextmanager
def search(root: pathlib.Path, *, missing: Missing = "error", validation: float = VALIDATION_SHARE) -> Iterator[Found]:
    """Finds all labelled radiographs under a folder; zips within zips are unpacked for as long as the context lasts.

    Args:
      root: folder or zip that holds images and tables, packed or not.
      missing: `error` to refuse rows without an image, images without a row and what cannot be looked into, `skip` to
        leave them out.
      validation: share of the training set that becomes the validation split where no table and no folder names one;
        0 for none.

    Raises:
      UserError: no such folder; no table; two tables for one split; bad rows; rows that may mean several images, or
        several rows that mean one; rows without an image, images without a row or unreadable folders and zips unless
        `missing` is `skip`; nothing left.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder; expected the folder that holds the RSNA download or images and a CSV")
    with Tree() as tree:
        yield _Search(root, tree, missing, validation).found()


def note_of(root: pathlib.Path) -> dict[str, str]:
    """Returns what tells a folder or zip from others: its `name`, and a `digest` of its files' paths and sizes and of
    the tables' bytes. A folder that was moved keeps both.

    Raises:
      UserError: for a table that cannot be read.
    """
    with Tree() as tree:
        return _note_of(root, tree.files(root))


def _note_of(root: pathlib.Path, files: Sequence[FileRef]) -> dict[str, str]:
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(f"{file.shown}\0{file.size()}\0".encode())
            if file.suffix in tables.TABLE_SUFFIXES:
                digest.update(hashlib.sha256(file.read()).digest())
        except UnreadableFile as error:
            raise UserError(f"{printable(str(root))}/{file.shown}: cannot be read ({error})") from error
    # Of `..` and `.`, too, the folder's own name.
    return {"name": printable(pathlib.Path(os.path.abspath(root)).name), "digest": digest.hexdigest()[:16]}


class _Search:
    """One search: its files by kind."""

    def __init__(self, root: pathlib.Path, tree: Tree, missing: Missing, validation: float):
        self._root, self._missing, self._share = root, missing, validation
        files = tree.files(root)
        self._files = files
        self._problems = [f"{shown}: {why}" for shown, why in tree.problems]
        self._tables = [file for file in files if file.suffix in tables.TABLE_SUFFIXES]
        self._pictures = [file for file in files if self._is_picture(file)]
        self._unread = [file.shown for file in files if file.suffix in _UNREAD]
        if missing == "error":
            fail_if_any(
                self._problems,
                f"{root}: folders, links and zips that cannot be looked into",
                "Mend or remove them, or leave them out with --missing=skip.",
            )

    def _is_picture(self, file: FileRef) -> bool:
        if file.suffix in images.IMAGE_SUFFIXES:
            return True
        if file.suffix in (*tables.TABLE_SUFFIXES, *_NO_IMAGES, *_UNREAD):
            return False
        try:
            return images.looks_like_image(file.head(images.HEAD_BYTES), file.suffix)
        except UnreadableFile as error:
            self._problems.append(f"{file.shown}: {error}")
            return False

    def found(self) -> Found:
        """Returns what there is, paired."""
        read, ignored = self._read_tables()
        rows = [
            _Row(table, label, _split_named(label.split) if label.split else split)
            for split, (table, content) in read.items()
            for label in content.labels
        ]
        unknown = [
            f"{row.where}: unknown split {row.label.split!r}, expected {', '.join(SPLITS)}"
            for row in rows
            if row.label.split and not row.split
        ]
        offenders = [line for _, content in read.values() for line in content.offenders] + unknown
        fail_if_any(offenders, f"{self._root}: rows that cannot be used", "Correct or remove these rows.")
        pairs = self._pairs(rows)
        fail_if_any(
            [
                f"{row.where}: no sex, and {self._pictures[n].shown} is no DICOM file, which could state one"
                for row, n in zip(rows, pairs.files, strict=True)
                if row.label.male is None and n is not None and self._pictures[n].suffix in _WITHOUT_SEX
            ],
            f"{self._root}: rows that cannot be used",
            "Write M or F into a column 'sex', or True or False into a column 'male'.",
        )
        records = self._records(rows, pairs)
        unlabelled = [
            f"{picture.shown}: no row for this image"
            for picture, row in zip(self._pictures, pairs.rows, strict=True)
            if row is None
        ]
        if self._missing == "error":
            fail_if_any(
                [*pairs.missing, *unlabelled],
                f"{self._root}: rows without an image, or images without a row",
                "Complete the folder, or leave these out with --missing=skip.",
            )
        if not any(records.values()):
            example = rows[0].label.id if rows else "ID"
            raise UserError(
                f"{self._root}: none of {len(rows)} labelled ids has an image ({len(self._pictures)} images found); "
                f"expected files named like {example}.png{self._hint()}"
            )
        named = "validation" in read or bool(records["validation"])
        if not named and self._share:
            records["train"], records["validation"] = deal(records["train"], self._share)
        dealt = 0.0 if named or not records["validation"] else self._share
        left_out = {
            "rows without an image": pairs.missing,
            "images without a row": unlabelled,
            "what cannot be looked into": self._problems,
        }
        summary = _summary(self._root, records, read, dealt, ignored, left_out)
        return Found(records, named, summary, _note_of(self._root, self._files))

    def _read_tables(self) -> tuple[dict[str, tuple[FileRef, labels.LabelTable]], list[str]]:
        """Label table by split (empty name: no split), and names of other tables."""
        if not self._tables:
            raise UserError(
                f"{self._root}: no label table found ({len(self._pictures)} images); expected a CSV or XLSX file with "
                f"columns such as 'id,boneage,male'{self._hint()}"
            )
        by_split: dict[str, list[tuple[FileRef, labels.LabelTable]]] = {}
        others: list[tuple[FileRef, UserError]] = []
        for table in self._tables:
            try:
                content = labels.read_whole_table(table.shown, table.read(), sex_needed=False)
            except UnreadableFile as error:
                raise UserError(f"{self._root}/{table.shown}: cannot be read ({error})") from error
            except labels.OtherTable as error:
                others.append((table, error))
                continue
            by_split.setdefault(split_of(table.shown), []).append((table, content))
        if not by_split:
            raise UserError(f"{self._root}: {others[0][1]}") from others[0][1]
        for split, candidates in by_split.items():
            if len(candidates) > 1:
                raise UserError(
                    f"{self._root}: {len(candidates)} label tables for the split {split or 'train'!r}:\n"
                    f"{listed([table.shown for table, _ in candidates])}\n"
                    "Keep one, or give each split its own folder."
                )
        return {split: one for split, (one,) in sorted(by_split.items())}, [table.shown for table, _ in others]

    def _pairs(self, rows: Sequence[_Row]) -> pairing.Pairs:
        """Gives each row its image: one of its own split before one of no split."""
        folders = [split_of(str(pathlib.PurePosixPath(picture.shown).parent)) for picture in self._pictures]

        def narrow(number: int, found: list[int]) -> list[int]:
            row = rows[number]
            if not row.split:
                return found
            own = [n for n in found if folders[n] == row.split] or [n for n in found if not folders[n]]
            # A table that names each row's split parts its images anew, wherever they lie. Otherwise an image in the
            # folder of another split is another child's: the numbers of RSNA's splits overlap.
            return own or (found if row.label.split else [])

        index = pairing.Index([picture.shown for picture in self._pictures], root=printable(str(self._root)))
        pairs = pairing.pair([pairing.Row(row.label.cell, row.where) for row in rows], index, narrow)
        pairs.refuse_unclear(f"{self._root}: rows and images that do not belong together one to one")
        return pairs

    def _records(self, rows: Sequence[_Row], pairs: pairing.Pairs) -> dict[str, list[Record]]:
        taken: dict[str, list[tuple[FileRef, _Row]]] = {split: [] for split in SPLITS}
        for row, n in zip(rows, pairs.files, strict=True):
            if n is not None:
                picture = self._pictures[n]
                folder = split_of(str(pathlib.PurePosixPath(picture.shown).parent))
                taken[row.split or folder or "train"].append((picture, row))
        ids = _ids({split: [picture.shown for picture, _ in of_split] for split, of_split in taken.items()})
        return {
            split: [
                Record(picture, dataclasses.replace(row.label, id=image_id), row.where)
                for image_id, (picture, row) in zip(ids[split], of_split, strict=True)
            ]
            for split, of_split in taken.items()
        }

    def _hint(self) -> str:
        if not self._unread:
            return ""
        return f"\nNot read: {', '.join(self._unread[:5])}; unpack archives, and save tables as CSV or XLSX"


@dataclasses.dataclass(frozen=True)
class _Row:
    """A label with its table and its split, where these name one."""

    table: FileRef
    label: labels.Label
    split: str

    @property
    def where(self) -> str:
        return f"{self.table.shown}, row {self.label.row}"


_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "validset", "validationset"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""`boneage-test-dataset`, `BoneAgeTestSet` and `train_1` are made of these."""


def split_of(path: str) -> str:
    """Returns the split that a path names by a whole word, or an empty string.

    `latest` and `contest` name none, and nor does a part that names several, as `train_test_split`. Later parts of the
    path win: `test/train.csv` is training.
    """
    return next(filter(None, map(_split_named, reversed(pathlib.PurePosixPath(path).parts))), "")


def _split_named(part: str) -> str:
    splits = {_SPLIT_WORDS[word] for word in map(str.lower, _WORD.findall(part)) if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else ""


def _ids(shown: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Returns an id for each image, unique within its split, and beyond it where the images' folders name no split.

    Folders that do, as RSNA's, tell images apart whose numbers overlap.

    Args:
      shown: paths of the images by split.
    """
    ids = {split: pairing.ids_of(paths) for split, paths in shown.items()}
    every = [path for paths in shown.values() for path in paths]
    longer = dict(zip(every, pairing.ids_of(every), strict=True))
    return {
        split: [
            image_id if split_of(path.rpartition("/")[0]) == split else longer[path]
            for image_id, path in zip(ids[split], paths, strict=True)
        ]
        for split, paths in shown.items()
    }


def deal(records: Sequence[Record], share: float) -> tuple[list[Record], list[Record]]:
    """Parts records into training and validation, all of a child into the same part.

    A child's part follows from a digest of its name alone (the patient's, or the image's id where the table names
    none) and is the same on every machine: it stays where it is when images are added or left out. At least one child
    is taken, and one is left, where there are two: in small sets that one may change.

    Args:
      records: to be parted.
      share: of children that go into validation, 0 to 1.
    """
    children = [record.label.patient or record.label.id for record in records]
    places = {child: _place(child) for child in children}
    taken = {child for child, place in places.items() if place < share}
    ordered = sorted(places, key=lambda child: (places[child], child))
    taken = (taken | {ordered[0]}) - {ordered[-1]} if len(ordered) > 1 else set()
    parts: tuple[list[Record], list[Record]] = ([], [])
    for record, child in zip(records, children, strict=True):
        parts[child in taken].append(record)
    return parts


def _place(child: str) -> float:
    """Where a child stands between 0 and 1. Salted: the folds of cross-validation are dealt by the bare name."""
    return int.from_bytes(hashlib.sha256(f"validation {child}".encode()).digest()[:8], "big") / 2**64


def _summary(
    root: pathlib.Path,
    records: Mapping[str, Sequence[Record]],
    read: Mapping[str, tuple[FileRef, labels.LabelTable]],
    dealt: float,
    ignored: Sequence[str],
    left_out: Mapping[str, Sequence[str]],
) -> str:
    lines = [f"{printable(str(root))}: {sum(map(len, records.values()))} images with labels"]
    for split in SPLITS:
        of_split = records[split]
        if not of_split:
            continue
        ages = np.array([record.label.months for record in of_split])
        known = ages[np.isfinite(ages)]
        ages_shown = (
            f"{known.min():g} to {known.max():g} months, mean {known.mean():.0f}"
            if len(known)
            else "no ages, so nothing that learns or scores ages"
        )
        lines.append(
            f"  {split:<11}{len(of_split):>7} images, {_sexes(of_split)}, {ages_shown}; {_why(split, of_split, dealt)}"
        )
    for table, content in read.values():
        ages_from = content.ages or "no column of ages"
        sexes_from = content.sexes or "no column, so by each file's DICOM header"
        lines.append(f"  table {table.shown}: {len(content.labels)} rows; ages: {ages_from}; sex: {sexes_from}")
    lines += [f"  {name}: no label table, not used" for name in ignored[:5]]
    nothing_named = "  no table and no folder names a validation split"
    if dealt:
        lines.append(
            f"{nothing_named}: {_dealt(records)}, by a hash of their names (--validation changes the share of "
            f"{dealt:.0%}, 0 for none)"
        )
    elif not records["validation"]:
        lines.append(f"{nothing_named}, and none was dealt (--validation 0, or a single child)")
    for what, offenders in left_out.items():
        if offenders:
            lines += [f"  left out, {what} ({len(offenders)}):", listed(offenders, indent="    ")]
    return "\n".join(lines)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s'[: number != 1]}"


def _sexes(records: Sequence[Record]) -> str:
    """How many are boys, as far as the table says; headers of DICOM files are read later."""
    known = [record.label.male for record in records]
    unknown = known.count(None)
    boys = _count(known.count(True), "boy")
    return f"{boys} by the table, sex of {unknown} by the DICOM header" if unknown else boys


def _dealt(records: Mapping[str, Sequence[Record]]) -> str:
    """How many were dealt out of training."""
    parts = [records["validation"], [*records["train"], *records["validation"]]]
    images_dealt, images_all = map(len, parts)
    message = f"{images_dealt} of {_count(images_all, 'training image')} became one"
    if not any(record.label.patient for record in parts[1]):
        return message
    children, all_children = (len({record.label.patient or record.label.id for record in part}) for part in parts)
    return f"{message}, of {children} of {all_children} children"


def _why(split: str, records: Sequence[Record], dealt: float) -> str:
    """How a split's images came to be in it."""
    if split == "validation" and dealt:
        return "dealt from training"
    by_column = sum(bool(record.label.split) for record in records)
    if by_column:
        return "by the table's column 'split'"
    folders = {str(pathlib.PurePosixPath(record.image.shown).parent) for record in records}
    named = sorted(folder for folder in folders if split_of(folder) == split)
    if named:
        return f"by the folder {named[0]!r}" + (f" and {len(named) - 1} more" if len(named) > 1 else "")
    by_table = sorted({record.where.rpartition(", row ")[0] for record in records})
    return f"by the table's name {by_table[0]!r}" if split_of(by_table[0]) == split else "as nothing names a split"
