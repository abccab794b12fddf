"""Residual networks against timm's, weights carried over; several pictures of one child."""

import dataclasses
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from boneage_jax import models
from boneage_jax.config import ModelConfig
from boneage_jax.errors import UserError
from boneage_jax.models import parameter_keys, pretrained
from boneage_jax.models.resnet import Block

FULL = ModelConfig(name="resnet", widths=(64, 128, 256, 512), depth=50, dense=(), sex="none")
SMALL = dataclasses.replace(FULL, widths=(4, 6, 8, 10), depth=10, dense=(5,))


def parameters(module):
    return sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize(
    ("depth", "expected"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)]
)
def test_sizes_are_the_usual_ones(depth, expected):
    """Torchvision's parameters without the last layer; the stem has one colour instead of three (2 x 64 x 49 fewer)."""
    config = dataclasses.replace(FULL, depth=depth)
    module = nnx.eval_shape(lambda: models.build(config, (224, 224), outputs=1, rngs=parameter_keys(0)))
    features = 512 if depth < 50 else 2048
    assert parameters(module) == expected - 2 * 64 * 49 + features + 1


def loaded(tensors, config, image_shape):
    """The module's features with weights of a state_dict."""
    module = models.build(config, image_shape, outputs=1, rngs=parameter_keys(0))
    weights, statistics = pretrained.backbone_of(tensors, config, origin="timm")
    backbone = module.backbones[0]

    def keyed(tree):
        if not isinstance(tree, dict):
            return jnp.asarray(tree)
        return {int(key) if key.isdigit() else key: keyed(value) for key, value in tree.items()}

    for kind, values in ((nnx.Param, weights), (nnx.BatchStat, statistics)):
        state = nnx.state(backbone, kind)
        nnx.replace_by_pure_dict(state, keyed(values))
        nnx.update(backbone, state)
    return backbone


@pytest.mark.parametrize("name", [pytest.param("resnet50", marks=pytest.mark.integration), "resnet18"])
def test_a_resnet_of_timm_says_the_same(name, tmp_path, monkeypatch):
    """Randomly initialised, statistics too; grey shown to timm in three channels, to ours in one; also from a file."""
    torch = pytest.importorskip("torch")
    # timm imports torchvision, whose own operators need CUDA's libraries: beside a CPU build of PyTorch it can be
    # imported without what describes these operators.
    monkeypatch.setitem(sys.modules, "torchvision._meta_registrations", types.ModuleType("_meta_registrations"))
    timm = pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=0).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.2)
            module.bias.data.normal_(0, 0.1)
    path = tmp_path / "weights.safetensors"
    safetensors.save_file(theirs.state_dict(), path)
    ours = loaded(pretrained.read(path), dataclasses.replace(FULL, depth=int(name[6:])), (97, 66))
    x = np.random.default_rng(0).normal(size=(2, 97, 66, 1)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2).repeat(3, axis=1))).numpy()
    found = np.asarray(ours.pooled(ours.maps(jnp.asarray(x))))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_weights_of_another_network_are_named(tmp_path):
    with pytest.raises(UserError, match=r"layer2\.0\.conv1\.weight: not there"):
        pretrained.backbone_of({"conv1.weight": np.zeros((4, 3, 7, 7))}, SMALL, origin="file")
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a file of weights"):
        pretrained.read(tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="no such file"):
        pretrained.read(tmp_path / "other.pth")


@pytest.mark.parametrize(("depth", "width"), [(10, 8), (26, 2)])
def test_blocks_start_as_their_short_cuts(depth, width):
    """With the last norm at zero a block of unchanged shape gives back what it is given, if not negative."""
    config = dataclasses.replace(SMALL, depth=depth)
    block = Block(8, width, config, stride=1, axis_name=None, rngs=parameter_keys(0))
    x = jnp.abs(jax.random.normal(jax.random.key(0), (2, 8, 8, 8)))
    np.testing.assert_allclose(block(x, train=True), x, atol=1e-6)


def test_every_picture_has_a_backbone_and_all_reach_the_output():
    def output(x):
        module = models.build(SMALL, (48, 40), outputs=2, pictures=3, rngs=parameter_keys(0))
        assert len(module.backbones) == 3
        return module(x, jnp.ones(2)).sum()

    # As one program: operation by operation each would be compiled for itself.
    gradient = jax.jit(jax.grad(output))(jax.random.normal(jax.random.key(0), (2, 48, 40, 3)))
    assert (jnp.abs(gradient).max((0, 1, 2)) > 0).all()
