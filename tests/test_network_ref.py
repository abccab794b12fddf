"""Names of networks: folders, files, members of bundles."""

import contextlib
import pathlib
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax import resources
from boneage_jax.errors import UserError
from boneage_jax.files import is_address
from boneage_jax.network_ref import NetworkRef

names = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["folder", "with:colon", "b.safetensors", "shipped", "./shipped", "phantom_only", "~/run", "~nobody-here/run"]
    ),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "with:colon").mkdir()
    (tmp_path / "b.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "path", "member"),
    [
        ("run", "run", ""),
        ("with:colon", "with:colon", ""),
        ("b.safetensors", "b.safetensors", ""),
        ("b.safetensors:age0", "b.safetensors", "age0"),
        ("b.safetensors:", "b.safetensors", ""),
        ("b.safetensors:a:b", "b.safetensors", "a:b"),
        ("run:age0", "run:age0", ""),
        ("nowhere", "nowhere", ""),
        ("nowhere:age0", "nowhere:age0", ""),
        ("./shipped", "shipped", ""),
        ("./shipped:age0", "shipped:age0", ""),
        ("C:\\x", "C:\\x", ""),
        ("gs:/bucket", "gs:/bucket", ""),
    ],
)
def test_folders_files_and_members(text, path, member, folder):
    assert NetworkRef.parse(text) == NetworkRef(pathlib.Path(path), member)


@pytest.mark.parametrize(("text", "member"), [("shipped", ""), ("shipped:", ""), ("shipped:age1", "age1")])
def test_the_shipped_bundle(text, member, folder):
    ref = NetworkRef.parse(text)
    assert ref == NetworkRef(None, member)
    assert ref.place == resources.shipped_bundle()
    (folder / "shipped").mkdir()
    assert NetworkRef.parse("shipped") == NetworkRef(pathlib.Path("shipped")), "a folder of one's own comes first"


@pytest.mark.parametrize(("text", "member"), [("phantom_only", ""), ("phantom_only:age1", "age1")])
def test_a_shipped_bundle_by_its_name(text, member, folder):
    ref = NetworkRef.parse(text)
    assert ref == NetworkRef(None, member, "phantom_only")
    assert ref.place == resources.shipped_bundle("phantom_only")
    assert ref.place.is_file()
    assert str(ref) == text
    (folder / "phantom_only").mkdir()
    assert NetworkRef.parse("phantom_only") == NetworkRef(pathlib.Path("phantom_only")), "one's own comes first"


def test_a_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert NetworkRef.parse("~/b.safetensors:age0").place == folder / "b.safetensors"
    assert NetworkRef.parse("~/run").place == folder / "run"
    assert NetworkRef.parse("~nobody-here/run").place == pathlib.Path("~nobody-here/run")


def test_what_a_reference_is_made_of(folder):
    ref = NetworkRef.parse("b.safetensors:age0")
    assert NetworkRef.of(ref) is ref
    assert NetworkRef.of("b.safetensors:age0") == ref
    assert NetworkRef.of(folder / "run") == NetworkRef(folder / "run")


@pytest.mark.parametrize("text", ["gs://bucket/run", "https://host/b.safetensors:age0", "shipped://x"])
def test_addresses_are_refused(text):
    with pytest.raises(UserError, match=f"^{text}: an address, expected a path of this machine's file system"):
        NetworkRef.parse(text)


@given(st.tuples(names, st.sampled_from(["", ":", ":age0"])).map("".join).filter(lambda text: not is_address(text)))
def test_what_is_printed_is_read_as_the_same(text):
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        for name in ("folder", "with:colon"):
            pathlib.Path(name).mkdir()
        pathlib.Path("b.safetensors").touch()
        ref = NetworkRef.parse(text)
        assert NetworkRef.parse(str(ref)) == ref
        if text == "shipped:":  # the bundle's, be there a file of that name: only the folder tells which it is
            return
        pathlib.Path("shipped").touch()
        ref = NetworkRef.parse(text)
        assert NetworkRef.parse(str(ref)) == ref
