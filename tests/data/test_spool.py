"""Datasets larger than memory: TFDS's order and bytes, without TensorFlow, with nothing left behind."""

import hashlib
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.core import shuffle

from boneage_jax.data import spool
from boneage_jax.data.spool import SpooledShuffler
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest

COUNTS = {"train": 24, "validation": 6, "test": 5}


def digests(folder: pathlib.Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@settings(max_examples=50)
@given(
    records=st.dictionaries(st.text(min_size=1, max_size=8), st.binary(max_size=200), max_size=40),
    memory=st.integers(0, 3000),
)
def test_the_order_is_that_of_tfds(tmp_path_factory, records, memory):
    """TFDS's own shuffler holds so little in memory and is the reference, whether ours is in memory or on disk."""
    folder = tmp_path_factory.mktemp("shuffled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "MEMORY_BYTES", memory)
        ours, theirs = SpooledShuffler(folder, "salt"), shuffle.Shuffler(folder, "salt")
    for key, data in records.items():
        ours.add(key, data)
        theirs.add(key, data)
    assert (ours.num_examples, ours.size) == (theirs.num_examples, theirs.size)
    assert sum(ours.bucket_lengths) == sum(theirs.bucket_lengths)
    assert list(ours) == list(theirs)
    assert not list(folder.iterdir())


def test_equal_keys_are_an_error_as_for_tfds(tmp_path):
    ours = SpooledShuffler(tmp_path, "salt")
    for data in (b"1", b"2"):
        ours.add("same", data)
    with pytest.raises(shuffle.DuplicatedKeysError):
        list(ours)
    first = SpooledShuffler(tmp_path, "salt", ignore_duplicates=True)
    for data in (b"1", b"2"):
        first.add("same", data)
    assert [data for _, data in first] == [b"1"]


def test_keys_that_are_numbers_keep_their_order(tmp_path):
    ours = SpooledShuffler(tmp_path, "salt", disable_shuffling=True)
    for key in (3, 1, 2):
        ours.add(key, bytes([key]))
    assert [data for _, data in ours] == [b"\1", b"\2", b"\3"]


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2])
def test_past_the_limit_the_bytes_are_the_same(tmp_path, monkeypatch, workers):
    """Held against TFDS's own shuffler, which has it all in memory here."""
    with monkeypatch.context() as patch:
        patch.setattr(spool, "SpooledShuffler", shuffle.Shuffler)
        build.build(BuildRequest("hand_phantom/raw_tiny", out=tmp_path / "theirs", workers=2, counts=COUNTS))
    written: list[int] = []
    add = SpooledShuffler.add

    def counted(self, key, data):
        add(self, key, data)
        written.append(self._file._rolled)

    monkeypatch.setattr(spool, "MEMORY_BYTES", 200_000)
    monkeypatch.setattr(SpooledShuffler, "add", counted)
    build.build(BuildRequest("hand_phantom/raw_tiny", out=tmp_path / "ours", workers=workers, counts=COUNTS))
    assert digests(tmp_path / "ours") == digests(tmp_path / "theirs")
    assert written[0] is False
    assert True in written, "most of the training split was on disk"
    assert shuffle.Shuffler is not SpooledShuffler, "TFDS is as it was"
