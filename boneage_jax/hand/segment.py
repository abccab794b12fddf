"""From radiographs to masks by a trained network: a coarse stage on the whole image, a fine one on the hand's box."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from boneage_jax.data import input_layout
from boneage_jax.data.images import Grey
from boneage_jax.geometry import Similarity
from boneage_jax.hand import masks
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.network import Network, expect_task
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.schema import InputLayout

TURNS = (0.0, 12.0, -12.0)
"""Degrees by which inputs of the fine stage are turned: six views with the mirror images. 12 degrees are chosen by eye,
see docs/explanation/lab-notes.md."""


def turns_of(views: int) -> tuple[float, ...]:
    """Returns the turns of a last stage of 1, 2 or 6 views, in degrees; 2 and 6 views count mirror images too."""
    return TURNS if views == 6 else TURNS[:1]


class Segmenter:
    """Finds the hand in each image.

    Attributes:
      network: that gives each pixel's probability to show the hand.
    """

    def __init__(
        self,
        loaded: LoadedRun,
        pool: concurrent.futures.Executor,
        *,
        batch_size: int = 16,
        views: int = 6,
        fine_stage: bool = True,
    ):
        """Opens a run.

        Args:
          loaded: a run of the task `segmentation`.
          pool: threads for the work on single images.
          batch_size: most images at a time.
          views: of the last stage: 1, 2 with the mirror image, 6 with turned ones too.
          fine_stage: whether the hand's box is segmented again, where the network was trained for that.

        Raises:
          UserError: for a run of another task.
        """
        expect_task(loaded, "segmentation")
        self.network = Network(loaded, batch_size)
        self._pool, self._views = pool, views
        self._local = loaded.config.data.contrast == "local"
        _, *further = loaded.config.data.input_layouts
        self._fine: InputLayout | None = next(iter(further), None) if fine_stage else None

    def inputs(self, images: Sequence[Grey]) -> list[input_layout.LaidOut]:
        """Returns the coarse stage's inputs."""
        size = self.network.size
        return self._map(lambda n: input_layout.lay("image", images[n], *size, local=self._local), len(images))

    def masks(self, images: Sequence[Grey], inputs: list[input_layout.LaidOut] | None = None) -> list[Mask]:
        """Returns the hand in each of at most `batch_size` images.

        Args:
          images: grey levels.
          inputs: of the coarse stage, from `inputs`, where they are known already.
        """
        inputs = self.inputs(images) if inputs is None else inputs
        # A coarse stage that is followed by a fine one has only to find the hand's box.
        maps = self._maps([one.image for one in inputs], flips=self._views > 1 and not self._fine)
        coarse = self._map(lambda n: masks.clean([view[n] for view in maps], images[n].shape), len(images))
        if not self._fine:
            return coarse
        fine = self._fine_masks(self._fine, images, coarse)
        return [masks.combined_stages(one, other) for one, other in zip(coarse, fine, strict=True)]

    def _fine_masks(self, layout: InputLayout, images: Sequence[Grey], coarse: Sequence[Mask]) -> list[Mask]:
        """Masks of the fine stage, from views of each hand's box.

        Args:
          layout: of the fine stage.
          images: grey levels.
          coarse: masks of the coarse stage.
        """
        size, local = self.network.size, self._local
        insides = [mask.inside for mask in coarse]
        prepared = self._map(lambda n: input_layout.prepared(layout, images[n], insides[n], local=local), len(images))
        straight: list[input_layout.LaidOut] = []
        views: list[np.ndarray] = []
        for turn in turns_of(self._views):

            def lay(n: int, turn: float = turn) -> input_layout.LaidOut:
                return input_layout.lay_prepared(layout, prepared[n], insides[n], *size, local=local, turn=turn)

            turned = self._map(lay, len(images))
            straight = straight or turned
            maps = self._maps([one.image for one in turned], flips=self._views > 1)
            views += maps if not turn else [self._straightened(view, views[0], turn) for view in maps]
        return self._map(
            lambda n: masks.clean([view[n] for view in views], images[n].shape, straight[n].transform), len(images)
        )

    def _maps(self, inputs: list[Grey], *, flips: bool) -> list[np.ndarray]:
        """Maps of the inputs, and of their mirror images, mirrored back."""
        maps = self.network(inputs, flips=flips)
        return [maps[0], *(one[:, :, ::-1] for one in maps[1:])]

    def _straightened(self, view: np.ndarray, straight: np.ndarray, turn: float) -> np.ndarray:
        """Maps of turned inputs, turned back; pixels outside them are those of the straight view."""
        height, width = self.network.size
        back = Similarity.turning(-turn, height, width).matrix

        def one(n: int) -> np.ndarray:
            # OpenCV writes into `dst`, and keeps its pixels that lie outside the turned map.
            return cv2.warpAffine(
                np.ascontiguousarray(view[n]),
                back,
                (width, height),
                dst=straight[n].copy(),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_TRANSPARENT,
            )

        return np.stack(self._map(one, len(view)))

    def _map(self, function: Callable[[int], Any], count: int) -> list[Any]:
        return list(self._pool.map(function, range(count)))
