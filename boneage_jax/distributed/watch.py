"""Notices at once when another process of a run ends: its connection to the leader closes.

JAX learns it from a heartbeat that stays away, half a minute later, and then ends the process without a word that a
user could act on. A machine that loses its power closes nothing: there the heartbeat is what is left.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import socket
import threading
from collections.abc import Callable

_BYE = b"."
_TOKEN = 16
"""Length of the token that others must send: 64 random bits, as hexadecimal digits."""
_CONNECT_SECONDS = 10
"""Longest wait for a connection to the leader; chosen by eye."""


def listen() -> tuple[socket.socket, int, str]:
    """Returns the leader's open socket, its port, and the token that others must send."""
    if socket.has_dualstack_ipv6():
        listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        listener = socket.create_server(("", 0))
    return listener, int(listener.getsockname()[1]), secrets.token_hex(_TOKEN // 2)


class Watch:
    """The connections of one process to the others."""

    def __init__(self, on_loss: Callable[[int], None]):
        """Starts with no connection.

        Args:
          on_loss: called, on a thread, with the number of the process that is gone; once.
        """
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._peers: dict[int, socket.socket] = {}
        self._over = False

    def lead(self, listener: socket.socket, token: str, count: int) -> None:
        """Waits, on a thread, for the others to connect."""

        def accept() -> None:
            with contextlib.suppress(OSError), listener:
                while len(self._peers) < count - 1:
                    peer, _ = listener.accept()
                    self._spawn(functools.partial(self._greet, peer, token))

        self._spawn(accept)

    def follow(self, host: str, port: int, token: str, index: int) -> bool:
        """Connects to the leader; returns whether that was possible."""
        try:
            leader = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
            leader.settimeout(None)
            leader.sendall(token.encode() + index.to_bytes(4, "big"))
        except OSError:
            return False
        self._peers[0] = leader
        self._spawn(functools.partial(self._hear, leader, 0))
        return True

    def close(self) -> None:
        """Tells the others that this process ends well; from now on their ends are ignored."""
        self._over = True
        with self._lock:
            for peer in self._peers.values():
                with contextlib.suppress(OSError):
                    peer.sendall(_BYE)
                    peer.shutdown(socket.SHUT_WR)

    def _greet(self, peer: socket.socket, token: str) -> None:
        with contextlib.suppress(OSError):
            hello = peer.recv(_TOKEN + 4, socket.MSG_WAITALL)
            if hello[:_TOKEN] != token.encode() or len(hello) != _TOKEN + 4:
                peer.close()
                return
            index = int.from_bytes(hello[_TOKEN:], "big")
            with self._lock:
                self._peers[index] = peer
            self._hear(peer, index)

    def _hear(self, peer: socket.socket, index: int) -> None:
        """Reads until the other side ends; the leader tells the others whom it has lost: `!` and a number."""
        message = b""
        with contextlib.suppress(OSError):
            message = peer.recv(5, socket.MSG_WAITALL)
        if message == _BYE or message.startswith(_BYE):
            return
        self._lose(int.from_bytes(message[1:], "big") if len(message) == 5 else index)

    def _lose(self, index: int) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
            for peer in self._peers.values():
                with contextlib.suppress(OSError):
                    peer.sendall(b"!" + index.to_bytes(4, "big"))
        self._on_loss(index)

    @staticmethod
    def _spawn(work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()
