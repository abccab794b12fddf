"""The registry: what architectures declare is true, and a new one is one declaration."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from boneage_jax import models
from boneage_jax.config import ModelConfig, default_config, validate
from boneage_jax.errors import UserError
from boneage_jax.models import parameter_keys, registry
from boneage_jax.models.architecture import Architecture
from boneage_jax.models.regressor import Regressor
from boneage_jax.scaling.kinds import Kind

SMALL = {
    "vgg": ModelConfig(name="vgg", widths=(4, 4), dense=(4,)),
    "resnet": ModelConfig(name="resnet", widths=(4, 4, 4, 4), depth=10, dense=(4,)),
    "convnext": ModelConfig(name="convnext", widths=(4, 4, 4, 4), depth=4, dense=(4,)),
    "unet": ModelConfig(name="unet", widths=(4, 4), patch=1, head="mask", dense=(4,)),
}
OTHER = {
    "widths": (4, 8, 4, 4),
    "depth": 18,
    "patch": 2,
    "second_kernel": 3,
    "pool": 2,
    "dense": (8,),
    "dropout": 0.5,
    "sex": "none",
    "kernels": "cpu",
}
"""A value of each setting that networks may or may not read."""


def program(config):
    """Everything that a network computes, its initial weights included; traced, not run."""

    def run(x, keys):
        module = models.build(config, (64, 64), outputs=1, rngs=parameter_keys(0))
        return module(x, jnp.ones(2), train=True, dropout_keys_b=keys)

    return str(jax.make_jaxpr(run)(jnp.zeros((2, 64, 64, 1)), jax.random.split(jax.random.key(0), 2)))


@pytest.mark.parametrize("name", registry.ARCHITECTURES)
def test_networks_read_the_settings_that_they_declare_and_no_others(name):
    small = dataclasses.replace(SMALL[name], kernels="plain")
    plain = program(small)
    other = {**OTHER, "widths": (4, 8) if len(small.widths) == 2 else OTHER["widths"]}
    found = [key for key, value in other.items() if program(dataclasses.replace(small, **{key: value})) != plain]
    assert set(found) == set(registry.ARCHITECTURES[name].settings) - {"weights"}
    assert ("weights" in registry.ARCHITECTURES[name].settings) == (registry.ARCHITECTURES[name].pretrained is not None)


@pytest.mark.parametrize("name", registry.ARCHITECTURES)
def test_declared_settings_are_keys_of_the_model(name):
    assert set(registry.ARCHITECTURES[name].settings) <= {field.name for field in dataclasses.fields(ModelConfig)}
    assert registry.ARCHITECTURES[name].name == name


def nested(**model):
    config = default_config()
    config.data.height, config.data.width = 64, 64
    config.model.update(model)
    return config


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "convnet"}, r"model\.name: found 'convnet', expected one of .*did you mean 'convnext'\?"),
        ({"name": "resnet", "depth": 20}, r"model\.depth: found 20, expected one of 10, 18, .* for a resnet"),
        (
            {"name": "convnext", "depth": 34, "widths": (4,) * 4},
            r"model\.depth: found 34, expected one of 4, 12",
        ),
        ({"name": "convnext", "depth": 4, "widths": (4,)}, r"model\.widths: found 1 widths, expected 4 for a convnext"),
        ({"name": "vgg", "weights": "file.safetensors"}, r"model\.weights: found .*, expected '' for a vgg"),
        ({"name": "unet", "head": "mask"}, r"model\.name: found 'unet', expected 'vgg' or 'resnet' or 'convnext' for"),
    ],
)
def test_networks_that_cannot_be_built_are_refused_with_the_reason(model, message):
    with pytest.raises(UserError, match=message):
        validate(nested(**model))


def test_images_that_are_too_small_for_a_convnext():
    config = nested(name="convnext", depth=4, widths=(4,) * 4)
    validate(config)
    config.data.width = 31
    with pytest.raises(UserError, match="found 64 x 31, expected at least 32 x 32 for a convnext"):
        validate(config)


class Mean(nnx.Module):
    """A backbone as small as can be: the mean of the image."""

    def __init__(self, config, image_shape, *, axis_name, rngs):
        self.features = 1

    def maps(self, x_bhw1, *, train=False):
        return x_bhw1

    def pooled(self, maps_bhwc):
        return maps_bhwc.mean((1, 2))


def test_a_new_backbone_is_one_declaration(monkeypatch):
    """Validation, the building of networks and scaling know it at once."""

    def build(config, image_shape, **rest):
        return Regressor(Mean, config, image_shape, **rest)

    mean = Architecture("mean", "none", build, heads=("regression",), settings=("dense", "dropout", "sex"))
    monkeypatch.setitem(registry.ARCHITECTURES, "mean", mean)
    config = validate(nested(name="mean", widths=(8,), dense=(4,)))
    module = models.build(config.model, (64, 64), outputs=1, rngs=parameter_keys(0))
    images = jax.random.normal(jax.random.key(0), (2, 64, 64, 1))
    assert module(images, jnp.ones(2)).shape == (2, 1)
    assert Kind(24, width=2.0, depth=3).config(config, 0).model.widths == (16, 16, 16)
