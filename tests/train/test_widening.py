"""Widened networks: each says what the narrow one says, for every architecture and where features lie side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from boneage_jax import models
from boneage_jax.config import ModelConfig
from boneage_jax.errors import UserError
from boneage_jax.models import parameter_keys
from boneage_jax.train.widening import widened

PAIRS = {
    "vgg": ({"widths": (4, 6), "dense": (4,)}, {"widths": (8, 18), "dense": (8,)}),
    "resnet-18": ({"widths": (4, 4, 6, 8), "depth": 18, "dense": ()}, {"widths": (8, 12, 12, 16), "depth": 18}),
    "resnet-50": ({"widths": (2, 2, 2, 2), "depth": 50, "dense": (4,)}, {"widths": (4, 4, 2, 6), "depth": 50}),
    "resnet-heads": ({"widths": (4, 4, 4, 4), "depth": 10, "dense": (4,), "sex": "heads"}, {"widths": (8, 8, 8, 8)}),
    "convnext": ({"widths": (4, 4, 6, 8), "depth": 4, "dense": (4,)}, {"widths": (8, 8, 12, 16), "dense": (4,)}),
    "unet": ({"widths": (4, 6, 8), "patch": 2, "head": "mask"}, {"widths": (8, 12, 24)}),
}
"""Settings of a narrow network, and what the wide one has instead."""


def built(settings, seed, pictures=1):
    """A network as its graph, with weights and statistics that are all unlike their fresh values."""
    module = models.build(
        ModelConfig(**settings), (64, 64), outputs=3, pictures=pictures, rngs=parameter_keys(seed), axis_name=None
    )
    graph, params, batch_stats = nnx.split(module, nnx.Param, nnx.BatchStat)
    generator = np.random.default_rng(seed)
    arrays = [nnx.to_pure_dict(state) for state in (params, batch_stats)]
    # Fresh layers of zeros (last norms, scales) would hide what comes before them.
    arrays = jax.tree.map(lambda x: np.float32(np.abs(x) + generator.uniform(0.1, 0.5, x.shape)), arrays)
    params, batch_stats = jax.tree.map(lambda x: x * (generator.random(x.shape) - 0.3), arrays[0]), arrays[1]
    return graph, {"params": params, "batch_stats": batch_stats}


def answers(graph, arrays, pictures=1):
    arrays = jax.tree.map(jnp.asarray, arrays)
    module = nnx.merge(graph, nnx.State(arrays["params"]), nnx.State(arrays["batch_stats"]))
    x = np.random.default_rng(1).uniform(-1, 1, (3, 64, 64, pictures)).astype(np.float32)
    return np.asarray(module(jnp.asarray(x), jnp.asarray([0.0, 1.0, 1.0])), np.float64)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("pictures", [1, 2])
def test_a_widened_network_says_what_the_narrow_one_says(name, pictures):
    settings, other = PAIRS[name]
    settings = {"name": name.partition("-")[0], **settings}
    if settings.get("head") == "mask" and pictures > 1:
        pytest.skip("a U-Net sees one image")
    graph, narrow = built(settings, 0, pictures)
    wide_graph, fresh = built({**settings, **other}, 1, pictures)
    wide = widened(narrow, fresh, seed=2, origin="a run")
    assert jax.tree.map(np.shape, wide) == jax.tree.map(np.shape, fresh)
    expected, found = answers(graph, narrow, pictures), answers(wide_graph, wide, pictures)
    assert expected.std() > 1e-3, "the networks must say something"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_copies_differ_and_the_seed_decides_how():
    """Copies of a channel with the same weights would be taught the same, and never come apart."""
    settings, other = PAIRS["resnet-18"]
    settings = {"name": "resnet", **settings}
    _, narrow = built(settings, 0)
    _, fresh = built({**settings, **other}, 1)
    first, again, unlike = (
        widened(narrow, fresh, seed=seed, origin="a run")["params"]["backbones"][0]["blocks"][1]["units"][0]["conv"]
        for seed in (2, 2, 3)
    )
    np.testing.assert_array_equal(first["kernel"], again["kernel"])
    assert not np.array_equal(first["kernel"], unlike["kernel"])
    assert not np.allclose(first["kernel"][..., 0], first["kernel"][..., 1])


def test_networks_that_are_no_multiples_are_refused_by_name():
    narrow = {"name": "resnet", "widths": (4, 4, 4, 4), "depth": 10, "dense": (4,)}
    _, arrays = built(narrow, 0)
    for change, named in (({"widths": (6, 8, 8, 8)}, "stem/conv/kernel"), ({"depth": 18}, "found nothing")):
        _, fresh = built({**narrow, **change}, 1)
        with pytest.raises(UserError, match=f"a run cannot be widened(.|\\n)*{named}"):
            widened(arrays, fresh, seed=0, origin="a run")
    _, deep = built({**narrow, "depth": 18}, 0)
    _, fresh = built({**narrow, "widths": (8, 8, 8, 8)}, 1)
    with pytest.raises(UserError, match="expected nothing"):
        widened(deep, fresh, seed=0, origin="a run")
