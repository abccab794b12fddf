"""The application: its addresses, and what each of them does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import pathlib
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from boneage_jax.errors import UserError
from boneage_jax.serving.delivery import write_private
from boneage_jax.serving.web import metrics as metrics_module
from boneage_jax.serving.web import openapi, page, problems, responses, uploads
from boneage_jax.serving.web.access import COOKIE, Access
from boneage_jax.serving.web.gate import Gate
from boneage_jax.serving.web.metrics import Metrics
from boneage_jax.serving.web.problems import Problem, busy
from boneage_jax.serving.web.request import HttpRequest
from boneage_jax.serving.web.uploads import Submission
from boneage_jax.serving.web.worker import Answer, Job, Reader, Worker
from boneage_jax.workflows import radiographs, record
from boneage_jax.workflows.radiographs import Radiograph

_RETRY_S = 5
"""After which a request that was refused for want of room may come again; chosen by eye."""

_MOST_LOGIN = 4096
"""Bytes of a login's form."""


class Application:
    """What answers requests: from a reader of ages, by one thread.

    Attributes:
      asgi: the application for a server.
      stopping: whether no more requests are taken.
    """

    def __init__(self, request: HttpRequest, reader: Reader, worker: Worker, metrics: Metrics):
        """Takes what it is made of.

        Args:
          request: how the server was started.
          reader: whose networks and remarks are shown.
          worker: reads the ages.
          metrics: of the server.
        """
        self._request, self._reader, self._worker, self._metrics = request, reader, worker, metrics
        self._networks = tuple(map(_without_folders, reader.networks))
        self._access = Access(request.secret(), host=request.host, more_hosts=request.allow_hosts)
        self._description = openapi.document(with_token=self._access.needs_token)
        self._taken = 0
        self._run = uuid.uuid4().hex[:8]  # so that files of an earlier run are not written over
        self.stopping = False
        metrics.watch("boneage_queue_length", "Radiographs that wait to be read.", lambda: worker.length)
        metrics.watch("boneage_requests_taken", "Requests that are received, wait or are read.", lambda: self._taken)
        metrics.watch("boneage_ready", "Whether the networks are loaded and compiled.", lambda: worker.ready)
        routes = [
            Route("/", self._front, methods=["GET"]),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/api/v1/assessments", self._assess, methods=["POST"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/problems", self._problems, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._counts, methods=["GET"]),
        ]
        inner = Starlette(routes=routes, exception_handlers={HTTPException: _raised, Exception: _raised})
        inner.router.redirect_slashes = False
        self.asgi: ASGIApp = Gate(inner, self._access, metrics, tuple(route.path for route in routes))

    def summary(self) -> str:
        """Returns what has become of all radiographs, for people."""
        counts = {name: self._metrics.answered(name) for name in ("read", "refused", "unusable")}
        return f"{counts['read']} radiographs read, {counts['refused']} refused, {counts['unusable']} could not be used"

    async def _front(self, request: Request) -> Response:
        made = page.front(
            networks=self._networks,
            remarks=self._reader.remarks,
            most_bytes=self._request.most_bytes,
            keeps=self._request.keep is not None,
        )
        return responses.of_page(request, made)

    async def _login(self, request: Request) -> Response:
        if request.method == "GET":
            return responses.of_page(request, page.login(failed=False))
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > _MOST_LOGIN:
                raise Problem(problems.TOO_LARGE, "A login has fewer bytes.", expected=f"at most {_MOST_LOGIN} bytes")
        given = urllib.parse.parse_qs(content.decode("utf-8", "replace"), max_num_fields=4).get("token", [""])[0]
        session = self._access.session(given)
        if not session:
            return responses.of_page(request, page.login(failed=True), status=problems.UNAUTHORISED.status)
        response = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=secure)
        return response

    async def _openapi(self, _: Request) -> Response:
        return responses.of_json(self._description)

    async def _problems(self, request: Request) -> Response:
        return responses.of_page(request, page.kinds())

    async def _health(self, _: Request) -> Response:
        state = "stopping" if self.stopping else "ready" if self._worker.ready else "starting"
        return responses.of_json({"status": state}, status=200 if state == "ready" else 503)

    async def _counts(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type=metrics_module.MEDIA_TYPE)

    async def _assess(self, request: Request) -> Response:
        with self._place():
            deadline = asyncio.get_running_loop().time() + self._request.time_out
            submission = await self._received(request, deadline)
            answers = await self._answers(submission, deadline)
            for assessment, _ in answers:
                self._metrics.radiographs.labels(record.record(assessment)["status"]).inc()
            self._expect_one(answers)
            return await self._shown(request, answers)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """Takes one of the places for requests; raises `Problem` where none is free."""
        if self.stopping:
            raise busy("The server is stopping.", seconds=30)
        if self._taken >= self._request.queue:
            raise busy("As many requests wait as this server takes.", seconds=_RETRY_S)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def _received(self, request: Request, deadline: float) -> Submission:
        headers = request.headers
        try:
            async with asyncio.timeout_at(deadline):
                submission = await uploads.read(
                    headers.get("content-type", ""),
                    headers.get("content-length", ""),
                    self._counted(request.stream()),
                    most_bytes=self._request.most_bytes,
                )
        except TimeoutError as error:
            raise Problem(
                problems.TOO_SLOW,
                "The request has not arrived in time.",
                expected=f"all of it within {self._request.time_out:g} seconds",
                advice="Send fewer files at once.",
            ) from error
        return submission

    async def _counted(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for part in stream:
            self._metrics.upload_bytes.inc(len(part))
            yield part

    async def _answers(self, submission: Submission, deadline: float) -> list[Answer]:
        """Has radiographs read, and waits for them."""
        found = [radiographs.of_bytes(one.data, one.name) for one in submission.files]
        self._expect_sex(found, submission.male)
        jobs = [Job(one, submission.male, submission.chronological) for one in found]
        for job in jobs:
            self._worker.submit(job)
        try:
            async with asyncio.timeout_at(deadline):
                return list(await asyncio.gather(*(asyncio.wrap_future(job.answer) for job in jobs)))
        except TimeoutError as error:
            cancelled = [job.answer.cancel() for job in jobs]
            if all(cancelled):  # nobody has begun to read them
                seconds = math.ceil(self._request.time_out)
                raise busy("The radiograph's turn has not come in time.", seconds=seconds) from error
            raise Problem(
                problems.TIME_OUT,
                "The radiograph was not read in time.",
                expected=f"an answer within {self._request.time_out:g} seconds",
                advice="Send fewer files at once, or have the server's --time-out raised.",
                headers={"Retry-After": str(_RETRY_S)},
            ) from error

    def _expect_sex(self, found: Sequence[Radiograph], male: bool | None) -> None:
        """Raises `Problem` where the networks need a sex that is not given and cannot be stated by a file."""
        if male is not None or not self._reader.needs_sex or all(one.states_sex for one in found):
            return
        without = "no DICOM file, so it cannot state the child's sex"
        raise Problem(
            problems.MALFORMED,
            "The networks are told the child's sex, which is not given.",
            found="no sex",
            expected=f"{uploads.SEX}=F or {uploads.SEX}=M, or DICOM files that state it",
            advice="Choose the sex.",
            files=[{"file": one.name, "problem": without} for one in found if not one.states_sex],
        )

    def _expect_one(self, answers: Sequence[Answer]) -> None:
        """Raises `Problem` where no radiograph at all can be used."""
        unusable = [one for one, _ in answers if one.problem]
        if len(unusable) < len(answers):
            return
        raise Problem(
            problems.UNUSABLE,
            "The radiograph cannot be used." if len(answers) == 1 else "None of the radiographs can be used.",
            found=unusable[0].problem if len(answers) == 1 else "",
            advice="Export the radiograph again from where it comes from.",
            files=[{"file": one.file, "problem": one.problem} for one in unusable],
        )

    async def _shown(self, request: Request, answers: Sequence[Answer]) -> Response:
        networks, remarks = self._networks, self._reader.remarks
        document = record.document([one for one, _ in answers], networks=networks, remarks=remarks)
        made: page.Made | None = None
        if responses.wants_page(request) or self._request.keep is not None:
            made = await anyio.to_thread.run_sync(lambda: page.results(answers, networks=networks, remarks=remarks))
        if made is not None and self._request.keep is not None:
            name, whole = f"{self._run}-{request.state.number:06d}", made("")
            await anyio.to_thread.run_sync(self._keep, name, json.dumps(document, indent=2), whole)
        if made is not None and responses.wants_page(request):
            return responses.of_page(request, made)
        return responses.of_json(document)

    def _keep(self, name: str, document: str, whole: str) -> None:
        folder = self._request.keep
        if folder is None:
            return
        try:
            write_private(folder, f"{name}.json", document.encode())
            write_private(folder, f"{name}.html", whole.encode())
        except UserError as error:
            raise Problem(
                problems.NOT_KEPT,
                "The result could not be written to the server's folder.",
                advice="Tell whoever started the server, then send it again.",
            ) from error


def _without_folders(network: str) -> str:
    """A line of `Assessor.networks` without the folders of this machine that lie above a run or bundle."""
    place, colon, rest = network.partition(": ")
    return f"{pathlib.PurePath(place).name}{colon}{rest}" if pathlib.PurePath(place).is_absolute() else network


async def _raised(_: Request, error: Exception) -> Response:
    """Leaves an error to the gate."""
    raise error
