"""From start to end: networks, address, signals."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.errors import UserError, missing_extra, reason
from boneage_jax.files import check_writable
from boneage_jax.serving.quiet import own_log_alone
from boneage_jax.serving.web.request import HttpRequest

if TYPE_CHECKING:
    import uvicorn

    from boneage_jax.serving.web.worker import Job, Reader

log = logging.getLogger(__name__)

_OTHERS = ("uvicorn", "asyncio", "pydicom", "python_multipart")
"""Loggers of libraries: they quote requests."""

_MOST_CONNECTIONS = 1000
_GRACE_S = 5.0
"""What a response has to be sent in, beyond the time for a request, when the server ends."""

_ON_CPU, _ELSEWHERE = 1, 8
"""Radiographs that are read at once: a CPU gains nothing by several, and each size is compiled before it is ready."""


def run(request: HttpRequest) -> str:
    """Serves until SIGTERM or an interrupt from the keyboard; returns what has become of all requests.

    What was accepted is answered before it returns; a second signal ends it at once.

    Raises:
      UserError: for networks, folders, tokens and addresses that cannot be used, and where a package is missing.
    """
    expect_packages()
    request.secret()
    if request.keep is not None:
        check_writable(request.keep)
    from boneage_jax.workflows.assess import Assessor

    stop = Stop()
    quiet = own_log_alone(logging.getLogger("boneage_jax.serving.web"), _OTHERS)
    with stop.heeded(), quiet, listening(request.host, request.port) as listener:
        networks = dataclasses.replace(request.networks, batch_size=_batch_size(request))
        with Assessor(networks) as assessor:
            return serve(request, assessor, listener, stop)


def expect_packages() -> None:
    """Raises `UserError` where a package of the extra `serve` is missing."""
    try:
        import prometheus_client  # noqa: F401
        import pydicom  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise missing_extra(str(error.name), "serve", "boneage serve http") from error


def _batch_size(request: HttpRequest) -> int:
    if request.batch_size is not None:
        return request.batch_size
    import jax

    return _ON_CPU if jax.default_backend() == "cpu" else _ELSEWHERE


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Gives a socket that listens, closed in the end. Raises `UserError` where the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else reason(error)
        raise UserError(
            f"cannot listen on {host} port {port} ({why}); expected an address of this machine and a port that no "
            "program listens on; choose another --port, or --port 0 for any that is free"
        ) from error
    with listener:
        yield listener


class Stop:
    """A wish to end, by signals: one ends the server once all is answered, a second one at once."""

    def __init__(self) -> None:
        self._wishes = 0
        self._act: Callable[[int], None] = lambda _: None

    def wish(self) -> None:
        """Counts a wish, and acts on it."""
        self._wishes += 1
        self._act(self._wishes)

    def then(self, act: Callable[[int], None]) -> None:
        """Has each wish act from now on, with the number of wishes; those that were made already too."""
        self._act = act
        if self._wishes:
            act(self._wishes)

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Takes the process's signals for wishes."""

        def heed(_number: int, _frame: FrameType | None) -> None:
            self.wish()

        before = {number: signal.signal(number, heed) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(request: HttpRequest, reader: Reader, listener: socket.socket, stop: Stop) -> str:
    """Serves on a socket until there is a wish to stop; returns what has become of all requests.

    Args:
      request: how the server was started.
      reader: reads the ages.
      listener: is listened on.
      stop: the wish.

    Raises:
      UserError: where the networks cannot read.
    """
    from boneage_jax.serving.web.app import Application
    from boneage_jax.serving.web.metrics import Metrics
    from boneage_jax.serving.web.worker import Worker

    metrics, failures = Metrics(), list[BaseException]()
    worker = Worker(reader, _batch_size(request), on_batch=metrics.batches.observe)
    application = Application(request, reader, worker, metrics)
    server = _server(request, application.asgi)

    def ended(wishes: int) -> None:
        application.stopping = True
        server.should_exit = True
        server.force_exit = wishes > 1

    def failed(error: BaseException) -> None:
        failures.append(error)
        stop.wish()

    stop.then(ended)
    worker.start(first_batches(_batch_size(request)), failed)
    print(f"{_address(request.host, listener)}  (Ctrl+C ends it)\n{NOT_A_MEDICAL_DEVICE}", flush=True)
    try:
        server.run([listener])
    finally:
        worker.close()
    if failures:
        raise failures[0]
    return f"{application.summary()}\n{NOT_A_MEDICAL_DEVICE}"


def first_batches(most: int) -> list[list[Job]]:
    """Returns a rendered hand as often as each size of batch holds it: each size is compiled by itself.

    Args:
      most: radiographs at once.
    """
    from boneage_jax.hand.network import SMALL_BATCHES
    from boneage_jax.phantoms import plates
    from boneage_jax.serving.web.worker import Job
    from boneage_jax.workflows import radiographs

    hand = radiographs.of_loader(lambda: plates.plate(120, "F").image, "first")
    sizes = sorted({size for size in (*SMALL_BATCHES, most) if size <= most})
    return [[Job(hand, male=False, chronological=None) for _ in range(size)] for size in sizes]


def _address(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _server(request: HttpRequest, application: object) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """One that leaves signals alone: uvicorn's raises them once more in the end."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Captures none."""
            yield

    config = uvicorn.Config(
        application,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        http="h11",
        ws="none",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(request.time_out + _GRACE_S),
    )
    return Server(config)
