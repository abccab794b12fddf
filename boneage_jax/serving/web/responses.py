"""Responses: JSON, pages and problems, as the client asks for them."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from boneage_jax.serving.web import page, problems
from boneage_jax.serving.web.problems import Problem

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer a browser would call the origin of a form `null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""Of every response; pages have a policy of their own."""


def wants_page(request: Request) -> bool:
    """Returns whether a page is asked for, as browsers do, rather than JSON."""
    return "text/html" in request.headers.get("accept", "")


def of_page(request: Request, made: page.Made, *, status: int = 200) -> Response:
    """Returns a page, which may use its own script and styles alone.

    Args:
      request: that it answers.
      made: the page, but for the word that marks script and styles as its own.
      status: of HTTP.
    """
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        # Sizes of pictures stand in attributes; what a radiograph's file holds never becomes one.
        "style-src-attr 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return HTMLResponse(made(nonce), status, headers={"Content-Security-Policy": policy})


def of_problem(request: Request, problem: Problem) -> Response:
    """Returns a problem: as JSON, or as a page where that alone is asked for."""
    document = problem.document(request.state.number)
    response: Response
    if wants_page(request) and problems.MEDIA_TYPE not in request.headers.get("accept", ""):
        response = of_page(request, page.problem(document), status=problem.kind.status)
    else:
        response = of_json(document, status=problem.kind.status, media_type=problems.MEDIA_TYPE)
    response.headers.update(problem.headers)
    return response


def of_json(content: Any, *, status: int = 200, media_type: str = "application/json") -> Response:
    """Returns JSON."""
    return JSONResponse(content, status, media_type=media_type)
