"""How a table's row, or an entry of an annotation file, finds its file: the only rule for matching names to files.

What a cell names:

- The same file in any spelling: `/` or `\\` between folders, `./`, the suffix in capitals, accents composed or not
  (Unicode NFC and NFD). A cell may leave the suffix away, or have another image's (`.png` for a file in `.dcm`).
- `17.0`, as spreadsheets and pandas write it, is 17; and 17 is `00017.png` where there is no `17.png`.
- A cell with folders is a path. It belongs to the file whose path ends in it; a whole path below the folder that is
  searched wins over a part of one. It may begin above that folder, on another computer too, as long as it goes through
  the folder's own name. It never belongs to a file in a folder of another name.
- A cell without folders is a name. It belongs to every file of that name: where there are several, that is ambiguous.

Annotations and patients meet the images of one split of a built dataset (`pair_in_split`), by the paths below the
folder that it was built from:

- What belongs to another split of the dataset is left aside, whatever its name.
- A path never belongs to an image in a folder of another name; an image without folders has none that could differ.
  Images are often annotated elsewhere. Such a path is refused, unless each image of its name has a path among the rows:
  then it is of an image that the dataset does not hold.
- A name alone belongs to the image of the split that has it for an id (RSNA's training and test numbers overlap). An
  image whose id has folders is one of several of its name, so a name alone never means it. Where other rows have
  folders, and another split holds an image of the name too, it is ambiguous.

Nothing here guesses: what is ambiguous comes back with all its candidates, and two rows at one file are both named.

    index = Index([ref.shown for ref in refs], root=str(folder))
    pairs = pair([Row(label.cell, f"{table}, row {label.row}") for label in rows], index)
    pairs.refuse_unclear(f"{table}: rows that do not name one file each")
    sexes = [None if row is None else rows[row].male for row in pairs.rows]    # by file
"""

from __future__ import annotations

import dataclasses
import pathlib
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from boneage_jax.errors import fail_if_any

PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif"),
    *(".dcm", ".dicom", ".ima"),
)
"""Endings that are no part of an image's name, whether or not such images are read. Other endings are: DICOM files
are often called by numbers with points, as `1.2.840.113619.2.5`."""

_WHOLE_NUMBER = re.compile(r"([0-9]+)(?:[.,]0+)?")
_MAX_SHOWN = 6
"""Most candidates that are named in a line; chosen by eye."""


def stem_of(path: str) -> str:
    """Returns a file's name without folders and without the ending of an image file."""
    return _split_name(path.rpartition("/")[2])[0]


def ids_of(shown: Sequence[str]) -> list[str]:
    """Returns an id for each path, no two alike.

    An id is the file's name without its ending; where names repeat in different folders it is the path without the
    ending, and where that repeats too (`1.png` beside `1.jpg`) the whole path.

    Args:
      shown: paths with `/` between their parts, no two alike.
    """
    paths = [unicodedata.normalize("NFC", path) for path in shown]
    names = [stem_of(path) for path in paths]
    longer = [path[: len(path) - len(path.rpartition("/")[2])] + name for path, name in zip(paths, names, strict=True)]
    ids = names
    for replacement in (longer, paths):
        repeated = _repeated(ids)
        ids = [new if old in repeated else old for old, new in zip(ids, replacement, strict=True)]
    return ids


def _repeated(values: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    again: set[str] = set()
    for value in values:
        (again if value in seen else seen).add(value)
    return again


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of one split of a dataset, as rows find them.

    Attributes:
      ids: of the split's images.
      paths: of each, below the folder that the dataset was built from; empty where that is unknown, or none for all.
      others: paths of the images in the dataset's other splits, as far as they are known.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def index(self) -> Index:
        """Returns the index of the split's images, followed by the others. An id takes the place of an unknown path."""
        known = self.paths or ("",) * len(self.ids)
        shown = [path or image_id for path, image_id in zip(known, self.ids, strict=True)]
        return Index([*shown, *self.others])


class Index:
    """Files by all the spellings of their names and paths."""

    def __init__(self, shown: Sequence[str], root: str | Sequence[str] = ""):
        """Takes the files in.

        Args:
          shown: path of each below what was searched, or its id.
          root: what was searched, for all or for each file; empty where `shown` are ids, to which folders are unknown.
        """
        roots = [root] * len(shown) if isinstance(root, str) else root
        self.shown = list(shown)
        self._folders: list[tuple[str, ...]] = []
        self._above: list[tuple[str, ...]] = []
        self._by_name: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] = {}
        self._by_number: dict[int, list[int]] = {}
        parts_of_root: dict[str, tuple[str, ...]] = {}
        for n, (path, above) in enumerate(zip(shown, roots, strict=True)):
            *folders, name = parts_of(path) or ("",)
            if above not in parts_of_root:
                parts_of_root[above] = _folder_names(parts_of(str(pathlib.Path(above).absolute())) if above else ())
            self._folders.append(_folder_names(folders))
            self._above.append(parts_of_root[above])
            stem, suffix = _split_name(name)
            self._by_name.setdefault(stem + suffix.lower(), []).append(n)
            self._by_stem.setdefault(stem, []).append(n)
            if (number := _number(stem)) is not None:
                self._by_number.setdefault(number, []).append(n)

    def find(self, cell: str, *, whole: bool = False) -> list[int]:
        """Returns the places of the files that a cell may name: none, one, or, where it is ambiguous, several.

        Args:
          cell: what the table has.
          whole: whether the table is known to hold whole paths, so that one without folders is a file of the top folder
            where there is such a file. A cell that starts with `./` is always taken so.
        """
        *folders, name = parts_of(cell) or ("",)
        wanted = _folder_names(folders)
        exact_counts = bool(wanted) or whole or cell.strip().replace("\\", "/").startswith("./")
        for candidates in self._alike(name):
            below = [n for n in candidates if self._goes_through(n, wanted)]
            exact = [n for n in below if self._folders[n] == wanted] if exact_counts else []
            if below:
                return exact or below
        return []

    def elsewhere(self, cell: str) -> list[int]:
        """Returns the files of a cell's name in any folder: for messages about a cell that finds none."""
        *_, name = parts_of(cell) or ("",)
        return next(iter(self._alike(name)), [])

    def _alike(self, name: str) -> Iterator[list[int]]:
        """Files of a name, by ever looser readings of it; only readings that there are files for."""
        stem, suffix = _split_name(name)
        number = _number(stem)
        spelt_out = "" if number is None else stem.replace(",", ".").partition(".")[0]
        for found in (
            self._by_name.get(stem + suffix.lower()),
            self._by_stem.get(stem),
            self._by_stem.get(spelt_out),
            None if number is None else self._by_number.get(number),
        ):
            if found:
                yield found

    def _goes_through(self, n: int, wanted: tuple[str, ...]) -> bool:
        """Whether a path with these folders can be that of a file."""
        known = self._above[n] + self._folders[n]
        common = 0
        while common < min(len(known), len(wanted)) and known[-1 - common] == wanted[-1 - common]:
            common += 1
        return common == len(wanted) or common >= len(self._folders[n]) + bool(self._above[n])


def parts_of(path: str) -> tuple[str, ...]:
    """Returns the parts of a path as they are compared: of either separator, in Unicode's NFC, without `.` and `..`."""
    text = unicodedata.normalize("NFC", path.strip()).replace("\\", "/")
    return tuple(part for part in posixpath.normpath(text).split("/") if part not in ("", ".", ".."))


def _folder_names(parts: Sequence[str]) -> tuple[str, ...]:
    """Folders' names; a zip counts as the folder that it was or will be."""
    return tuple(part[:-4] if part.lower().endswith(".zip") else part for part in parts)


def _split_name(name: str) -> tuple[str, str]:
    for suffix in PICTURE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def _number(stem: str) -> int | None:
    # Longer than any id that a person or a spreadsheet writes; Python refuses to read numbers of thousands of digits.
    found = _WHOLE_NUMBER.fullmatch(stem) if len(stem) < 100 else None
    return int(found[1]) if found else None


@dataclasses.dataclass(frozen=True)
class Row:
    """What names a file.

    Attributes:
      cell: the name or path.
      where: the place that people find it at, as in `train.csv, row 4`.
    """

    cell: str
    where: str


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Rows and files that belong together.

    Attributes:
      files: by row, the file's number; None where there is none or it is unclear which.
      rows: by file, the row's number; None likewise.
      missing: a line for each row that names no file.
      wrong_folder: those of `missing` whose name, but not path, is that of a file that no other row's path is of.
      ambiguous: a line for each row that may name several, with all of them.
      twice: a line for each file that several rows name, with all of them.
    """

    files: tuple[int | None, ...]
    rows: tuple[int | None, ...]
    missing: tuple[str, ...]
    wrong_folder: tuple[str, ...]
    ambiguous: tuple[str, ...]
    twice: tuple[str, ...]

    def refuse_unclear(self, headline: str) -> None:
        """Raises `UserError` where a row may name several files, or several rows name one."""
        fail_if_any(
            self.ambiguous + self.twice,
            headline,
            "Write each file's path as it lies below the folder, as in clinic/17.png, and keep one row for each file.",
        )


def pair_in_split(rows: Sequence[Row], images: Images, headline: str) -> Pairs:
    """Gives each row its image of a split, by number among `images.ids`.

    Args:
      rows: what names images of the dataset, or of others.
      images: of the split.
      headline: of the message for what is unclear.

    Raises:
      UserError: where it is not clear which image a row means, or several rows mean one.
    """
    count = len(images.ids)
    is_path = [len(parts_of(row.cell)) > 1 for row in rows]

    def narrow(number: int, found: list[int]) -> list[int]:
        own = [n for n in found if n < count]
        if is_path[number] or not own:
            return own or found
        named = [n for n in own if "/" not in images.ids[n]]
        return found if named and any(is_path) and len(own) < len(found) else named

    pairs = pair(rows, images.index(), narrow, others=len(images.others))
    fail_if_any(
        [*pairs.ambiguous, *pairs.wrong_folder, *pairs.twice],
        headline,
        "Write each image's path below the folder that the dataset was built from, or its id, and keep one for each.",
    )
    return pairs


def pair(
    rows: Sequence[Row],
    index: Index,
    narrow: Callable[[int, list[int]], list[int]] | None = None,
    what: str = "image",
    others: int = 0,
) -> Pairs:
    """Gives each row its file.

    Args:
      rows: what names files.
      index: of the files.
      narrow: given a row's number and the files that it may name, returns those that it may name after all.
      what: the files are, for the messages.
      others: how many files, the last of the index, are not asked for: rows that name these alone are left aside.
    """
    count = len(index.shown) - others
    whole = any(len(parts_of(row.cell)) > 1 for row in rows)
    files: list[int | None] = []
    takers: dict[int, list[int]] = {}
    missing, ambiguous = list[str](), list[str]()
    misplaced: list[tuple[str, list[int]]] = []
    for number, row in enumerate(rows):
        found = index.find(row.cell, whole=whole)
        left = narrow(number, found) if narrow and found else found
        files.append(left[0] if len(left) == 1 and left[0] < count else None)
        if left and min(left) >= count:
            for n in left:
                takers.setdefault(n, []).append(number)
        elif len(left) == 1:
            takers.setdefault(left[0], []).append(number)
        elif left:
            ambiguous.append(f"{row.where}: {row.cell!r} may be {_listed([index.shown[n] for n in left])}")
        else:
            there = found or index.elsewhere(row.cell)
            hint = f"; of that name there is {_listed([index.shown[n] for n in there])}" if there else ""
            missing.append(f"{row.where}: no {what} {row.cell!r}{hint}")
            if there:
                misplaced.append((missing[-1], [] if found else there))
    twice = []
    by_file: list[int | None] = [None] * count
    for n, numbers in takers.items():
        if n >= count:
            continue
        if len(numbers) == 1:
            by_file[n] = numbers[0]
            continue
        named = [f"{rows[number].where} ({rows[number].cell!r})" for number in numbers]
        twice.append(f"{index.shown[n]}: named by {_listed(named)}")
        for number in numbers:
            files[number] = None
    # Where each file of the name has its path, one more path is that of a file that is not here.
    by_path = {n for n, numbers in takers.items() if any(len(parts_of(rows[number].cell)) > 1 for number in numbers)}
    wrong_folder = [line for line, there in misplaced if not (there and by_path.issuperset(there))]
    return Pairs(tuple(files), tuple(by_file), tuple(missing), tuple(wrong_folder), tuple(ambiguous), tuple(twice))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more
