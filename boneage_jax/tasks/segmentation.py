"""The hand apart from the background: binary cross-entropy and the Jaccard index, L = H - log J."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax.data.examples import Layer
from boneage_jax.schema import Head, InputLayout
from boneage_jax.tasks.task import Score, Task, standardised

_TINY = 1e-6
"""Keeps quotients and logarithms finite where an image shows no hand, or none is found."""


@dataclasses.dataclass(frozen=True)
class SegmentationTask(Task):
    """One map: the probability that a pixel shows the hand."""

    layers: ClassVar[tuple[Layer, ...]] = ("hand",)
    # No mask is known before the coarse stage.
    input_layouts: ClassVar[tuple[tuple[InputLayout, ...], ...]] = (
        ("image",),
        ("image", "hand_box"),
        ("image", "upright_box"),
    )
    metrics: ClassVar[tuple[str, ...]] = ("loss", "iou")
    score: ClassVar[Score] = Score("iou", "IoU", "", higher_is_better=True)

    @property
    def head(self) -> Head:
        """A mask."""
        return "mask"

    @property
    def outputs(self) -> int:
        """One map."""
        return 1

    def model_input(self, images: Float[Array, "b h w"]) -> Float[Array, "b h w 1"]:
        """Returns each image with mean 0 and standard deviation 1."""
        return standardised(images)

    def prediction(self, outputs: Float[Array, "b h w 1"], image_shape: tuple[int, int]) -> Float[Array, "b h w"]:
        """Returns the probability that a pixel shows the hand."""
        del image_shape
        return jax.nn.sigmoid(outputs[..., 0].astype(jnp.float32))

    def losses(self, outputs: Float[Array, "b h w 1"], batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
        """Returns `loss` = H - w log J and `iou` of the mask at 0.5, each for an image.

        H is the mean binary cross-entropy of its pixels, J = mean of y p / (y + p - y p) over them (Iglovikov, as in
        the paper): so the loss of a perfect mask is -log of the hand's share of the image, not 0. That form never
        lowers a probability: it weighs hand against background by 1 + 1 / J, and masks come out too wide. The form
        `ratio`, sum of y p over sum of (y + p - y p), is the soft intersection over union, 1 at best. w is
        `task.jaccard`. An image without hand has H alone, and an IoU of 1 where none is found.
        """
        import optax  # for training; predictions need none

        logits, truth = outputs[..., 0].astype(jnp.float32), batch["hand"]
        entropy = optax.sigmoid_binary_cross_entropy(logits, truth).mean((1, 2))
        p = jax.nn.sigmoid(logits)
        either = truth + p - truth * p
        if self.config.jaccard_form == "mean":
            jaccard = (truth * p / jnp.maximum(either, _TINY)).mean((1, 2))
        else:
            jaccard = (truth * p).sum((1, 2)) / jnp.maximum(either.sum((1, 2)), _TINY)
        has_hand = truth.max((1, 2)) > 0.5
        loss = entropy - self.config.jaccard * jnp.where(has_hand, jnp.log(jnp.maximum(jaccard, _TINY)), 0.0)
        predicted, true = logits > 0, truth > 0.5
        union = jnp.sum(predicted | true, (1, 2))
        iou = jnp.where(union > 0, jnp.sum(predicted & true, (1, 2)) / jnp.maximum(union, 1), 1.0)
        return {"loss": loss, "iou": iou}
