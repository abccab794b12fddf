"""Time for a request to `boneage serve http` while several clients ask at once, and whether all are answered.

    boneage serve http --port 8000 &
    python -m benchmarks.serve_load http://127.0.0.1:8000 hand.png [--clients 8] [--requests 200]

Each client sends its next request when its last one is answered. One that is told that the server is busy waits as long
as it is told, and sends it again; the time counts from the first time.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import http.client
import itertools
import json
import pathlib
import threading
import time
import urllib.parse
from collections.abc import Sequence

import numpy as np

from benchmarks.common import hardware, versions

_BOUNDARY = "boneage-benchmark"
_BUSY = 503


@dataclasses.dataclass(frozen=True)
class Answered:
    """A request and what came of it.

    Attributes:
      picture: number of the picture that was sent.
      status: of HTTP.
      seconds: from its beginning to the whole answer.
      months: bone age; None for none.
      refused: how often the server was busy.
    """

    picture: int
    status: int
    seconds: float
    months: float | None
    refused: int


def load(address: str, pictures: Sequence[bytes], *, clients: int, requests: int, sex: str = "F") -> list[Answered]:
    """Returns what came of each request.

    Args:
      address: of the server, as in `http://127.0.0.1:8000`.
      pictures: files, sent in turn.
      clients: that ask at once.
      requests: in all.
      sex: of the children.
    """
    place = urllib.parse.urlsplit(address)
    numbers, lock = itertools.count(), threading.Lock()

    def client(_: int) -> list[Answered]:
        answers: list[Answered] = []
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=600)
        while True:
            with lock:
                number = next(numbers)
            if number >= requests:
                connection.close()
                return answers
            answers.append(_ask(connection, number % len(pictures), pictures[number % len(pictures)], sex))

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return [answer for answers in pool.map(client, range(clients)) for answer in answers]


def _ask(connection: http.client.HTTPConnection, number: int, picture: bytes, sex: str) -> Answered:
    disposition = "Content-Disposition: form-data; name="
    body = (
        f'--{_BOUNDARY}\r\n{disposition}"sex"\r\n\r\n{sex}\r\n'
        f'--{_BOUNDARY}\r\n{disposition}"file"; filename="{number}"\r\n\r\n'
    ).encode() + picture
    body += f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "Accept": "application/json"}
    began, refused = time.perf_counter(), 0
    while True:
        connection.request("POST", "/api/v1/assessments", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != _BUSY:
            break
        refused += 1
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    seconds = time.perf_counter() - began
    months = None
    if answer.status == 200:
        age = json.loads(content)["radiographs"][0]["bone_age"]
        months = age["months"] if age else None
    return Answered(number, answer.status, seconds, months, refused)


def main() -> None:
    """Asks and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("pictures", type=pathlib.Path, nargs="+")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    pictures = [path.read_bytes() for path in options.pictures]
    began = time.perf_counter()
    answers = load(options.address, pictures, clients=options.clients, requests=options.requests)
    seconds = time.perf_counter() - began
    times = np.array([one.seconds for one in answers])
    print(versions("boneage-jax", "jax", "starlette", "uvicorn"), hardware(), sep="\n")
    print(f"{len(answers)} answers to {options.requests} requests of {options.clients} clients in {seconds:.1f} s")
    print("statuses", dict(collections.Counter(one.status for one in answers)))
    print("busy", sum(one.refused for one in answers))
    print(f"p50 {np.percentile(times, 50):.2f} s, p99 {np.percentile(times, 99):.2f} s, longest {times.max():.2f} s")


if __name__ == "__main__":
    main()
