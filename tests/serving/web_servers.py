"""Servers of `boneage serve http` with a reader that needs no networks: an age is the mean of the grey levels."""

import contextlib
import socket
import threading
import time

import numpy as np

from boneage_jax.data import images
from boneage_jax.hand.age_ensemble import Ages, EnsembleAges
from boneage_jax.serving.web import server
from boneage_jax.serving.web.app import Application
from boneage_jax.serving.web.metrics import Metrics
from boneage_jax.serving.web.request import HttpRequest
from boneage_jax.serving.web.worker import Worker
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.requests import AssessRequest

ASSESSMENTS = "/api/v1/assessments"


class _Means:
    """In place of trained networks: the mean of an image, and 10 months more for a boy."""

    regions, labels, members = (), (), ("whole radiograph",)

    def __init__(self, needs_sex):
        self.needs_sex = needs_sex

    def on_canvas(self, picture):
        return {}

    def predict(self, regions, pictures, males):
        months = np.array([image.mean() + 10 * bool(male) for image, male in zip(pictures, males, strict=True)])
        ages = Ages(months, np.ones(len(months)))
        return EnsembleAges(ages, (ages,))


class Reader(Assessor):
    """The real way from a file's bytes to an assessment, but for the networks.

    Attributes:
      calls: numbers of radiographs that it was given at once.
      held: set while it reads; clear it to have it wait.
    """

    def __init__(self, *, needs_sex=True, batch_size=4, fails_on=None, **options):
        self._request = AssessRequest((), batch_size=batch_size, **options)
        self.ensemble, self._pipeline, self._finds_hands = _Means(needs_sex), None, False
        self.networks, self.remarks = ("the test's means",), ("Images of tests: no terms.",)
        self.age_calibration, self.intervals, self._networks, self.calibrated = None, None, (), True
        self.calls, self._fails_on = [], fails_on
        self.held = threading.Event()
        self.held.set()

    @contextlib.contextmanager
    def holding(self):
        """Has it wait before it reads, until the context ends or `held` is set."""
        self.calls.clear()
        self.held.clear()
        try:
            yield
        finally:
            self.held.set()

    def assess(self, found, males, **options):
        self.calls.append(len(found))
        assert self.held.wait(60)
        if self._fails_on and any(one.name == self._fails_on for one in found):
            raise RuntimeError(f"{self._fails_on}: secret")
        yield from super().assess(found, males, **options)


def grey(level, shape=(60, 40)):
    """A picture of this mean that is no picture of one value."""
    picture = np.full(shape, level, np.uint8)
    picture[0, 0], picture[0, 1] = level - 9, level + 9
    return picture


def png(level, shape=(60, 40)):
    return images.encode(grey(level, shape), "png")


@contextlib.contextmanager
def client(reader=None, *, started=True, headers=None, base="http://127.0.0.1:8000", **options):
    """Gives a client of an application in this process."""
    from starlette.testclient import TestClient

    reader = reader or Reader()
    metrics = Metrics()
    worker = Worker(reader, options.get("batch_size") or 4, on_batch=metrics.batches.observe)
    application = Application(HttpRequest(**options), reader, worker, metrics)
    if started:
        worker.start(server.first_batches(1), lambda error: None)
        eventually(lambda: worker.ready)
    made = TestClient(application.asgi, base_url=base, headers=headers, raise_server_exceptions=True)
    made.application, made.reader, made.worker = application, reader, worker
    try:
        yield made
    finally:
        reader.held.set()
        worker.close()


class Live:
    """A server on a port of its own.

    Attributes:
      port: that it listens on.
      stop: the wish to end it.
      said: what it returned; None while it runs.
    """

    def __init__(self, port, stop):
        self.port, self.stop, self.said = port, stop, None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def live(reader=None, **options):
    """Gives a server that listens."""
    reader, stop = reader or Reader(), server.Stop()
    request = HttpRequest(port=0, **options)
    with server.listening(request.host, 0) as listener:
        ours = Live(listener.getsockname()[1], stop)

        def run():
            ours.said = server.serve(request, reader, listener, stop)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            eventually(lambda: _answers(ours.port))
            yield ours
        finally:
            reader.held.set()
            stop.wish()
            thread.join(60)
    assert not thread.is_alive()


def _answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b" 200 " in connection.recv(200)
    return False


def eventually(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def form(*files, boundary=b"XX", **fields):
    """The body of a form: files as (name, bytes)."""
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, name.encode(), value.encode())
        for name, value in fields.items()
    ]
    parts += [
        b'--%s\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
        % (boundary, name.encode(), data)
        for name, data in files
    ]
    return b"".join(parts) + b"--%s--\r\n" % boundary
