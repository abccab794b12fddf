"""Finished work in files: read where it answers the same question, made anew where it does not."""

import numpy as np
import pytest

from boneage_jax.hand import atlas
from boneage_jax.importance import cache
from boneage_jax.importance.cache import Cache


def kept(folder, question, value):
    """What the cache returns for a question, where making it anew would give `value`."""
    return float(Cache(folder, question)("months", lambda: {"value": np.float64(value)})["value"])


def test_work_is_made_once_for_each_question(tmp_path):
    assert kept(tmp_path, {"run": "a", "images": [1, 2]}, 1.0) == 1
    assert kept(tmp_path, {"images": [1, 2], "run": "a"}, 2.0) == 1
    assert kept(tmp_path, {"run": "b", "images": [1, 2]}, 3.0) == 3


@pytest.mark.parametrize(("module", "name", "value"), [(cache, "_FORMAT", 1), (atlas, "MARGIN", 46.0)])
def test_work_of_another_format_or_atlas_is_not_read(tmp_path, monkeypatch, module, name, value):
    assert getattr(module, name) != value
    with monkeypatch.context() as before:
        before.setattr(module, name, value)
        assert kept(tmp_path, {"run": "a"}, 1.0) == 1
    assert kept(tmp_path, {"run": "a"}, 2.0) == 2


def test_interrupted_work_leaves_no_file(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path, {"run": "a"})("months", interrupted)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept(tmp_path, {"run": "a"}, 2.0) == 2


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:40], lambda data: data[:60] + b"!!" + data[62:]]
)
def test_damaged_work_is_made_again(tmp_path, damage, capsys):
    assert kept(tmp_path, {"run": "a"}, 1.0) == 1
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert kept(tmp_path, {"run": "a"}, 2.0) == 2
    assert f"{path}: damaged; made again" in capsys.readouterr().err
    assert kept(tmp_path, {"run": "a"}, 3.0) == 2
