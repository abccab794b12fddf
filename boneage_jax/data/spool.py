"""Shuffles the records of a dataset that is built, however many there are, without TensorFlow.

TFDS sorts a split's records by a hash of their keys. It holds 1,000 MiB of them in memory and opens files through
TensorFlow beyond that (`tensorflow_datasets/core/shuffle.py`, 4.9.10), which this project does not need. Here records
wait in one file without a name, and their hashes and places in memory: some hundred bytes for a record of any size. The
order, and so every byte that is written, is TFDS's own.
"""

from __future__ import annotations

import array
import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from tensorflow_datasets.core import hashing, shuffle

MEMORY_BYTES = 64 << 20
"""Records of a split that wait in memory before they wait on disk."""


class SpooledShuffler:
    """TFDS's `shuffle.Shuffler`, with a file in place of TensorFlow's.

    Attributes:
      size: bytes of all records.
      num_examples: how many there are.
    """

    def __init__(
        self,
        dirpath: os.PathLike[str] | str,
        hash_salt: str | bytes,
        disable_shuffling: bool = False,
        ignore_duplicates: bool = False,
    ):
        """Makes an empty one.

        Args:
          dirpath: folder of the dataset that is written; the file lies on its disk, and is gone with this process.
          hash_salt: of the keys' hashes.
          disable_shuffling: whether records stay in the order of their keys, whole numbers then.
          ignore_duplicates: whether the first of equal keys counts; else equal keys are an error.
        """
        os.makedirs(dirpath, exist_ok=True)
        self._hasher = hashing.Hasher(hash_salt)
        self._disable_shuffling, self._ignore_duplicates = disable_shuffling, ignore_duplicates
        # Moves to disk by itself once it has grown, and says so when there is no room.
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=os.fspath(dirpath))  # noqa: SIM115
        self._keys: list[int] = []
        self._starts = array.array("q")
        self._seen: set[int] = set()
        self.size = 0

    @property
    def num_examples(self) -> int:
        """Number of records."""
        return len(self._keys)

    @property
    def bucket_lengths(self) -> list[int]:
        """Number of records in each of TFDS's buckets, of which there is one."""
        return [len(self._keys)]

    def add(self, key: Any, data: bytes) -> None:
        """Takes a record. Raises OSError on a full disk."""
        hashed = self._hasher.hash_key(key)
        if self._ignore_duplicates:
            if hashed in self._seen:
                return
            self._seen.add(hashed)
        self._keys.append(int(key) if self._disable_shuffling else hashed)
        self._starts.append(self.size)
        self._file.write(data)
        self.size += len(data)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yields keys, hashed, and records in the order of the keys. Raises TFDS's error for keys that are equal."""
        order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
        before: tuple[int, bytes] | None = None
        for n in order:
            end = self._starts[n + 1] if n + 1 < len(self._starts) else self.size
            self._file.seek(self._starts[n])
            data = self._file.read(end - self._starts[n])
            if before is not None and before[0] == self._keys[n]:
                raise shuffle.DuplicatedKeysError(data, before[1])
            yield self._keys[n], data
            before = self._keys[n], data
        self._file.close()


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Has TFDS shuffle by `SpooledShuffler` for as long as the context lasts."""
    original = shuffle.Shuffler
    shuffle.Shuffler = SpooledShuffler
    try:
        yield
    finally:
        shuffle.Shuffler = original
