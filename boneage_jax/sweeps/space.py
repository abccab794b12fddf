"""What a sweep varies, and how far: the vocabulary of `configs/sweeps/*.py`."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import itertools
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from boneage_jax import resources
from boneage_jax.config import ExperimentConfig, all_keys, loading
from boneage_jax.errors import UserError, fail_if_any, reason
from boneage_jax.settings import did_you_mean

Values = dict[str, str]
"""A point of a space: by config key, the value as one writes it on the command line."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values.

    Attributes:
      values: as one writes them on the command line.
    """

    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """A number between two others.

    Attributes:
      low: least.
      high: largest.
      log: whether each factor is as likely as any other.
      whole: whether only whole numbers are meant.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


def choice(*values: Any) -> Choice:
    """Returns one of some values: numbers, texts, tuples of numbers, True and False."""
    return Choice(tuple(value if isinstance(value, str) else repr(value) for value in values))


def uniform(low: float, high: float) -> Range:
    """Returns a number between two others, each as likely as any other."""
    return Range(float(low), float(high))


def loguniform(low: float, high: float) -> Range:
    """Returns a number between two others, each order of magnitude as likely as any other."""
    return Range(float(low), float(high), log=True)


def integer(low: int, high: int, *, log: bool = False) -> Range:
    """Returns a whole number between two others, both included."""
    return Range(float(low), float(high), log=log, whole=True)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A search.

    Attributes:
      config: that every trial starts from, as in `configs/tiny.py` or `configs/m46.py:3x3`.
      space: what is varied, by config key.
      fixed: other settings that differ from the config's, by key.
      trials: how many are tried; for a grid all of its points, whatever this says.
      sampler: what chooses points: `grid`, `random`, or the name of a class of `optuna.samplers`.
      sampler_options: arguments of that class.
      pruner: class that stops trials early: a class of `optuna.pruners`; `NopPruner` never does.
      pruner_options: arguments of that class.
      seed: of the sampler.
    """

    config: str
    space: Mapping[str, Choice | Range]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trials: int = 20
    sampler: str = "TPESampler"
    sampler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pruner: str = "MedianPruner"
    pruner_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def arguments(self, values: Values) -> list[str]:
        """Returns `boneage train`'s arguments for a point of the space."""
        settings = {**{key: _shown(value) for key, value in self.fixed.items()}, **values}
        return [f"--config={self.config}", *(f"--config.{key}={value}" for key, value in settings.items())]

    def grid(self) -> list[Values]:
        """Returns all points of a space of choices; a range of whole numbers is all of these."""
        axes = [
            part.values if isinstance(part, Choice) else tuple(map(str, range(int(part.low), int(part.high) + 1)))
            for part in self.space.values()
        ]
        return [dict(zip(self.space, point, strict=True)) for point in itertools.product(*axes)]

    @property
    def count(self) -> int:
        """How many trials there are in all."""
        return len(self.grid()) if self.sampler == "grid" else self.trials

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON can hold it, so that two sweeps can be told apart."""
        return {
            **{name: getattr(self, name) for name in ("config", "trials", "sampler", "pruner", "seed")},
            "space": {
                key: {"kind": type(part).__name__, **dataclasses.asdict(part)} for key, part in self.space.items()
            },
            "fixed": {key: _shown(value) for key, value in self.fixed.items()},
            "sampler_options": dict(self.sampler_options),
            "pruner_options": dict(self.pruner_options),
        }

    @classmethod
    def of_dict(cls, stored: Mapping[str, Any]) -> Sweep:
        """Returns the sweep of `as_dict`'s result, read back from JSON."""
        space: dict[str, Choice | Range] = {}
        for key, part in stored["space"].items():
            rest = {name: value for name, value in part.items() if name != "kind"}
            space[key] = Choice(tuple(rest["values"])) if part["kind"] == "Choice" else Range(**rest)
        return cls(**{**stored, "space": space})

    def check(self) -> ExperimentConfig:
        """Makes sure that every key and the ends of every range can be used; returns the config at one point.

        Raises:
          UserError: listing all that cannot.
        """
        problems = [f"{key}: no such key{did_you_mean(key, all_keys())}" for key in self.space if key not in all_keys()]
        problems += [f"{key}: both varied and fixed" for key in self.space if key in self.fixed]
        if not self.space:
            problems.append("space: found nothing, expected at least one key")
        if self.trials < 1:
            problems.append(f"trials: found {self.trials}, expected at least 1")
        for key, part in self.space.items():
            if isinstance(part, Choice) and not part.values:
                problems.append(f"{key}: found no values, expected at least one")
            if isinstance(part, Range):
                problems += _wrong_range(key, part, self.sampler)
        fail_if_any(problems, f"the sweep over {self.config} cannot be used", "Mend the sweep's file.")
        first = {key: _ends(part)[0] for key, part in self.space.items()}
        config = loading.load(self.arguments(first))
        for key, part in self.space.items():
            for value in _ends(part)[1:]:
                try:
                    loading.load(self.arguments({**first, key: value}))
                except UserError as error:
                    problems.append(f"{key}: {value}: {str(error).splitlines()[-1].strip()}")
        fail_if_any(problems, f"the sweep over {self.config} cannot be used", "Mend the sweep's file.")
        return config


def _wrong_range(key: str, part: Range, sampler: str) -> list[str]:
    if not (math.isfinite(part.low) and math.isfinite(part.high) and part.low < part.high):
        return [f"{key}: found {part.low} to {part.high}, expected a lower and a higher number"]
    if part.log and part.low <= 0:
        return [f"{key}: found {part.low} to {part.high} by orders of magnitude, expected numbers above 0"]
    if sampler == "grid" and not part.whole:
        return [f"{key}: found a range, expected choice(...) or integer(...) for a grid"]
    return []


def _ends(part: Choice | Range) -> tuple[str, ...]:
    if isinstance(part, Choice):
        return part.values
    return tuple(str(int(end)) if part.whole else repr(end) for end in (part.low, part.high))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def literal(text: str) -> Any:
    """Returns the value that a text of the command line stands for; the text itself where it is no number or tuple."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def read(name: str) -> Sweep:
    """Reads a sweep's file, which defines `get_sweep()`.

    Raises:
      UserError: for a file that is not there or defines no sweep.
    """
    path = pathlib.Path(name) if pathlib.Path(name).is_file() else resources.config_file(name)
    if not path.is_file():
        raise UserError(f"{name}: no such sweep; expected a file as configs/sweeps/tiny.py")
    spec = importlib.util.spec_from_file_location("boneage_sweep", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        sweep = module.get_sweep()
    except Exception as error:  # whatever the file's own code raises
        raise UserError(f"{name}: {type(error).__name__} while reading the sweep: {reason(error)}") from error
    if not isinstance(sweep, Sweep):
        raise UserError(
            f"{name}: get_sweep() gives {type(sweep).__name__}, expected a Sweep of boneage_jax.sweeps.space"
        )
    return sweep
