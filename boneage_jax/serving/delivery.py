"""Answers on their way to another node: sent, sent again where that fails, kept or counted where nothing helps.

One thread sends, so that a receiver that is down holds up no reading; it takes a few answers ahead, and then readers
wait, the queue before them fills, and senders are told so.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import pathlib
import queue
import threading
from collections.abc import Mapping
from typing import Any

from boneage_jax.errors import UserError
from boneage_jax.files import replacing
from boneage_jax.serving import network
from boneage_jax.serving.request import NodeRequest
from boneage_jax.workflows.reports import Kind

log = logging.getLogger(__name__)

UNDELIVERED = "undelivered"
"""Folder within the spool."""

_AHEAD = 16
"""Answers that wait to be sent; each is a picture of 4 MB and a report."""

_LONGEST_PAUSE_S = 60.0

_TAKEN = (0x0000, 0xB000, 0xB006, 0xB007)
"""Statuses of C-STORE by which the receiver has stored an object, changed or not (PS3.4 B.2.3)."""


_NAMES: dict[Kind, str] = {"sr": "structured report", "sc": "picture"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """Objects that answer one radiograph.

    Attributes:
      number: of the radiograph.
      objects: data sets by kind.
    """

    number: int
    objects: Mapping[Kind, Any]


@dataclasses.dataclass
class Counts:
    """What has become of objects."""

    delivered: int = 0
    kept: int = 0
    lost: int = 0


class Delivery:
    """Sends answers, in a thread of its own.

    Attributes:
      counts: of objects so far; read them once it is closed.
    """

    def __init__(self, request: NodeRequest, run: str):
        """Sends nothing before `start`.

        Args:
          request: where answers go, and how often.
          run: begins the names of files that are kept.
        """
        self.counts = Counts()
        self._request, self._run = request, run
        self._waiting: queue.Queue[Answer | None] = queue.Queue(_AHEAD)
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._work, name="delivery")

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def put(self, answer: Answer) -> None:
        """Takes an answer; waits where many wait already."""
        self._waiting.put(answer)

    def hurry(self) -> None:
        """Makes no more pauses between attempts."""
        self._hurry.set()

    def close(self) -> None:
        """Returns when all answers are delivered, kept or given up."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (answer := self._waiting.get()) is not None:
            try:
                self._deliver(answer)
            # Whatever is wrong with one answer, the others go on.
            except Exception as error:
                self.counts.lost += len(answer.objects)
                log.error("%d: not delivered, lost (%s)", answer.number, type(error).__name__)

    def _deliver(self, answer: Answer) -> None:
        left, pause = dict(answer.objects), self._request.pause
        final: dict[Kind, Any] = {}
        for attempt in range(1, self._request.attempts + 1):
            left, refused, why = self._sent(left)
            final |= refused
            if not left:
                break
            log.warning("%d: attempt %d of %d failed: %s", answer.number, attempt, self._request.attempts, why)
            if attempt < self._request.attempts:
                self._hurry.wait(min(pause, _LONGEST_PAUSE_S))
                pause *= 2
        for kind in final:
            log.error("%d: the receiver refuses the %s for good", answer.number, _NAMES[kind])
        undelivered = final | left
        delivered = len(answer.objects) - len(undelivered)
        self.counts.delivered += delivered
        if delivered:
            log.info("%d: %d of %d objects delivered", answer.number, delivered, len(answer.objects))
        if undelivered:
            self._set_aside(answer.number, undelivered)

    def _sent(self, objects: dict[Kind, Any]) -> tuple[dict[Kind, Any], dict[Kind, Any], str]:
        """Tries once. Returns what may be tried again, what may not, and why, without words of the receiver."""
        with network.association(self._request, {str(one.SOPClassUID) for one in objects.values()}) as (peer, why):
            if peer is None:
                return objects, {}, why
            left: dict[Kind, Any] = {}
            refused: dict[Kind, Any] = {}
            why = ""
            for kind, made in objects.items():
                status = network.store(peer, made)
                if status in _TAKEN:
                    continue
                if status is None or status >> 8 == 0xA7 or status == 0x0110:  # no answer, or busy
                    left[kind] = made
                    why = "no answer" if status is None else f"status {status:04X}"
                else:
                    refused[kind] = made
            return left, refused, why

    def _set_aside(self, number: int, objects: Mapping[Kind, Any]) -> None:
        """Keeps what could not be delivered, or counts it as lost."""
        if self._request.spool is None:
            self.counts.lost += len(objects)
            log.error("%d: %d objects not delivered, lost; %d lost so far", number, len(objects), self.counts.lost)
            return
        folder = self._request.spool / UNDELIVERED
        for kind, made in objects.items():
            try:
                write_private(folder, f"{self._run}-{number:06d}.{kind}.dcm", _encoded(made))
            except UserError:  # a full disk
                self.counts.lost += 1
                log.error("%d: the %s can be neither delivered nor kept, lost", number, _NAMES[kind])
            else:
                self.counts.kept += 1
        log.error("%d: not delivered; %d objects lie in %s so far", number, self.counts.kept, UNDELIVERED)


def write_private(folder: pathlib.Path, name: str, data: bytes) -> None:
    """Writes a file that its owner alone may read, whole or not at all. Raises `UserError` where that is impossible."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror or error})") from error
    with replacing(folder / name) as scratch:
        scratch.write_bytes(data)
    (folder / name).chmod(0o600)


def _encoded(made: Any) -> bytes:
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()
