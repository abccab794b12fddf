"""The U-Net: shapes, patches, batch norm, and what a pixel can see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from boneage_jax import models
from boneage_jax.config import ModelConfig
from boneage_jax.models import parameter_keys
from boneage_jax.models.ops import shuffle, unshuffle
from boneage_jax.models.unet import UNet, stride_of


def config(**changes):
    return ModelConfig(name="unet", **{"widths": (4, 6, 8), "patch": 1, "head": "mask", **changes})


@pytest.mark.parametrize(("patch", "head", "size"), [(1, "mask", 32), (2, "mask", 32), (2, "heatmap", 16)])
def test_maps_have_the_size_they_should(patch, head, size):
    def maps():
        network = models.build(config(patch=patch, head=head), (32, 48), outputs=3, rngs=parameter_keys(0))
        return network(jnp.zeros((2, 32, 48, 1)), jnp.zeros(2))

    assert jax.eval_shape(maps).shape == (2, size, size * 48 // 32, 3)


def test_batch_norm_follows_each_convolution():
    """Ten convolutions of 3 x 3 in three levels; as many norms."""
    network = models.build(config(), (32, 32), outputs=1, rngs=parameter_keys(0))
    norms = [m for _, m in nnx.iter_modules(network) if isinstance(m, nnx.BatchNorm)]
    kernels = [x for _, x in nnx.to_flat_state(nnx.state(network, nnx.Param)) if x[...].ndim == 4]
    assert len(norms) == len(kernels) == 2 * 3 + 2 * 2


def test_sizes_that_do_not_divide_are_refused():
    assert stride_of(config(patch=2)) == 8
    with pytest.raises(ValueError, match="multiples of 8"):
        UNet(config(patch=2), (36, 32), outputs=1, axis_name=None, rngs=parameter_keys(0))


def test_shuffle_and_its_inverse_against_loops():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    packed = unshuffle(x, 2)
    np.testing.assert_array_equal(shuffle(packed, 2), x)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(packed[:, i, j], x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(2, -1))


def test_pictures_are_seen_whole():
    """The deepest level carries a corner's pixel to the other corner."""

    def corner(x):
        network = models.build(config(widths=(4, 4, 4, 4)), (32, 32), outputs=1, rngs=parameter_keys(1))
        return network(x, jnp.zeros(1))[0, -1, -1, 0]

    gradient = jax.jit(jax.grad(corner))(jax.random.normal(jax.random.key(0), (1, 32, 32, 1)))
    assert np.abs(gradient[0, 0, 0, 0]) > 0
