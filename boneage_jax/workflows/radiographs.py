"""Radiographs whose age is wanted: files, folders, zips, DICOMDIRs, arrays, DICOM datasets; and the children's sexes.

Each is read once, when its turn comes.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from boneage_jax.data import decode, dicom, dicom_header, grey, images, labels, pairing
from boneage_jax.data.dicom_header import Stated
from boneage_jax.data.images import Grey, ImageError
from boneage_jax.data.tree import ZIP_SUFFIXES, FileRef, Tree, UnreadableFile, place_of
from boneage_jax.errors import UserError, fail_if_any, printable, reason
from boneage_jax.workflows.flags import SEX_DIFFERS
from boneage_jax.workflows.sexes import SexConflict

if TYPE_CHECKING:
    import pydicom


@dataclasses.dataclass(frozen=True)
class Radiograph:
    """A radiograph that is to be read.

    Attributes:
      name: path of the file as it was given, or beginning with the folder or zip that was given; not always printable.
      ref: the file; None for a file that cannot be opened, and for a radiograph in memory.
      root: folder or zip that `ref` was found in.
      states_sex: whether it is DICOM, which may state the child's sex.
      problem: why it cannot be read, where that is known already.
      load: reads a radiograph in memory; None for a file.
    """

    name: str
    ref: FileRef | None
    root: str = ""
    states_sex: bool = False
    problem: str = ""
    load: Callable[[], Read] | None = None

    @property
    def readable(self) -> bool:
        """Whether nothing is known yet that prevents reading it."""
        return self.ref is not None or self.load is not None


@dataclasses.dataclass(frozen=True)
class Read:
    """A radiograph that was read.

    Attributes:
      image: grey levels; None where it cannot be used.
      stated: what its DICOM header says of the child.
      problem: why there is no image.
      identifiers: of patient and examination in its DICOM header, by attribute, where they were asked for.
    """

    image: Grey | None
    stated: Stated = Stated()
    problem: str = ""
    identifiers: tuple[tuple[str, str], ...] = ()


def found(tree: Tree, paths: Sequence[pathlib.Path]) -> list[Radiograph]:
    """Returns the radiographs among files and in folders, zips and DICOMDIRs, in order of their names within each.

    In folders and zips images are recognised by content or by file ending, so that damaged ones are listed; folders and
    zips that cannot be opened are listed too. A file that several paths lead to is listed once, under the first.

    Args:
      tree: open for as long as they are read.
      paths: of files, folders, zips and DICOMDIRs.

    Raises:
      UserError: for a path that does not exist, and where nothing looks like an image.
    """
    every: dict[tuple[str, ...], Radiograph] = {}
    for path in paths:
        if not path.exists():
            raise UserError(
                f"{printable(str(path))}: no such file or folder; expected a radiograph, or a folder or zip of them"
            )
        for radiograph in _in_directory_file(tree, path) if _is_directory_file(path) else _in_path(tree, path):
            every.setdefault(_identity(tree, radiograph), radiograph)
    if not every:
        named = ", ".join(printable(str(path)) for path in paths)
        raise UserError(f"{named}: no image found; expected {images.FORMATS} files")
    return list(every.values())


def _identity(tree: Tree, radiograph: Radiograph) -> tuple[str, ...]:
    if radiograph.ref is None:
        return place_of(radiograph.name), radiograph.problem
    return tree.place(radiograph.ref)


def _in_path(tree: Tree, path: pathlib.Path) -> Iterator[Radiograph]:
    known = len(tree.problems)
    single = path.is_file() and path.suffix.lower() not in ZIP_SUFFIXES
    for ref in tree.files(path):
        root = str(path.parent if single else path)
        name = str(path) if single else f"{path}/{ref.shown}" if ref.member else ref.path
        try:
            head = ref.head(images.HEAD_BYTES)
        except UnreadableFile as error:
            if single or ref.suffix in images.IMAGE_SUFFIXES:
                yield Radiograph(name, None, root, problem=str(error))
            continue
        if single or images.looks_like_image(head, ref.suffix):
            yield Radiograph(name, ref, root, states_sex=decode.kind_of(head) == "DICOM")
    for shown, why in tree.problems[known:]:
        inside = shown not in (printable(str(path)), printable(path.name))
        yield Radiograph(f"{path}/{shown}" if inside else str(path), None, str(path), problem=why)


def _is_directory_file(path: pathlib.Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return dicom.is_directory(file.read(images.HEAD_BYTES))
    except OSError:
        return False  # reported when it is read


def _in_directory_file(tree: Tree, path: pathlib.Path) -> Iterator[Radiograph]:
    """The images that a DICOMDIR names. Discs are often copied with names in small letters."""
    try:
        entries = dicom.entries_of_directory(path.read_bytes())
    except (OSError, ImageError) as error:
        raise UserError(f"{printable(str(path))}: {error}") from error
    if not entries:
        raise UserError(f"{printable(str(path))}: the DICOMDIR names no images; name the folder that holds them")
    beside = {ref.shown.upper(): ref for ref in tree.files(path.parent) if not ref.member}
    for entry in entries:
        ref, name = beside.get(entry.upper()), str(path.parent / entry)
        if ref is None:
            yield Radiograph(name, None, problem=f"no such file; {printable(path.name)} names it")
        else:
            yield Radiograph(ref.path, ref, str(path.parent), states_sex=True)


def read(radiograph: Radiograph, *, identifiers: bool = False) -> Read:
    """Reads a radiograph; whatever is wrong with it is returned as its problem.

    Args:
      radiograph: to be read.
      identifiers: whether those of a file's DICOM header are read too.
    """
    if radiograph.load is not None:
        return radiograph.load()
    if radiograph.ref is None:
        return Read(None, problem=radiograph.problem)
    try:
        data = radiograph.ref.read()
    except UnreadableFile as error:
        return Read(None, problem=printable(str(error)))
    return _of_bytes(data, identifiers=identifiers)


def of_array(array: np.ndarray, name: str = "array") -> Radiograph:
    """Returns a radiograph in memory.

    Args:
      array: (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA. 8 bits are taken as they are; all other numbers are
        stretched to the whole range of grey, as those of a 16-bit file.
      name: of the radiograph in results.
    """

    def load() -> Read:
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
            return Read(None, problem=f"an array of shape {array.shape}, expected (h, w), (h, w, 1), (h, w, 3 or 4)")
        try:
            grey.check_size(*array.shape[:2])
            if not np.isfinite(array).all():
                return Read(None, problem="an array with values that are not finite, expected numbers alone")
            swapped = array[..., [2, 1, 0, *range(3, array.shape[2])]] if array.shape[2:] > (1,) else array
            return Read(images.to_grey(swapped))
        except (ImageError, cv2.error, ValueError, TypeError) as error:
            return Read(None, problem=f"an array of {array.dtype} cannot be used as an image ({reason(error)})")

    return Radiograph(name, None, load=load)


def of_bytes(data: bytes, name: str) -> Radiograph:
    """Returns the radiograph of a file's content.

    Args:
      data: of a file of `images.FORMATS`; decoded when its turn comes.
      name: of the radiograph in results.
    """
    states_sex = decode.kind_of(data[: images.HEAD_BYTES]) == "DICOM"
    return Radiograph(name, None, states_sex=states_sex, load=lambda: _of_bytes(data))


def of_loader(load: Callable[[], Grey], name: str) -> Radiograph:
    """Returns a radiograph that a function gives when its turn comes.

    Args:
      load: returns grey levels.
      name: of the radiograph in results.
    """
    return Radiograph(name, None, load=lambda: Read(load()))


def of_dicom(dataset: pydicom.Dataset, name: str = "dataset") -> Radiograph:
    """Returns the radiograph of a DICOM dataset in memory, as `pydicom.dcmread` returns one.

    Args:
      dataset: with pixels; its PatientSex counts as that of a file does.
      name: of the radiograph in results.
    """

    def load() -> Read:
        file = io.BytesIO()
        try:
            dataset.save_as(file)
        # pydicom raises whatever an incomplete dataset makes it run into.
        except Exception as error:
            return Read(None, problem=f"the DICOM dataset cannot be written ({printable(reason(error))})")
        return _of_bytes(file.getvalue())

    return Radiograph(name, None, states_sex=True, load=load)


def _of_bytes(data: bytes, *, identifiers: bool = False) -> Read:
    try:
        found = dicom_header.identifiers(data) if identifiers else ()
        return Read(images.decode(data), dicom_header.stated(data), identifiers=found)
    except (ImageError, UserError) as error:
        return Read(None, problem=printable(str(error)))


def sexes_of(radiographs: Sequence[Radiograph], sex: str, sex_csv: pathlib.Path | None) -> list[bool | None]:
    """Returns whether each child is a boy by --sex or --sex-csv; None where they do not state it.

    Args:
      radiographs: to be read.
      sex: of all children, in any usual spelling; or empty.
      sex_csv: table of `file,male`, whose rows name their files as `pairing` describes; or None.

    Raises:
      UserError: for spellings and tables that cannot be used, as one with a row that may mean several files.
    """
    if sex and sex_csv:
        raise UserError("found both --sex and --sex-csv, expected one of them")
    if sex:
        try:
            return [labels.parse_sex(sex)] * len(radiographs)
        except ValueError as error:
            raise UserError(f"--sex: {error}") from error
    if sex_csv is None:
        return [None] * len(radiographs)
    rows, _ = labels_of(radiographs, sex_csv)
    return [None if row is None else row.male for row in rows]


def labels_of(radiographs: Sequence[Radiograph], path: pathlib.Path) -> tuple[list[labels.Label | None], int]:
    """Returns the row of a label table for each radiograph, None where it has none; and how many rows name none.

    Args:
      radiographs: to be read.
      path: of a table of `file,male` or `file,sex`, and ages where they are known; its rows name their files as
        `pairing` describes.

    Raises:
      UserError: for tables that cannot be used, as one without sexes or with a row that may mean several files.
    """
    table = printable(str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{table}: {error.strerror}; expected a CSV with the columns file,male") from error
    read_table = labels.read_whole_table(path.name, data, sex_needed=False)
    if not read_table.sexes:
        raise UserError(f"{table}: found no column with sexes, expected the columns file,male or file,sex")
    rows = read_table.labels
    fail_if_any(read_table.offenders, f"{table}: rows that cannot be used", "Correct or remove these rows.")
    at = [n for n, radiograph in enumerate(radiographs) if radiograph.ref is not None]
    refs = [(radiographs[n].ref, radiographs[n].root) for n in at]
    index = pairing.Index([ref.shown for ref, _ in refs if ref], [root for _, root in refs])
    pairs = pairing.pair([pairing.Row(row.cell, f"row {row.row}") for row in rows], index, what="radiograph")
    pairs.refuse_unclear(f"{table}: rows that do not name one file each")
    found: list[labels.Label | None] = [None] * len(radiographs)
    for n, row in zip(at, pairs.rows, strict=True):
        found[n] = None if row is None else rows[row]
    return found, len(rows) - len({row for row in pairs.rows if row is not None})


def expect_sexes(radiographs: Sequence[Radiograph], males: Sequence[bool | None]) -> None:
    """Raises `UserError` for radiographs whose sex is not given and that cannot state it, before the work begins."""
    fail_if_any(
        [
            printable(radiograph.name)
            for radiograph, male in zip(radiographs, males, strict=True)
            if male is None and radiograph.readable and not radiograph.states_sex
        ],
        "the networks are told the sex, which is not given for these files",
        "Give it with --sex M, --sex F or --sex-csv FILE with the columns file,male.",
    )


@dataclasses.dataclass(frozen=True)
class ChildSex:
    """The sex that counts for a radiograph.

    Attributes:
      male: whether the child is a boy; None where that is not known.
      flags: reasons to look at the radiograph.
      problem: why it cannot be used; empty where it can.
    """

    male: bool | None
    flags: tuple[str, ...] = ()
    problem: str = ""


def sex_that_counts(given: bool | None, stated: bool | None, conflict: SexConflict, *, needed: bool) -> ChildSex:
    """Returns which sex counts: the given one, else the stated one; where both differ, as `conflict` says.

    Args:
      given: whether the user says that the child is a boy; None where the user gives no sex.
      stated: whether the DICOM file's PatientSex is male; None where it states no sex.
      conflict: see `sexes.SEX_CONFLICTS`.
      needed: whether the networks need a sex.
    """
    male = stated if given is None else given
    if male is None and needed:
        return ChildSex(
            None, problem="the networks are told the sex, which neither its PatientSex nor --sex or --sex-csv gives"
        )
    if None in (given, stated) or given == stated:
        return ChildSex(male)
    if conflict == "error":
        return ChildSex(
            None,
            problem=f"its PatientSex is {labels.SEX_LETTERS[stated]}, {labels.SEX_LETTERS[given]} was given; correct "
            "one, or say which counts with --sex-conflict=keep-given or use-dicom",
        )
    return ChildSex(stated if conflict == "use-dicom" else given, (SEX_DIFFERS,))
