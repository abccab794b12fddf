"""What a step costs, read from the compiled program."""

import importlib.util

import jax
import pytest

from boneage_jax.config import default_config, validate
from boneage_jax.distributed.mesh import make_mesh
from boneage_jax.errors import UserError
from boneage_jax.planning.chips import V5E, Chip
from boneage_jax.planning.cost import Memory, StepCost, step_cost, tpu_mesh

HEIGHT, WIDTH, CHANNELS = 24, 32, 48


def experiment(batch_size=8, **changes):
    """All but a few operations of it are 3 x 3 convolutions of known sizes."""
    config = default_config()
    config.data.height, config.data.width = HEIGHT, WIDTH
    config.model.widths, config.model.dense, config.model.kernels = (CHANNELS, CHANNELS), (8,), "plain"
    config.train.batch_size = batch_size
    config.augment.shift = config.augment.zoom = config.augment.rotation = 0.0
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return validate(config)


@pytest.mark.integration
def test_operations_go_with_the_images_of_a_device():
    one, two = make_mesh(1), make_mesh(2)
    alone, doubled, shared = (
        step_cost(experiment(), one),
        step_cost(experiment(16), one),
        step_cost(experiment(16), two),
    )
    assert (alone.images, doubled.images, shared.images) == (8, 16, 8)
    assert doubled.flops == pytest.approx(2 * alone.flops, rel=0.05)
    assert shared.flops == pytest.approx(alone.flops, rel=0.05)
    assert alone.bytes < doubled.bytes < 2.1 * alone.bytes


def test_memory_holds_the_state_and_the_batch():
    config = experiment()
    cost = step_cost(config, make_mesh(1))
    picture = HEIGHT * WIDTH * config.train.batch_size
    # Weights of the widest convolution alone, with Adam's two moments and their gradient, and one layer of activations.
    assert cost.memory > 4 * (3 * 9 * CHANNELS**2 + picture * CHANNELS)
    assert step_cost(experiment(16), make_mesh(1)).memory > cost.memory


@pytest.mark.integration
def test_nothing_is_run_and_the_slots_of_a_task_are_known():
    for task, head, layout in (("segmentation", "mask", "image"), ("landmarks", "heatmap", "masked_hand_box")):
        network = {"model__name": "unet", "model__head": head, "model__widths": (4, 8), "model__dense": ()}
        config = experiment(task__name=task, data__input_layouts=(layout,), **network)
        assert step_cost(config, make_mesh(1)).flops > 1e5


def test_the_bound_is_the_longer_of_arithmetic_and_memory():
    chip = Chip("of paper", flops=100.0, bandwidth=10.0, memory=1.0)
    none = Memory(0, 0, 0, 0, 0, 0)
    assert StepCost(1, flops=1000.0, bytes=20.0, kinds=none).bound(chip) == 10.0
    assert StepCost(1, flops=1000.0, bytes=200.0, kinds=none).bound(chip) == 20.0


def test_slices_of_tpus():
    if importlib.util.find_spec("libtpu") is None:
        with pytest.raises(UserError, match=r"pip install .*tpu"):
            tpu_mesh("v5e:2x4")
        pytest.skip("libtpu is not here")
    mesh = tpu_mesh("v5e:2x4")
    assert mesh.size == 8
    assert all(device.platform == "tpu" for device in mesh.devices.flat)
    assert jax.devices()[0].platform == "cpu"
    cost = step_cost(experiment(), mesh)
    assert cost.images == 1
    assert 0 < cost.bound(V5E) < 1
    with pytest.raises(
        UserError, match=r"topology 'v5e:7x9': cannot be described.*expected one as in v5e: v5e:1x1, v5e:2x2"
    ):
        tpu_mesh("v5e:7x9")
