"""Reads annotation files and folders of any known format."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Sequence

from boneage_jax.data import images, pairing, tables
from boneage_jax.data.annotations import coco, labelme, mask_folder, via, voc
from boneage_jax.data.annotations.format import AnnotationFile, Format
from boneage_jax.data.annotations.model import Annotation
from boneage_jax.data.tree import Tree
from boneage_jax.errors import UserError, fail_if_any

FORMATS: tuple[Format, ...] = (
    voc.FORMAT,
    coco.FORMAT,
    via.JSON_FORMAT,
    labelme.FORMAT,
    via.CSV_FORMAT,
)
"""All formats of annotation files; the first that matches a file reads it. A new one is a file beside this one, and a
line here."""


def read(path: pathlib.Path) -> list[Annotation]:
    """Reads annotations; their format is detected from the content.

    Args:
      path: a file of one of `FORMATS`, a folder of such files, or a folder of mask images by id.

    Returns:
      One annotation an image, sorted by id.

    Raises:
      UserError: for a path that is not there, an unknown format, folders that hold masks beside other annotations, or
        entries that cannot be used: file, entry, reason.
    """
    if path.is_dir():
        found = _folder(path)
    elif not path.is_file():
        raise UserError(f"{path}: no such file or folder; expected annotations")
    else:
        found = _format_of(path).read([path], None)
    first: dict[str, Annotation] = {}
    twice = []
    for annotation in found:
        earlier = first.setdefault("/".join(pairing.parts_of(annotation.file)), annotation)
        if earlier is not annotation:
            twice.append(f"{path}: image {annotation.file!r}: {earlier.where} and {annotation.where}")
    fail_if_any(twice, "images that stand twice", "Keep one of each.")
    return sorted(found, key=lambda annotation: (annotation.id, annotation.file))


def _format_of(path: pathlib.Path) -> Format:
    """The format of a file. Raises `UserError` for one of no known format."""
    suffix = path.suffix.lower()
    possible = [one for one in FORMATS if one.suffix == suffix]
    if not possible:
        # The commonest ending first.
        endings = [ending for ending, _ in collections.Counter(one.suffix for one in FORMATS).most_common()]
        raise UserError(f"{path}: expected a {_either(endings)} file, or a folder of masks or of such files")
    if len(possible) == 1:
        # No other format has that ending: the error of its reader is the clearer one.
        return possible[0]
    file = AnnotationFile(path)
    for one in possible:
        if one.matches(file):
            return one
    kind, expected = suffix.removeprefix(".").upper(), _either([one.name for one in possible])
    raise UserError(f"{path}: {kind} of an unknown kind; expected {expected}")


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _folder(path: pathlib.Path) -> list[Annotation]:
    with Tree() as tree:
        refs = tree.files(path)
        packed = {ref.shown[: ref.shown.lower().find(".zip/") + 4] for ref in refs if ref.member}
        fail_if_any(
            [f"{shown}: {why}" for shown, why in tree.problems] + [f"{name}: a zip" for name in sorted(packed)],
            f"{path}: folders, links and zips that cannot be looked into",
            "Unpack, mend or remove them.",
        )
    files = [(ref.shown, pathlib.Path(ref.path), ref.suffix) for ref in refs]
    pictures = [(shown, file) for shown, file, suffix in files if suffix in images.IMAGE_SUFFIXES]
    by_format = _by_format([file for _, file, suffix in files if any(suffix == one.suffix for one in FORMATS)])
    if not by_format:
        if not pictures:
            endings = sorted({one.suffix for one in FORMATS})
            raise UserError(f"{path}: found no masks (.png, .jpg) and no annotation files ({', '.join(endings)})")
        return mask_folder.pictures(pictures)
    found: list[Annotation] = []
    # Files of one image often lie beside the image that they were drawn on, and beside others that nobody has drawn on
    # yet. Images that may be masks are not passed over.
    radiographs: set[pathlib.Path] = set()
    for one, members in by_format.items():
        read_here = one.read(members, path)
        found += read_here
        radiographs |= {file.parent / one.image_name(file, read_here) for file in members}
    others = [(shown, file) for shown, file in pictures if file not in radiographs]
    if mask := mask_folder.mask_among(others):
        annotated = [file for members in by_format.values() for file in members]
        raise UserError(
            f"{path}: found {len(others)} images, among them {mask}, which may be a mask, beside "
            f"{len(annotated)} annotation files, such as {annotated[0].name}; name the file, or put the masks into a "
            "folder of their own and name that"
        )
    return found


def _by_format(files: Sequence[pathlib.Path]) -> dict[Format, list[pathlib.Path]]:
    """The files of a folder by their formats, in the order of `FORMATS`; tables of labels are left out."""
    members: dict[Format, list[pathlib.Path]] = {one: [] for one in FORMATS}
    for file in files:
        if file.suffix.lower() in tables.TABLE_SUFFIXES:
            read_file = AnnotationFile(file)
            one = next((one for one in FORMATS if one.suffix == file.suffix.lower() and one.matches(read_file)), None)
        else:
            one = _format_of(file)
        if one is not None:
            members[one].append(file)
    return {one: of_it for one, of_it in members.items() if of_it}
