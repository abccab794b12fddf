"""Programs that are kept: the same as those that are traced, and never one of another network."""

import dataclasses

import jax
import numpy as np
import pytest

from boneage_jax import resources, user_cache
from boneage_jax.data.augment import TEST_TIME, Move
from boneage_jax.distributed.mesh import to_devices
from boneage_jax.runs import bundle, kept
from boneage_jax.runs.network import Network
from boneage_jax.runs.predict_step import compile_predict_step
from boneage_jax.runs.run_folder import shapes_of


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; programs that this process holds are forgotten."""
    monkeypatch.setenv(user_cache.VARIABLE, str(tmp_path / "cache"))
    kept._program.cache_clear()
    return user_cache.folder()


@pytest.fixture(scope="module")
def loaded():
    """The shipped networks on one device."""
    return bundle.read(resources.shipped_bundle("phantom_only"), devices=1).runs


def batch_of(one, count=2):
    shape = (count, one.config.data.height, one.config.data.width)
    images = np.random.default_rng(7).integers(0, 256, shape).astype(np.uint8)
    return {"image": images, "male": np.arange(count, dtype=np.float32) % 2}


def predicted(one, batch, moves=(Move(),)):
    program = kept.predict_program(one.mesh, one.arrays, batch, network=one.network, task=one.task, moves=moves)
    return np.asarray(program(one.arrays, to_devices(batch, one.mesh)))


def names(cache, kind="program"):
    return {path.name for path in cache.glob(f"*.{kind}")}


@pytest.mark.parametrize(("name", "moves"), [("segmentation", (Move(),)), ("age0", TEST_TIME[:2])])
def test_a_kept_program_gives_the_numbers_of_the_traced_one(name, moves, loaded, cache):
    one = loaded[name]
    batch = batch_of(one)
    step = compile_predict_step(one.mesh, network=one.network, task=one.task, moves=moves)
    traced = np.asarray(step(one.arrays, to_devices(batch, one.mesh)))
    assert np.ptp(traced) > 0.01
    np.testing.assert_allclose(predicted(one, batch, moves), traced, atol=1e-4, rtol=0)
    assert len(names(cache)) == 1
    kept._program.cache_clear()  # as another process
    np.testing.assert_allclose(predicted(one, batch, moves), traced, atol=1e-4, rtol=0)


def test_a_kept_program_is_not_traced_again(loaded, cache, monkeypatch):
    one = loaded["age0"]
    first = predicted(one, batch_of(one))
    kept._program.cache_clear()

    def traced(*_, **__):
        raise AssertionError("traced again")

    monkeypatch.setattr(Network, "apply", traced)
    np.testing.assert_array_equal(predicted(one, batch_of(one)), first)
    with pytest.raises(AssertionError, match="traced again"):
        predicted(one, batch_of(one, 3))


def test_damaged_programs_are_made_again(loaded, cache):
    one = loaded["age0"]
    first = predicted(one, batch_of(one))
    (path,) = cache.glob("*.program")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    kept._program.cache_clear()
    np.testing.assert_array_equal(predicted(one, batch_of(one)), first)
    assert path.stat().st_size == len(whole)
    user_cache.write(path.name, b"whole, but no program")
    kept._program.cache_clear()
    np.testing.assert_array_equal(predicted(one, batch_of(one)), first)
    assert path.stat().st_size == len(whole)


def test_without_a_cache_the_numbers_are_the_same(loaded, cache, monkeypatch):
    one = loaded["age0"]
    first = predicted(one, batch_of(one))
    kept._program.cache_clear()
    monkeypatch.setenv(user_cache.VARIABLE, user_cache.OFF)
    np.testing.assert_allclose(predicted(one, batch_of(one)), first, atol=1e-4, rtol=0)


def test_another_network_another_name(loaded, monkeypatch):
    one = loaded["age0"]
    arrays, batch = kept.described(one.arrays), kept.described(batch_of(one))
    (path, shape, dtype), *rest = arrays
    parts = {
        "network": one.network,
        "task": one.task.config,
        "moves": (Move(),),
        "arrays": arrays,
        "batch": batch,
        "platform": "cpu",
    }
    other = {
        "network": [
            dataclasses.replace(one.network, size=(96, 72)),
            dataclasses.replace(one.network, model=dataclasses.replace(one.network.model, dropout=0.123)),
        ],
        "task": [dataclasses.replace(one.task.config, target_scale=119.0)],
        "moves": [TEST_TIME],
        "arrays": [((path, (*shape[:-1], shape[-1] + 1), dtype), *rest), ((path, shape, "float16"), *rest), arrays[1:]],
        "batch": [kept.described(batch_of(one, 3))],
        "platform": ["gpu"],
    }
    keys = [kept.key_of(*parts.values())]
    assert kept.key_of(*parts.values()) == keys[0]
    keys += [kept.key_of(*(parts | {name: value}).values()) for name, values in other.items() for value in values]
    assert len(set(keys)) == len(keys) == 10
    version, source, *libraries = kept._origin()
    for origin in ((version, "another source", *libraries), (version, source, "jax 99", *libraries[1:])):
        monkeypatch.setattr(kept, "_origin", lambda origin=origin: origin)
        assert kept.key_of(*parts.values()) not in keys


def test_kept_shapes_are_those_of_the_network(loaded, cache):
    for name in ("segmentation", "landmarks", "age0"):  # age1 is of the architecture of age0
        one = loaded[name]
        _, state = shapes_of(one.config)
        want = kept.described({"params": state.params, "batch_stats": state.batch_stats})
        assert not kept.was_built(one.config)
        assert kept.described(kept.shapes_of(one.config)) == want
        assert kept.was_built(one.config)
        again = kept.shapes_of(one.config)
        assert kept.described(again) == want
        assert jax.tree.structure(again) == jax.tree.structure(one.arrays)
