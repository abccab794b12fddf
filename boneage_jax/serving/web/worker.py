"""One thread that reads ages: radiographs that wait are read together, as many as the networks take at once."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from boneage_jax.workflows.assessment import Assessment, Seen
from boneage_jax.workflows.radiographs import Radiograph

log = logging.getLogger(__name__)

Answer = tuple[Assessment, Seen | None]


class Reader(Protocol):
    """What is needed of `workflows.assess.Assessor`."""

    networks: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def needs_sex(self) -> bool:
        """Whether a child's sex must be known."""

    def assess(
        self,
        found: Sequence[Radiograph],
        males: Sequence[bool | None],
        *,
        chronological: Sequence[float | None],
        progress: bool,
    ) -> Iterator[Answer]:
        """Yields an assessment and what it was made from, for each radiograph."""


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A radiograph that waits.

    Attributes:
      radiograph: to be read; where its sex is not given, its header may state it.
      male: whether the child is a boy; None where the header counts.
      chronological: age since birth in months; None where the header counts.
      answer: of the radiograph; cancelled where nobody waits for it any more.
    """

    radiograph: Radiograph
    male: bool | None
    chronological: float | None
    answer: concurrent.futures.Future[Answer] = dataclasses.field(default_factory=concurrent.futures.Future)


class Worker:
    """The thread, from `start` until `close`."""

    def __init__(self, reader: Reader, batch_size: int, *, on_batch: Callable[[int], None] = lambda _: None):
        """Starts nothing yet.

        Args:
          reader: reads the ages.
          batch_size: most radiographs that it is given at once.
          on_batch: is told how many each time, from the thread.
        """
        self._reader, self._batch_size, self._on_batch = reader, batch_size, on_batch
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading")
        self._first: Sequence[Sequence[Job]] = ()
        self._on_failure: Callable[[BaseException], None] = lambda _: None

    @property
    def ready(self) -> bool:
        """Whether the networks have read something already: they are compiled."""
        return self._ready.is_set()

    @property
    def length(self) -> int:
        """Number of radiographs that wait."""
        return self._waiting.qsize()

    def start(self, first: Sequence[Sequence[Job]], on_failure: Callable[[BaseException], None]) -> None:
        """Starts, and reads first batches so that the networks are compiled.

        Args:
          first: radiographs of any kind, by batch; nobody is told their ages.
          on_failure: is told, from the thread, why one could not be read; nothing else is read then.
        """
        self._first, self._on_failure = first, on_failure
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Has a radiograph read when its turn comes."""
        self._waiting.put(job)

    def close(self) -> None:
        """Reads what waits, and ends."""
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            for jobs in self._first:
                self._read(jobs)
        except BaseException as error:
            self._on_failure(error)
            self._refuse_all(error)
            return
        self._ready.set()
        for jobs in self._batches():
            self._on_batch(len(jobs))
            self._answer(jobs)

    def _batches(self) -> Iterator[list[Job]]:
        """Yields what waits, at most a batch at a time; waits where nothing does."""
        ended = False
        while not ended:
            jobs: list[Job] = []
            while len(jobs) < self._batch_size:
                try:
                    job = self._waiting.get(block=not jobs)
                except queue.Empty:
                    break
                if job is None:
                    ended = True
                    break
                if job.answer.set_running_or_notify_cancel():
                    jobs.append(job)
            if jobs:
                yield jobs

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Reads a batch; where that fails, each radiograph by itself, so that one costs the others nothing."""
        try:
            answers = self._read(jobs)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._answer([job])
                return
            # Messages may quote what a file holds.
            log.error("a radiograph could not be read (%s)", type(error).__name__)
            jobs[0].answer.set_exception(error)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.answer.set_result(answer)

    def _read(self, jobs: Sequence[Job]) -> list[Answer]:
        return list(
            self._reader.assess(
                [job.radiograph for job in jobs],
                [job.male for job in jobs],
                chronological=[job.chronological for job in jobs],
                progress=False,
            )
        )

    def _refuse_all(self, error: BaseException) -> None:
        while (job := self._waiting.get()) is not None:
            if job.answer.set_running_or_notify_cancel():
                job.answer.set_exception(error)
