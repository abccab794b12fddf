"""No data become code: calls that would run it, or write outside a folder, are looked for in the whole source."""

import ast
import io
import pathlib
import zipfile
from collections.abc import Iterator

import pytest

from boneage_jax.data.tree import Tree
from tests.working_copy import ROOT

ROOMS = ("boneage_jax", "configs", "tfds_builder", "launch", "benchmarks", "docs")

EXCEPTIONS = {
    ("boneage_jax/options.py", "eval"): "the types of our own dataclasses, which postponed annotations keep as text",
}
"""File and call, and why it may stand there."""

_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
"""Modules whose readers run what a file says."""

_NEVER = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path"),
    *("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all"),
    *("pandas.read_pickle", "pd.read_pickle", "shutil.unpack_archive", "code.interact"),
}


def offences(source: str) -> Iterator[str]:
    """Names what a source must not hold; see the cases of `test_each_kind_is_found`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {one.name}" for one in node.names if one.name.partition(".")[0] in _MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _MODULES:
            yield f"import {node.module}"
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    given = {one.arg: ast.unparse(one.value) for one in call.keywords}
    if name in ("eval", "exec", "__import__", "compile") or name in _NEVER:
        yield name
    if given.get("shell", "False") != "False":
        yield "shell"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if name.endswith("torch.load") and given.get("weights_only") != "True":
        yield "torch.load"
    loaders = (given.get("Loader", ""), *(ast.unparse(one) for one in call.args[1:]))
    if name in ("yaml.load", "yaml.load_all") and not any(one.endswith("SafeLoader") for one in loaders):
        yield name
    # Members of an archive may be named ../../x, or be links: tarfile's filter `data` refuses these. Of zips none is
    # unpacked at all: their members are read.
    if last in ("extractall", "extract") and given.get("filter") not in ("'data'", "tarfile.data_filter"):
        yield last


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["import pickle"]),
        ("def f():\n    from joblib import load", ["import joblib"]),
        ("eval(text)", ["eval"]),
        ("exec(text)", ["exec"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=wanted)", ["allow_pickle"]),
        ("np.load(path); np.load(path, allow_pickle=False)", []),
        ("torch.load(path)", ["torch.load"]),
        ("torch.load(path, weights_only=False)", ["torch.load"]),
        ("torch.load(path, weights_only=True)", []),
        ("yaml.load(text)", ["yaml.load"]),
        ("yaml.load(text, Loader=yaml.Loader)", ["yaml.load"]),
        ("yaml.load(text, yaml.SafeLoader); yaml.safe_load(text)", []),
        ("yaml.unsafe_load(text)", ["yaml.unsafe_load"]),
        ("subprocess.run(text, shell=True)", ["shell"]),
        ("subprocess.run(['ls'], shell=False); re.compile('x'); step.lower().compile()", []),
        ("os.system(text)", ["os.system"]),
        ("zipfile.ZipFile(path).extractall(folder)", ["extractall"]),
        ("tar.extractall(folder)", ["extractall"]),
        ("tar.extractall(folder, filter='fully_trusted')", ["extractall"]),
        ("tar.extract(name, folder, filter='data'); tar.extractfile(name)", []),
        ("shutil.unpack_archive(path)", ["shutil.unpack_archive"]),
        ("model.eval()", []),
    ],
)
def test_each_kind_is_found(source, found):
    assert list(offences(source)) == found


def test_no_source_holds_any_but_for_answered_exceptions():
    found: set[tuple[str, str]] = set()
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 200
    for path in files:
        found |= {(path.relative_to(ROOT).as_posix(), what) for what in offences(path.read_text(encoding="utf-8"))}
    assert found == set(EXCEPTIONS), "an exception is answered in EXCEPTIONS, and goes when its line goes"


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "a/../../outside.png", "..\\outside.png"])
def test_a_member_that_is_named_outside_is_written_nowhere(tmp_path, name):
    """The zip's name would lead out of the folder, and so does that of the zip within it, which has to be unpacked."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(name, b"picture")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "hands.zip", "w") as archive:
        archive.writestr(name, b"picture")
        archive.writestr(name.replace(".png", ".zip"), inner.getvalue())
    before = sorted(tmp_path.rglob("*"))
    with Tree() as tree:
        contents = [ref.read() for ref in tree.files(folder)]
        unpacked = {pathlib.Path(ref.path).parent for ref in tree.files(folder)} - {folder}
        assert all(path.name.startswith("boneage-unzip-") for path in unpacked)
        assert set(contents) <= {b"picture"}
    assert sorted(tmp_path.rglob("*")) == before
    assert not pathlib.Path("/outside.png").exists()
