"""A DICOM node: radiographs come in by C-STORE, reports and pictures go out by C-STORE.

    association threads    check, select, queue: a radiograph is refused, or accepted with status Success
    reading thread         one radiograph at a time: age, report, picture
    delivery thread        sends them, again and again where that fails

What is accepted is answered, or a line of the log says what has become of it. Radiographs lie in memory until then, and
on no disk unless `keep` asks for it. Logs name a radiograph by a number that counts from 1, and quote nothing of it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.data import dicom
from boneage_jax.errors import UserError, reason
from boneage_jax.files import check_writable
from boneage_jax.serving import network, received, selection
from boneage_jax.serving.delivery import UNDELIVERED, Answer, Delivery, write_private
from boneage_jax.serving.quiet import own_log_alone
from boneage_jax.serving.received import NotAccepted, Received
from boneage_jax.serving.request import NodeRequest
from boneage_jax.workflows import reports

log = logging.getLogger(__name__)

_OTHERS = ("pynetdicom", "pydicom", "highdicom")
"""Loggers of libraries: they quote headers."""

_GRACE_S = 2.0
"""What associations have for their last response and their release, when the node ends."""


class Reader(Protocol):
    """What a node needs of `workflows.assess.Assessor`."""

    networks: tuple[str, ...]
    remarks: tuple[str, ...]

    def assess(self, found: Any, males: Any, *, progress: bool) -> Iterator[tuple[Any, Any]]:
        """Yields an assessment and what it was made from, for each radiograph."""


class Node:
    """A node that listens from `start` on until `stop`.

    Attributes:
      port: that it listens on.
      delivery: of its answers.
      accepted: radiographs that it has taken to be read.
      read: of them, those that have an age.
    """

    def __init__(self, request: NodeRequest, reader: Reader):
        """Opens nothing yet.

        Args:
          request: what it takes, and where answers go.
          reader: reads the ages.

        Raises:
          UserError: where pynetdicom, pydicom or highdicom are not installed, and for folders that cannot be written.
        """
        network.library()
        reports.expect_libraries()
        for folder in filter(None, (request.keep, request.spool)):
            check_writable(folder)
        self.port, self.accepted, self.read = 0, 0, 0
        self._request, self._reader = request, reader
        self._run = uuid.uuid4().hex[:8]  # so that files of an earlier run are not written over
        self._numbers = 0
        self._waiting: queue.Queue[Received | None] = queue.Queue(request.queue)
        self._admitting = threading.Lock()
        self._stopping = False
        self._entity = network.entity(request, received.IMAGE_CLASSES, dicom.transfer_syntaxes())
        self._server: Any = None
        self.delivery = Delivery(request, self._run)
        self._reading = threading.Thread(target=self._read_all, name="reading")

    def start(self) -> None:
        """Listens. Raises `UserError` where the address cannot be had."""
        events = network.library().evt
        handlers = [
            (events.EVT_C_STORE, self._on_store),
            (events.EVT_C_ECHO, self._on_echo),
            (events.EVT_CONN_OPEN, network.limit_connection),
            (events.EVT_PDU_RECV, self._on_data),
            (events.EVT_REJECTED, lambda _: log.warning("association refused: unknown AE title, or too many at once")),
        ]
        request = self._request
        try:
            self._server = self._entity.start_server((request.host, request.port), block=False, evt_handlers=handlers)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"cannot listen on {request.host}:{request.port} ({reason(error)}); choose another --host or --port"
            ) from error
        self._server.handle_error = lambda *_: log.error("a connection failed (%s)", _name(sys.exc_info()[1]))
        self.port = self._server.server_address[1]
        self.delivery.start()
        self._reading.start()
        log.info(
            "%s listens on %s port %d; files of this run begin with %s",
            request.title,
            request.host,
            self.port,
            self._run,
        )
        if request.spool is not None and (left := len(list((request.spool / UNDELIVERED).glob("*.dcm")))):
            log.warning("%d objects of earlier runs lie in %s", left, UNDELIVERED)
        if not request.allow and request.host not in ("127.0.0.1", "localhost", "::1"):
            log.warning("any AE title may send: name those that may with --allow-ae")

    def stop(self) -> None:
        """Takes nothing more, answers what was accepted, and ends."""
        with self._admitting:
            self._stopping = True
        self._server.shutdown()
        log.info("stopping: %d radiographs wait to be read", self._waiting.qsize())
        self._waiting.put(None)
        self._reading.join()
        self.delivery.close()
        until = time.monotonic() + _GRACE_S
        while self._entity.active_associations and time.monotonic() < until:
            time.sleep(0.05)
        self._entity.shutdown()

    def hurry(self) -> None:
        """Makes no more pauses between attempts to deliver."""
        self.delivery.hurry()

    def summary(self) -> str:
        """Returns what has become of all radiographs, for people; once it has stopped."""
        counts = self.delivery.counts
        return (
            f"{self._numbers} radiographs received, {self.accepted} accepted, {self.read} of them with an age\n"
            f"{counts.delivered} objects delivered, {counts.kept} kept in {UNDELIVERED}, {counts.lost} lost\n"
            f"{NOT_A_MEDICAL_DEVICE}"
        )

    def _on_echo(self, _event: Any) -> int:
        log.info("echo")
        return received.SUCCESS

    def _on_data(self, event: Any) -> None:
        if network.limit_message(event, self._most_bytes):
            log.warning("association aborted: a message of more than %d megabytes", self._request.most_megabytes)

    @property
    def _most_bytes(self) -> int:
        return self._request.most_megabytes * 1_000_000

    def _on_store(self, event: Any) -> Any:
        """Accepts a radiograph or refuses it; returns a status, with a comment where it is refused."""
        with self._admitting:
            self._numbers += 1
            number = self._numbers
        try:
            return self._admit(number, event)
        except NotAccepted as refusal:
            log.warning("%d: refused: %s", number, refusal.reason)
            return _status(refusal.status, refusal.reason)
        # Whatever is wrong with one radiograph, the node goes on.
        except Exception as error:
            log.error("%d: refused (%s)", number, _name(error))
            return _status(received.CANNOT_UNDERSTAND, "cannot be read")

    def _admit(self, number: int, event: Any) -> int:
        data = received.file_of(event.file_meta, event.encoded_dataset(include_meta=False), self._most_bytes)
        header = received.header_of(data)
        if why := selection.left_out(header, self._request):
            log.info("%d: not read: %s", number, why)
            return received.SUCCESS
        received.check(header, str(event.request.AffectedSOPClassUID), self._request.most_megapixels * 1_000_000)
        with self._admitting:  # so that the queue has room for as long as it is looked at
            if self._stopping:
                raise NotAccepted(received.OUT_OF_RESOURCES, "this node is stopping")
            if self._waiting.full():
                raise NotAccepted(received.OUT_OF_RESOURCES, "too many radiographs wait to be read")
            self._keep(number, data)
            self._waiting.put_nowait(Received(number, data, header))
            self.accepted += 1
        log.info("%d: accepted", number)
        return received.SUCCESS

    def _keep(self, number: int, data: bytes) -> None:
        if self._request.keep is None:
            return
        try:
            write_private(self._request.keep, f"{self._run}-{number:06d}.dcm", data)
        except UserError as error:
            raise NotAccepted(received.OUT_OF_RESOURCES, "cannot be kept") from error

    def _read_all(self) -> None:
        while (one := self._waiting.get()) is not None:
            try:
                self._answer(one)
            # Whatever is wrong with one radiograph, the others go on. Messages may quote headers.
            except Exception as error:
                log.error("%d: no answer: it could not be read (%s)", one.number, _name(error))

    def _answer(self, one: Received) -> None:
        ((assessment, seen),) = self._reader.assess([one.radiograph()], [None], progress=False)
        networks, remarks = self._reader.networks, self._reader.remarks
        made = reports.objects(assessment, seen, one.header, networks=networks, remarks=remarks)
        has_age = "sr" in made
        self.read += has_age
        flags = ", ".join(assessment.flags) or "none"
        if not made:
            log.warning("%d: no answer: %s", one.number, _why(assessment.problem))
            return
        log.info("%d: %s; flags: %s", one.number, "read" if has_age else "no age, a picture says so", flags)
        self.delivery.put(Answer(one.number, made))


def run_node(request: NodeRequest) -> str:
    """Runs a node until SIGTERM or an interrupt from the keyboard; returns what has become of all radiographs.

    What was accepted is read, and answers are delivered, before it returns; a second signal ends the pauses between
    attempts to deliver them.

    Raises:
      UserError: for networks, folders and addresses that cannot be used, and where a library is not installed.
    """
    network.library()
    reports.expect_libraries()
    from boneage_jax.workflows.assess import Assessor

    with _quoting_nothing(), Assessor(request.networks) as reader:
        node = Node(request, reader)
        asked = threading.Event()

        def ask(_number: int, _frame: object) -> None:
            if asked.is_set():
                node.hurry()
            asked.set()

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            node.start()
            asked.wait()
            node.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return node.summary()


def _quoting_nothing() -> contextlib.AbstractContextManager[None]:
    return own_log_alone(logging.getLogger("boneage_jax.serving"), _OTHERS)


def _status(status: int, comment: str) -> Any:
    """A status with a comment for the sender."""
    from pydicom import Dataset

    made = Dataset()
    made.Status, made.ErrorComment = status, comment
    return made


def _why(problem: str) -> str:
    """Why there is no picture; problems of files may quote headers, that of a missing sex does not."""
    return "the header states no sex" if "PatientSex" in problem else "the pixels cannot be decoded"


def _name(error: BaseException | None) -> str:
    return type(error).__name__
