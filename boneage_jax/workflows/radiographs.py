"""The radiographs that `boneage predict` is given: files, folders, zips and DICOMDIRs; each read once, on its way."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from boneage_jax.data import decode, dicom, images, labels, pairing
from boneage_jax.data.images import Grey, ImageError
from boneage_jax.data.tree import ZIP_SUFFIXES, FileRef, Tree, UnreadableFile, place_of
from boneage_jax.errors import UserError, fail_if_any, printable


@dataclasses.dataclass(frozen=True)
class Radiograph:
    """A file that is taken for a radiograph.

    Attributes:
      name: path to it as it was named, or beginning with the folder or zip that was; as the file system has it.
      ref: the file; None where it cannot be got at.
      root: folder or zip that `ref` was found in.
      states_sex: whether it is DICOM, which may say whose hand it is.
      problem: why it cannot be read, where that is known already.
    """

    name: str
    ref: FileRef | None
    root: str = ""
    states_sex: bool = False
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Read:
    """What a radiograph's file held.

    Attributes:
      picture: None where it cannot be used.
      male: whether the file says that the child is a boy; None where it does not say.
      problem: why there is no picture.
    """

    picture: Grey | None
    male: bool | None = None
    problem: str = ""


def found(tree: Tree, paths: Sequence[pathlib.Path]) -> list[Radiograph]:
    """Returns the radiographs among files and in folders, zips and DICOMDIRs, in order of their names within each.

    In folders and zips pictures are told by their content, or by their ending, so that damaged ones are listed; what
    could not be looked into is listed too. A file that several of the paths lead to is listed once, by the first.

    Args:
      tree: open for as long as they are read.
      paths: of any of these.

    Raises:
      UserError: for a path that does not exist, or where there is nothing that looks like a picture.
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
        if single or images.looks_like_picture(head, ref.suffix):
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
        return False  # said when it is read


def _in_directory_file(tree: Tree, path: pathlib.Path) -> Iterator[Radiograph]:
    """The pictures that a DICOMDIR names. Discs are often copied with names in small letters."""
    try:
        entries = dicom.entries_of_directory(path.read_bytes())
    except (OSError, ImageError) as error:
        raise UserError(f"{printable(str(path))}: {error}") from error
    if not entries:
        raise UserError(f"{printable(str(path))}: the DICOMDIR names no pictures; name the folder that holds them")
    beside = {ref.shown.upper(): ref for ref in tree.files(path.parent) if not ref.member}
    for entry in entries:
        ref, name = beside.get(entry.upper()), str(path.parent / entry)
        if ref is None:
            yield Radiograph(name, None, problem=f"no such file; {printable(path.name)} names it")
        else:
            yield Radiograph(ref.path, ref, str(path.parent), states_sex=True)


def read(radiograph: Radiograph) -> Read:
    """Reads a radiograph; whatever is wrong with it comes back as its problem."""
    if radiograph.ref is None:
        return Read(None, problem=radiograph.problem)
    try:
        data = radiograph.ref.read()
        return Read(images.decode(data), dicom.patient_sex(data))
    except (UnreadableFile, ImageError, UserError) as error:
        return Read(None, problem=printable(str(error)))


def sexes_of(radiographs: Sequence[Radiograph], sex: str, sex_csv: pathlib.Path | None) -> list[bool | None]:
    """Returns whether the user says of each child that it is a boy; None where that is not said.

    Args:
      radiographs: to be read.
      sex: of all of them, or empty.
      sex_csv: table of `file,male`, whose rows find their files as `pairing` has it; or None.

    Raises:
      UserError: for spellings and tables that cannot be used, rows that may mean several files among them.
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
    table = printable(str(sex_csv))
    try:
        data = sex_csv.read_bytes()
    except OSError as error:
        raise UserError(f"{table}: {error.strerror}; expected a CSV with the columns file,male") from error
    read_table = labels.read_whole_table(sex_csv.name, data, sex_needed=False)
    if not read_table.sexes:
        raise UserError(f"{table}: found no column with sexes, expected the columns file,male or file,sex")
    rows = read_table.labels
    fail_if_any(read_table.offenders, f"{table}: rows that cannot be used", "Correct or remove these rows.")
    at = [n for n, radiograph in enumerate(radiographs) if radiograph.ref is not None]
    refs = [(radiographs[n].ref, radiographs[n].root) for n in at]
    index = pairing.Index([ref.shown for ref, _ in refs if ref], [root for _, root in refs])
    pairs = pairing.pair([pairing.Row(row.cell, f"row {row.row}") for row in rows], index, what="radiograph")
    pairs.refuse_unclear(f"{table}: rows that do not name one file each")
    males: list[bool | None] = [None] * len(radiographs)
    for n, row in zip(at, pairs.rows, strict=True):
        males[n] = None if row is None else rows[row].male
    return males


def expect_sexes(radiographs: Sequence[Radiograph], males: Sequence[bool | None]) -> None:
    """Raises `UserError` that names all files whose child's sex nobody says, nor can say: before the work."""
    fail_if_any(
        [
            printable(radiograph.name)
            for radiograph, male in zip(radiographs, males, strict=True)
            if male is None and radiograph.ref is not None and not radiograph.states_sex
        ],
        "the networks are told the sex, which is not given for these files",
        "Give it with --sex M, --sex F or --sex-csv FILE with the columns file,male.",
    )
