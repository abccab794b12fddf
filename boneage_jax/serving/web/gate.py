"""Around the application: who may come in, what is said of what went wrong, counts, and the log."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boneage_jax.serving.web import page, problems, responses
from boneage_jax.serving.web.access import Access
from boneage_jax.serving.web.metrics import Metrics
from boneage_jax.serving.web.problems import Problem

log = logging.getLogger(__name__)

OPEN = ("/health", "/login")
"""Paths that need no token."""

_LINGER_S = 2.0
"""How long bytes of a refused request are thrown away, so that its sender can read why, before the connection ends."""

_CLIENT_GONE = 499
"""Status in metrics and log of a request whose client has gone; none of HTTP."""

_OTHER = "other"


class Gate:
    """An ASGI application around another."""

    def __init__(self, inner: ASGIApp, access: Access, metrics: Metrics, paths: tuple[str, ...]):
        """Takes the application that it stands around.

        Args:
          inner: the application.
          access: who may use it.
          metrics: of the server.
          paths: that the application has; metrics call all others alike.
        """
        self._inner, self._access, self._metrics, self._paths = inner, access, metrics, paths
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, whatever happens."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        scope.setdefault("state", {})["number"] = next(self._numbers)
        exchange = _Exchange(scope, receive, send)
        before = time.perf_counter()
        try:
            await self._answer(exchange)
        except ClientDisconnect:
            exchange.status = exchange.status or _CLIENT_GONE
        finally:
            self._count(scope, exchange.status, time.perf_counter() - before)

    async def _answer(self, exchange: _Exchange) -> None:
        request = Request(exchange.scope, exchange.receive)
        try:
            refusal = self._refusal(request)
            if refusal is None:
                await self._inner(exchange.scope, exchange.receive, exchange.send)
                return
        except Problem as problem:
            refusal = self._of_problem(request, problem)
        except HTTPException as error:
            refusal = self._of_problem(request, _of_framework(error, request))
        except ClientDisconnect:
            raise
        except asyncio.CancelledError:  # the server ends at once
            refusal = self._of_problem(request, problems.busy("The server has ended.", seconds=30))
        # Whatever a request runs into, the server goes on. Messages may quote what a file holds.
        except Exception as error:
            log.error("%d: failed (%s)", request.state.number, type(error).__name__)
            refusal = self._of_problem(request, Problem(problems.INTERNAL, "The request met a fault of this server."))
        if not exchange.status:
            await exchange.refuse(refusal)

    def _refusal(self, request: Request) -> Response | None:
        """What is answered in place of the application's answer; None for a request that may come in."""
        self._access.check_host(request.headers)
        self._access.check_origin(request.method, request.headers)
        if request.url.path in OPEN:
            return None
        try:
            self._access.check_token(request.headers, request.cookies)
        except Problem as problem:
            if request.url.path == "/" and responses.wants_page(request):
                return responses.of_page(request, page.login(failed=False), status=problem.kind.status)
            raise
        return None

    def _of_problem(self, request: Request, problem: Problem) -> Response:
        self._metrics.refused.labels(problem.kind.name).inc()
        return responses.of_problem(request, problem)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self._paths else _OTHER
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else _OTHER
        self._metrics.requests.labels(method, path, str(status)).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        level = logging.DEBUG if path in ("/health", "/metrics") else logging.INFO
        log.log(level, "%d: %s %s %d, %.2f s", scope["state"]["number"], method, path, status, seconds)


class _Exchange:
    """A request and its response, watched.

    Attributes:
      status: of the response; 0 before it begins.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.scope, self._receive, self._send = scope, receive, send
        self.status = 0
        headers = dict(scope["headers"])
        self._unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers

    async def receive(self) -> Message:
        """Passes on what comes in."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        """Passes on what goes out, with the headers of every response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in responses.HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    async def refuse(self, response: Response) -> None:
        """Sends a response; where more of the request may come, throws that away for a while and ends the connection.

        A connection that is closed while bytes come in is reset, and the response may be lost with it.
        """
        if not self._unread:
            await response(self.scope, self.receive, self.send)
            return
        response.headers["Connection"] = "close"
        last: list[Message] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                last.append({"type": "http.response.body", "body": b"", "more_body": False})
                message = {**message, "more_body": True}
            await self.send(message)

        await response(self.scope, self.receive, send)
        try:
            async with asyncio.timeout(_LINGER_S):
                while self._unread:
                    await self.receive()
        except TimeoutError:
            pass
        for message in last:
            await self.send(message)


def _of_framework(error: HTTPException, request: Request) -> Problem:
    """The problem of an address or a method that the application does not have."""
    if error.status_code == problems.WRONG_METHOD.status:
        allowed = (error.headers or {}).get("Allow", "")
        return Problem(
            problems.WRONG_METHOD,
            "The address does not take this method.",
            found=request.method[:20],
            expected=allowed,
            advice="See /openapi.json.",
            headers={"Allow": allowed},
        )
    if error.status_code == problems.NOT_FOUND.status:
        return Problem(
            problems.NOT_FOUND,
            "There is nothing at this address.",
            found=request.url.path[:80],
            expected="/, /api/v1/assessments, /openapi.json, /health, /metrics",
            advice="See /openapi.json.",
        )
    return Problem(problems.MALFORMED, "The request cannot be understood.", advice="Correct the request.")
