"""ConvNeXt against timm's, block by block, weights carried over; its sizes, and a run of it."""

import dataclasses
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from boneage_jax import models
from boneage_jax.config import ModelConfig, loading
from boneage_jax.errors import UserError
from boneage_jax.models import parameter_keys, pretrained
from boneage_jax.models.convnext import BLOCKS, Block
from boneage_jax.runs import run_folder
from boneage_jax.train.loop import train
from tests.conftest import small_config

SMALL = ModelConfig(name="convnext", widths=(6, 8, 10, 12), depth=4, dense=(), sex="none")


def parameters(module):
    return sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize(
    ("depth", "widths", "expected"),
    [
        (18, (96, 192, 384, 768), 28_589_128),
        (36, (128, 256, 512, 1024), 88_591_464),
    ],
)
def test_sizes_are_the_papers(depth, widths, expected):
    """T and B as torchvision counts them, which has three colours in the stem and 1,000 classes in the end."""
    config = dataclasses.replace(SMALL, depth=depth, widths=widths)
    module = nnx.eval_shape(lambda: models.build(config, (224, 224), outputs=1, rngs=parameter_keys(0)))
    colours, classes = 2 * 4 * 4 * widths[0], 999 * (widths[-1] + 1)
    assert parameters(module) == expected - colours - classes


def timms(monkeypatch, depth):
    """A network of timm with random weights everywhere, scales of channels and biases too."""
    torch = pytest.importorskip("torch")
    # See tests/models/test_resnet.py.
    monkeypatch.setitem(sys.modules, "torchvision._meta_registrations", types.ModuleType("_meta_registrations"))
    pytest.importorskip("timm")
    from timm.models.convnext import ConvNeXt

    torch.manual_seed(0)
    network = ConvNeXt(depths=BLOCKS[depth], dims=SMALL.widths, num_classes=0).eval()
    for name, weight in network.named_parameters():
        if name.endswith(("gamma", "norm.weight")):
            weight.data.uniform_(0.5, 1.5)
        else:
            weight.data.normal_(0, 0.3)
    return torch, network


def ours(theirs, config):
    """Our backbone with the weights of timm's."""
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    weights, statistics = pretrained.backbone_of(tensors, config, origin="timm")
    assert statistics == {}
    backbone = models.build(config, (97, 66), outputs=1, rngs=parameter_keys(0)).backbones[0]
    state = nnx.state(backbone, nnx.Param)

    def keyed(tree):
        if not isinstance(tree, dict):
            return jnp.asarray(tree)
        return {int(key) if key.isdigit() else key: keyed(value) for key, value in tree.items()}

    nnx.replace_by_pure_dict(state, keyed(weights))
    nnx.update(backbone, state)
    return backbone


@pytest.mark.integration
@pytest.mark.parametrize("kernels", ["plain", "cpu"])
def test_every_block_is_timms(kernels, monkeypatch):
    """Also where height and width do not fill the patches; grey shown to timm in three channels, to ours in one."""
    torch, theirs = timms(monkeypatch, depth=4)
    backbone = ours(theirs, dataclasses.replace(SMALL, kernels=kernels))
    x = np.random.default_rng(0).normal(size=(2, 97, 66, 1)).astype(np.float32)
    seen = torch.tensor(x.transpose(0, 3, 1, 2).repeat(3, axis=1))
    there, here = theirs.stem(seen), backbone.norms[0](backbone.stem(jnp.asarray(x)))

    def compare(here, there):
        there = there.detach().numpy()
        there = there.transpose(0, 2, 3, 1) if there.ndim == 4 else there
        assert np.abs(there).max() > 0.1
        np.testing.assert_allclose(here, there, atol=2e-5 * np.abs(there).max())

    compare(here, there)
    for stage, theirs_of_stage in enumerate(theirs.stages):
        there = theirs_of_stage.downsample(there)
        here = backbone.downs[stage - 1](backbone.norms[stage](here)) if stage else here
        compare(here, there)
        for block, block_of_theirs in zip(backbone.stages[stage], theirs_of_stage.blocks, strict=True):
            there, here = block_of_theirs(there), block(here)
            compare(here, there)
    compare(backbone.pooled(here), theirs.forward_head(there))
    compare(backbone.pooled(backbone.maps(jnp.asarray(x))), theirs(seen))


@pytest.mark.parametrize("kernels", ["plain", "cpu"])
def test_a_blocks_gradients_are_timms(kernels, monkeypatch):
    torch, theirs = timms(monkeypatch, depth=4)
    block = ours(theirs, dataclasses.replace(SMALL, kernels=kernels)).stages[1][0]
    x = np.random.default_rng(1).normal(size=(2, 9, 7, 8)).astype(np.float32)
    seen = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    block_of_theirs = theirs.stages[1].blocks[0]
    block_of_theirs(seen).square().sum().backward()
    graph, params = nnx.split(block)

    def loss(params, x):
        return jnp.square(nnx.merge(graph, params)(x)).sum()

    by_params, by_x = jax.grad(loss, (0, 1))(params, jnp.asarray(x))
    depthwise, scale = block_of_theirs.conv_dw.weight.grad[:, 0].permute(1, 2, 0), block_of_theirs.gamma.grad
    pairs = (
        (by_x, seen.grad.permute(0, 2, 3, 1)),
        (by_params["kernel"][...], depthwise),
        (by_params["scale"][...], scale),
    )
    for here, there in pairs:
        np.testing.assert_allclose(here, there, atol=1e-4 * float(there.abs().max()))


def test_weights_of_another_network_are_named(monkeypatch):
    with pytest.raises(UserError, match=r"no weights of a convnext of depth 4 (.|\n)*stem\.0\.weight: not there"):
        pretrained.backbone_of({"conv1.weight": np.zeros((4, 3, 7, 7))}, SMALL, origin="file")
    with pytest.raises(UserError, match="a vgg cannot start from weights of PyTorch"):
        pretrained.backbone_of({}, ModelConfig(), origin="file")


def test_blocks_start_as_their_short_cuts():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 8))
    np.testing.assert_allclose(Block(8, SMALL, rngs=parameter_keys(0))(x), x, atol=1e-4)


@pytest.mark.integration
def test_a_run_of_it_is_trained_and_loaded(data_dir, phantoms, tmp_path):
    """The tiny twin of its config: steps, evaluation, checkpoint and averages of a network without batch statistics."""
    twin = loading.load(["--config=configs/convnext.py:tiny"]).model
    network = {f"model__{key}": value for key, value in dataclasses.asdict(twin).items()}
    still = {"augment__shift": 0.0, "augment__zoom": 0.0, "augment__rotation": 0.0}
    length = {"train__length": "2 steps", "eval__every": "2 steps", "train__ema": 0.9, "train__devices": 1}
    config = small_config(data_dir, phantoms, **network, **still, **length)
    assert np.isfinite(train(config, tmp_path / "run").score)
    loaded = run_folder.load(tmp_path / "run", devices=1)
    assert loaded.arrays["batch_stats"] == {}
    images = jnp.zeros((2, 48, 36, 1))
    outputs, _ = loaded.network.apply(loaded.arrays["params"], loaded.arrays["batch_stats"], images, jnp.ones(2))
    assert outputs.shape == (2, 1)
