"""The hand pipeline: decoded radiographs in, registered hands with their verdicts out, a batch at a time.

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
from boneage_jax.data import frames
from boneage_jax.data.images import Grey
from boneage_jax.data.reading import looks_of
from boneage_jax.hand import quality, register
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.network import Network, expect_task
from boneage_jax.hand.quality import Limits, Looks, Verdict
from boneage_jax.hand.regions import Region
from boneage_jax.hand.register import Registration
from boneage_jax.hand.segment import Segmenter, turns_of
from boneage_jax.train import bundle
from boneage_jax.train.run import LoadedRun


@dataclasses.dataclass(frozen=True)
class Registered:
    """One image's way through the pipeline.

    Attributes:
      mask: of the hand.
      placed: how it goes to the canvas; None where there is no hand.
      looks: at its key points; None where there is no hand.
      verdict: whether it can be trusted.
      regions: registered pictures by name; black where there is no hand.
    """

    mask: Mask
    placed: Registration | None
    looks: Looks | None
    verdict: Verdict
    regions: dict[str, Grey]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the pipeline goes.

    Attributes:
      regions: that are cut.
      canvas: that hands are laid on.
      limits: of trust.
      views: of each network's last look: 1, 2 with the mirror image, 6 with turned ones too.
      second_look: whether each network looks again at what the first look leads to, where it was trained to: the mask
        in the hand's box, the key points on the canvas.
      batch_size: images that the networks see at once.
      threads: that work between the networks.
    """

    regions: tuple[Region, ...]
    canvas: Canvas = Canvas()
    limits: Limits = Limits()
    views: int = 6
    second_look: bool = True
    batch_size: int = 16
    threads: int = 4


class Chain:
    """Segmentation, key points, registration, regions, verdict.

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
            second_look=settings.second_look,
        )
        self._landmarks = Network(landmarks, settings.batch_size)
        # Of a heat map that is just as its training target: a normal distribution, both ways.
        self._width = 2**0.5 * landmarks.config.task.sigma * landmarks.config.model.patch
        first, *further = looks_of(landmarks.config.data, landmarks.task.layers)
        self._first: frames.Frame = first
        # Who learnt from hands alone knows them as large as on the canvas; who learnt from masked whole pictures, as
        # the paper's network, has never seen them so.
        again: frames.Frame | None = "canvas" if first == "hand" else next(iter(further), None)
        self._again = again if settings.second_look else None
        self._local = landmarks.config.data.contrast == "local"
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Chain:
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
            # Once for both looks and all turns; both show the background, or neither does.
            ready = self._map(self._prepared, pictures, insides)
            framed = self._map(lambda n: self._lay(self._first, ready[n], insides[n]), range(len(pictures)))
        # A first look that is followed by another has only to find the way to the canvas.
        looks = self._look([framed], flips=self.settings.views > 1 and not self._again)
        if self._again:
            with self._timed("frames"):
                turned = [self._on_canvas(self._again, ready, insides, looks, t) for t in turns_of(self.settings.views)]
            second = self._look(turned, flips=self.settings.views > 1)
            looks = [dataclasses.replace(again, first=one.settled) for one, again in zip(looks, second, strict=True)]

        # ---- registration, regions, verdict ----------------------------------------------------------------------
        with self._timed("registration and regions"):
            return self._map(lambda n: self._finish(pictures[n], found[n], looks[n]), range(len(pictures)))

    def _prepared(self, picture: Grey, inside: Bool[np.ndarray, "h w"]) -> Grey:
        return frames.prepared(self._first, picture, inside, local=self._local)

    def _lay(
        self,
        frame: frames.Frame,
        ready: Grey,
        inside: Bool[np.ndarray, "h w"],
        key_points: Float[np.ndarray, "3 2"] | None = None,
        turn: float = 0.0,
    ) -> frames.Framed:
        """A prepared picture as the key points' network sees it."""
        size = self._landmarks.size
        return frames.lay_prepared(frame, ready, inside, *size, key_points=key_points, local=self._local, turn=turn)

    def _on_canvas(
        self,
        frame: frames.Frame,
        ready: Sequence[Grey],
        insides: Sequence[Bool[np.ndarray, "h w"]],
        looks: Sequence[Looks],
        turn: float,
    ) -> list[frames.Framed]:
        """Upright but for a turn, thumb to the right, as large as can be: where the network is at its best."""

        def one(n: int) -> frames.Framed:
            try:
                return self._lay(frame, ready[n], insides[n], looks[n].settled, turn)
            except ValueError:
                return self._lay(self._first, ready[n], insides[n])

        return self._map(one, range(len(ready)))

    def _look(self, turned: list[list[frames.Framed]], *, flips: bool) -> list[Looks]:
        """What the network says of each picture, all ways that it is turned taken together."""
        with self._timed("key point network"):
            said = [self._landmarks([frame.image for frame in framed], flips=flips) for framed in turned]
        width = self._landmarks.size[1]
        looks = []
        for n in range(len(turned[0])):
            points, spreads = [], []
            for framed, views in zip(turned, said, strict=True):
                back = framed[n].transform.inverse()
                for mirrored, view in enumerate(views):
                    straight = view[n] * (-1, 1, 1) + (width - 1, 0, 0) if mirrored else view[n]
                    points.append(back(straight[:, :2]))
                    spreads.append(straight[:, 2])
            looks.append(Looks(np.mean(points, axis=0), np.stack(points), np.stack(spreads) / self._width))
        return looks

    def _finish(self, picture: Grey, mask: Mask, looks: Looks) -> Registered:
        settings = self.settings
        placed = None
        if mask.area:
            with contextlib.suppress(ValueError):
                placed = register.registration(picture, mask.inside, looks.settled, settings.canvas)
        verdict = quality.judge(picture, mask, looks, placed, limits=settings.limits)
        if placed is None:
            black = {region.name: np.zeros((region.height, region.width), np.uint8) for region in settings.regions}
            return Registered(mask, None, None, verdict, black)
        cut = register.cut(picture, mask.inside, placed, list(settings.regions))
        return Registered(mask, placed, looks, verdict, cut)

    def _map(self, function: Callable[..., Any], *items: Sequence[Any] | range) -> list[Any]:
        return list(self._pool.map(function, *items))

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def open_chain(segmentation: pathlib.Path, landmarks: pathlib.Path, settings: Settings) -> Chain:
    """Opens the pipeline of two runs' folders, or of a bundle's file. Raises `UserError` for those of other tasks."""
    return Chain(bundle.load(segmentation, "segmentation"), bundle.load(landmarks, "landmarks"), settings)
