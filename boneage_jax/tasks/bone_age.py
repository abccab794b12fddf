"""Bone age from images of one hand: a number, or a distribution over months; both give an age and its spread."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax.schema import Head, InputLayout
from boneage_jax.tasks.task import Score, Task

CLASSES = 240
"""Classes of one month each, 0 to 239 (Iglovikov et al. 2017)."""


@dataclasses.dataclass(frozen=True)
class BoneAgeTask(Task):
    """`task.age` says in which form a network gives an age.

    - `regression`: (months - centre) / scale, mean absolute error.
    - `classification`: softmax over 240 months; its expectation is taught by the mean absolute error, as in the paper.
    - `distribution`: the same softmax, taught a normal distribution about the label (label distribution learning, Gao
      et al. 2017, arXiv 1611.01731) and, as in its successor (Gao et al. 2018, IJCAI), the expectation too.
    """

    input_layouts: ClassVar[tuple[tuple[InputLayout, ...], ...]] = (
        ("image",),
        ("masked_image",),
        ("masked_hand_box",),
        ("masked_canvas",),
    )
    metrics: ClassVar[tuple[str, ...]] = ("loss", "mae")
    score: ClassVar[Score] = Score("mae", "MAE", "months")
    needs_age: ClassVar[bool] = True

    @property
    def head(self) -> Head:
        """Numbers for the child."""
        return "regression"

    @property
    def outputs(self) -> int:
        """The scaled target, or a logit a month."""
        return 1 if self.config.age == "regression" else CLASSES

    def model_input(self, images: Float[Array, "b h w *p"]) -> Float[Array, "b h w p"]:
        """Returns grey levels of [0, 1] in [-1, 1]: (x - 127.5) / 127.5 of the bytes."""
        scaled = images * 2.0 - 1.0
        return scaled[..., None] if images.ndim == 3 else scaled

    def target(self, months_b: Float[Array, " b"]) -> Float[Array, " b"]:
        """Returns the scaled target."""
        return (months_b - self.config.target_centre) / self.config.target_scale

    def prediction(self, outputs: Float[Array, "b o"], image_shape: tuple[int, int]) -> Float[Array, "b 2"]:
        """Returns `ages`, whatever the size of the input."""
        del image_shape
        return self.ages(outputs)

    def ages(self, outputs: Float[Array, "b o"]) -> Float[Array, "b 2"]:
        """Returns the bone age and its standard deviation, in months; NaN for that of a regression, which has none."""
        outputs = outputs.astype(jnp.float32)
        if self.config.age == "regression":
            months = outputs[:, 0] * self.config.target_scale + self.config.target_centre
            return jnp.stack([months, jnp.full_like(months, jnp.nan)], axis=-1)
        probability = jax.nn.softmax(outputs)
        months = probability @ _months()
        variance = (probability * jnp.square(_months() - months[:, None])).sum(-1)
        return jnp.stack([months, jnp.sqrt(variance)], axis=-1)

    def losses(self, outputs: Float[Array, "b o"], batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
        """Returns `loss` and the absolute error in months as `mae`.

        The loss is the absolute error over `task.target_scale`; for `distribution` the cross-entropy is added.
        """
        import optax  # for training; predictions need none

        error = jnp.abs(self.ages(outputs)[:, 0] - batch["bone_age"])
        loss = error / self.config.target_scale
        if self.config.age == "distribution":
            loss = loss + optax.softmax_cross_entropy(outputs.astype(jnp.float32), self.soft_labels(batch["bone_age"]))
        return {"loss": loss, "mae": error}

    def soft_labels(self, months_b: Float[Array, " b"]) -> Float[Array, "b 240"]:
        """Returns the probability of each month: a normal distribution of `task.label_sd` about the label."""
        return jax.nn.softmax(-0.5 * jnp.square((_months() - months_b[:, None]) / self.config.label_sd))


def _months() -> Float[Array, " 240"]:
    return jnp.arange(CLASSES, dtype=jnp.float32)
