"""Ordered work on several processes or threads, with a progress bar."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import tqdm

from boneage_jax.environment import no_semaphores

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """Returns the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    kind: Literal["process", "thread"] = "process",
    ahead: int = 4,
) -> Iterator[Result]:
    """Yields `function(item)` for each item, in the order of the items, whatever the number of workers.

    Args:
      function: top-level function for processes; they are spawned, so that a parent that runs JAX is safe.
      items: what it is called with; only a few per worker are in flight, so memory does not grow with their number.
      workers: number of workers; with 1 everything runs in this thread.
      kind: processes for pure Python, threads where the work releases the interpreter's lock.
      ahead: items a worker that may be under way or waiting to be taken.
    """
    if workers > 1 and kind == "process" and (why := no_semaphores()):
        print(f"boneage: one process in place of {workers}: {why}", file=sys.stderr)
        workers = 1
    if workers <= 1:
        yield from map(function, items)
        return
    pool: concurrent.futures.Executor
    if kind == "process":
        pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    else:
        pool = concurrent.futures.ThreadPoolExecutor(workers)
    pending: deque[concurrent.futures.Future[Result]] = deque()
    with contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def read_ahead(
    read: Callable[[Item], Result], batches: Sequence[Sequence[Item]]
) -> Iterator[tuple[Sequence[Item], list[Result]]]:
    """Yields batches of items with what was read for them; the next batches are read while this one is used.

    Args:
      read: work that releases the interpreter's lock, such as decoding an image.
      batches: items by batch.
    """

    def all_of(batch: Sequence[Item]) -> list[Result]:
        return [read(item) for item in batch]

    yield from zip(batches, ordered_map(all_of, batches, workers=2, kind="thread", ahead=1), strict=True)


def in_batches(number: int, size: int) -> list[range]:
    """Returns 0 to `number` in ranges of `size`, the last one perhaps shorter."""
    return [range(start, min(start + size, number)) for start in range(0, number, size)]


def progress(items: Iterable[Item], *, total: int, label: str, unit: str = " images") -> Iterator[Item]:
    """Passes items through while showing how many, how fast and how long still, on standard error."""
    with progress_of(total=total, label=label, unit=unit) as bar:
        for item in items:
            yield item
            bar.update()


def progress_of(*, total: int, label: str, unit: str = " images") -> tqdm.tqdm:
    """Returns a bar on standard error that shows how many, how fast and how long still."""
    return tqdm.tqdm(total=total, desc=label, unit=unit, file=sys.stderr, dynamic_ncols=True, mininterval=0.5)
