"""The declaration of an architecture: how it is built, and the facts that validation, scaling and docs ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
from flax import nnx

from boneage_jax.schema import Head, ModelConfig


class Builder(Protocol):
    """Returns a network with fresh weights; the arguments are those of `models.build`."""

    def __call__(
        self,
        config: ModelConfig,
        image_shape: tuple[int, int],
        *,
        pictures: int,
        outputs: int,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ) -> nnx.Module: ...


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a PyTorch `state_dict`, and where it goes in a backbone of ours.

    Attributes:
      name: in the `state_dict`.
      path: keys of the nested dictionaries that hold a backbone's arrays.
      convert: from PyTorch's layout to ours.
      statistic: whether it is a running statistic of batch norm, not a weight.
    """

    name: str
    path: tuple[str, ...]
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray
    statistic: bool = False


def _fits_any_size(config: ModelConfig, height: int, width: int) -> str:
    del config, height, width
    return ""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network that `model.name` can name. Declared at the end of its module, and listed in `models.registry`.

    Attributes:
      name: value of `model.name`.
      reference: the paper that it is from.
      build: returns the network.
      heads: values of `model.head` that it can end in.
      settings: keys of `model` that it reads, beside `name`, `head` and `dtype`.
      depths: values of `model.depth`, and the blocks that each has in every stage; empty for an architecture whose
        depth is the number of its widths.
      size_problem: returns the problem of an input of a height and width, in pixels; empty for none.
      pretrained: the tensors that `model.weights` gives a backbone; None for an architecture without such weights.
      pretrained_from: libraries whose files these are, for messages.
    """

    name: str
    reference: str
    build: Builder
    heads: tuple[Head, ...]
    settings: tuple[str, ...]
    depths: Mapping[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    size_problem: Callable[[ModelConfig, int, int], str] = _fits_any_size
    pretrained: Callable[[ModelConfig], Iterable[Tensor]] | None = None
    pretrained_from: str = ""

    def problems(self, model: ModelConfig, height: int, width: int) -> list[str]:
        """Returns the problems of settings that such a network cannot be built of, a line each.

        Args:
          model: settings of a network of this architecture.
          height: of its input, in pixels.
          width: likewise.
        """
        found = []
        if model.weights and self.pretrained is None:
            found.append(f"model.weights: found {model.weights!r}, expected '' for a {self.name}")
        if self.depths:
            if model.depth not in self.depths:
                known = ", ".join(map(str, self.depths))
                found.append(f"model.depth: found {model.depth}, expected one of {known} for a {self.name}")
            stages = len(next(iter(self.depths.values())))
            if len(model.widths) != stages:
                found.append(
                    f"model.widths: found {len(model.widths)} widths, expected {stages} for a {self.name}, one a stage"
                )
        size = self.size_problem(model, height, width)
        return [*found, size] if size else found

    def resized(self, model: ModelConfig, *, width: float, depth: int) -> ModelConfig:
        """Returns the settings of a wider or narrower, deeper or shallower network, as a scaling study varies it.

        Args:
          model: settings of a network of this architecture.
          width: factor of all widths and of the units of hidden dense layers.
          depth: value of `model.depth` where there are `depths`, else the number of widths: they are taken away at the
            end, or the last is repeated; 0 to leave it.
        """
        widths = model.widths
        if depth and not self.depths:
            widths = widths[:depth] + widths[-1:] * (depth - len(widths))
        return dataclasses.replace(
            model,
            widths=tuple(max(1, round(one * width)) for one in widths),
            dense=tuple(max(1, round(one * width)) for one in model.dense),
            depth=depth if depth and self.depths else model.depth,
        )
