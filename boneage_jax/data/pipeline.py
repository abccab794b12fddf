"""From records to batches, in an order that the step number alone decides.

Record i of step s is a pure function of (seed, s, i): the shuffled, repeated stream of records is cut into global
batches, and each process takes its own consecutive slice of each. So a run resumes at any step, on any number of
processes, devices or threads, without an iterator's state in its checkpoints.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy as np

from boneage_jax.data.examples import Example
from boneage_jax.data.sources import Source

if TYPE_CHECKING:
    import grain.python as grain

    Stream: TypeAlias = grain.MapDataset
else:  # Grain is imported where it is used: predictions of single radiographs need none
    Stream = Any

Batch = Mapping[str, np.ndarray]
"""This process's part of a global batch of B examples:

- `image`: uint8 (b, h, w)
- `male`: float32 (b,), 1 for male
- `bone_age`: float32 (b,), months
- `slot`: int32 (b,), the example's place in the global batch, 0 to B - 1
- `mask`: float32 (b,), 0 for padding
"""


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of every global batch a process reads.

    Attributes:
      index: of this process.
      count: of all processes.
    """

    index: int = 0
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Mixed:
    """A second source whose examples are mixed into the training.

    Attributes:
      source: what is mixed in.
      part: of all examples that come from it, above 0 and below 1.
    """

    source: Source
    part: float


def training_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    mixed: Mixed | None = None,
    start_step: int = 0,
    echo_factor: int = 1,
    share: Share = Share(),
    threads: int = 4,
    prefetch: int = 8,
) -> Iterator[Batch]:
    """Yields batches without end, from `start_step` on, reshuffled every epoch.

    Args:
      source: what is read.
      batch_size: global batch size, a multiple of the number of processes.
      seed: of the order.
      mixed: a second source; both are spread evenly over the stream, each reshuffled whenever it is through.
      start_step: number of the first batch.
      echo_factor: times that each example is used before the next ones are read; see `Echoed`.
      share: this process's part.
      threads: that read and decode.
      prefetch: batches read ahead.
    """
    import grain.python as grain

    stream = _endless(source, seed)
    if mixed is not None:
        stream = grain.MapDataset.mix([stream, _endless(mixed.source, seed)], [1.0 - mixed.part, mixed.part])
    if echo_factor > 1:
        stream = grain.MapDataset.source(Echoed(stream, echo_factor, _ECHO_AFTER * batch_size))
    stream = stream.map_with_index(lambda n, example: _numbered(example, n % batch_size))
    return _read(stream, batch_size, start_step, share, threads, prefetch)


def evaluation_batches(
    source: Source, *, batch_size: int, share: Share = Share(), threads: int = 4, prefetch: int = 8
) -> Iterator[Batch]:
    """Yields every example exactly once, in order; the last batch is padded with examples of mask 0.

    Args are those of `training_batches`.
    """
    import grain.python as grain

    stream = grain.MapDataset.source(_Padded(source, batch_size))
    return _read(stream, batch_size, 0, share, threads, prefetch)


def _endless(source: Source, seed: int) -> Stream:
    """A source's examples over and over, reshuffled each time."""
    import grain.python as grain

    # "Without end" is 2^40 examples: Grain's own infinity overflows when it is cut into batches of one.
    return grain.MapDataset.source(source).seed(seed).shuffle().repeat(2**40 // len(source))


def _read(
    stream: Stream, batch_size: int, start_step: int, share: Share, threads: int, prefetch: int
) -> Iterator[Batch]:
    import grain.python as grain

    if batch_size % share.count:
        raise ValueError(f"a batch of {batch_size} cannot be divided among {share.count} processes")
    batches = stream.batch(batch_size // share.count)
    mine = batches[start_step * share.count + share.index :: share.count]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    return iter(mine.to_iter_dataset(options))


def _numbered(example: Example, slot: int, mask: float = 1.0) -> dict[str, Any]:
    return {**example, "slot": np.int32(slot), "mask": np.float32(mask)}


_ECHO_AFTER = 32
"""Batches after which an example comes again, held in memory until then; chosen by eye."""


class Echoed:
    """Examples in blocks, each block several times in a row: for those that take longer to make than to learn from.

    Data echoing (Choi et al. 2019, "Faster Neural Network Training with Data Echoing"). An example's echoes differ by
    augmentation, which is drawn on the device. Threads may share it.
    """

    def __init__(self, source: Source | Stream, echo_factor: int, block: int):
        """Prepares to repeat.

        Args:
          source: of examples.
          echo_factor: times that each comes.
          block: examples until the first of them comes again; those of one block are held in memory.
        """
        self._source, self._echo_factor, self._block = source, echo_factor, block
        self._in_memory: collections.OrderedDict[int, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._source) // self._block * self._block * self._echo_factor

    def __getitem__(self, index: SupportsIndex) -> Any:
        block, place = divmod(int(index), self._block * self._echo_factor)
        number = block * self._block + place % self._block
        with self._lock:
            if number in self._in_memory:
                return self._in_memory[number]
        example = self._source[number]
        with self._lock:
            self._in_memory[number] = example
            # Twice a block, for threads read ahead.
            while len(self._in_memory) > 2 * self._block:
                self._in_memory.popitem(last=False)
        return example


class _Padded:
    """A source whose length is rounded up to whole batches; what is added has mask 0."""

    def __init__(self, source: Source, batch_size: int):
        self._source = source
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._source) // self._batch_size) * self._batch_size

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        n = int(index)
        real = n < len(self._source)
        return _numbered(self._source[n if real else 0], n % self._batch_size, float(real))
