"""All that needs a GPU, measured in one go of less than 8 minutes: what to carry and where numbers go says GPU.md.

    python -m benchmarks.gpu --out results
    python -m benchmarks.gpu --out results --sections m46,resume --limit 200
    JAX_PLATFORMS=cpu python -m benchmarks.gpu --out results --tiny          # rehearsal on a CPU: says nothing of speed

Sections run in order of value, each in a process of its own with a time limit of its own: one that crashes, hangs or
runs out of memory ends by itself. `gpu.json` and `gpu.md` are written anew after every figure, so a run that is cut
keeps what it has; `gpu.log` holds what the sections' programs said.

Exit status: 0 where all sections ended well, 1 where one did not, 2 for bad options, 130 where the run was cut.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from benchmarks.common import hardware, versions
from benchmarks.gpu_report import NO_GPU
from boneage_jax import __version__
from boneage_jax.errors import UserError
from boneage_jax.files import check_writable, write_text

ROOT = pathlib.Path(__file__).parents[1]

LIMIT = 465.0
"""Seconds of the whole kit: a little less than 8 minutes, start and end included."""

LEAST = 10.0
"""Seconds without which a section is not started: it would not get through its imports."""

_SLOWER = 4
"""How much longer a rehearsal may take: compilers have a few cores of a CPU there, and others beside them."""

_WAITING = "not started"

_POLL = 0.2
"""Seconds after which a silent section is looked after."""

_ON_DEMAND = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the kit.

    Attributes:
      name: for `--sections`.
      title: what it measures, for people.
      seconds: its limit.
      environment: variables of its process.
      cached: whether compiled programs are kept for later sections.
    """

    name: str
    title: str
    seconds: float
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cached: bool = True


SECTIONS = (
    Section("devices", "Devices, versions, ceilings", 45, cached=False),
    # Three processes share the memory here, and two in `resume`: JAX takes what it needs, not three quarters of it all.
    Section("m46", "Training step of m46, 500 x 375, bfloat16, against PyTorch", 80, _ON_DEMAND),
    Section("resnet50", "Training step of ResNet-50, 500 x 375, bfloat16, against PyTorch", 95, _ON_DEMAND),
    Section("data", "Phantoms for the sections below, built on the host", 75, {"JAX_PLATFORMS": "cpu"}),
    # A resumed run compiles anew: with kept programs the same one would be compared with itself.
    Section("resume", "A run stopped and resumed against an unbroken one", 70, _ON_DEMAND, cached=False),
    Section("predict", "From a radiograph's file to an age, shipped networks", 50),
    Section("hand", "The hand pipeline, shipped networks, radiographs in memory", 40),
    Section("phantoms", "Phantoms drawn, image and all truth", 50),
    Section("largest", "Largest batch, 500 x 375, bfloat16", 60, {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}),
    Section("train", "The tiny config, trained for up to two minutes", 125),
)
"""In order of value: a run that is cut loses the last ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs sections, one after the other, and prints the tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu"), help="folder of the results")
    names = ",".join(section.name for section in SECTIONS)
    parser.add_argument("--sections", default=names, help=f"some of {names}; they run in this order")
    parser.add_argument(
        "--limit", type=float, default=0.0, help=f"seconds of everything together (default: {LIMIT:.0f})"
    )
    parser.add_argument("--tiny", action="store_true", help="sizes of a rehearsal on a CPU")
    options = parser.parse_args(arguments)
    try:
        chosen = choose(options.sections)
        check_writable(options.out)
    except UserError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return error.exit_status
    results = Results(options.out, chosen, tiny=options.tiny)
    with _kept_until_cut(), tempfile.TemporaryDirectory(prefix="boneage-gpu-") as scratch:
        try:
            limit = options.limit or LIMIT * (_SLOWER if options.tiny else 1)
            run(chosen, results, pathlib.Path(scratch), limit=limit, tiny=options.tiny)
        except KeyboardInterrupt:
            results.end_cut()
            print(results.markdown())
            return 130
    print(results.markdown())
    return 0 if results.is_well() else 1


def choose(names: str) -> list[Section]:
    """Returns the sections of a list of names, in order of value. Raises `UserError` for unknown ones."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [section.name for section in SECTIONS]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise UserError(f"--sections: found {', '.join(unknown) or 'none'}, expected some of {', '.join(known)}")
    chosen = [section for section in SECTIONS if section.name in wanted]
    if {"resume", "predict", "hand", "train"} & set(wanted) and "data" not in wanted:
        chosen.append(next(section for section in SECTIONS if section.name == "data"))
    return sorted(chosen, key=lambda section: known.index(section.name))


class Results:
    """What was found so far, in files that are always whole.

    Args:
      folder: of `gpu.json`, `gpu.md` and `gpu.log`.
      chosen: sections that are to run.
      tiny: whether this is a rehearsal.
    """

    def __init__(self, folder: pathlib.Path, chosen: Sequence[Section], *, tiny: bool):
        self.log = folder / "gpu.log"
        self.log.write_bytes(b"")
        self._folder = folder
        self._titles = {section.name: section.title for section in chosen}
        self.found: dict[str, Any] = {
            "boneage_jax": __version__,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "rehearsal": tiny,
            "host": hardware(),
            "versions": versions("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch"),
            "seconds": 0.0,
            "sections": {
                section.name: {"status": _WAITING, "reason": "", "seconds": 0.0, "rows": []} for section in chosen
            },
        }
        self._start = time.monotonic()
        self.write()

    def seconds(self) -> float:
        """Returns the seconds since the start."""
        return time.monotonic() - self._start

    def set(self, section: str, **facts: Any) -> None:
        """Changes what is known of a section, and writes the files."""
        self.found["sections"][section].update(facts)
        self.write()

    def end_cut(self) -> None:
        """Marks the section that was under way as cut."""
        for name, facts in self.found["sections"].items():
            if facts["status"] == "running":
                self.set(name, status="cut", reason="the run was told to stop")

    def skip_rest(self, reason: str) -> None:
        """Marks the sections that were not started as skipped."""
        for name, facts in self.found["sections"].items():
            if facts["status"] == _WAITING:
                self.set(name, status="skipped", reason=reason)

    def is_well(self) -> bool:
        """Returns whether all sections ended well."""
        return all(facts["status"] == "ok" for facts in self.found["sections"].values())

    def write(self) -> None:
        """Writes `gpu.json` and `gpu.md`, each whole or not at all."""
        self.found["seconds"] = round(self.seconds(), 1)
        write_text(self._folder / "gpu.json", json.dumps(self.found, indent=1) + "\n")
        write_text(self._folder / "gpu.md", self.markdown())

    def markdown(self) -> str:
        """Returns all of it as Markdown."""
        found = self.found
        lines = [f"boneage-jax {found['boneage_jax']}, {found['started']}, {found['host']}; {found['versions']}", ""]
        if found["rehearsal"]:
            lines += ["A rehearsal with tiny sizes: no figure of it says how fast anything is.", ""]
        summary = [
            {"section": name, "seconds": facts["seconds"], "outcome": ": ".join(filter(None, _outcome(facts)))}
            for name, facts in found["sections"].items()
        ]
        lines += [*table(summary), ""]
        for name, facts in found["sections"].items():
            if facts["rows"]:
                lines += [f"### {self._titles[name]} (`{name}`)", "", *table(facts["rows"]), ""]
        return "\n".join(lines)


def _outcome(facts: Mapping[str, Any]) -> tuple[str, str]:
    return facts["status"], facts["reason"]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the lines of a Markdown table; its columns are the rows' keys, in the order in which they first come."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    body = [[_cell(row.get(column, "")) for column in columns] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in [columns, ["---"] * len(columns), *body]]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def run(chosen: Sequence[Section], results: Results, scratch: pathlib.Path, *, limit: float, tiny: bool) -> None:
    """Runs sections, each as long as its own limit and that of the whole allow."""
    for section in chosen:
        seconds = min(section.seconds * (_SLOWER if tiny else 1), limit - results.seconds())
        if seconds < LEAST:
            results.set(section.name, status="skipped", reason=f"too little was left of {limit:.0f} s")
            continue
        print(f"{results.seconds():5.0f} s  {section.name}, at most {seconds:.0f} s", file=sys.stderr, flush=True)
        command = [
            sys.executable, "-m", "benchmarks.gpu_sections", section.name, "--scratch", str(scratch),
            "--seconds", f"{seconds:.1f}", *(["--tiny"] if tiny else []),
        ]  # fmt: skip
        status = run_one(section, command, results, seconds=seconds, environment=_environment(section, scratch))
        if status == NO_GPU:
            results.skip_rest("there is no accelerator")
            return


def _environment(section: Section, scratch: pathlib.Path) -> dict[str, str]:
    environment = {**os.environ, **section.environment}
    # The checkout need not be installed.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        environment.pop(name, None)
    if section.cached:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(scratch / "compiled")
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return environment


def run_one(
    section: Section, command: Sequence[str], results: Results, *, seconds: float, environment: Mapping[str, str]
) -> int | None:
    """Runs a section's program and keeps the rows it reports as they come; returns its exit status, None if killed.

    Args:
      section: that it is.
      command: prints JSON lines on standard output: `{"rows": [...]}`, all rows so far, or `{"failed": "why"}`.
      results: where it all goes.
      seconds: after which it is killed, with all processes that it started.
      environment: of the program.
    """
    start = time.monotonic()
    results.set(section.name, status="running", limit=seconds)
    failed, returned = "", None
    with results.log.open("ab") as log:
        log.write(f"==== {section.name}\n".encode())
        log.flush()
        begin = log.tell()
        # A session of its own, so that nothing it started outlives it.
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=dict(environment), cwd=ROOT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            status, reason = "timed out", f"after {seconds:.0f} s"
            for message in _messages(child, until=start + seconds):
                if message is None:
                    returned = child.wait()
                    status, reason = ("ok", "") if returned == 0 else ("failed", failed)
                    if status == "failed" and not reason:
                        reason = f"{_ending(returned)}; {_last_line(results.log, begin)}"
                    break
                failed = message.get("failed", failed)
                if "rows" in message:
                    results.set(section.name, rows=message["rows"], seconds=round(time.monotonic() - start, 1))
        finally:
            _kill(child)
    results.set(section.name, status=status, reason=reason, seconds=round(time.monotonic() - start, 1))
    return returned


def _messages(child: subprocess.Popen[str], *, until: float) -> Iterator[dict[str, Any] | None]:
    """Yields what a child says, and None once it has ended; stops at a moment of `time.monotonic`."""
    said: queue.Queue[str | None] = queue.Queue()
    assert child.stdout is not None

    def listen(stream: TextIO) -> None:
        for line in stream:
            said.put(line)
        said.put(None)

    threading.Thread(target=listen, args=(child.stdout,), daemon=True).start()
    gone = False
    while (left := until - time.monotonic()) > 0:
        try:
            line = said.get(timeout=min(_POLL, left))
        except queue.Empty:
            # Processes that it started may hold its output open when it is gone; what it said last comes once more.
            if not gone:
                gone = child.poll() is not None
                continue
            line = None
        if line is not None:
            yield json.loads(line)
            continue
        try:
            child.wait(left)
        except subprocess.TimeoutExpired:
            return
        yield None


def _kill(child: subprocess.Popen[str]) -> None:
    """Ends a child and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _ending(returned: int) -> str:
    return f"ended by {signal.Signals(-returned).name}" if returned < 0 else f"exit status {returned}"


def _last_line(log: pathlib.Path, begin: int) -> str:
    """The last line that a section wrote to the log."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")


@contextlib.contextmanager
def _kept_until_cut() -> Iterator[None]:
    """Makes SIGTERM end the run as Ctrl-C does, so that the section under way is ended and marked."""

    def cut(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, cut)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
