"""The user's cache: where it lies, and that nothing depends on it."""

import errno
import os
import pathlib
import sys

import pytest

from boneage_jax import environment, user_cache


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without any variable that names a cache."""
    for name in (user_cache.VARIABLE, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_lies_where_the_system_keeps_such_folders(home, monkeypatch):
    folder = user_cache.folder()
    assert folder is not None
    assert folder.parent == home / ".cache" / "boneage-jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    assert user_cache.folder().parent == home / "elsewhere" / "boneage-jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # invalid by the specification
    assert user_cache.folder().parent == home / ".cache" / "boneage-jax"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(home / "local"))
    assert user_cache.folder().parent == home / "local" / "boneage-jax"
    monkeypatch.setenv(user_cache.VARIABLE, str(home / "named"))
    assert user_cache.folder().parent == home / "named"


@pytest.mark.parametrize("how", ["off", "OFF", "a file", "below a file", "no home", "\0"])
def test_none_where_it_is_off_or_cannot_be(how, home, monkeypatch):
    (home / "a file").write_text("")
    if how == "no home":
        monkeypatch.setattr(pathlib.Path, "home", _no_home)
    elif how == "\0":
        monkeypatch.setattr(user_cache, "_usual", lambda: pathlib.Path("\0"))
    else:
        named = {"a file": str(home / "a file"), "below a file": str(home / "a file" / "cache")}.get(how, how)
        monkeypatch.setenv(user_cache.VARIABLE, named)
    assert user_cache.folder() is None
    user_cache.write("entry", b"content")
    assert user_cache.read("entry") is None
    assert user_cache.compiled(100) is None


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_machines_of_other_processors_share_nothing(home, monkeypatch):
    user_cache.write("entry", b"content")
    monkeypatch.setattr(user_cache, "_processor", lambda: "x86_64-another")
    assert user_cache.read("entry") is None


def test_keeps_bytes(home):
    assert user_cache.read("entry") is None
    user_cache.write("entry", b"content")
    assert user_cache.read("entry") == b"content"
    user_cache.write("entry", b"other")
    assert user_cache.read("entry") == b"other"
    assert [path.name for path in user_cache.folder().iterdir()] == ["entry"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + b"x", lambda b: b"", lambda b: b[:10]])
def test_damaged_entries_are_no_entries(home, damage):
    user_cache.write("entry", b"content")
    path = user_cache.folder() / "entry"
    path.write_bytes(damage(path.read_bytes()))
    assert user_cache.read("entry") is None
    user_cache.write("entry", b"content")
    assert user_cache.read("entry") == b"content"


def test_a_full_disk_keeps_nothing_and_says_nothing(home, monkeypatch, capfd):
    user_cache.write("entry", b"content")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    user_cache.write("entry", b"other")
    assert user_cache.read("entry") == b"content", "what was there stays whole"
    assert [path.name for path in user_cache.folder().iterdir()] == ["entry"], "nothing half-written is left"
    assert capfd.readouterr() == ("", "")


def test_the_longest_unused_entries_make_room(home, monkeypatch):
    monkeypatch.setattr(user_cache, "_KEPT", 3)
    for n in range(3):
        user_cache.write(str(n), b"content")
        os.utime(user_cache.folder() / str(n), (n, n))
    assert user_cache.read("0") == b"content"  # so 1 is now the longest unused
    user_cache.write("3", b"content")
    assert {path.name for path in user_cache.folder().iterdir()} == {"0", "2", "3"}


def test_the_longest_unused_programs_make_room(home):
    programs = user_cache.compiled(1000)
    for n in range(4):
        (programs / str(n)).write_bytes(bytes(100))
        os.utime(programs / str(n), (n, n))
    (programs / "empty").write_bytes(b"")  # as a full disk leaves it
    assert user_cache.compiled(250) == programs
    assert {path.name for path in programs.iterdir()} == {"2", "3"}


def test_jax_keeps_its_programs_there_unless_told_otherwise(home, monkeypatch):
    names = ("JAX_COMPILATION_CACHE_DIR", *environment._KEEP_ALL)
    for name in names:
        monkeypatch.setenv(name, "")  # so that they are put back
        del os.environ[name]
    environment.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(user_cache.folder() / "xla")
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"
    for name in names:
        os.environ.pop(name, None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    environment.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ
