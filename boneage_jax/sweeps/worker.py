"""One worker of a sweep: takes trials until there are none, each an ordinary `boneage train` in its own process."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType

from boneage_jax.errors import EXIT_FINAL, EXIT_IN_USE, EXIT_SAVED, reason
from boneage_jax.sweeps.study import LEASE_SECONDS, Claim, Folder, optuna_here
from boneage_jax.train.logs import scalars_of

BONEAGE = (sys.executable, "-m", "boneage_jax.cli")
_LOOK_SECONDS = 0.5
"""Time between two looks at a trial; chosen by eye."""


class Worker:
    """Takes trials, watches them, tells the study.

    Attributes:
      name: of this worker, for people.
    """

    def __init__(self, folder: Folder, *, lease: float = LEASE_SECONDS):
        """Prepares to work.

        Args:
          folder: of the sweep.
          lease: see `Folder.claim`.
        """
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._folder, self._lease = folder, lease
        self._stopped = threading.Event()
        self._running: subprocess.Popen[str] | None = None

    def work(self) -> int:
        """Works until all trials have ended; returns the exit status: 0, or 75 where a signal has stopped it."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._stop)
        while not self._stopped.is_set():
            claim = self._folder.claim(self.name, self._lease)
            if claim == "done":
                return 0
            if claim == "wait":
                # Who works on them may be lost.
                self._stopped.wait(min(5.0, self._lease / 2))
                continue
            assert isinstance(claim, Claim)
            self._try(claim)
        return EXIT_SAVED

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped.set()
        running = self._running
        if running is not None and running.poll() is None:
            running.send_signal(signal.SIGUSR1)

    def _try(self, claim: Claim | None) -> None:
        """Trains a trial, once more where it fails, and tells the study how it ended."""
        states = optuna_here().trial.TrialState
        while claim is not None:
            self._say(claim, f"attempt {claim.attempt}: " + ", ".join(f"{k}={v}" for k, v in claim.values.items()))
            status, pruned = self._train(claim)
            study = self._folder.study()
            if pruned:
                study.tell(claim.number, state=states.PRUNED)
                self._say(claim, "given up early")
                return
            if status == 0:
                best = self._best(claim.number)
                if best is None:
                    self._folder.fail(study, claim.number, f"no {self._folder.metric} in its metrics.jsonl")
                    return
                study.tell(claim.number, best)
                self._say(claim, f"{self._folder.metric} {best:.4g}")
                return
            if self._stopped.is_set() or status == EXIT_SAVED:
                self._stopped.set()
                self._folder.release(claim)
                self._say(claim, "saved, to go on later")
                return
            if status == EXIT_IN_USE:  # no failure of this trial: nothing was tried
                self._say(claim, "its training, begun by a worker that is gone, is still under way; waiting for it")
                self._folder.keep(claim)
                self._stopped.wait(self._lease / 2)
                continue
            why = f"exit status {status}: {_last_words(self._folder.log(claim.number))}"
            next_try = None if status in EXIT_FINAL else self._folder.again(claim, self.name)
            self._say(claim, why + ("; tried once more" if next_try else ""))
            if next_try is None:
                self._folder.fail(study, claim.number, why)
            claim = next_try

    def _train(self, claim: Claim) -> tuple[int, bool]:
        """Trains; returns the exit status and whether it was given up early."""
        run, log = self._folder.run(claim.number), self._folder.log(claim.number)
        log.parent.mkdir(exist_ok=True)
        command = [*BONEAGE, "train", *self._folder.sweep.arguments(claim.values)]
        with log.open("a") as out:
            out.write(f"attempt {claim.attempt} by {self.name}\n")
            out.flush()
            self._running = subprocess.Popen(
                # A group of its own: signals for this worker reach it through the worker alone.
                [*command, f"--run={run}"], stdout=out, stderr=out, text=True, start_new_session=True
            )  # fmt: skip
        if self._stopped.is_set():
            self._running.send_signal(signal.SIGUSR1)
        trial = self._folder.trial(self._folder.study(), claim.number)
        reported = set(trial.study.get_trials(deepcopy=False)[claim.number].intermediate_values)
        touched, pruned = time.monotonic(), False
        while self._running.poll() is None:
            time.sleep(_LOOK_SECONDS)
            if time.monotonic() - touched > self._lease / 4:
                self._folder.keep(claim)
                touched = time.monotonic()
            if pruned or self._stopped.is_set():
                continue
            for step, value in evaluations(run, self._folder.metric):
                if step not in reported:
                    reported.add(step)
                    trial.report(value, step)
                    pruned = pruned or trial.should_prune()
            if pruned:
                self._running.send_signal(signal.SIGTERM)
        status = self._running.returncode
        self._running = None
        # Its last values; one that had ended before it could be given up has simply ended.
        for step, value in evaluations(run, self._folder.metric):
            if step not in reported:
                trial.report(value, step)
        return (status if status >= 0 else 128 - status), pruned and status == EXIT_SAVED

    def _best(self, number: int) -> float | None:
        values = [value for _, value in evaluations(self._folder.run(number), self._folder.metric)]
        if not values:
            return None
        return min(values) if self._folder.direction == "minimize" else max(values)

    def _say(self, claim: Claim, text: str) -> None:
        print(f"trial {claim.number}: {text}", file=sys.stderr, flush=True)


def evaluations(run: pathlib.Path, metric: str) -> list[tuple[int, float]]:
    """Returns the evaluations that a run has written down so far, by step."""
    return [(int(line["step"]), float(line[metric])) for line in scalars_of(run) if metric in line and "step" in line]


def _last_words(log: pathlib.Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").replace("\r", "\n").splitlines()]
    except OSError as error:
        return reason(error)
    shown = [line for line in lines if line.startswith("boneage:")] or [line for line in lines if line]
    return shown[-1][:300] if shown else "it printed nothing"
