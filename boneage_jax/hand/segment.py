"""Radiographs to masks, by a trained network: the whole picture first, then the hand's box."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence

import jax
import numpy as np

from boneage_jax.data import frames
from boneage_jax.data.images import Grey
from boneage_jax.errors import UserError
from boneage_jax.hand import masks
from boneage_jax.hand.masks import Mask
from boneage_jax.train.mesh import to_devices
from boneage_jax.train.run import LoadedRun
from boneage_jax.train.step import compile_predict_step


class Network:
    """A run's prediction for lists of inputs, padded to whole batches for its devices."""

    def __init__(self, loaded: LoadedRun, batch_size: int):
        self._loaded = loaded
        # One size of batch, so that the last one is not compiled anew; as many as the devices divide.
        self._batch_size = -(-batch_size // loaded.mesh.size) * loaded.mesh.size
        self._step = compile_predict_step(loaded.mesh, network=loaded.network, task=loaded.task)
        self.size = (loaded.config.data.height, loaded.config.data.width)

    def __call__(self, inputs: list[Grey], *, flips: bool) -> list[np.ndarray]:
        """Returns predictions of the inputs, and with `flips` those of their mirror images."""
        stack = np.stack(inputs)
        views = [stack, stack[:, :, ::-1]] if flips else [stack]
        return [np.asarray(self._predict(view)) for view in views]

    def _predict(self, stack: np.ndarray) -> np.ndarray:
        padding = self._batch_size - len(stack)
        stack = np.concatenate([stack, np.zeros((padding, *stack.shape[1:]), np.uint8)]) if padding else stack
        batch = {"image": np.ascontiguousarray(stack), "male": np.zeros(len(stack), np.float32)}
        said = self._step(self._loaded.arrays, to_devices(batch, self._loaded.mesh))
        return jax.device_get(said)[: len(stack) - padding]


class Segmenter:
    """Finds hands.

    Attributes:
      network: that maps probabilities.
    """

    def __init__(
        self,
        loaded: LoadedRun,
        pool: concurrent.futures.Executor,
        *,
        batch_size: int = 16,
        flips: bool = True,
        second_look: bool = True,
    ):
        """Opens a run.

        Args:
          loaded: a run of the task `segmentation`.
          pool: threads for the work on single images.
          batch_size: most pictures at a time.
          flips: whether the mirror image is seen too.
          second_look: whether the hand's box is looked at again, where the network was trained to.

        Raises:
          UserError: for a run of another task.
        """
        expect_task(loaded, "segmentation")
        self.network = Network(loaded, batch_size)
        self._pool, self._flips = pool, flips
        self._local = loaded.config.data.contrast == "local"
        self._twice = second_look and loaded.config.data.frame == "looks"

    def inputs(self, pictures: Sequence[Grey]) -> list[frames.Framed]:
        """Returns whole pictures as the network sees them first."""
        size = self.network.size
        return list(self._pool.map(lambda picture: frames.lay("image", picture, *size, local=self._local), pictures))

    def masks(self, pictures: Sequence[Grey], inputs: list[frames.Framed] | None = None) -> list[Mask]:
        """Returns the hand in each of at most `batch_size` pictures.

        Args:
          pictures: grey levels.
          inputs: what `inputs` returned for them, where it is known already.
        """
        found = self._look(pictures, self.inputs(pictures) if inputs is None else inputs, whole=True)
        if not self._twice:
            return found
        size = self.network.size

        def again(picture: Grey, mask: Mask) -> frames.Framed:
            return frames.lay("box", picture, *size, mask=mask.inside, local=self._local)

        closer = self._look(pictures, list(self._pool.map(again, pictures, found)), whole=False)
        return [masks.second_thoughts(one, other) for one, other in zip(found, closer, strict=True)]

    def _look(self, pictures: Sequence[Grey], framed: list[frames.Framed], *, whole: bool) -> list[Mask]:
        maps = self.network([frame.image for frame in framed], flips=self._flips)

        def clean(n: int) -> Mask:
            mirrored = maps[1][n, :, ::-1] if self._flips else None
            return masks.clean(maps[0][n], mirrored, pictures[n].shape, None if whole else framed[n].transform)

        return list(self._pool.map(clean, range(len(pictures))))


def expect_task(loaded: LoadedRun, task: str) -> None:
    """Raises `UserError` for a run of another task."""
    if loaded.config.task.name != task:
        raise UserError(
            f"{loaded.folder}: a run of the task {loaded.config.task.name!r}, expected {task!r}; train one with "
            f"boneage train --config=configs/{task}.py"
        )
