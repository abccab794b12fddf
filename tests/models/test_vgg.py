"""The network against the paper's numbers and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from boneage_jax import models
from boneage_jax.config import ModelConfig, loading
from boneage_jax.models import parameter_keys
from boneage_jax.models.blocks import Dropout

SMALL = ModelConfig(widths=(4, 6), dense=(8, 7), sex="none", dropout=0.0)


def parameters(module):
    return sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param)))


def test_m46_is_the_papers():
    """24.75 million parameters at 500 x 375, of which the convolutions' flattened output has 384 x 6 x 4 = 9,216."""
    config = loading.load(["--config=configs/m46.py"])
    module = nnx.eval_shape(lambda: models.build(config.model, (500, 375), outputs=1, rngs=parameter_keys(0)))
    assert module.head.hidden[0].kernel.shape == (9216, 2048)
    # Counted by hand: convolutions 1,672,416, batch norm 3,968, dense 23,074,817.
    assert parameters(module) == 1_672_416 + 3_968 + 23_074_817 == 24_751_201


def test_the_variant_has_3x3_and_pooling_of_2():
    config = loading.load(["--config=configs/m46.py:3x3"])
    module = nnx.eval_shape(lambda: models.build(config.model, (500, 375), outputs=1, rngs=parameter_keys(0)))
    assert module.backbones[0].blocks[0].second.conv.kernel.shape == (3, 3, 32, 32)
    assert module.head.hidden[0].kernel.shape == (384 * 7 * 5, 2048)


def test_initial_weights_are_he_fan_out():
    module = models.build(ModelConfig(widths=(64, 128)), (32, 32), outputs=1, rngs=parameter_keys(0))
    kernel = module.backbones[0].blocks[1].first.conv.kernel[...]
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("second", [1, 3])
def test_against_pytorch(train, second):
    """The same weights give the same outputs, gradients and running statistics in PyTorch, in both modes."""
    torch = pytest.importorskip("torch")
    import dataclasses

    config = dataclasses.replace(SMALL, second_kernel=second, pool=3 if second == 1 else 2)
    h, w = 30, 22
    module = models.build(config, (h, w), outputs=1, rngs=parameter_keys(3))
    layers = []
    for block in module.backbones[0].blocks:
        for unit in (block.first, block.second):
            size, _, c, o = unit.conv.kernel.shape
            conv = torch.nn.Conv2d(c, o, size, padding=size // 2)
            conv.weight.data = torch.tensor(np.asarray(unit.conv.kernel[...]).transpose(3, 2, 0, 1).copy())
            conv.bias.data.zero_()
            layers += [conv, torch.nn.ELU(), torch.nn.BatchNorm2d(o)]
        layers.append(torch.nn.MaxPool2d(config.pool, 2))
    body = torch.nn.Sequential(*layers).train(train)
    head = []
    for dense in [*module.head.hidden, module.head.last]:
        linear = torch.nn.Linear(*dense.kernel.shape)
        linear.weight.data = torch.tensor(np.asarray(dense.kernel[...]).T.copy())
        linear.bias.data.zero_()
        head += [linear, torch.nn.ELU()]
    head = torch.nn.Sequential(*head[:-1])

    x = np.random.default_rng(0).normal(size=(5, h, w, 1)).astype(np.float32)
    features = body(torch.tensor(x.transpose(0, 3, 1, 2).copy()))
    # PyTorch flattens channels first, we flatten channels last.
    expected = head(features.permute(0, 2, 3, 1).reshape(5, -1))
    expected.abs().sum().backward()

    graph, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def loss(params):
        merged = nnx.merge(graph, params, stats)
        out = merged(jnp.asarray(x), jnp.zeros(5), train=train)
        return jnp.abs(out).sum(), (out, nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat)))

    gradient, (out, new_stats) = jax.grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-3, atol=1e-6)
    first = gradient["backbones"][0]["blocks"][0]["first"]["conv"]["kernel"]
    reference = body[0].weight.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(first, reference, rtol=1e-3, atol=1e-5 + 1e-3 * np.abs(reference).max())
    np.testing.assert_allclose(
        new_stats["backbones"][0]["blocks"][1]["first"]["norm"]["mean"], body[9].running_mean, atol=1e-5
    )


def test_bfloat16_computes_in_half_and_keeps_float32_weights():
    config = ModelConfig(widths=(8, 8), dense=(8,), dtype="bfloat16", dropout=0.0)
    module = models.build(config, (32, 24), outputs=1, rngs=parameter_keys(0))
    assert {x.dtype for x in jax.tree.leaves(nnx.state(module))} == {jnp.dtype("float32")}
    x = jnp.asarray(np.random.default_rng(0).random((4, 32, 24, 1)), jnp.float32)
    program = str(jax.make_jaxpr(lambda x: module(x, jnp.ones(4)))(x))
    assert "bf16[4,32,24,8]" in program
    full = models.build(
        ModelConfig(widths=(8, 8), dense=(8,), dropout=0.0), (32, 24), outputs=1, rngs=parameter_keys(0)
    )
    np.testing.assert_allclose(module(x, jnp.ones(4)), full(x, jnp.ones(4)), atol=2e-4)


def test_sex_is_read_only_where_the_model_is_told():
    x = jnp.asarray(np.random.default_rng(0).random((2, 32, 24, 1)), jnp.float32)
    for sex, differs in (("input", True), ("heads", True), ("none", False)):
        module = models.build(
            ModelConfig(widths=(4, 4), dense=(8,), sex=sex), (32, 24), outputs=1, rngs=parameter_keys(0)
        )
        boy, girl = module(x, jnp.ones(2)), module(x, jnp.zeros(2))
        assert bool((boy != girl).any()) == differs


def test_dropout_drops_by_the_examples_key():
    dropout = Dropout(0.25, salt=0)
    x = jnp.ones((64, 400))
    keys = jax.random.split(jax.random.key(0), 64)
    out = dropout(x, keys)
    assert float((out == 0).mean()) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(out[out != 0], 1 / 0.75, rtol=1e-6)
    np.testing.assert_array_equal(dropout(x[5:6], keys[5:6])[0], out[5])
    assert (Dropout(0.25, salt=1)(x, keys) != out).any()
    assert dropout(x, None) is x


def test_a_head_a_sex_is_one_output_layer_for_each():
    """Outputs of boys follow the second half of the last layer's weights alone, those of girls the first."""
    x = jnp.asarray(np.random.default_rng(0).random((3, 32, 24, 1)), jnp.float32)
    config = ModelConfig(widths=(4, 4), dense=(8,), sex="heads")
    module = models.build(config, (32, 24), outputs=5, rngs=parameter_keys(0))
    assert module.head.last.kernel.shape == (8, 10)
    before = [module(x, jnp.full(3, male)) for male in (0.0, 1.0)]
    assert before[0].shape == (3, 5)
    module.head.last.bias[...] = module.head.last.bias[...] + jnp.repeat(jnp.array([1.0, 10.0]), 5)
    for male, added in ((0.0, 1.0), (1.0, 10.0)):
        np.testing.assert_allclose(module(x, jnp.full(3, male)), before[int(male)] + added, rtol=1e-5)
