"""Nothing half-written stands under its final name."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from boneage_jax.errors import UserError
from boneage_jax.files import check_writable, replacing, write_text


def test_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "first")

    def breaks_off():
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        breaks_off()
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_file_is_replaced_not_overwritten(tmp_path):
    """Who has opened the old file reads it to its end: so a reader never finds half of each."""
    path = tmp_path / "a.txt"
    write_text(path, "first " * 10_000)
    with path.open() as reader:
        beginning = reader.read(6)
        write_text(path, "second")
        assert beginning + reader.read() == "first " * 10_000
    assert path.read_text() == "second"


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(tmp_path / "file" / "run")


def test_a_full_disk(tmp_path):
    """/dev/full answers every write as a full disk does."""
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    def write():
        with replacing(tmp_path / "a") as scratch:
            scratch.unlink()
            scratch.symlink_to("/dev/full")
            scratch.write_text("x" * 100)

    with pytest.raises(UserError, match="No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, pathlib, signal, sys
from boneage_jax.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as scratch:
    scratch.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""

WRITES = "import pathlib, sys; from boneage_jax.files import write_text; write_text(pathlib.Path(sys.argv[1]), 'whole')"


def test_what_a_killed_process_left_goes_and_what_is_written_stays(tmp_path):
    """A process of its own is killed; a third one writes beside both what is left of it and what is still written."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half"
    with replacing(tmp_path / "elsewhere" / "b.txt") as scratch:
        mine = scratch.rename(tmp_path / ".b.txt.still.part")  # as if it were written in the same folder
        subprocess.run([sys.executable, "-c", WRITES, str(tmp_path / "c.txt")], check=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".b.txt.still.part", "c.txt", "elsewhere"]
        mine.rename(scratch)
    assert (tmp_path / "elsewhere" / "b.txt").exists()
