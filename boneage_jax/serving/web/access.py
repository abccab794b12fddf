"""Who may use the server: its name, the token, and posts from its own pages alone."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping, Sequence

from boneage_jax.serving.web.problems import CROSS_SITE, MALFORMED, OTHER_HOST, UNAUTHORISED, Problem

COOKIE = "boneage_session"

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Those that change nothing (RFC 9110, 9.2.1)."""


class Access:
    """The rules of one server."""

    def __init__(self, token: str, *, host: str, more_hosts: Sequence[str] = ()):
        """Takes the rules.

        Args:
          token: that everyone must give; empty for none.
          host: that it listens on.
          more_hosts: names that it goes by.
        """
        self._token = token
        self._session = hmac.digest(secrets.token_bytes(32), token.encode(), hashlib.sha256).hex()
        known = ("localhost", socket.gethostname(), host, *more_hosts)
        self._hosts = {name.lower().rstrip(".") for name in known if name}

    @property
    def needs_token(self) -> bool:
        """Whether a token must be given."""
        return bool(self._token)

    def session(self, token: str) -> str:
        """Returns the content of the cookie of somebody who gave this token; empty for a wrong one.

        The token itself is in no cookie, and a cookie of an earlier start of the server is worth nothing.
        """
        return self._session if self._is_token(token) else ""

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raises `Problem` where a browser was led here by another's name (DNS rebinding).

        For that the name must be one that its owner can have point here: an address in numbers is none.
        """
        host = headers.get("host", "")
        name = _name_of(host)
        if not name:
            raise Problem(
                MALFORMED, "The header Host is missing or malformed.", expected="Host: NAME:PORT", advice="Send it."
            )
        if name not in self._hosts and not _is_address(name):
            raise Problem(
                OTHER_HOST,
                "The server does not go by the name that it was called.",
                found=repr(name[:80]),
                expected="localhost, or an address in numbers",
                advice="Call it so, or have it started with --allow-host and that name.",
            )

    def check_token(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> None:
        """Raises `Problem` where neither the token nor the cookie of a login is given."""
        if not self._token:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return
        if _same(cookies.get(COOKIE, ""), self._session):
            return
        raise Problem(
            UNAUTHORISED,
            "The token is missing or wrong.",
            found="another token" if given else "none",
            expected="Authorization: Bearer TOKEN, or a login on the server's page",
            advice="Ask whoever started the server.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Raises `Problem` where another site's page makes a browser send something here.

        Browsers say where a request comes from; programs say nothing, and act for no page.
        """
        if method in SAFE_METHODS:
            return
        site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
        if site:
            own = site in ("same-origin", "none")
        else:
            own = not origin or origin.partition("://")[2].lower() == headers.get("host", "").lower()
        if not own:
            raise Problem(
                CROSS_SITE,
                "The request comes from a page of another site.",
                found=f"Sec-Fetch-Site: {site[:20]}" if site else f"Origin: {origin[:80]}",
                expected="the server's own page, or a program",
                advice="Open the server's own page.",
            )

    def _is_token(self, given: str) -> bool:
        return bool(self._token) and _same(given, self._token)


def _same(given: str, expected: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _name_of(host: str) -> str:
    """The name or address in a header Host, without its port; empty for a malformed one."""
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        return name if bracket and _is_address(name) and (not rest or _is_port(rest)) else ""
    name, colon, port = host.partition(":")
    return name.lower().rstrip(".") if not colon or _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isdecimal() and text.isascii()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
