"""Keeps batches on their way to the devices while these compute, and measures how long they wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import jax
from jax.sharding import Mesh

from boneage_jax.data.pipeline import Batch
from boneage_jax.distributed.mesh import to_devices


class DeviceFeed:
    """Iterates over global batches on the devices.

    Attributes:
      waited: seconds that the caller spent waiting for the host's pipeline, so far.
    """

    def __init__(self, batches: Iterator[Batch], mesh: Mesh, *, ahead: int = 2):
        self._batches, self._mesh, self._ahead = batches, mesh, ahead
        self._on_the_way: deque[dict[str, jax.Array]] = deque()
        self.waited = 0.0

    def __iter__(self) -> Iterator[dict[str, jax.Array]]:
        return self

    def __next__(self) -> dict[str, jax.Array]:
        while len(self._on_the_way) < self._ahead:
            start = time.perf_counter()
            batch = next(self._batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                break
            self._on_the_way.append(to_devices(batch, self._mesh))
        if not self._on_the_way:
            raise StopIteration
        return self._on_the_way.popleft()
