"""What `boneage assess` has done so far in a folder, so that the same command goes on where it was cut short."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from boneage_jax.data.tree import UnreadableFile
from boneage_jax.errors import UserError
from boneage_jax.workflows import record
from boneage_jax.workflows.assessment import Assessment
from boneage_jax.workflows.radiographs import Radiograph

FILE = "journal.jsonl"


class Journal:
    """Finished batches of a folder, a line each, after a line that says what makes its ages.

    A batch counts where all of its radiographs are as they were. Whole batches are kept or done again, so that a
    radiograph always stands in the same batch, and its age is the same to the last digit.
    """

    def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any]):
        """Opens a folder's journal, or begins one.

        Args:
          folder: of the results.
          settings: all that ages and pages depend on but the radiographs.

        Raises:
          UserError: for a folder whose results were made with other settings, and one that cannot be written.
        """
        self._path = folder / FILE
        self._settings = json.loads(json.dumps(settings))
        self._done: dict[str, list[dict[str, Any]]] = {}
        self._keys: dict[tuple[Radiograph, ...], str] = {}
        if self._path.exists():
            self._read()
        else:
            self._append({"settings": self._settings})

    def finished(self, batch: Sequence[Radiograph]) -> list[tuple[Assessment, str]] | None:
        """Returns the assessments of a batch, each with its small picture in base 64, where it is done; else None."""
        stored = self._done.get(self._key(batch)) if self._done else None
        return None if stored is None else [_unpacked(one) for one in stored]

    def add(
        self, batch: Sequence[Radiograph], assessments: Sequence[tuple[Assessment, str]]
    ) -> list[tuple[Assessment, str]]:
        """Notes that all of a batch is done and written; returns its assessments as `finished` will."""
        stored = [{**record.record(one, exact=True), "picture": small} for one, small in assessments]
        self._append({"batch": self._key(batch), "radiographs": stored})
        return [_unpacked(one) for one in json.loads(json.dumps(stored))]

    def _key(self, batch: Sequence[Radiograph]) -> str:
        """Of a batch; all of its files are read for it, once."""
        if tuple(batch) not in self._keys:
            self._keys[tuple(batch)] = _key(batch)
        return self._keys[tuple(batch)]

    def _read(self) -> None:
        lines = self._path.read_bytes().split(b"\n")
        first, *others = [_parsed(line) for line in lines[:-1]] or [None]
        if first is None or not isinstance(first.get("settings"), dict):
            raise UserError(
                f"{self._path}: damaged, so it cannot be told what was read; remove the folder, or name another one "
                "with --out"
            )
        if first["settings"] != self._settings:
            was = first["settings"]
            differ = sorted(k for k in {*was, *self._settings} if was.get(k) != self._settings.get(k))
            raise UserError(
                f"{self._path.parent}: holds the result of another command (it differs in "
                f"{', '.join(differ)}); name another folder with --out, or remove this one"
            )
        # Batches of damaged lines are read again.
        self._done = {line["batch"]: line["radiographs"] for line in others if line is not None and _is_batch(line)}
        if lines[-1]:  # cut short in the middle of a line
            with self._path.open("r+b") as file:
                file.truncate(len(b"\n".join(lines[:-1])) + 1)

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror}); free space") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line of the journal; None for a damaged one."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_batch(line: Mapping[str, Any]) -> bool:
    """Whether a line holds a batch whose assessments can be read."""
    try:
        return isinstance(line["batch"], str) and bool([_unpacked(one) for one in line["radiographs"]])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _unpacked(stored: Mapping[str, Any]) -> tuple[Assessment, str]:
    return record.assessment(stored), stored["picture"]


def _key(batch: Sequence[Radiograph]) -> str:
    """Names, places and contents of a batch."""
    made = hashlib.sha256()
    for one in batch:
        made.update(os.fsencode(one.name) + b"\0" + one.problem.encode(errors="surrogateescape") + b"\0")
        if one.ref is not None:
            try:
                made.update(hashlib.sha256(one.ref.read()).digest())
            except UnreadableFile as error:
                made.update(str(error).encode(errors="surrogateescape"))
    return made.hexdigest()
