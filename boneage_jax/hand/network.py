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
from boneage_jax.runs.predict_step import compile_predict_step
from boneage_jax.runs.run_folder import LoadedRun


class Network:
    """A run's predictions for lists of inputs, padded to whole batches for its devices.

    Attributes:
      size: height and width of the network's input, in pixels.
    """

    def __init__(self, loaded: LoadedRun, batch_size: int, *, moves: Sequence[Move] = (Move(),)):
        self._loaded = loaded
        # Batches of one size, so that the last one needs no compilation of its own; a multiple of the devices.
        self._batch_size = -(-batch_size // loaded.mesh.size) * loaded.mesh.size
        self._step = compile_predict_step(loaded.mesh, network=loaded.network, task=loaded.task, moves=moves)
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
        missing = self._batch_size - len(images)
        batch = {
            "image": np.ascontiguousarray(np.pad(images, ((0, missing), *((0, 0),) * (images.ndim - 1)))),
            "male": np.pad(male, (0, missing)),
        }
        predicted = self._step(self._loaded.arrays, to_devices(batch, self._loaded.mesh))
        return np.asarray(jax.device_get(predicted))[: len(images)]


def expect_task(loaded: LoadedRun, task: str) -> None:
    """Raises `UserError` for a run of another task."""
    if loaded.config.task.name != task:
        raise UserError(
            f"{loaded.folder}: a run of the task {loaded.config.task.name!r}, expected {task!r}; train one with "
            f"boneage train --config=configs/{task}.py --run=runs/{task}"
        )
