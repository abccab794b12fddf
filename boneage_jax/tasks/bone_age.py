"""Bone age from one image: the paper's scaled target and mean absolute error."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax.config import TaskConfig


@dataclasses.dataclass(frozen=True)
class BoneAgeTask:
    """Regression of (months - centre) / scale.

    Attributes:
      config: centre and scale of the target.
    """

    config: TaskConfig

    def model_input(self, images_bhw: Float[Array, "b h w"]) -> Float[Array, "b h w 1"]:
        """Returns grey levels of [0, 1] as the network takes them, in [-1, 1]: (x - 127.5) / 127.5 of the bytes."""
        return (images_bhw * 2.0 - 1.0)[..., None]

    def target(self, months_b: Float[Array, " b"]) -> Float[Array, " b"]:
        """Returns the scaled target."""
        return (months_b - self.config.target_centre) / self.config.target_scale

    def months(self, outputs_b: Float[Array, " b"]) -> Float[Array, " b"]:
        """Returns the bone age that the network's outputs stand for, in months."""
        return outputs_b.astype(jnp.float32) * self.config.target_scale + self.config.target_centre

    def losses(self, outputs_b: Float[Array, " b"], months_b: Float[Array, " b"]) -> dict[str, Float[Array, " b"]]:
        """Returns values per example; the caller averages them under the mask, exactly on any number of devices.

        Returns:
          `loss`: absolute error of the scaled target, which is differentiated; `mae`: the same in months.
        """
        error = jnp.abs(outputs_b.astype(jnp.float32) - self.target(months_b))
        return {"loss": error, "mae": error * self.config.target_scale}
