"""A sweep's folder: its Optuna study, which worker runs which trial, and the results.

sweep.json        what is searched, where the study lies, what is measured
study.log         the study, unless it lies in a database
trials/0007/      an ordinary run, from the first attempt to the last
claims/0007.json  its worker and the number of attempts; touched while the worker runs it
logs/0007.txt     output of its training

Claims change under a lock alone. A worker that is gone leaves a claim that grows old; another one then takes the trial
over, from its last checkpoint. So the number of trials never changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from boneage_jax.errors import UserError, missing_extra, reason
from boneage_jax.files import check_writable, write_text
from boneage_jax.sweeps import journal
from boneage_jax.sweeps.space import Choice, Range, Sweep, Values

if TYPE_CHECKING:
    import optuna

FACTS = "sweep.json"
JOURNAL = "study.log"
ATTEMPTS = 2
"""Attempts that came no further after which a trial counts as failed; chosen by eye."""

LEASE_SECONDS = 60.0
"""Seconds after which a claim expires that was not touched; chosen by eye."""

Direction = Literal["minimize", "maximize"]


def optuna_here() -> Any:
    """Imports Optuna. Raises `UserError` where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise missing_extra("optuna", "sweep", "a sweep") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclasses.dataclass(frozen=True)
class Claim:
    """A trial that a worker has taken.

    Attributes:
      number: of the trial.
      attempt: how often it has been tried, this time included.
      values: of its settings.
    """

    number: int
    attempt: int
    values: Values


@dataclasses.dataclass(frozen=True)
class Folder:
    """A sweep's folder.

    Attributes:
      path: of the folder.
      sweep: what is searched.
      metric: key of `metrics.jsonl` that counts.
      direction: which way is better.
      storage: URL of a database, or empty for a file in the folder.
      name: of the study.
    """

    path: pathlib.Path
    sweep: Sweep
    metric: str
    direction: Direction
    storage: str
    name: str

    # ---- making and opening ------------------------------------------------------------------------------------------

    @classmethod
    def make(cls, path: pathlib.Path, sweep: Sweep, metric: str, direction: Direction, storage: str) -> Folder:
        """Makes the folder and its study, or opens them where they are this sweep's already.

        Raises:
          UserError: for a folder or a study of another sweep, and a database that cannot be reached.
        """
        name = path.resolve().name
        folder = cls(path, sweep, metric, direction, storage, name)
        if (path / FACTS).exists():
            other = cls.open(path)
            _check_same(str(path), other.sweep.as_dict(), sweep.as_dict())
            return other
        cut_short = {JOURNAL, f"{JOURNAL}.lock", f"{JOURNAL}{journal.CUT}", "claims"}  # what a start begins with
        if path.exists() and not {one.name for one in path.iterdir()} <= cut_short:
            raise UserError(f"{path}: not empty, and not a sweep's folder; choose another with --out")
        check_writable(path)
        with folder._lock():
            study = folder.study(make=True)
            stored = study.user_attrs.get("sweep")
            if stored is None:
                study.set_user_attr("sweep", sweep.as_dict())
            else:
                _check_same(f"the study {name!r} of {storage or path / JOURNAL}", stored, sweep.as_dict())
            for point in sweep.grid() if sweep.sampler == "grid" else ():
                study.enqueue_trial(folder.as_optuna(point), skip_if_exists=True)
        facts = {"sweep": sweep.as_dict(), "metric": metric, "direction": direction, "storage": storage, "name": name}
        write_text(path / FACTS, json.dumps(facts, indent=2) + "\n")
        return folder

    @classmethod
    def open(cls, path: pathlib.Path) -> Folder:
        """Opens a sweep's folder. Raises `UserError` for a folder without a sweep."""
        try:
            facts = json.loads((path / FACTS).read_text())
            sweep = Sweep.of_dict(facts["sweep"])
            return cls(path, sweep, facts["metric"], facts["direction"], facts["storage"], facts["name"])
        except FileNotFoundError as error:
            raise UserError(f"{path}: not a sweep's folder (no {FACTS}); start one with boneage sweep start") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path / FACTS}: cannot be read as a sweep's ({reason(error)})") from error

    def study(self, *, make: bool = False, seed: int = 0) -> optuna.Study:
        """Opens the study.

        Args:
          make: whether it may be new.
          seed: added to the sampler's, so that each trial is drawn anew whoever draws it.

        Raises:
          UserError: where Optuna or the database is not there.
        """
        optuna = optuna_here()
        sampler, pruner = self._sampler(optuna, seed), self._pruner(optuna)
        try:
            storage = self._storage(optuna)
            if make:
                return optuna.create_study(
                    storage=storage,
                    sampler=sampler,
                    pruner=pruner,
                    study_name=self.name,
                    direction=self.direction,
                    load_if_exists=True,
                )
            return optuna.load_study(study_name=self.name, storage=storage, sampler=sampler, pruner=pruner)
        except UserError:
            raise
        except Exception as error:  # each database has errors of its own
            raise UserError(
                f"{self.storage or self.path / JOURNAL}: the study {self.name!r} cannot be opened "
                f"({reason(error)}); expected the file, or a database that can be reached, as in "
                "postgresql://user@host/name (passwords belong into ~/.pgpass)"
            ) from error

    def _storage(self, optuna: Any) -> Any:
        if not self.storage:
            return journal.storage(self.path / JOURNAL)
        url = self.storage
        if url.startswith("postgresql://"):
            url = url.replace("postgresql://", "postgresql+psycopg://", 1)
            try:
                import psycopg  # noqa: F401
            except ImportError as error:
                raise missing_extra("psycopg", "postgres", "a study in PostgreSQL") from error
        return optuna.storages.RDBStorage(url)

    def _sampler(self, optuna: Any, seed: int) -> Any:
        if self.sweep.sampler in ("grid", "random"):  # a grid's points are queued when the study is made
            return optuna.samplers.RandomSampler(seed=self.sweep.seed + seed)
        kind = _class_of(optuna.samplers, self.sweep.sampler, "sampler", "Sampler")
        options = {"seed": self.sweep.seed + seed, **self.sweep.sampler_options}
        return _made(kind, options, "sampler_options")

    def _pruner(self, optuna: Any) -> Any:
        kind = _class_of(optuna.pruners, self.sweep.pruner, "pruner", "Pruner")
        return _made(kind, dict(self.sweep.pruner_options), "pruner_options")

    def as_optuna(self, values: Values) -> dict[str, Any]:
        """Returns a point as Optuna holds it: choices as text, ranges as numbers."""
        kinds = {key: _number(part) for key, part in self.sweep.space.items()}
        return {key: kinds[key](value) for key, value in values.items()}

    def _drawn(self, trial: optuna.trial.Trial) -> dict[str, Any]:
        """Returns a trial's settings; those that it lacks are drawn now."""
        for key, part in self.sweep.space.items():
            if isinstance(part, Choice):
                trial.suggest_categorical(key, part.values)
            elif part.whole:
                trial.suggest_int(key, int(part.low), int(part.high), log=part.log)
            else:
                trial.suggest_float(key, part.low, part.high, log=part.log)
        return trial.params

    # ---- claims ------------------------------------------------------------------------------------------------------

    def run(self, number: int) -> pathlib.Path:
        """Returns the run's folder of a trial."""
        return self.path / "trials" / f"{number:04d}"

    def log(self, number: int) -> pathlib.Path:
        """Returns the file with the output of a trial's training."""
        return self.path / "logs" / f"{number:04d}.txt"

    def claim(self, worker: str, lease: float = LEASE_SECONDS) -> Claim | Literal["wait", "done"]:
        """Takes a trial: one whose worker is gone or let go of it, else a new one.

        Args:
          worker: who takes it.
          lease: seconds after which an untouched claim expires.

        Returns:
          The trial; `wait` where all are taken and not all ended; `done` where all have ended.
        """
        optuna = optuna_here()
        states = optuna.trial.TrialState
        with self._lock():
            study = self.study()
            trials = study.get_trials(deepcopy=False)
            running = [trial for trial in trials if trial.state == states.RUNNING]
            for trial in running:
                claim = self.attempts(trial.number)
                if claim and self._age(trial.number) < lease:
                    continue
                # An attempt that has brought it further was not in vain: a long search loses its machine often.
                attempt = claim if claim and self._saved(trial.number) > self._begun_from(trial.number) else claim + 1
                if attempt > ATTEMPTS:
                    self.fail(study, trial.number, f"its worker was lost, {ATTEMPTS} times")
                    continue
                return self._write(trial.number, attempt, worker, as_values(self._all_params(trial)))
            if any(trial.state == states.WAITING for trial in trials) or len(trials) < self.sweep.count:
                fresh = self.study(seed=len(trials)).ask()
                return self._write(fresh.number, 1, worker, as_values(self._drawn(fresh)))
            running = [trial for trial in study.get_trials(deepcopy=False) if trial.state == states.RUNNING]
            return "wait" if running else "done"

    def _all_params(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        """A trial's settings; those that its worker was lost before it had written down are drawn now."""
        if trial.params.keys() < self.sweep.space.keys():
            return self._drawn(self.trial(self.study(seed=trial.number), trial.number))
        return trial.params

    def keep(self, claim: Claim) -> None:
        """Renews the claim on a trial."""
        with contextlib.suppress(OSError):
            os.utime(self._claim_file(claim.number))

    def again(self, claim: Claim, worker: str) -> Claim | None:
        """Takes a trial that has failed once more; None where it has been tried often enough."""
        if claim.attempt >= ATTEMPTS:
            return None
        with self._lock():
            return self._write(claim.number, claim.attempt + 1, worker, claim.values)

    def release(self, claim: Claim) -> None:
        """Lets go of a trial that is to go on later: this attempt does not count."""
        with self._lock():
            path = self._claim_file(claim.number)
            if claim.attempt > 1:
                write_text(path, json.dumps({"attempt": claim.attempt - 1, "worker": ""}) + "\n")
                os.utime(path, (0, 0))
            else:
                path.unlink(missing_ok=True)

    def fail(self, study: optuna.Study, number: int, why: str) -> None:
        """Ends a trial with its error."""
        optuna = optuna_here()
        self.trial(study, number).set_user_attr("error", why)
        study.tell(number, state=optuna.trial.TrialState.FAIL)

    def trial(self, study: optuna.Study, number: int) -> optuna.Trial:
        """Returns a running trial, of any worker, so that values can be reported to it."""
        optuna = optuna_here()
        (known,) = (trial for trial in study.get_trials(deepcopy=False) if trial.number == number)
        return optuna.trial.Trial(study, known._trial_id)  # Optuna gives no other way to a trial of another process

    def _claim_file(self, number: int) -> pathlib.Path:
        return self.path / "claims" / f"{number:04d}.json"

    def attempts(self, number: int) -> int:
        """Returns how often a trial has been tried, without lost attempts that brought it further."""
        return int(self._claim(number)["attempt"])

    def _begun_from(self, number: int) -> int:
        """The step that a trial's last attempt began from."""
        return int(self._claim(number)["begun_from"])

    def _saved(self, number: int) -> int:
        """The step of a trial's newest checkpoint; 0 without one."""
        names = [path.name for path in (self.run(number) / "checkpoints").glob("*")]
        return max((int(name) for name in names if name.isdigit()), default=0)

    def _claim(self, number: int) -> dict[str, Any]:
        """What is written of who works on a trial; a damaged claim counts as one."""
        try:
            stored = json.loads(self._claim_file(number).read_text())
            return {"attempt": int(stored["attempt"]), "begun_from": int(stored.get("begun_from", 0))}
        except FileNotFoundError:
            return {"attempt": 0, "begun_from": 0}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"attempt": 1, "begun_from": 0}

    def _age(self, number: int) -> float:
        """Seconds since a claim was touched, by the clock of the file system that all workers share."""
        clock = self.path / "claims" / f".clock-{os.getpid()}"
        clock.touch()
        os.utime(clock)
        now = clock.stat().st_mtime
        clock.unlink(missing_ok=True)
        return now - self._claim_file(number).stat().st_mtime

    def _write(self, number: int, attempt: int, worker: str, values: Values) -> Claim:
        claim = {"attempt": attempt, "worker": worker, "since": time.time(), "begun_from": self._saved(number)}
        write_text(self._claim_file(number), json.dumps(claim) + "\n")
        return Claim(number, attempt, values)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Holds the claims' lock; one that a dead worker has left is broken after half a minute."""
        from optuna.storages.journal import JournalFileOpenLock

        (self.path / "claims").mkdir(exist_ok=True)
        lock = JournalFileOpenLock(str(self.path / "claims" / "all"))
        lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _number(part: Choice | Range) -> Any:
    return str if isinstance(part, Choice) else int if part.whole else float


def as_values(params: dict[str, Any]) -> Values:
    """Returns what Optuna holds of a point as one writes it on the command line, to the last digit."""
    return {key: value if isinstance(value, str) else repr(value) for key, value in params.items()}


def _class_of(module: Any, name: str, key: str, ending: str) -> Any:
    known = sorted(one for one in dir(module) if one.endswith(ending) and not one.startswith(("Base", "_")))
    if name not in known:
        extra = "grid, random, or " if ending == "Sampler" else ""
        raise UserError(f"{key}: found {name!r}, expected {extra}one of Optuna's: {', '.join(known)}")
    return getattr(module, name)


def _made(kind: Any, options: dict[str, Any], key: str) -> Any:
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        if "seed" in options and "seed" in str(error):  # not every sampler draws at random
            return _made(kind, {name: value for name, value in options.items() if name != "seed"}, key)
        raise UserError(f"{key}: {kind.__name__} refuses {options}: {reason(error)}") from error


def _check_same(where: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises `UserError` unless two sweeps are the same; names what differs."""
    now = json.loads(json.dumps(now))
    before = json.loads(json.dumps(before))
    differing = [f"{key}: found {before[key]} there, {now[key]} here" for key in now if before.get(key) != now[key]]
    if differing:
        lines = "\n".join(f"  {line}" for line in differing)
        raise UserError(f"{where}: holds another search:\n{lines}\nChoose another folder with --out.")
