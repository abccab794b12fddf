"""Three key points: the paper's regression of six numbers, or heat maps whose centre of mass is the point.

The heat-map form follows Nibali et al. 2018 (arXiv 1801.07372): a softmax over the map, the expected place as point,
and a term that draws the map together about the truth.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax import anatomy
from boneage_jax.canvas import CAPITATE, FINGERTIP
from boneage_jax.data.examples import Layer
from boneage_jax.schema import Head, InputLayout
from boneage_jax.tasks.task import Score, Task

_POINTS = len(anatomy.KEY_POINTS)

_DISTANCE_WEIGHT, _ENTROPY_WEIGHT = 20.0, 0.1
"""Weights of the two terms of the heat maps' loss; chosen by eye, see docs/explanation/lab-notes.md."""

_NO_DISTANCE = 1e-12
"""Squared pixels added to a squared distance: keeps the slope of the square root finite where a point is exact."""


@dataclasses.dataclass(frozen=True)
class LandmarksTask(Task):
    """Key points as x, y in pixels of the input."""

    layers: ClassVar[tuple[Layer, ...]] = ("key_points",)
    # No key points are known before the coarse stage.
    input_layouts: ClassVar[tuple[tuple[InputLayout, ...], ...]] = (
        ("hand_box", "canvas"),
        ("masked_image",),
        ("masked_hand_box",),
    )
    metrics: ClassVar[tuple[str, ...]] = ("loss", "error")
    score: ClassVar[Score] = Score("error", "mean key point error", "% of the hand's length")

    @property
    def head(self) -> Head:
        """Heat maps, or points."""
        return "heatmap" if self.config.points == "heatmap" else "points"

    @property
    def outputs(self) -> int:
        """A map a point, or two numbers a point."""
        return _POINTS if self.config.points == "heatmap" else 2 * _POINTS

    def model_input(self, images: Float[Array, "b h w"]) -> Float[Array, "b h w 1"]:
        """Returns grey levels of [0, 1] in [-1, 1]; the background has been set to black before."""
        return (images * 2.0 - 1.0)[..., None]

    def prediction(self, outputs: Array, image_shape: tuple[int, int]) -> Float[Array, "b 3 3"]:
        """Returns x, y of each point and its spread (standard deviation of its map), in pixels of the input.

        Regression gives a spread of 0: it has none.
        """
        if self.config.points == "regression":
            points = self._regressed(outputs, image_shape)
            return jnp.concatenate([points, jnp.zeros((*points.shape[:2], 1))], axis=-1)
        probability, step = self._probability(outputs, image_shape)
        points, spread = centre_of_mass(probability)
        return jnp.concatenate([points * step + (step - 1) / 2, spread[..., None] * step], axis=-1)

    def losses(self, outputs: Array, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
        """Returns `loss` and the mean distance from the truth as `error`, in percent of the hand's length.

        Regression: the mean square of the differences, in units of the input's height (paper: MSE). Heat maps: the mean
        distance in the same unit, and the cross-entropy against a normal distribution of `task.sigma` map pixels.
        """
        truth = batch["key_points"]
        shape = (batch["image"].shape[1], batch["image"].shape[2])
        predicted = self.prediction(outputs, shape)[..., :2]
        distance = jnp.sqrt(jnp.square(predicted - truth).sum(-1) + _NO_DISTANCE)
        length = jnp.linalg.norm(truth[:, FINGERTIP] - truth[:, CAPITATE], axis=-1)
        error = 100.0 * distance.mean(-1) / jnp.maximum(length, 1.0)
        if self.config.points == "regression":
            return {"loss": jnp.square((predicted - truth) / shape[0]).mean((1, 2)), "error": error}
        log_p, step = self._log_probability(outputs, shape)
        target = _normal((truth - (step - 1) / 2) / step, log_p.shape[2:], self.config.sigma)
        entropy = -(target * log_p).sum((2, 3)).mean(-1)
        loss = _DISTANCE_WEIGHT * distance.mean(-1) / shape[0] + _ENTROPY_WEIGHT * entropy
        return {"loss": loss, "error": error}

    def _regressed(self, outputs: Float[Array, "b 6"], image_shape: tuple[int, int]) -> Float[Array, "b 3 2"]:
        """Outputs of 0 mean the middle of the input; of 1, half its height away from there."""
        height, width = image_shape
        middle = jnp.array([(width - 1) / 2, (height - 1) / 2])
        return outputs.astype(jnp.float32).reshape(-1, _POINTS, 2) * height / 2 + middle

    def _log_probability(self, outputs: Array, image_shape: tuple[int, int]) -> tuple[Float[Array, "b 3 h w"], int]:
        """The maps' log softmax, and the pixels of the input in the width of one of theirs."""
        b, h, w, n = outputs.shape
        flat = jax.nn.log_softmax(outputs.astype(jnp.float32).reshape(b, h * w, n), axis=1)
        return flat.reshape(b, h, w, n).transpose(0, 3, 1, 2), image_shape[0] // h

    def _probability(self, outputs: Array, image_shape: tuple[int, int]) -> tuple[Float[Array, "b 3 h w"], int]:
        log_p, step = self._log_probability(outputs, image_shape)
        return jnp.exp(log_p), step


def centre_of_mass(
    probability: Float[Array, "b n h w"],
) -> tuple[Float[Array, "b n 2"], Float[Array, "b n"]]:
    """Returns the expected x, y of distributions over pixels, and the standard deviation about it."""
    h, w = probability.shape[2:]
    columns, rows = probability.sum(2), probability.sum(3)
    x, y = columns @ jnp.arange(w, dtype=jnp.float32), rows @ jnp.arange(h, dtype=jnp.float32)
    variance = (columns * jnp.square(jnp.arange(w) - x[..., None])).sum(-1)
    variance += (rows * jnp.square(jnp.arange(h) - y[..., None])).sum(-1)
    return jnp.stack([x, y], axis=-1), jnp.sqrt(variance)


def _normal(points: Float[Array, "b n 2"], shape: tuple[int, ...], sigma: float) -> Float[Array, "b n h w"]:
    """Normal distributions about points, each summing to 1 over the map, points beyond its edge included."""

    def along(centre: Array, size: int) -> Array:
        return jax.nn.softmax(-0.5 * jnp.square((jnp.arange(size) - centre[..., None]) / sigma), axis=-1)

    return along(points[..., 1], shape[0])[..., :, None] * along(points[..., 0], shape[1])[..., None, :]
