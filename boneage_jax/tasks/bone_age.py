"""Bone age from one image: the paper's scaled target and mean absolute error."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax.tasks.task import Score, Task


@dataclasses.dataclass(frozen=True)
class BoneAgeTask(Task):
    """Regression of (months - centre) / scale."""

    metrics: ClassVar[tuple[str, ...]] = ("loss", "mae")
    score: ClassVar[Score] = Score("mae", "MAE", "months")
    needs_age: ClassVar[bool] = True

    @property
    def outputs(self) -> int:
        """The scaled target."""
        return 1

    def model_input(self, images_bhw: Float[Array, "b h w"]) -> Float[Array, "b h w 1"]:
        """Returns grey levels of [0, 1] as the network takes them, in [-1, 1]: (x - 127.5) / 127.5 of the bytes."""
        return (images_bhw * 2.0 - 1.0)[..., None]

    def target(self, months_b: Float[Array, " b"]) -> Float[Array, " b"]:
        """Returns the scaled target."""
        return (months_b - self.config.target_centre) / self.config.target_scale

    def prediction(self, outputs: Float[Array, "b 1"], image_shape: tuple[int, int]) -> Float[Array, " b"]:
        """Returns the bone age that the network's outputs stand for, in months."""
        del image_shape
        return outputs[:, 0].astype(jnp.float32) * self.config.target_scale + self.config.target_centre

    def losses(self, outputs: Float[Array, "b 1"], batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
        """Returns the absolute error of the scaled target as `loss`, and the same in months as `mae`."""
        error = jnp.abs(outputs[:, 0].astype(jnp.float32) - self.target(batch["bone_age"]))
        return {"loss": error, "mae": error * self.config.target_scale}
