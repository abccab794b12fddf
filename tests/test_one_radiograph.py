"""One radiograph from a bundle: what is imported for it, and that its age does not depend on what was kept."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import LESS_OPTIMISED

ABSENT = ("array_record", "grain", "tensorflow_datasets", "orbax")
"""Packages without wheels for Windows, or that need one of those."""

UNUSED = (*ABSENT, "flax", "matplotlib", "optax", "pandas", "tensorboardX", "tensorstore", "torch")
"""Packages that a radiograph whose programs are kept needs none of."""

SCRIPT = '''
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    """Raises where one of the packages is imported."""
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name}: not here", name=name)
        return None

absent, what, radiograph, *others = json.loads(sys.argv[1])
sys.meta_path.insert(0, Absent())
if what == "command":
    from boneage_jax.cli import main
    assert main(["assess", radiograph, "--sex", "F", "--bundle", "phantom_only"]) == 0
else:
    import boneage_jax as ba
    with ba.load("phantom_only", batch_size=4) as model:
        ages = [one.months for one in model.predict_many([radiograph, *others], sex="F")]
        alone = model.predict(radiograph, sex="F").months
    print(json.dumps([alone, *ages]))
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Radiographs of phantoms."""
    from boneage_jax.cli import main

    folder = tmp_path_factory.mktemp("radiographs")
    paths = [folder / f"{age}.png" for age in (60, 120, 170)]
    for path in paths:
        words = ["phantom", "--age", path.stem, "--sex", "F", "--view", "raw", "--size", "520x416", "--out", str(path)]
        assert main(words) == 0
    return [str(path) for path in paths]


def run(cache, absent, what, *files):
    """What a process prints on standard output and standard error."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_COMPILATION", "JAX_PERSISTENT"))}
    env |= {"BONEAGE_CACHE": str(cache), "XLA_FLAGS": LESS_OPTIMISED}  # one device: nothing is kept for several
    arguments = [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT, json.dumps([absent, what, *files])]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


@pytest.mark.integration
def test_a_radiograph_needs_neither_array_record_nor_what_depends_on_it(files, tmp_path):
    out, _ = run(tmp_path, ABSENT, "command", files[0])
    assert "60.png" in out
    again, _ = run(tmp_path, UNUSED, "command", files[0])
    assert again == out
    (alone, *_), (alone_again, *_) = (
        json.loads(run(tmp_path, absent, "api", *files[:1])[0]) for absent in (ABSENT, UNUSED)
    )
    assert alone == alone_again


@pytest.mark.integration
def test_an_age_does_not_depend_on_the_cache_or_on_the_size_of_the_batch(files, tmp_path):
    cold = json.loads(run(tmp_path / "cache", (), "api", *files)[0])
    assert np.isfinite(cold).tolist() == [True] * 4
    assert cold[0] == pytest.approx(cold[1], abs=1e-3), "a batch of 1, and of 4"
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.suffix for path in entries} >= {".program", ".shapes"}
    assert any("xla" in path.parts for path in entries)
    assert json.loads(run(tmp_path / "cache", UNUSED, "api", *files)[0]) == cold
    (tmp_path / "file").write_text("")
    for path in entries:
        path.write_bytes(path.read_bytes()[:-7] + b"damaged")
    for cache in (tmp_path / "cache", tmp_path / "file"):
        out, errors = run(cache, (), "api", *files)
        np.testing.assert_allclose(json.loads(out), cold, atol=1e-3, rtol=0)
        assert "Traceback" not in errors
        assert "persistent" not in errors
