"""Every file below a folder, packed or not: how radiographs, tables and annotations are found.

Folders that are symbolic links are followed, each real folder once. Zips are looked into, zips within zips too.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO

from boneage_jax.data import pairing
from boneage_jax.errors import printable, reason

ZIP_SUFFIXES = (".zip",)
MAX_BYTES = 2 << 30
"""Most bytes of a file that is read into memory whole: no radiograph, table or annotation is as large.
Chosen by eye."""

_MAX_DEPTH = 5
"""Most levels of zips within zips: there are files that hold themselves. Chosen by eye."""
_MAX_INNER = 1000
"""Most zips within zips in all: there are files that hold 16 x 16 x 16. Chosen by eye."""

_ENCRYPTED = 0x1
"""Bit of a zip entry's general purpose flags that marks it as encrypted (APPNOTE 4.4.4)."""

_METHODS = {
    zipfile.ZIP_STORED: "",
    zipfile.ZIP_DEFLATED: "",
    zipfile.ZIP_BZIP2: "",
    zipfile.ZIP_LZMA: "",
    9: "Deflate64",
    93: "Zstandard",
    95: "XZ",
    98: "PPMd",
    99: "AES",
}
"""Ways of packing by number (APPNOTE 4.4.5): empty for those that Python unpacks, else their names."""

_SKIPPED_FOLDERS = ("__MACOSX",)
_LOCK_PREFIX = "~$"
"""Prefix of the files that Excel keeps beside an open table."""


class UnreadableFile(ValueError):
    """A file that cannot be read; says why, without its name."""


@dataclasses.dataclass(frozen=True, order=True)
class FileRef:
    """A file on disk, or a member of a zip. Can be sent to worker processes for as long as its `Tree` is open.

    Attributes:
      shown: path relative to what was searched, with `/` between, printable; for people, tables and splits.
      path: of the file, or of the zip.
      member: name inside the zip as the zip has it, or empty.
    """

    shown: str
    path: str
    member: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return pathlib.PurePosixPath(self.shown).name

    @property
    def stem(self) -> str:
        """The file's own name without the ending of an image file."""
        return pairing.stem_of(self.shown)

    @property
    def suffix(self) -> str:
        """The ending in small letters, with its dot."""
        return pathlib.PurePosixPath(self.shown).suffix.lower()

    def read(self) -> bytes:
        """Returns the content. Raises `UnreadableFile`."""
        stated = self.size()
        if stated > MAX_BYTES:
            raise UnreadableFile(f"found {stated >> 20} MiB, expected a file of less than {MAX_BYTES >> 20} MiB")
        # Not of `MAX_BYTES`: Python takes memory for all that is asked for.
        return self.head(stated + 1)

    def size(self) -> int:
        """Returns the content's length in bytes, as the folder or the zip states it. Raises `UnreadableFile`."""
        with _unreadable_named():
            return _open_zip(self.path).getinfo(self.member).file_size if self.member else os.stat(self.path).st_size

    def head(self, size: int) -> bytes:
        """Returns the first `size` bytes of the content. Raises `UnreadableFile`."""
        with _unreadable_named(), self._open() as file:
            data = file.read(size)
        if len(data) > MAX_BYTES:
            raise UnreadableFile(f"found over {MAX_BYTES >> 20} MiB, expected a file of less")
        return data

    def _open(self) -> IO[bytes]:
        return _open_zip(self.path).open(self.member) if self.member else pathlib.Path(self.path).open("rb")


@contextlib.contextmanager
def _unreadable_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFile(error.strerror or reason(error)) from error
    # Whatever zipfile and the libraries below it run into: entries that are damaged, encrypted, packed in unknown ways.
    except Exception as error:
        raise UnreadableFile(f"cannot be unpacked ({reason(error)})") from error


@functools.lru_cache(maxsize=64)
def _open_zip(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


class Tree:
    """What lies below folders and in zips, for as long as the context lasts: zips within zips are unpacked meanwhile.

    Attributes:
      problems: what could not be looked into, as (shown path, reason): dangling links, unreadable folders, damaged
        zips, encrypted entries. It grows while `files` is read.
    """

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self._stack = contextlib.ExitStack()
        self._unpacked = 0
        self._outer: dict[str, FileRef] = {}

    def __enter__(self) -> Tree:
        self._stack.callback(_open_zip.cache_clear)
        return self

    @functools.cached_property
    def _scratch(self) -> pathlib.Path:
        """Made when it is needed: where nothing may be written to, most trees can be read all the same."""
        return pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="boneage-unzip-")))

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def place(self, ref: FileRef) -> tuple[str, ...]:
        """Returns where a file of this tree lies, whatever root it was found from: its `place_of`, then members."""
        if outer := self._outer.get(ref.path):
            return *self.place(outer), ref.member
        return (place_of(ref.path), ref.member) if ref.member else (place_of(ref.path),)

    def files(self, root: pathlib.Path) -> list[FileRef]:
        """Returns all files below a folder or in a zip, in the order of their shown paths; a plain file is itself.

        Hidden files, Excel's lock files and what macOS adds to zips are left out.

        Args:
          root: folder, zip or file. Shown paths are relative to it; a plain file's is its name.
        """
        if root.is_dir():
            found = [ref for path, shown in self._walk(root) for ref in self._refs(path, shown)]
        else:
            # A zip that was named counts as a folder: what lies in it is shown relative to it.
            packed = root.suffix.lower() in ZIP_SUFFIXES
            found = list(self._members(root, "") if packed else [FileRef(printable(root.name), str(root))])
        return sorted(found)

    def _refs(self, path: pathlib.Path, shown: str) -> Iterator[FileRef]:
        if path.suffix.lower() in ZIP_SUFFIXES:
            yield from self._members(path, f"{shown}/")
        else:
            yield FileRef(shown, str(path))

    def _walk(self, root: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
        """Yields files and shown paths; links to folders are followed last, so that a folder's own path counts."""
        seen: set[tuple[int, int]] = set()
        own, linked = [(root, "")], list[tuple[pathlib.Path, str]]()
        while own or linked:
            folder, shown = own.pop() if own else linked.pop(0)
            try:
                state = folder.stat()
                if (state.st_dev, state.st_ino) in seen:
                    continue
                seen.add((state.st_dev, state.st_ino))
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self._complain(shown.rstrip("/") or str(root), error.strerror or reason(error))
                continue
            for entry in entries:
                path, place = pathlib.Path(entry.path), f"{shown}{printable(entry.name)}"
                if _is_skipped(entry.name):
                    continue
                try:
                    kind = entry.stat().st_mode
                except OSError as error:
                    link = f"a link to {os.readlink(path)}: " if entry.is_symlink() else ""
                    self._complain(place, f"{link}{error.strerror or reason(error)}")
                    continue
                if stat.S_ISDIR(kind):
                    (linked if entry.is_symlink() else own).append((path, f"{place}/"))
                elif stat.S_ISREG(kind):
                    yield path, place

    def _members(self, path: pathlib.Path, shown: str, depth: int = 1) -> Iterator[FileRef]:
        if depth > _MAX_DEPTH:
            self._complain(shown.rstrip("/"), f"found zips within zips {depth} deep, expected {_MAX_DEPTH} at most")
            return
        try:
            members = _open_zip(str(path)).infolist()
        # As above; `BadZipFile` for most of it.
        except Exception as error:
            why = (error.strerror if isinstance(error, OSError) else None) or reason(error)
            self._complain(shown.rstrip("/") or path.name, f"not a readable zip ({why}); download it again")
            return
        counts = collections.Counter(info.filename for info in members)
        for info in members:
            # Some programs for Windows write `\` between the parts of a name.
            name = pathlib.PurePosixPath(printable(info.filename.replace("\\", "/")))
            if not info.filename or info.is_dir() or info.filename.endswith("\\") or any(map(_is_skipped, name.parts)):
                continue
            place = f"{shown}{name}"
            if counts[info.filename] != 1:
                if counts.pop(info.filename, 0):
                    self._complain(place, "the zip has several entries of this name; unpack it, and keep one")
                continue
            if info.flag_bits & _ENCRYPTED:
                self._complain(place, "the zip's entry is encrypted; unpack it with its password first")
            elif method := _METHODS.get(info.compress_type, f"method {info.compress_type}"):
                self._complain(
                    place, f"the zip's entry is packed by {method}; unpack it with the program that packed it"
                )
            elif name.suffix.lower() in ZIP_SUFFIXES:
                yield from self._inner(FileRef(place, str(path), info.filename), depth)
            else:
                yield FileRef(place, str(path), info.filename)

    def _inner(self, ref: FileRef, depth: int) -> Iterator[FileRef]:
        self._unpacked += 1
        if self._unpacked > _MAX_INNER:
            self._complain(ref.shown, f"found over {_MAX_INNER} zips within zips; unpack them first")
            return
        inner = self._scratch / f"{self._unpacked}.zip"
        try:
            with _unreadable_named(), ref._open() as source, inner.open("wb") as target:
                shutil.copyfileobj(source, target)
        except UnreadableFile as error:
            inner.unlink(missing_ok=True)
            self._complain(ref.shown, str(error))
            return
        self._outer[str(inner)] = ref
        yield from self._members(inner, f"{ref.shown}/", depth + 1)

    def _complain(self, shown: str, why: str) -> None:
        self.problems.append((printable(shown), printable(why)))


def place_of(path: str) -> str:
    """Returns a path's absolute form, without links on the way.

    A link at its end is kept: where equal files are stored once (git-annex), those of two children may be links to one.
    """
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _is_skipped(name: str) -> bool:
    return name.startswith((".", _LOCK_PREFIX)) or name in _SKIPPED_FOLDERS
