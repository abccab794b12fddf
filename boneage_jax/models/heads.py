"""From image features and the sex to the outputs: dense layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from boneage_jax.models.blocks import Dropout
from boneage_jax.schema import ModelConfig

SEX_FEATURES = 32
"""Width of the layer between the sex and the image's features (as 16 Bit Inc. had it in the RSNA challenge of 2017)."""


NEAR_ZERO = nnx.initializers.normal(1e-3)
"""How the outputs' weights start: so that training starts at the centre of the targets. The deviation is chosen by eye,
see docs/explanation/lab-notes.md."""


class DenseHead(nnx.Module):
    """From features to outputs: dropout, dense and ELU for each hidden layer; outputs.

    Where `model.sex` is `input` the sex stands beside the features; where it is `heads` each sex has its own outputs.

    Args:
      features: number of image features.
      config: hidden layers, dropout, sex and types.
      outputs: number of outputs.
      rngs: source of the initial weights.
    """

    def __init__(self, features: int, config: ModelConfig, *, outputs: int, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.sex = nnx.Linear(1, SEX_FEATURES, dtype=dtype, rngs=rngs) if config.sex == "input" else nnx.data(None)
        features += SEX_FEATURES if config.sex == "input" else 0
        hidden, dropouts = [], []
        for n, units in enumerate(config.dense):
            dropouts.append(Dropout(config.dropout, salt=n))
            hidden.append(nnx.Linear(features, units, dtype=dtype, rngs=rngs))
            features = units
        self.dropouts, self.hidden = nnx.List(dropouts), nnx.List(hidden)
        self.a_sex = config.sex == "heads"
        self.last = nnx.Linear(features, 2 * outputs if self.a_sex else outputs, kernel_init=NEAR_ZERO, rngs=rngs)

    def __call__(
        self,
        x_bf: Float[Array, "b f"],
        male_b: Float[Array, " b"],
        *,
        dropout_keys_b: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b o"]:
        """Returns the outputs of each example.

        Args:
          x_bf: features.
          male_b: 1 for male, 0 for female; not read by a model without sex.
          dropout_keys_b: one key an example, or None for no dropout.
        """
        x = x_bf
        if self.sex is not None:
            x = jnp.concatenate([x, jax.nn.elu(self.sex(male_b[:, None] * 2 - 1)).astype(x.dtype)], axis=-1)
        for dropout, dense in zip(self.dropouts, self.hidden, strict=True):
            x = jax.nn.elu(dense(dropout(x, dropout_keys_b)))
        outputs = self.last(x.astype(jnp.float32))
        if not self.a_sex:
            return outputs
        female, male = jnp.split(outputs, 2, axis=-1)
        return jnp.where(male_b[:, None] > 0.5, male, female)
