"""All names of the Python API, as `import boneage_jax as ba` offers them."""

from boneage_jax.api.datasets import Example, LabelledImages, Labels, open_dataset
from boneage_jax.api.hands import RegisteredHand
from boneage_jax.api.model import BoneAgeModel, load
from boneage_jax.api.phantoms import PhantomRadiograph, phantom
from boneage_jax.api.predictions import Prediction
from boneage_jax.errors import UserError

__all__ = [
    "BoneAgeModel",
    "Example",
    "LabelledImages",
    "Labels",
    "PhantomRadiograph",
    "Prediction",
    "RegisteredHand",
    "UserError",
    "load",
    "open_dataset",
    "phantom",
]
