"""The hand pipeline: decoded radiographs in, registered hands with their quality reports out, a batch at a time.

The networks see batches; everything between them works image by image on threads (OpenCV and NumPy release the
interpreter's lock). Who calls it reads the next batch ahead; nothing is kept of the last one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax.canvas import Canvas
from boneage_jax.config import InputLayout
from boneage_jax.data import input_layout
from boneage_jax.data.images import Grey
from boneage_jax.hand import quality, register
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.network import Network, expect_task
from boneage_jax.hand.quality import KeyPointViews, QualityReport, Thresholds
from boneage_jax.hand.regions import Region
from boneage_jax.hand.register import Registration
from boneage_jax.hand.segment import Segmenter, turns_of
from boneage_jax.runs import bundle
from boneage_jax.runs.run_folder import LoadedRun


@dataclasses.dataclass(frozen=True)
class Registered:
    """One image's way through the pipeline.

    Attributes:
      mask: of the hand.
      placed: how it goes to the canvas; None where there is no hand.
      key_points: views of them; None where there is no hand.
      quality: whether it can be trusted.
      regions: registered pictures by name; black where there is no hand.
    """

    mask: Mask
    placed: Registration | None
    views: KeyPointViews | None
    quality: QualityReport
    regions: dict[str, Grey]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the pipeline goes.

    Attributes:
      regions: that are cut.
      canvas: that hands are laid on.
      thresholds: of trust.
      views: of each network's last stage: 1, 2 with the mirror image, 6 with turned ones too.
      fine_stage: whether each network goes on to its fine stage, where it was trained to: the mask
        in the hand's box, the key points on the canvas.
      batch_size: images that the networks see at once.
      threads: that work between the networks.
    """

    regions: tuple[Region, ...]
    canvas: Canvas = Canvas()
    thresholds: Thresholds = Thresholds()
    views: int = 6
    fine_stage: bool = True
    batch_size: int = 16
    threads: int = 4


class HandPipeline:
    """Segmentation, key points, registration, regions, quality.

    Attributes:
      seconds: spent in each stage so far, by name, summed over threads' waiting; for benchmarks.
    """

    def __init__(self, segmentation: LoadedRun, landmarks: LoadedRun, settings: Settings):
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
        # Of a heat map that is just as its training target: a normal distribution, both ways.
        self._width = 2**0.5 * landmarks.config.task.sigma * landmarks.config.model.patch
        first, *further = landmarks.config.data.input_layouts
        self._first: InputLayout = first
        # Who learnt from hands alone knows them as large as on the canvas; who learnt from masked whole pictures, as
        # the paper's network, has never seen them so.
        again: InputLayout | None = "masked_canvas" if first == "masked_hand_box" else next(iter(further), None)
        self._again = again if settings.fine_stage else None
        self._local = landmarks.config.data.contrast == "local"
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> HandPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def register(self, pictures: Sequence[Grey]) -> list[Registered]:
        """Returns the registered hands of at most `batch_size` pictures, in order."""
        # ---- segmentation ----------------------------------------------------------------------------------------
        with self._timed("segmentation"):
            found = self._segmenter.masks(pictures)
        insides = [mask.inside for mask in found]

        # ---- key points ------------------------------------------------------------------------------------------
        with self._timed("frames"):
            # Once for both stages and all turns; both show the background, or neither does.
            ready = self._map(self._prepared, pictures, insides)
            framed = self._map(lambda n: self._lay(self._first, ready[n], insides[n]), range(len(pictures)))
        # A coarse stage that is followed by another has only to find the way to the canvas.
        views = self._detect([framed], flips=self.settings.views > 1 and not self._again)
        if self._again:
            with self._timed("frames"):
                turned = [self._on_canvas(self._again, ready, insides, views, t) for t in turns_of(self.settings.views)]
            second = self._detect(turned, flips=self.settings.views > 1)
            views = [dataclasses.replace(again, first=one.settled) for one, again in zip(views, second, strict=True)]

        # ---- registration, regions, quality ----------------------------------------------------------------------
        with self._timed("registration and regions"):
            return self._map(lambda n: self._finish(pictures[n], found[n], views[n]), range(len(pictures)))

    def _prepared(self, picture: Grey, inside: Bool[np.ndarray, "h w"]) -> Grey:
        return input_layout.prepared(self._first, picture, inside, local=self._local)

    def _lay(
        self,
        layout: InputLayout,
        ready: Grey,
        inside: Bool[np.ndarray, "h w"],
        key_points: Float[np.ndarray, "3 2"] | None = None,
        turn: float = 0.0,
    ) -> input_layout.LaidOut:
        """A prepared picture as the key points' network sees it."""
        size = self._landmarks.size
        return input_layout.lay_prepared(
            layout, ready, inside, *size, key_points=key_points, local=self._local, turn=turn
        )

    def _on_canvas(
        self,
        layout: InputLayout,
        ready: Sequence[Grey],
        insides: Sequence[Bool[np.ndarray, "h w"]],
        views: Sequence[KeyPointViews],
        turn: float,
    ) -> list[input_layout.LaidOut]:
        """Upright but for a turn, thumb to the right, as large as can be: where the network is at its best."""

        def one(n: int) -> input_layout.LaidOut:
            try:
                return self._lay(layout, ready[n], insides[n], views[n].settled, turn)
            except ValueError:
                return self._lay(self._first, ready[n], insides[n])

        return self._map(one, range(len(ready)))

    def _detect(self, turned: list[list[input_layout.LaidOut]], *, flips: bool) -> list[KeyPointViews]:
        """What the network says of each picture, all ways that it is turned taken together."""
        with self._timed("key point network"):
            said = [self._landmarks([frame.image for frame in framed], flips=flips) for framed in turned]
        width = self._landmarks.size[1]
        detected = []
        for n in range(len(turned[0])):
            points, spreads = [], []
            for framed, views in zip(turned, said, strict=True):
                back = framed[n].transform.inverse()
                for mirrored, view in enumerate(views):
                    straight = view[n] * (-1, 1, 1) + (width - 1, 0, 0) if mirrored else view[n]
                    points.append(back(straight[:, :2]))
                    spreads.append(straight[:, 2])
            detected.append(KeyPointViews(np.mean(points, axis=0), np.stack(points), np.stack(spreads) / self._width))
        return detected

    def _finish(self, picture: Grey, mask: Mask, views: KeyPointViews) -> Registered:
        settings = self.settings
        placed = None
        if mask.area:
            with contextlib.suppress(ValueError):
                placed = register.registration(picture, mask.inside, views.settled, settings.canvas)
        report = quality.check(picture, mask, views, placed, thresholds=settings.thresholds)
        if placed is None:
            black = {region.name: np.zeros((region.height, region.width), np.uint8) for region in settings.regions}
            return Registered(mask, None, None, report, black)
        cut = register.cut(picture, mask.inside, placed, list(settings.regions))
        return Registered(mask, placed, views, report, cut)

    def _map(self, function: Callable[..., Any], *items: Sequence[Any] | range) -> list[Any]:
        return list(self._pool.map(function, *items))

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def open_pipeline(segmentation: pathlib.Path, landmarks: pathlib.Path, settings: Settings) -> HandPipeline:
    """Opens the pipeline of two runs' folders, or of a bundle's file. Raises `UserError` for those of other tasks."""
    return HandPipeline(bundle.load(segmentation, "segmentation"), bundle.load(landmarks, "landmarks"), settings)
