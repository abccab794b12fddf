"""The networks that `benchmarks.folder_speed` times in PyTorch are ours."""

import cv2
import jax
import numpy as np
import pytest

from benchmarks import folder_speed
from boneage_jax import resources
from boneage_jax.data.augment import TEST_TIME, Move
from boneage_jax.hand.network import Network
from boneage_jax.runs import bundle


@pytest.mark.parametrize("name", ["segmentation", "landmarks", "age0", "age1"])
def test_a_twin_says_what_the_network_says(name):
    """Of the shipped networks, on blotches; ages as the mean of three moves."""
    torch = pytest.importorskip("torch")
    from benchmarks import folder_torch

    loaded = bundle.load(resources.shipped_bundle("rsna"), name)
    data = loaded.config.data
    generator = np.random.default_rng(0)
    blotches = generator.integers(0, 256, (2, data.height, data.width, data.pictures), np.uint8)
    images = np.stack([cv2.GaussianBlur(one, (0, 0), 8).reshape(one.shape) for one in blotches])
    images = cv2.normalize(images, None, 0, 255, cv2.NORM_MINMAX)
    images = images if data.pictures > 1 else images[..., 0]
    male = np.array([0, 1], np.float32)
    moves = (TEST_TIME[0], TEST_TIME[1], TEST_TIME[4]) if name.startswith("age") else (Move(),)
    ours = Network(loaded, 2, moves=moves).predict(images, male)
    assert np.ptp(ours) > 0.1
    weights = sum(one.size for one in jax.tree.leaves(loaded.arrays["params"]))
    assert folder_torch.parameters(folder_torch.module_of(loaded)) == weights
    for form in ("eager", "folded"):
        theirs = folder_torch.twin_of(loaded, moves=moves, form=form)(images, male)
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(theirs, ours, atol=1e-3)
    # With other statistics of batch norm it is another network, and its numbers tell.
    stripped = folder_torch.module_of(loaded)
    for module in stripped.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    with torch.inference_mode():
        planes = torch.rand(1, data.pictures, data.height, data.width)
        whole = folder_torch.module_of(loaded)(planes, torch.ones(1))
        assert float((stripped(planes, torch.ones(1)) - whole).abs().max()) > 1e-2


def test_another_answer_ends_the_benchmark():
    sides = folder_speed.Sides()
    sides.start(folder_speed.OURS)
    assert sides.answer("bone_age", np.array([[60.0, 8.0]])) is sides.ours[0][1]
    sides.start("eager")
    assert sides.answer("bone_age", np.array([[60.001, 8.0]]))[0, 0] == 60.0, "the same work for all that follows"
    sides.compare()
    assert sides.differences["eager", "bone_age"] == pytest.approx(0.001)
    sides.start("eager")
    sides.answer("bone_age", np.array([[60.1, 8.0]]))
    with pytest.raises(RuntimeError, match="bone_age"):
        sides.compare()
