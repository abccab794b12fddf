"""The hand pipeline: decoded radiographs in, registered hands with their quality reports out, a batch at a time.

The networks take batches; everything between them works image by image on threads, as OpenCV and NumPy release the
interpreter's lock. Nothing of one batch is kept for the next.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.canvas import Canvas
from boneage_jax.data import input_layout
from boneage_jax.data.images import Grey
from boneage_jax.hand import quality, register
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.network import Network, expect_task
from boneage_jax.hand.quality import KeyPointViews, QualityReport, Thresholds
from boneage_jax.hand.regions import Region
from boneage_jax.hand.register import Registration
from boneage_jax.hand.segment import Segmenter, turns_of
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.schema import InputLayout

GRID = 1 / 32
"""Key points are rounded to this part of a pixel of their network's input, 0.01% of a hand's length; they are known to
1%. Else the last digit of a network's sums, which differs between sizes of batches and kinds of processors, would move
the hand by a hair's breadth, change a few hundred pixels by one grey level, and the age by up to 0.05 months."""


@dataclasses.dataclass(frozen=True)
class Registered:
    """A hand that was found in an image, and how it lies on the canvas.

    Attributes:
      mask: the hand in the image.
      registration: from the image to the canvas; None where there is no hand.
      views: the key points, view by view; None where there is no hand.
      quality: what was measured, and flags.
      regions: registered images by name; black where there is no hand.
    """

    mask: Mask
    registration: Registration | None
    views: KeyPointViews | None
    quality: QualityReport
    regions: dict[str, Grey]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the pipeline works.

    Attributes:
      regions: that are cut from the canvas.
      canvas: that hands are laid on.
      thresholds: of quality control.
      calibrated: whether the thresholds were chosen for the pipeline's networks.
      views: of each network's last stage: 1, 2 with the mirror image, 6 with turned ones too.
      fine_stage: whether each network goes on to its fine stage, where it was trained for one: the mask
        in the hand's box, the key points on the canvas.
      batch_size: images that the networks take at once.
      threads: that work between the networks.
    """

    regions: tuple[Region, ...]
    canvas: Canvas = Canvas()
    thresholds: Thresholds = Thresholds()
    calibrated: bool = False
    views: int = 6
    fine_stage: bool = True
    batch_size: int = 16
    threads: int = 4


class HandPipeline:
    """Segmentation, key points, registration, regions, quality control.

    Attributes:
      settings: how it works.
      seconds: wall time spent in each stage so far, by the stage's name; for benchmarks.
    """

    def __init__(self, segmentation: LoadedRun, landmarks: LoadedRun, settings: Settings):
        """Compiles the networks when they are first used.

        Args:
          segmentation: a run of the task `segmentation`.
          landmarks: a run of the task `landmarks`.
          settings: see there.

        Raises:
          UserError: for runs of other tasks.
        """
        expect_task(landmarks, "landmarks")
        self.settings = settings
        self._pool = concurrent.futures.ThreadPoolExecutor(settings.threads)
        self._segmenter = Segmenter(
            segmentation,
            self._pool,
            batch_size=settings.batch_size,
            views=settings.views,
            fine_stage=settings.fine_stage,
        )
        self._landmarks = Network(landmarks, settings.batch_size)
        # Standard deviation of the training target, a two-dimensional normal distribution, in both directions together.
        self._width = 2**0.5 * landmarks.config.task.sigma * landmarks.config.model.patch
        coarse, *further = landmarks.config.data.input_layouts
        self._coarse: InputLayout = coarse
        # A network trained on masked hand boxes knows hands as large as they are on the canvas. One trained on masked
        # whole images, as the paper's, has never seen hands of that size.
        fine: InputLayout | None = "masked_canvas" if coarse == "masked_hand_box" else next(iter(further), None)
        self._fine = fine if settings.fine_stage else None
        self._local = landmarks.config.data.contrast == "local"
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> HandPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def register(self, images: Sequence[Grey]) -> list[Registered]:
        """Returns the registered hands of at most `batch_size` images, in order."""
        # ---- segmentation ----------------------------------------------------------------------------------------
        with self._timed("segmentation"):
            found = self._segmenter.masks(images)
        insides = [mask.inside for mask in found]

        # ---- key points ------------------------------------------------------------------------------------------
        with self._timed("input layouts"):
            # Once for both stages and all turns; both show the background, or neither does.
            prepared = self._map(self._prepared, images, insides)
            laid_out = self._map(lambda n: self._lay(self._coarse, prepared[n], insides[n]), range(len(images)))
        # A coarse stage that is followed by a fine one has only to find the hand's place on the canvas.
        views = self._detect([laid_out], flips=self.settings.views > 1 and not self._fine)
        if self._fine:
            with self._timed("input layouts"):
                turned = [
                    self._lay_fine(self._fine, prepared, insides, views, turn) for turn in turns_of(self.settings.views)
                ]
            fine = self._detect(turned, flips=self.settings.views > 1)
            views = [dataclasses.replace(last, coarse=first.mean) for first, last in zip(views, fine, strict=True)]

        # ---- registration, regions, quality ----------------------------------------------------------------------
        with self._timed("registration and regions"):
            return self._map(lambda n: self._registered(images[n], found[n], views[n]), range(len(images)))

    def _prepared(self, image: Grey, inside: Bool[np.ndarray, "h w"]) -> Grey:
        return input_layout.prepared(self._coarse, image, inside, local=self._local)

    def _lay(
        self,
        layout: InputLayout,
        prepared: Grey,
        inside: Bool[np.ndarray, "h w"],
        key_points: Float[np.ndarray, "3 2"] | None = None,
        turn: float = 0.0,
    ) -> input_layout.LaidOut:
        """A prepared image as the key points' network takes it."""
        size = self._landmarks.size
        return input_layout.lay_prepared(
            layout, prepared, inside, *size, key_points=key_points, local=self._local, turn=turn
        )

    def _lay_fine(
        self,
        layout: InputLayout,
        prepared: Sequence[Grey],
        insides: Sequence[Bool[np.ndarray, "_h _w"]],
        views: Sequence[KeyPointViews],
        turn: float,
    ) -> list[input_layout.LaidOut]:
        """The fine stage's inputs: on the canvas as the coarse stage places it, turned; else as the coarse stage's."""

        def one(n: int) -> input_layout.LaidOut:
            try:
                return self._lay(layout, prepared[n], insides[n], views[n].mean, turn)
            except ValueError:  # fingertip and capitate coincide
                return self._lay(self._coarse, prepared[n], insides[n])

        return self._map(one, range(len(prepared)))

    def _detect(self, turned: list[list[input_layout.LaidOut]], *, flips: bool) -> list[KeyPointViews]:
        """The network's key points of each image, in the image's pixels.

        Args:
          turned: the images' inputs, for each turn.
          flips: whether the mirror image of each is a view too.
        """
        with self._timed("key point network"):
            predicted = [self._landmarks([one.image for one in inputs], flips=flips) for inputs in turned]
        width = self._landmarks.size[1]
        detected = []
        for n in range(len(turned[0])):
            points, spreads = [], []
            for inputs, views in zip(turned, predicted, strict=True):
                back = inputs[n].transform.inverse()
                for mirrored, view in enumerate(views):
                    straight = view[n] * (-1, 1, 1) + (width - 1, 0, 0) if mirrored else view[n]
                    points.append(back(np.round(straight[:, :2] / GRID) * GRID))
                    spreads.append(straight[:, 2])
            detected.append(KeyPointViews(np.mean(points, axis=0), np.stack(points), np.stack(spreads) / self._width))
        return detected

    def _registered(self, image: Grey, mask: Mask, views: KeyPointViews) -> Registered:
        settings = self.settings
        registration = None
        if mask.area:
            with contextlib.suppress(ValueError):
                registration = register.registration(image, mask.inside, views.mean, settings.canvas)
        report = quality.check(
            image, mask, views, registration, thresholds=settings.thresholds, calibrated=settings.calibrated
        )
        if registration is None:
            black = {region.name: np.zeros((region.height, region.width), np.uint8) for region in settings.regions}
            return Registered(mask, None, None, report, black)
        cut = register.cut(image, mask.inside, registration, settings.regions)
        return Registered(mask, registration, views, report, cut)

    def _map(self, function: Callable[..., Any], *items: Sequence[Any] | range) -> list[Any]:
        return list(self._pool.map(function, *items))

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
