"""A trained network at work on lists of inputs, whatever their number."""

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
    """A run's prediction for lists of inputs, padded to whole batches for its devices."""

    def __init__(self, loaded: LoadedRun, batch_size: int, *, moves: Sequence[Move] = (Move(),)):
        self._loaded = loaded
        # One size of batch, so that the last one is not compiled anew; as many as the devices divide.
        self._batch_size = -(-batch_size // loaded.mesh.size) * loaded.mesh.size
        self._step = compile_predict_step(loaded.mesh, network=loaded.network, task=loaded.task, moves=moves)
        self.size = (loaded.config.data.height, loaded.config.data.width)

    def __call__(self, inputs: list[Grey], *, flips: bool) -> list[np.ndarray]:
        """Returns predictions of the inputs, and with `flips` those of their mirror images."""
        stack = np.stack(inputs)
        views = [stack, stack[:, :, ::-1]] if flips else [stack]
        return [self.predict(view, np.zeros(len(view), np.float32)) for view in views]

    def predict(self, images: UInt8[np.ndarray, "b h w *p"], male: Float32[np.ndarray, " b"]) -> np.ndarray:
        """Returns the task's prediction for each of at most `batch_size` children.

        Args:
          images: as the network takes them.
          male: 1 for male, 0 for female.
        """
        missing = self._batch_size - len(images)
        batch = {
            "image": np.ascontiguousarray(np.pad(images, ((0, missing), *((0, 0),) * (images.ndim - 1)))),
            "male": np.pad(male, (0, missing)),
        }
        said = self._step(self._loaded.arrays, to_devices(batch, self._loaded.mesh))
        return np.asarray(jax.device_get(said))[: len(images)]


def expect_task(loaded: LoadedRun, task: str) -> None:
    """Raises `UserError` for a run of another task."""
    if loaded.config.task.name != task:
        raise UserError(
            f"{loaded.folder}: a run of the task {loaded.config.task.name!r}, expected {task!r}; train one with "
            f"boneage train --config=configs/{task}.py --run=runs/{task}"
        )
