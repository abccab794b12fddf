"""What the last layer of a dense network says."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class RegressionHead(nnx.Module):
    """Numbers in the task's scale. Weights start near zero, so that training starts at the centre."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.dense = nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.normal(1e-3), rngs=rngs)

    def __call__(self, x_bf: Float[Array, "b f"]) -> Float[Array, "b o"]:
        return self.dense(x_bf.astype(jnp.float32))
