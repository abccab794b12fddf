"""DICOM's upper layer, by pynetdicom: what is offered, what is taken, and its limits. Needs the extra `node`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator
from typing import Any

from boneage_jax.errors import missing_extra
from boneage_jax.serving.request import NodeRequest

TIMEOUT_S = 60.0
"""Silence after which a connection is given up."""

_ASSOCIATION_S = 10.0
"""For a connection to become an association: until then it counts as one of `_MOST_ASSOCIATIONS`, also where a program
that watches the port has closed it at once."""

_VERIFICATION = "1.2.840.10008.1.1"

_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Transfer syntaxes that answers are offered in: Explicit and Implicit VR Little Endian."""

_PDU_BYTES = 1 << 16
"""Largest PDU that is asked for: larger ones than pynetdicom's 16 KiB, for radiographs have megabytes."""

_MOST_PDU_BYTES = 1 << 20
"""Largest PDU that is taken: one that asks for an association may be longer than `_PDU_BYTES`."""

_MOST_ASSOCIATIONS = 8
"""At once; each may hold a radiograph that is being received."""


def library() -> Any:
    """Returns pynetdicom. Raises `UserError` where it is not installed."""
    try:
        import pynetdicom
    except ImportError as error:
        raise missing_extra("pynetdicom", "node", "a DICOM node") from error
    return pynetdicom


def entity(request: NodeRequest, classes: Collection[str] = (), syntaxes: Collection[str] = ()) -> Any:
    """Returns an application entity that takes objects of some SOP classes in some transfer syntaxes, and C-ECHO."""
    made = library().AE(ae_title=request.title)
    made.maximum_pdu_size = _PDU_BYTES
    made.maximum_associations = _MOST_ASSOCIATIONS
    made.network_timeout = made.dimse_timeout = TIMEOUT_S
    made.acse_timeout = made.connection_timeout = _ASSOCIATION_S
    made.require_calling_aet = list(request.allow)
    made.add_supported_context(_VERIFICATION)
    for sop_class in classes:
        made.add_supported_context(sop_class, list(syntaxes))
    return made


def limit_connection(event: Any) -> None:
    """Makes a new connection end where its peer falls silent within a PDU, or announces an absurd one.

    pynetdicom reads a PDU whole, whatever length its first bytes state, and waits for its end for ever.
    """
    connection = event.assoc.dul.socket
    connection.socket.settimeout(TIMEOUT_S)
    connection.recv = functools.partial(_recv, connection.recv)


def _recv(recv: Any, count: int) -> Any:
    if count > _MOST_PDU_BYTES:
        raise OSError("a PDU of absurd length")
    return recv(count)


def limit_message(event: Any, most_bytes: int) -> bool:
    """Aborts an association whose message is longer than what is taken, while it comes in; returns whether it has."""
    message = event.assoc.dimse.message
    if message is None:
        return False
    if max(part.tell() for part in (message.data_set, message.encoded_command_set) if part is not None) <= most_bytes:
        return False
    event.assoc.abort()
    return True


@contextlib.contextmanager
def association(request: NodeRequest, classes: Collection[str]) -> Iterator[tuple[Any, str]]:
    """Gives an association with the node that answers go to, or None and why there is none."""
    ours = entity(request)
    for sop_class in sorted(classes):
        for syntax in _PLAIN:  # one context each: a receiver chooses one syntax of a context
            ours.add_requested_context(sop_class, syntax)
    to = request.answer_to
    try:
        found = ours.associate(to.host, to.port, ae_title=to.title, max_pdu=_PDU_BYTES)
    # Names that cannot be resolved, and what else its sockets raise.
    except Exception as error:
        yield None, f"no connection ({type(error).__name__})"
        return
    if not found.is_established:
        yield None, "association refused" if found.is_rejected else "no connection"
        return
    try:
        yield found, ""
    finally:
        if found.is_established:
            found.release()


def store(peer: Any, made: Any) -> int | None:
    """Sends an object; returns the receiver's status, None where it gives none.

    A class that the receiver does not take has status 0122, SOP class not supported (PS3.7 C.5.16).
    """
    if not peer.is_established:
        return None
    if not any(context.abstract_syntax == made.SOPClassUID for context in peer.accepted_contexts):
        return 0x0122
    try:
        answer = peer.send_c_store(made)
    # Of an association that has ended meanwhile, and of an object that cannot be encoded.
    except (RuntimeError, ValueError, AttributeError, OSError):
        return None
    return int(answer.Status) if "Status" in answer else None
