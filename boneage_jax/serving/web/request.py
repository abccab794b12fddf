"""Options of `boneage serve http`. They stand apart from the server: a command's help needs only what is here."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import pathlib

from boneage_jax.errors import UserError
from boneage_jax.options import names, option
from boneage_jax.workflows.requests import AssessRequest

TOKEN_VARIABLE = "BONEAGE_TOKEN"
"""Variable of the environment that holds the token: other users of a machine see what stands on a command line."""

LEAST_TOKEN = 16
"""Fewest characters of a token: shorter ones can be guessed by trying."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """Where the server listens, who may use it, and how much it takes.

    Attributes:
      networks: that read the radiographs.
    """

    networks: AssessRequest = AssessRequest(())
    host: str = option("127.0.0.1", "address to listen on; any but those of this machine itself needs --token")
    port: int = option(8000, "port to listen on, 0 for any that is free", low=0, high=65535)
    token: str = option(
        "",
        "secret of 16 characters or more that all must give: programs as Authorization: Bearer, people on a page",
        default_text=f"that of the environment's {TOKEN_VARIABLE}",
    )
    allow_hosts: tuple[str, ...] = option(
        (),
        "names that this server goes by, where a proxy or a name server gives it others",
        flag="--allow-host",
        parse=names,
        default_text="localhost, --host, the machine's own name, and any address in numbers",
    )
    max_mebibytes: int = option(64, "largest request, with all of its files", low=1, high=2047)
    queue: int = option(16, "requests that are received or wait at once; more are refused, to be made again", low=1)
    time_out: float = option(
        120.0, "for a request, from its first byte to its answer", above=0, high=86400, unit="seconds"
    )
    batch_size: int | None = option(
        None,
        "most radiographs that the networks read at once",
        low=1,
        default_text="1 on a CPU, 8 on a GPU or TPU",
    )
    keep: pathlib.Path | None = option(
        None, "folder for the record and the page of each request", default_text="nothing is kept"
    )

    @property
    def most_bytes(self) -> int:
        """Of a request's body."""
        return self.max_mebibytes << 20

    def secret(self) -> str:
        """Returns the token; empty where none is needed and none is given.

        Raises:
          UserError: for one that is too short or cannot stand in a header, and where one is needed and missing.
        """
        token = self.token or os.environ.get(TOKEN_VARIABLE, "")
        if not token and not is_loopback(self.host):
            raise UserError(
                f"--host {self.host}: other machines could reach the server, and no token was given; expected --token "
                f"or {TOKEN_VARIABLE}, a secret of {LEAST_TOKEN} characters or more, or --host 127.0.0.1"
            )
        if token and not (len(token) >= LEAST_TOKEN and token.isascii() and token.isprintable() and " " not in token):
            raise UserError(
                f"--token, or {TOKEN_VARIABLE}: found {len(token)} characters, expected {LEAST_TOKEN} or more of ASCII "
                "without spaces, as openssl rand -hex 16 makes them"
            )
        return token


def is_loopback(host: str) -> bool:
    """Returns whether a name or address is this machine's own, which no other machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
