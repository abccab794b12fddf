"""What the training loop wants of a task."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from boneage_jax.config import TaskConfig
from boneage_jax.data.examples import Layer


@dataclasses.dataclass(frozen=True)
class Score:
    """The figure that chooses the best checkpoint.

    Attributes:
      name: among what `Task.losses` returns.
      label: for people.
      unit: for people.
      higher_is_better: or lower.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool = False

    def shown(self, value: float) -> str:
        """Returns a value for people, as in `MAE 6.52 months`."""
        return f"{self.label} {value:.4g} {self.unit}".rstrip()

    def badness(self, value: float) -> float:
        """Returns a value that is the lower the better."""
        return -value if self.higher_is_better else value


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One thing to learn.

    Attributes:
      config: its settings.
      layers: truth that an example must hold beside its image.
      metrics: names of what `losses` returns, `loss` first.
      score: what is watched.
      needs_age: whether examples without a bone age are of no use.
    """

    config: TaskConfig
    layers: ClassVar[tuple[Layer, ...]] = ()
    metrics: ClassVar[tuple[str, ...]]
    score: ClassVar[Score]
    needs_age: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """Numbers, or maps, that the network ends in."""

    @abc.abstractmethod
    def model_input(self, images: Float[Array, "b h w *p"]) -> Float[Array, "b h w p"]:
        """Returns grey levels of [0, 1] as the network takes them; several pictures of one child are its channels."""

    @abc.abstractmethod
    def losses(self, outputs: Array, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
        """Returns values per example; the caller averages them under the mask, exactly on any number of devices.

        Args:
          outputs: of the network.
          batch: see `pipeline.Batch`; `hand` in [0, 1].

        Returns:
          Those of `metrics`; `loss` is differentiated.
        """

    @abc.abstractmethod
    def prediction(self, outputs: Array, image_shape: tuple[int, int]) -> Any:
        """Returns what the outputs stand for, one row an example.

        Args:
          outputs: of the network.
          image_shape: height and width of its input, in pixels.
        """


def standardised(images_bhw: Float[Array, "b h w"]) -> Float[Array, "b h w 1"]:
    """Returns each image with mean 0 and standard deviation 1, so that faint exposures look like others."""
    mean = images_bhw.mean((1, 2), keepdims=True)
    deviation = jnp.sqrt(jnp.square(images_bhw - mean).mean((1, 2), keepdims=True))
    return ((images_bhw - mean) / jnp.maximum(deviation, 1e-3))[..., None]
