"""The compiled step: the same on any number of devices, equal to a plain pmap, equal to what it stands for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from boneage_jax import tasks
from boneage_jax.config import default_config, validate
from boneage_jax.distributed.mesh import make_mesh, replicated, to_devices
from boneage_jax.runs.optimizer import make_optimizer, make_schedule
from boneage_jax.runs.state import Network, TrainState, initial_state
from boneage_jax.train.step import compile_train_step, train_step

BATCH = 16


def experiment(**changes):
    config = default_config()
    config.data.height, config.data.width = 40, 30
    config.model.widths, config.model.dense, config.model.dropout = (4, 6), (8,), 0.3
    config.train.batch_size, config.train.ema = BATCH, 0.9
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return validate(config)


def batch(seed=0):
    generator = np.random.default_rng(seed)
    return {
        "image": generator.integers(0, 256, (BATCH, 40, 30), dtype=np.uint8),
        "male": generator.integers(0, 2, BATCH).astype(np.float32),
        "bone_age": generator.uniform(1, 228, BATCH).astype(np.float32),
        "slot": np.arange(BATCH, dtype=np.int32),
        "mask": np.ones(BATCH, np.float32),
    }


def parts_of(config):
    schedule = make_schedule(config.optimizer, total_steps=20, warmup_steps=2 if config.optimizer.warmup else 0)
    return {
        "task": tasks.build(config.task),
        "schedule": schedule,
        "optimizer": make_optimizer(config.optimizer, schedule),
    }


def run(config, *, devices, steps=3):
    """Losses and final state of a few steps under jit over a mesh."""
    mesh, parts = make_mesh(devices), parts_of(config)
    network, state = initial_state(config, parts["optimizer"], mesh)
    step = compile_train_step(mesh, config=config, network=network, **parts)
    losses = []
    for n in range(steps):
        state, metrics = step(state, to_devices(batch(n), mesh))
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state)


def one_step(state, some, *, config, network, parts):
    """The pure step, compiled for one device."""
    return jax.jit(lambda s, b: train_step(s, b, config=config, network=network, **parts))(state, some)


def assert_close(a, b, rtol=2e-4):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * (1e-3 + np.abs(x).max()))


@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.integration)])
def test_one_device_and_eight_give_the_same_numbers(accumulation):
    config = experiment(train__accumulation=accumulation)
    losses_1, state_1 = run(config, devices=1)
    losses_8, state_8 = run(config, devices=8)
    np.testing.assert_allclose(losses_1, losses_8, rtol=1e-5)
    assert_close(state_1.batch_stats, state_8.batch_stats)
    assert_close(state_1.params, state_8.params, rtol=5e-3)


@pytest.mark.integration
def test_the_sharded_step_equals_a_plain_pmap():
    """`jax.pmap` with explicit means over the devices, batch norm's statistics included, as codebases had it before."""
    # SGD, because Adam's first steps turn rounding errors of vanishing gradients into full steps.
    config = experiment(optimizer__name="sgd", optimizer__learning_rate=0.05)
    parts = parts_of(config)
    _, state = initial_state(config, parts["optimizer"], make_mesh(1))
    network, _, _ = Network.build(config, seed=config.train.seed, axis_name="data")

    def mapped(state, batch):
        return train_step(state, batch, config=config, network=network, axis_name="data", **parts)

    state = jax.tree.map(lambda x: jnp.stack([x] * 8), jax.device_get(state))
    step = jax.pmap(mapped, axis_name="data")
    losses = []
    for n in range(3):
        cut = jax.tree.map(lambda x: x.reshape(8, BATCH // 8, *x.shape[1:]), batch(n))
        state, metrics = step(state, cut)
        losses.append(float(metrics["loss"][0]))
    sharded_losses, sharded_state = run(config, devices=8)
    np.testing.assert_allclose(losses, sharded_losses, rtol=1e-5)
    pmapped_state = jax.tree.map(lambda x: np.asarray(x[0]), state)
    for part in ("params", "batch_stats", "average"):
        assert_close(getattr(pmapped_state, part), getattr(sharded_state, part))


@pytest.mark.integration
def test_accumulation_is_the_mean_of_its_parts():
    """Against gradients of the parts taken one by one: every part has its own batch statistics."""
    config = experiment(
        train__accumulation=2, optimizer__name="sgd", optimizer__beta1=0.0, optimizer__clip_norm=0.0,
        optimizer__warmup="", optimizer__schedule="constant", optimizer__learning_rate=0.1, train__ema=0.0,
    )  # fmt: skip
    parts = parts_of(config)
    whole = batch()
    _, accumulated = run(config, devices=1, steps=1)

    single = dataclasses.replace(config, train=dataclasses.replace(config.train, accumulation=1))
    network, state = initial_state(single, parts["optimizer"], make_mesh(1))
    movements = []
    for p in range(2):
        part = {name: values[p::2] for name, values in whole.items()}
        new, _ = one_step(state, part, config=single, network=network, parts=parts)
        movements.append(jax.tree.map(lambda new, old: new - old, new.params, state.params))
    expected = jax.tree.map(lambda old, a, b: old + (a + b) / 2, state.params, *movements)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(movements)) > 1e-4, "else nothing is compared"
    assert_close(expected, accumulated.params)


def test_masked_examples_do_not_count():
    config = experiment(augment__shift=0.0)
    mesh, parts = make_mesh(1), parts_of(config)
    network, state = initial_state(config, parts["optimizer"], mesh)
    full = batch()
    full["mask"][12:] = 0
    other = {**full, "bone_age": full["bone_age"].copy()}
    other["bone_age"][12:] = 5.0
    losses = [one_step(state, b, config=config, network=network, parts=parts)[1]["loss"] for b in (full, other)]
    assert losses[0] == losses[1]


def test_the_moving_average_is_one():
    config = experiment(train__ema=0.9)
    mesh, parts = make_mesh(1), parts_of(config)
    network, state = initial_state(config, parts["optimizer"], mesh)
    step = compile_train_step(mesh, config=config, network=network, **parts)
    expected = jax.device_get(state.params)
    for n in range(4):
        state, _ = step(state, to_devices(batch(n), mesh))
        decay = min(0.9, (1 + n) / (10 + n))
        kept, added = (
            jax.tree.map(lambda x, factor=factor: factor * x, tree)
            for factor, tree in ((decay, expected), (1 - decay, jax.device_get(state.params)))
        )
        expected = jax.tree.map(np.add, kept, added)
    assert_close(state.average["params"], expected, rtol=1e-5)
    assert state.evaluated is state.average


def test_the_loss_is_the_papers():
    """Mean absolute error of (months - 120) / 120."""
    task = tasks.build(experiment().task)
    months = jnp.array([0.0, 60.0, 120.0, 228.0])
    np.testing.assert_allclose(task.target(months), [-1.0, -0.5, 0.0, 0.9])
    np.testing.assert_allclose(task.prediction(task.target(months)[:, None], (40, 30))[:, 0], months, atol=1e-4)
    values = task.losses(jnp.zeros((4, 1)), {"bone_age": months})
    np.testing.assert_allclose(values["loss"], [1.0, 0.5, 0.0, 0.9])
    np.testing.assert_allclose(values["mae"], [120.0, 60.0, 0.0, 108.0])
    np.testing.assert_allclose(task.model_input(jnp.full((1, 1, 1), 255 / 255.0))[0, 0, 0, 0], (255 - 127.5) / 127.5)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "exponential"])
def test_schedules(name):
    config = experiment(
        optimizer__schedule=name, optimizer__learning_rate=1e-3, optimizer__final_learning_rate=1e-5
    ).optimizer
    schedule = make_schedule(config, total_steps=110, warmup_steps=10)
    np.testing.assert_allclose([schedule(0), schedule(5), schedule(10)], [0, 5e-4, 1e-3], atol=1e-9)
    t = 0.5
    middle = {
        "constant": 1e-3,
        "linear": 1e-3 + t * (1e-5 - 1e-3),
        "cosine": 1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + np.cos(np.pi * t)),
        "exponential": 1e-3 * (1e-5 / 1e-3) ** t,
    }[name]
    assert float(schedule(60)) == pytest.approx(middle, rel=1e-4)
    assert float(schedule(110)) == pytest.approx(1e-3 if name == "constant" else 1e-5, rel=1e-4)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lamb"])
def test_every_optimizer_takes_a_step(name):
    config = experiment(optimizer__name=name, optimizer__weight_decay=0.1)
    _, state = run(config, devices=1, steps=2)
    assert int(state.step) == 2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


def test_weight_decay_spares_biases():
    config = experiment(optimizer__name="adamw", optimizer__weight_decay=0.5).optimizer
    optimizer = make_optimizer(config, optax.constant_schedule(0.1))
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05)
    np.testing.assert_allclose(updates["bias"], 0.0)


def test_hidden_copies_are_refused():
    """The guard of the training loop sees what the step would copy by itself."""
    config = experiment()
    mesh, parts = make_mesh(1), parts_of(config)
    network, state = initial_state(config, parts["optimizer"], mesh)
    step = compile_train_step(mesh, config=config, network=network, **parts)
    with jax.transfer_guard("disallow"):
        state, _ = step(state, to_devices(batch(), mesh))
        with pytest.raises(Exception, match=r"[Dd]isallowed"):
            step(state, batch())


def test_the_state_is_replicated_and_the_batch_split():
    mesh = make_mesh(8)
    _, state = initial_state(experiment(), parts_of(experiment())["optimizer"], mesh)
    assert isinstance(state, TrainState)
    assert all(x.sharding == replicated(mesh) for x in jax.tree.leaves(state))
    image = to_devices(batch(), mesh)["image"]
    assert {s.data.shape for s in image.addressable_shards} == {(2, 40, 30)}
