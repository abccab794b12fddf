"""`boneage serve http` on a real socket: slow, large, broken and departing clients, and the way it ends."""

import contextlib
import http.client
import random
import socket
import threading
import time

import numpy as np
import pytest

for package in ("starlette", "httpx2", "prometheus_client", "python_multipart", "uvicorn", "pydicom"):
    pytest.importorskip(package)

from boneage_jax.data import images  # noqa: E402
from tests.dicom_files import dataset, written  # noqa: E402
from tests.serving.web_servers import ASSESSMENTS, Reader, eventually, form, grey, live, png  # noqa: E402

HEAD = b"POST /api/v1/assessments HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=XX\r\n"
WHOLE = form(("a.png", png(60)), sex="F")


@pytest.fixture(scope="module")
def ours():
    with live(max_mebibytes=1, time_out=2.0) as made:
        yield made


@contextlib.contextmanager
def connected(ours):
    with socket.create_connection(("127.0.0.1", ours.port), 30) as connection:
        yield connection


def received(connection):
    """All that the server sends until it ends the connection, or resets it."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def works(ours):
    with connected(ours) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE)
        answer = received(connection)
    return answer.startswith(b"HTTP/1.1 200 ") and b"5 years" in answer.replace(b"60 months", b"5 years")


def test_a_body_without_end_is_refused_while_it_comes_and_the_reason_arrives(ours):
    with connected(ours) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent, answer = 0, []
        reader = threading.Thread(target=lambda: answer.append(received(connection)))
        reader.start()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            start = form(("a.png", png(60)))[:-8]
            connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
            while reader.is_alive() and sent < 1 << 34:
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                sent += 65536
        reader.join(30)
    assert answer[0].startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer[0].lower()
    assert b"/problems#too-large" in answer[0]
    assert works(ours)


def test_a_stated_length_is_refused_before_the_body_is_asked_for(ours):
    with connected(ours) as connection:
        connection.sendall(HEAD + b"Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_a_client_that_stalls_is_told_and_cut_off(ours):
    before = time.monotonic()
    with connected(ours) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE[:50])
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - before >= 2
    assert works(ours)


def test_a_client_that_leaves_costs_the_others_nothing(ours):
    for part in (HEAD, HEAD + b"Content-Length: 999\r\n\r\n" + WHOLE[:90], b"\0\xff" * 99, b"GET / HTTP/9.9\r\n\r\n"):
        with connected(ours) as connection:
            connection.sendall(part)
    with connected(ours) as connection:  # it does not wait for the answer
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE)
    assert works(ours)


@contextlib.contextmanager
def asking(ours, answers):
    """Clients whose requests have been accepted, and whose answers are put into a list."""

    def ask():
        with connected(ours) as connection:
            connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE)
            answers.append(received(connection))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    eventually(lambda: taken(ours) == 3)
    yield
    for client in clients:
        client.join(30)


def test_what_was_accepted_is_answered_when_the_server_ends():
    reader, answers = Reader(batch_size=1), []
    with live(reader, batch_size=1) as ours, reader.holding():
        with asking(ours, answers):
            ours.stop.wish()
            eventually(lambda: not listens(ours))
            assert answers == []
            reader.held.set()
        assert [answer[:13] for answer in answers] == [b"HTTP/1.1 200 "] * 3
        eventually(lambda: ours.said is not None)
    assert "3 radiographs read" in ours.said


def test_a_second_wish_ends_it_at_once():
    reader, answers = Reader(batch_size=1), []
    with live(reader, batch_size=1) as ours, reader.holding():
        with asking(ours, answers):
            ours.stop.wish()
            ours.stop.wish()
        assert [answer[:13] for answer in answers] == [b"HTTP/1.1 503 "] * 3
        reader.held.set()
        eventually(lambda: ours.said is not None)
    assert reader.calls == [1]


def taken(ours):
    connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=30)
    connection.request("GET", "/metrics", headers={"Connection": "close"})
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("boneage_requests_taken "):
            return float(line.split()[1])
    return None


def listens(ours):
    try:
        with connected(ours) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return received(connection).startswith(b"HTTP/1.1")
    except OSError:
        return False


def malformed(draw):
    """A body that no server can make use of, and its headers."""
    whole = draw.choice(PICTURES)
    cut = whole[: draw.randrange(1, int(len(whole) * 0.9))]
    body = form((f"{draw.random()}.png", cut), sex="F")
    kind = draw.randrange(6)
    if kind == 0:  # any bytes for the file
        body = form(("a.png", draw.randbytes(draw.randrange(3000))), sex="M")
    elif kind == 1:  # a form that is cut
        body = form(("a.png", whole), sex="F")
        body = body[: draw.randrange(len(body) - 4)]
    elif kind == 2:  # no form
        body = draw.randbytes(draw.randrange(3000))
    elif kind == 3:  # a field that makes no sense
        body = form(("a.png", whole), **{draw.choice(["sex", "chronological_age", "x"]): repr(draw.random()) + "?"})
    elif kind == 4:  # the signature of a picture, and nothing behind it
        body = form(("a.png", whole[:140] + draw.randbytes(draw.randrange(20))), sex="F")
    boundary = "XX" if draw.random() < 0.95 else draw.choice(["", "YY", 200 * "Z"])
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


NOISE = np.random.default_rng(0).integers(0, 255, (300, 200)).astype(np.uint8)
PICTURES = (
    images.encode(NOISE, "png"),
    images.encode(NOISE, "jpeg"),
    written(dataset(grey(60, (300, 200)).astype(np.uint16))),
)


def resident():
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.engine
def test_a_thousand_malformed_uploads_are_refused_and_leave_nothing_behind():
    draw = random.Random(7)
    with live(Reader(), max_mebibytes=1, time_out=30.0) as ours:
        statuses, before, kinds = [], 0, set()
        connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
        for number in range(1000):
            if number == 200:
                before = resident()
            body, headers = malformed(draw)
            connection.request("POST", ASSESSMENTS, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            assert b"Traceback" not in text
            statuses.append(answer.status)
            kinds.add(answer.headers["content-type"])
            if answer.headers.get("connection") == "close":
                connection.close()
        grown = resident() - before
        assert works(ours)
    assert set(statuses) <= {400, 415, 422}
    assert len(set(statuses)) == 3
    assert kinds == {"application/problem+json"}
    assert grown < 32 << 20, f"{grown >> 20} MiB more after 800 uploads"
