"""Radiographs to masks, by a trained network: the whole picture first, then the hand's box."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from boneage_jax.config import InputLayout
from boneage_jax.data import input_layout
from boneage_jax.data.images import Grey
from boneage_jax.geometry import Similarity
from boneage_jax.hand import masks
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.network import Network, expect_task
from boneage_jax.runs.run_folder import LoadedRun

TURNS = (0.0, 12.0, -12.0)
"""Degrees by which what is looked at closely is turned, for six views with the mirror images."""


def turns_of(views: int) -> tuple[float, ...]:
    """Returns the turns of a close look of 1, 2 or 6 views; all but the single one come with their mirror image."""
    return TURNS if views == 6 else TURNS[:1]


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
        views: int = 6,
        fine_stage: bool = True,
    ):
        """Opens a run.

        Args:
          loaded: a run of the task `segmentation`.
          pool: threads for the work on single images.
          batch_size: most pictures at a time.
          views: of the last stage: 1, 2 with the mirror image, 6 with turned ones too.
          fine_stage: whether the hand's box is looked at again, where the network was trained to.

        Raises:
          UserError: for a run of another task.
        """
        expect_task(loaded, "segmentation")
        self.network = Network(loaded, batch_size)
        self._pool, self._views = pool, views
        self._local = loaded.config.data.contrast == "local"
        _, *further = loaded.config.data.input_layouts
        self._again: InputLayout | None = next(iter(further), None) if fine_stage else None

    def inputs(self, pictures: Sequence[Grey]) -> list[input_layout.LaidOut]:
        """Returns whole pictures as the network sees them first."""
        size = self.network.size
        return self._map(lambda n: input_layout.lay("image", pictures[n], *size, local=self._local), len(pictures))

    def masks(self, pictures: Sequence[Grey], inputs: list[input_layout.LaidOut] | None = None) -> list[Mask]:
        """Returns the hand in each of at most `batch_size` pictures.

        Args:
          pictures: grey levels.
          inputs: what `inputs` returned for them, where it is known already.
        """
        inputs = self.inputs(pictures) if inputs is None else inputs
        # A coarse stage that is followed by another has only to find the hand's box.
        maps = self._maps([frame.image for frame in inputs], flips=self._views > 1 and not self._again)
        found = self._map(lambda n: masks.clean([view[n] for view in maps], pictures[n].shape), len(pictures))
        if not self._again:
            return found
        closer = self._closely(self._again, pictures, found)
        return [masks.combined_stages(one, other) for one, other in zip(found, closer, strict=True)]

    def _closely(self, closer: InputLayout, pictures: Sequence[Grey], found: Sequence[Mask]) -> list[Mask]:
        """Masks from views of each hand's box, laid as the fine stage is."""
        size, local = self.network.size, self._local
        insides = [mask.inside for mask in found]
        ready = self._map(lambda n: input_layout.prepared(closer, pictures[n], insides[n], local=local), len(pictures))
        framed: list[input_layout.LaidOut] = []
        views: list[np.ndarray] = []
        for turn in turns_of(self._views):

            def again(n: int, turn: float = turn) -> input_layout.LaidOut:
                return input_layout.lay_prepared(closer, ready[n], insides[n], *size, local=local, turn=turn)

            turned = self._map(again, len(pictures))
            framed = framed or turned
            maps = self._maps([frame.image for frame in turned], flips=self._views > 1)
            views += maps if not turn else [self._straightened(view, views[0], turn) for view in maps]
        return self._map(
            lambda n: masks.clean([view[n] for view in views], pictures[n].shape, framed[n].transform), len(pictures)
        )

    def _maps(self, inputs: list[Grey], *, flips: bool) -> list[np.ndarray]:
        """Maps of the inputs, and of their mirror images, mirrored back."""
        maps = self.network(inputs, flips=flips)
        return [maps[0], *(one[:, :, ::-1] for one in maps[1:])]

    def _straightened(self, view: np.ndarray, straight: np.ndarray, turn: float) -> np.ndarray:
        """Maps of turned inputs, turned back; what they do not show is filled in from the straight view."""
        height, width = self.network.size
        back = Similarity.turning(-turn, height, width).matrix

        def one(n: int) -> np.ndarray:
            # OpenCV writes into `dst`, and leaves alone what lies outside the picture that is turned.
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
