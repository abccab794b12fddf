"""Faults, and how a scenario is taken through one of them: disturbed, started again, held against the undisturbed."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from tests.faults import compare, execute
from tests.faults.scenarios import BY_NAME, Scenario, lay_out

SURVIVED, REFUSED, LOST, SKIPPED = "survived", "refused", "LOST", "skipped"
"""How a fault ended: the same command came to the undisturbed result; or it said what to mend, and did so after that;
or neither."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a scenario came through a fault.

    Attributes:
      scenario: name of the command.
      fault: for people.
      faults: how often it struck.
      verdict: `SURVIVED`, `REFUSED`, `LOST` or `SKIPPED`.
      note: what the command said, or what differs.
      seconds: that all of it took.
    """

    scenario: str
    fault: str
    faults: int
    verdict: str
    note: str = ""
    seconds: float = 0.0


class Lost(Exception):
    """A fault was not survived; says why."""


class Skipped(Exception):
    """A fault cannot be had here; says why."""


class Campaign:
    """Undisturbed results, and the folders of disturbed ones.

    Attributes:
      place: folder of everything.
    """

    def __init__(self, place: pathlib.Path):
        self.place = place
        self._results: dict[str, dict[str, str]] = {}
        self._seconds: dict[str, float] = {}

    def undisturbed(self, name: str) -> pathlib.Path:
        """Returns the folder in which a scenario has run undisturbed; runs it where it has not."""
        scenario, place = BY_NAME[name], self.place / "undisturbed" / name.replace(" ", "-")
        if not (place / "done").exists():
            self.lay_out(scenario, place)
            begun = time.monotonic()
            running = execute.start(scenario.arguments, place, place / "log")
            if not running.wait() or running.status != 0:
                raise RuntimeError(f"{name}, undisturbed: exit status {running.status}\n{running.said()[-3000:]}")
            (place / "done").write_text(f"{time.monotonic() - begun}\n")
        self._seconds[name] = float((place / "done").read_text())
        return place

    def lay_out(self, scenario: Scenario, place: pathlib.Path) -> None:
        """Makes a command's folder with all that it reads."""
        lay_out(scenario, place, self.undisturbed)
        execute.asked(scenario.prepare, place, folder=self.place)

    def result(self, name: str) -> dict[str, str]:
        """Returns the digests of a scenario's undisturbed result."""
        if name not in self._results:
            self._results[name] = self.digests(BY_NAME[name], self.undisturbed(name))
        return self._results[name]

    def digests(self, scenario: Scenario, place: pathlib.Path, but: tuple[str, ...] = ()) -> dict[str, str]:
        """Returns the digests of what a scenario has written in a folder; without files that match `but`."""
        left_out = (*scenario.incomparable, *but)
        found: dict[str, str] = execute.asked(compare.digests, place / "out", left_out, folder=self.place)
        return found

    def strike(self, scenario: Scenario, fault: Fault, draw: random.Random) -> Outcome:
        """Takes a scenario through a fault.

        Args:
          scenario: the command.
          fault: what befalls it.
          draw: of moments and places.
        """
        begun = time.monotonic()
        place = self.place / "disturbed" / re.sub(r"[^\w.%]+", "-", f"{scenario.name}-{fault.name}")
        attempt = Attempt(self, scenario, place, draw)
        try:
            self.result(scenario.name)
            begun = time.monotonic()
            self.lay_out(scenario, place)
            note = fault.befall(attempt)
            attempt.ends_well()
            verdict = REFUSED if attempt.refusals else SURVIVED
            note = note or "; ".join(attempt.refusals)
        except Skipped as error:
            verdict, note = SKIPPED, str(error)
        except Lost as error:
            verdict, note = LOST, str(error)
        finally:
            attempt.clear()
        if verdict != LOST:
            shutil.rmtree(place, ignore_errors=True)
        return Outcome(scenario.name, fault.name, attempt.struck, verdict, note, round(time.monotonic() - begun, 1))


class Attempt:
    """One scenario in one folder, on its way through a fault.

    Attributes:
      scenario: the command.
      place: its folder.
      draw: of moments and places.
      struck: how often the fault has struck.
      refusals: messages by which the command has refused to go on.
      ignored: patterns of files that are not compared.
    """

    def __init__(self, campaign: Campaign, scenario: Scenario, place: pathlib.Path, draw: random.Random):
        self.scenario, self.place, self.draw = scenario, place, draw
        self.struck, self.refusals = 0, list[str]()
        self.ignored: tuple[str, ...] = ()
        self._campaign, self._clear = campaign, contextlib.ExitStack()
        self._finished: dict[str, tuple[int, int]] = {}
        self._number = 0

    @property
    def out(self) -> pathlib.Path:
        """The folder that the command writes to."""
        return self.place / "out"

    @property
    def seconds(self) -> float:
        """Time that the command takes undisturbed."""
        return self._campaign._seconds[self.scenario.name]

    def undisturbed(self) -> pathlib.Path:
        """Returns the folder of the undisturbed result."""
        return self._campaign.undisturbed(self.scenario.name)

    def start(self, prefix: tuple[str, ...] = ()) -> execute.Running:
        """Starts the command: as a new program behind `prefix`, where one is given."""
        self._number += 1
        log = self.place / f"log-{self._number}"
        if prefix:
            return execute.start_program(self.scenario.arguments, self.place, log, prefix)
        return execute.start(self.scenario.arguments, self.place, log)

    def note_finished(self) -> None:
        """Notes the finished work that lies there; whatever of it was noted before must not have been done again."""
        now = {}
        for pattern in self.scenario.finished:
            for path in self.out.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    now[path.relative_to(self.out).as_posix()] = (stat.st_ino, stat.st_mtime_ns)
        again = [name for name, was in self._finished.items() if name in now and now[name][0] != was[0]]
        if again:
            raise Lost(f"finished work was done again: {', '.join(sorted(again)[:5])}")
        self._finished = {**self._finished, **now}

    def forget(self, path: pathlib.Path) -> None:
        """Lets a file be made again, as one that was damaged."""
        name = path.relative_to(self.place).as_posix().removeprefix("out/")
        self._finished = {one: was for one, was in self._finished.items() if not name.startswith(one)}

    def must_refuse(self, running: execute.Running, *, words: str = "") -> None:
        """Checks that a command has ended with a message that one can act on, and status 2 or 77."""
        ended = running.wait()
        if not ended:
            running.end(signal.SIGKILL)
            raise Lost("it hangs")
        message = _message(running)
        if running.status not in (2, 77) or not message or "Traceback" in running.said():
            raise Lost(f"exit status {running.status}, no message alone: {_last_line(running)}")
        if words not in message:
            raise Lost(f"the message does not name {words}: {message}")
        self.refusals.append(message)

    def ends_well(self) -> None:
        """Starts the command as it was given, to its end, and holds what it wrote against the undisturbed result."""
        running = self.start()
        if not running.wait():
            running.end(signal.SIGKILL)
            raise Lost("started again, it hangs")
        if running.status != 0:
            raise Lost(f"started again: exit status {running.status}: {_last_line(running)}")
        self.is_undisturbed()

    def is_undisturbed(self) -> None:
        """Raises `Lost` where the result is another than the undisturbed one, or anything half-written is left."""
        self.note_finished()
        try:
            found = self._campaign.digests(self.scenario, self.place, but=self.ignored)
        except RuntimeError as error:
            raise Lost(f"the result cannot be read: {str(error).strip().splitlines()[-1][:300]}") from error
        wanted = {
            name: digest
            for name, digest in self._campaign.result(self.scenario.name).items()
            if not any(fnmatch.fnmatchcase(name, one) for one in self.ignored)
        }
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if differing:
            raise Lost(f"another result: {', '.join(differing[:5])}")
        if left := compare.half_written(self.out):
            raise Lost(f"left half-written: {', '.join(left[:5])}")

    def mounted(self, size: int) -> None:
        """Makes `out` a file system of its own, of so many bytes. Raises `Skipped` where that cannot be done."""
        self.out.mkdir(exist_ok=True)
        self.remount = self._mount
        self._mount(f"size={size}", first=True)
        self._clear.callback(subprocess.run, ["umount", "--lazy", str(self.out)], check=False)

    def _mount(self, options: str, *, first: bool = False) -> None:
        what = ["-t", "tmpfs", "-o", options, "tmpfs"] if first else ["-o", f"remount,{options}"]
        done = subprocess.run(["mount", *what, str(self.out)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skipped(f"no file system can be mounted here ({done.stderr.strip()})")

    def clear(self) -> None:
        """Takes away what was mounted."""
        self._clear.close()


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something that befalls a command.

    Attributes:
      name: for people.
      befall: has it befall an attempt; returns a note.
    """

    name: str
    befall: Callable[[Attempt], str]


def _message(running: execute.Running) -> str:
    """The message of a command that refuses to go on."""
    _, begins, message = ("\n" + running.said().replace("\r", "\n")).rpartition("\nboneage: ")
    return message.strip()[:1000] if begins else ""


def _last_line(running: execute.Running) -> str:
    lines = [line for line in running.said().replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


# ---- ended ---------------------------------------------------------------------------------------------------------


def killed(times: int, number: int = signal.SIGKILL) -> Fault:
    """The command is ended at random moments, one time after the other, in the same folder."""

    def befall(attempt: Attempt) -> str:
        at = []
        for _ in range(times):
            running = attempt.start()
            moment = attempt.draw.uniform(0.05, 0.9) * attempt.seconds
            if running.wait(seconds=moment):
                break  # so little was left to do
            running.end(number)
            if number == signal.SIGTERM and running.status not in (-signal.SIGTERM, 75):
                raise Lost(f"ended with status {running.status}: {_last_line(running)}")
            attempt.struck += 1
            attempt.note_finished()
            at.append(f"{moment:.1f}")
        if not attempt.struck:
            raise Skipped("it ended before")
        return f"after {', '.join(at)} s of {attempt.seconds:.1f} s"

    return Fault(signal.Signals(number).name, befall)


def killed_while_writing(times: int) -> Fault:
    """The command is killed at the moment that a name appears which only something half-written has."""

    def befall(attempt: Attempt) -> str:
        if not attempt.scenario.names:
            raise Skipped("nothing is written for long")
        seen: list[str] = []
        for _ in range(times):
            # The first of such names; later a drawn number of them goes by.
            skip, known = attempt.draw.randrange(4) if attempt.struck else 0, set[str]()

            def appeared(known: set[str] = known, skip: int = skip) -> bool:
                known.update(str(path) for path in _seen(attempt.out, attempt.scenario.names))
                if len(known) > skip:
                    seen.append(attempt.draw.choice(sorted(known)))
                    return True
                return False

            running = attempt.start()
            if running.wait(appeared):
                break
            running.end(signal.SIGKILL)
            attempt.struck += 1
            attempt.note_finished()
        if not attempt.struck:
            raise Skipped("no such name was seen")
        return "at " + ", ".join(sorted({_kind_of(pathlib.Path(path).name) for path in seen}))

    return Fault("SIGKILL while writing", befall)


def _seen(folder: pathlib.Path, patterns: Sequence[str]) -> list[pathlib.Path]:
    """What matches one of some patterns, while others write there."""
    try:
        return [path for pattern in patterns for path in folder.glob(pattern)]
    except FileNotFoundError:  # gone between two looks
        return []


def _kind_of(name: str) -> str:
    return next((half for half in compare.HALF if fnmatch.fnmatchcase(name, half)), name)


def worker_killed() -> Fault:
    """One of the command's own processes is killed."""

    def befall(attempt: Attempt) -> str:
        name, found = attempt.scenario.name, list[int]()

        def has_workers() -> bool:
            begun = name == "sweep" and not _seen(attempt.out, ("trials/*/checkpoints/[0-9]*",))
            if not begun:
                found[:] = [pid for pid in running.descendants() if _is_worker(pid, name)]
            return bool(found)

        running = attempt.start()
        if running.wait(has_workers):
            raise Skipped("it ended before any process of its own could be killed")
        with contextlib.suppress(ProcessLookupError):
            os.kill(found[-1], signal.SIGKILL)
        attempt.struck += 1
        if name == "sweep":  # its training lives on without it, while the same command starts
            running.wait()
            return f"of {len(found)}; its training lived on"
        if running.wait() and running.status == 0:
            return "the others did its work"
        attempt.must_refuse(running)
        return ""

    return Fault("a worker process is killed", befall)


def _is_worker(pid: int, scenario: str) -> bool:
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return (b"\0work\0" if scenario == "sweep" else b"spawn_main") in words


# ---- places that cannot be written ---------------------------------------------------------------------------------


def disk_full(share: float) -> Fault:
    """The file system that is written to holds a part of the result; then there is room."""

    def befall(attempt: Attempt) -> str:
        size = sum(path.stat().st_size for path in (attempt.undisturbed() / "out").rglob("*") if path.is_file())
        attempt.mounted(max(8192, int(size * share)))
        running = attempt.start()
        if running.wait() and running.status == 0:
            raise Skipped("all of it had room")
        attempt.must_refuse(running, words="out")
        attempt.struck += 1
        attempt.note_finished()
        attempt.remount(f"size={max(8 * size, 64 << 20)}")
        return ""

    return Fault(f"disk full at {share:.0%} of the result", befall)


def read_only() -> Fault:
    """The file system that is written to becomes read-only between an interruption and the next start."""

    def befall(attempt: Attempt) -> str:
        attempt.mounted(256 << 20)
        running = attempt.start()
        if not running.wait(seconds=attempt.draw.uniform(0.2, 0.8) * attempt.seconds):
            running.end(signal.SIGKILL)
        attempt.note_finished()
        attempt.remount("ro")
        attempt.must_refuse(attempt.start(), words="out")
        attempt.struck += 1
        attempt.remount("rw")
        return ""

    return Fault("read-only folder", befall)


# ---- damage --------------------------------------------------------------------------------------------------------


def _flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(8):
        changed[draw.randrange(len(changed))] ^= 0xFF
    return bytes(changed)


HOW: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": _flipped,
    "truncated": lambda data, draw: data[: draw.randrange(1, max(2, len(data)))],
    "emptied": lambda data, draw: b"",
}
"""Kinds of damage."""


def damaged(pattern: str, how: str, *, interrupted: bool = False) -> Fault:
    """A file is damaged between the command's end, or an interruption, and the next start.

    The command ends with the undisturbed result all the same, or says what is wrong with which file; then the file is
    as it was, and the command ends with the undisturbed result.
    """

    def befall(attempt: Attempt) -> str:
        path = _interrupted(attempt, pattern) if interrupted else _ended(attempt, pattern)
        attempt.note_finished()
        whole = path.read_bytes()
        path.write_bytes(HOW[how](whole, attempt.draw))
        attempt.struck += 1
        attempt.forget(path)
        if irreplaceable := [one for one in attempt.scenario.lost_with_it if path.match(one)]:
            attempt.ignored = tuple(irreplaceable)
        running = attempt.start()
        if running.wait() and running.status == 0:
            attempt.is_undisturbed()
            return "its own content stays lost" if irreplaceable else "made again, or not needed"
        attempt.must_refuse(running)
        # Of records, the folder or the fingerprint.
        named = (path.name, path.parent.name, path.parts[-3], "the data: found fingerprint")
        if not any(part in attempt.refusals[-1] for part in named):
            raise Lost(f"the message does not name the file: {attempt.refusals[-1]}")
        path.write_bytes(whole)
        return ""

    return Fault(f"{pattern.removeprefix('out/')} {how}", befall)


def _ended(attempt: Attempt, pattern: str) -> pathlib.Path:
    """Puts the undisturbed result there; returns a file of it."""
    shutil.copytree(attempt.undisturbed() / "out", attempt.out)
    return _found(attempt, pattern)


def _interrupted(attempt: Attempt, pattern: str) -> pathlib.Path:
    """Kills the command once such a file and some finished work are there; returns that file."""

    def there() -> bool:
        begun = _seen(attempt.out, attempt.scenario.finished) or time.monotonic() - begun_at > attempt.seconds / 2
        return bool(begun) and any(path.stat().st_size for path in _seen(attempt.place, (pattern,)))

    begun_at = time.monotonic()
    running = attempt.start()
    if running.wait(there):
        raise Skipped("it ended before")
    running.end(signal.SIGKILL)
    return _found(attempt, pattern)


def _found(attempt: Attempt, pattern: str) -> pathlib.Path:
    """The largest of such files; of the newest checkpoint, where it is one of them: work goes on from that."""
    found = [path for path in attempt.place.glob(pattern) if path.is_file() and path.stat().st_size]
    if not found:
        raise Skipped("no such file was seen")
    return max(found, key=lambda path: (_step_of(path), path.stat().st_size, path.name))


def _step_of(path: pathlib.Path) -> int:
    parts = path.parts
    return int(parts[parts.index("checkpoints") + 1]) if "checkpoints" in parts else 0


# ---- clock, two starters, memory -----------------------------------------------------------------------------------


def clock_jumps(offset: str) -> Fault:
    """The command begins under another date, is killed, and goes on under this one."""

    def befall(attempt: Attempt) -> str:
        if shutil.which("faketime") is None:
            raise Skipped("no faketime (Debian: faketime)")
        prefix = ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", offset)
        running = attempt.start(prefix=prefix)

        def begun() -> bool:
            return bool(_seen(attempt.out, attempt.scenario.finished))

        if running.wait(begun):
            return "it ended under the other date"
        running.end(signal.SIGKILL)
        attempt.struck += 1
        attempt.note_finished()
        return ""

    return Fault(f"clock {offset}, then right", befall)


def two_starters() -> Fault:
    """The same command is started twice at once: one does the work; the other waits, does nothing, or says so."""

    def befall(attempt: Attempt) -> str:
        both = [attempt.start(), attempt.start()]
        attempt.struck += 1
        for running in both:
            if not running.wait():
                running.end(signal.SIGKILL)
                raise Lost("one of them hangs")
        statuses = [running.status for running in both]
        if 0 not in statuses:
            raise Lost(f"neither got there: exit statuses {statuses}: {_last_line(both[0])}; {_last_line(both[1])}")
        for running in both:
            if running.status != 0:
                attempt.must_refuse(running)
        attempt.is_undisturbed()
        return f"exit statuses {statuses[0]} and {statuses[1]}"

    return Fault("two starters at once", befall)


def memory_limit(size: str) -> Fault:
    """The command may have so much address space, and says so before libraries end it; then it may have all."""

    def befall(attempt: Attempt) -> str:
        if shutil.which("prlimit") is None:
            raise Skipped("no prlimit")
        running = attempt.start(prefix=("prlimit", f"--as={size}"))
        attempt.struck += 1
        if running.wait() and running.status == 0:
            raise Skipped("it needs no more")
        if "ulimit -v" not in running.said():
            raise Lost(f"exit status {running.status}, the limit is not named: {_last_line(running)}")
        attempt.refusals.append(f"exit status {running.status}: {_message(running)}")
        attempt.note_finished()
        return ""

    return Fault(f"memory limit {int(size) >> 20} MiB", befall)


def faults_of(scenario: Scenario, kills: int) -> Iterator[Fault]:
    """Yields all faults of a scenario.

    Args:
      scenario: the command.
      kills: at random moments.
    """
    yield killed(kills)
    yield killed(1, signal.SIGTERM)
    yield killed_while_writing(3)
    for share in (0.05, 0.4, 0.8):
        yield disk_full(share)
    yield read_only()
    for how in HOW:
        yield from (damaged(pattern, how) for pattern in scenario.damaged)
        yield from (damaged(pattern, how, interrupted=True) for pattern in scenario.damaged_between)
    yield clock_jumps("-400d")
    yield clock_jumps("+400d")
    yield two_starters()
    yield memory_limit(str(3 << 29))
    if scenario.has_workers:
        yield worker_killed()
