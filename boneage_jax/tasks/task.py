"""The interface of a task: what a network learns, from which inputs, and how it is scored."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax.data.examples import Layer
from boneage_jax.schema import Head, InputLayout, TaskConfig


@dataclasses.dataclass(frozen=True)
class Score:
    """The metric that chooses the best checkpoint.

    Attributes:
      name: of the metric, among those of `Task.losses`.
      label: its name in reports.
      unit: its unit in reports; may be empty.
      higher_is_better: whether a higher value is better; else a lower one is.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool = False

    def shown(self, value: float) -> str:
        """Returns a value as text, as in `MAE 6.52 months`."""
        return f"{self.label} {value:.4g} {self.unit}".rstrip()

    def badness(self, value: float) -> float:
        """Returns a value that is lower where the score is better."""
        return -value if self.higher_is_better else value


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """What a network learns.

    Attributes:
      config: its settings.
      layers: truth that an example must hold beside its image.
      input_layouts: values of `data.input_layouts` that the hand pipeline can give its network.
      metrics: names of the values that `losses` returns, `loss` first.
      score: the metric that chooses the best checkpoint.
      needs_age: whether it learns bone ages, so that examples without one are left out.
    """

    config: TaskConfig
    layers: ClassVar[tuple[Layer, ...]] = ()
    input_layouts: ClassVar[tuple[tuple[InputLayout, ...], ...]]
    metrics: ClassVar[tuple[str, ...]]
    score: ClassVar[Score]
    needs_age: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def head(self) -> Head:
        """Kind of the network's output: the value that `model.head` must have."""

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """Numbers, or maps, in the network's output."""

    @abc.abstractmethod
    def model_input(self, images: Float[Array, "b h w *p"]) -> Float[Array, "b h w p"]:
        """Returns grey levels of [0, 1] as the network's input; several images of one child are its channels."""

    @abc.abstractmethod
    def losses(self, outputs: Array, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
        """Returns values per example; the caller averages them under the mask, exactly on any number of devices.

        Args:
          outputs: of the network.
          batch: see `pipeline.Batch`; `hand` in [0, 1].

        Returns:
          Values by the names of `metrics`; training minimises `loss`.
        """

    @abc.abstractmethod
    def prediction(self, outputs: Array, image_shape: tuple[int, int]) -> Any:
        """Returns the prediction of each example, one row an example.

        Args:
          outputs: of the network.
          image_shape: height and width of its input, in pixels.
        """


LEAST_DEVIATION = 1e-3
"""Least standard deviation of an image's grey levels in [0, 1]: a quarter of a step of 8 bits, so that an image of one
grey level can be standardised."""


def standardised(images_bhw: Float[Array, "b h w"]) -> Float[Array, "b h w 1"]:
    """Returns each image with mean 0 and standard deviation 1, so that faint exposures look like others."""
    mean = images_bhw.mean((1, 2), keepdims=True)
    deviation = jnp.sqrt(jnp.square(images_bhw - mean).mean((1, 2), keepdims=True))
    return ((images_bhw - mean) / jnp.maximum(deviation, LEAST_DEVIATION))[..., None]
