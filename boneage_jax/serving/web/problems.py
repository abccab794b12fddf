"""What is wrong with a request, as RFC 9457 has it: what, what was found, what was expected, what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
      name: of its `type`, a reference to the page of all kinds.
      status: of HTTP.
      title: the same for all problems of the kind.
    """

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """The reference that identifies the kind (RFC 9457, 3.1.1)."""
        return f"/problems#{self.name}"


MALFORMED = Kind("malformed", 400, "The request cannot be understood")
UNAUTHORISED = Kind("unauthorised", 401, "A token is needed")
CROSS_SITE = Kind("cross-site", 403, "The request comes from another site")
NOT_FOUND = Kind("not-found", 404, "There is nothing at this address")
WRONG_METHOD = Kind("wrong-method", 405, "The address does not take this method")
TOO_SLOW = Kind("too-slow", 408, "The request took too long to arrive")
TOO_LARGE = Kind("too-large", 413, "The request is too large")
NO_IMAGE = Kind("no-image", 415, "The file is no image, or the request no form")
OTHER_HOST = Kind("other-host", 421, "The server does not go by this name")
UNUSABLE = Kind("unusable", 422, "The radiograph cannot be used")
INTERNAL = Kind("internal", 500, "The server has failed")
BUSY = Kind("busy", 503, "The server is busy")
TIME_OUT = Kind("time-out", 504, "The radiograph took too long to read")
NOT_KEPT = Kind("not-kept", 507, "The result could not be kept")

KINDS = (
    *(MALFORMED, UNAUTHORISED, CROSS_SITE, NOT_FOUND, WRONG_METHOD, TOO_SLOW, TOO_LARGE, NO_IMAGE, OTHER_HOST),
    *(UNUSABLE, INTERNAL, BUSY, TIME_OUT, NOT_KEPT),
)


class Problem(Exception):
    """A request that gets no result."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        found: str = "",
        expected: str = "",
        advice: str = "",
        files: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ):
        """Says what is wrong.

        Args:
          kind: of the problem.
          detail: what is wrong, in one sentence.
          found: what the request has.
          expected: in its place.
          advice: what to do.
          files: those that could not be used, each with `file` and `problem`.
          headers: of the response, as `Retry-After`.
        """
        super().__init__(detail)
        self.kind, self.detail, self.found, self.expected, self.advice = kind, detail, found, expected, advice
        self.files, self.headers = tuple(files), dict(headers or {})

    def document(self, number: int) -> dict[str, Any]:
        """Returns the problem as JSON.

        Args:
          number: of the request, by which the log calls it.
        """
        made: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "found": self.found,
            "expected": self.expected,
            "advice": self.advice,
            "request": number,
        }
        if self.files:
            made["files"] = [dict(one) for one in self.files]
        return made


def busy(detail: str, *, seconds: int) -> Problem:
    """Returns the problem of a server that has no room; the request may be made again after some seconds."""
    return Problem(
        BUSY, detail, advice=f"Send it again in {seconds} seconds.", headers={"Retry-After": str(max(1, seconds))}
    )
