"""Predictions of a trained network for lists of inputs of any length."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from boneage_jax.data.augment import Move
from boneage_jax.data.images import Grey
from boneage_jax.distributed.mesh import to_devices
from boneage_jax.errors import UserError
from boneage_jax.runs.kept import predict_program
from boneage_jax.runs.predict_step import EvalStep
from boneage_jax.runs.run_folder import LoadedRun

SMALL_BATCHES = (1, 4)
"""Sizes of the batches that few inputs are padded to; see `benchmarks/README.md`, Latency."""


class Network:
    """A run's predictions for lists of inputs, padded to whole batches for its devices.

    Each size of batch is a program of its own. There are three, chosen by the number of inputs alone: one input makes
    a batch of 1, up to four a batch of 4, more a batch of `batch_size`; each but the first rounded up to a multiple of
    the devices, and none larger than `batch_size`.

    Attributes:
      size: height and width of the network's input, in pixels.
    """

    def __init__(self, loaded: LoadedRun, batch_size: int, *, moves: Sequence[Move] = (Move(),)):
        self._loaded, self._batch_size, self._moves = loaded, batch_size, moves
        self._programs: dict[int, EvalStep] = {}
        self.size = (loaded.config.data.height, loaded.config.data.width)

    def __call__(self, inputs: list[Grey], *, flips: bool) -> list[np.ndarray]:
        """Returns the predictions for the inputs, and with `flips` those for their mirror images too.

        Args:
          inputs: at most `batch_size`, of the network's size.
          flips: whether mirror images are predicted too.
        """
        stack = np.stack(inputs)
        views = [stack, stack[:, :, ::-1]] if flips else [stack]
        return [self.predict(view, np.zeros(len(view), np.float32)) for view in views]

    def predict(self, images: UInt8[np.ndarray, "b h w *p"], male: Float32[np.ndarray, " b"]) -> np.ndarray:
        """Returns the task's predictions for at most `batch_size` children.

        Args:
          images: inputs of the network's size.
          male: 1 for male, 0 for female.
        """
        loaded = self._loaded
        size = batch_of(len(images), self._batch_size, devices=loaded.mesh.size)
        missing = size - len(images)
        batch = {
            "image": np.ascontiguousarray(np.pad(images, ((0, missing), *((0, 0),) * (images.ndim - 1)))),
            "male": np.pad(male, (0, missing)),
        }
        if size not in self._programs:  # to look one up takes a walk over all weights
            self._programs[size] = predict_program(
                loaded.mesh, loaded.arrays, batch, network=loaded.network, task=loaded.task, moves=self._moves
            )
        predicted = self._programs[size](loaded.arrays, to_devices(batch, loaded.mesh))
        return np.asarray(jax.device_get(predicted))[: len(images)]


def batch_of(count: int, most: int, *, devices: int) -> int:
    """Returns the size of the batch that a number of inputs is padded to; see `Network`.

    Args:
      count: inputs, 1 to `most`.
      most: the largest batch.
      devices: that the batch is split over.
    """
    size = next((small for small in SMALL_BATCHES if count <= small <= most), most)
    return -(-size // devices) * devices


def expect_task(loaded: LoadedRun, task: str) -> None:
    """Raises `UserError` for a run of another task."""
    if loaded.config.task.name != task:
        raise UserError(
            f"{loaded.folder}: a run of the task {loaded.config.task.name!r}, expected {task!r}; train one with "
            f"boneage train --config=configs/{task}.py --run=runs/{task}"
        )
