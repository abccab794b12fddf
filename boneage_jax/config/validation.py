"""Checks every key, type, value and combination of a config, and returns the frozen settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections

from boneage_jax import renamed
from boneage_jax.config.duration import Duration
from boneage_jax.errors import UserError
from boneage_jax.files import is_address
from boneage_jax.region_spec import RegionNames
from boneage_jax.schema import PATHS, ExperimentConfig, to_dict
from boneage_jax.settings import checked, flatten, keys_of


def validate(
    config: ml_collections.ConfigDict | Mapping[str, Any],
    *,
    origin: str = "the config",
    was_built: Callable[[ExperimentConfig], bool] = lambda config: False,
) -> ExperimentConfig:
    """Checks every key, type and value, and returns the frozen config.

    Args:
      config: nested dictionaries; missing keys take their defaults, and keys of older versions their new names.
      origin: where the config came from, for the message.
      was_built: says of a config whose other settings are right whether its network has been built before, and so can
        be: then it is not checked, and Flax not imported.

    Raises:
      UserError: listing every unknown key (with the most similar known one), wrong type and impossible value.
    """
    nested = renamed.config(config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config))
    problems: list[str] = []
    validated = checked(ExperimentConfig, nested, problems)
    if validated is not None:
        for check in (_durations, _training, _paths, _optimizer, _data, _task):
            problems += check(validated)
        if problems or not was_built(validated):
            problems += _network(validated)
    if problems or validated is None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"{origin} cannot be used ({len(problems)}):\n{lines}")
    return validated


def all_keys() -> list[str]:
    """Returns every dotted key of a config, in order."""
    return keys_of(ExperimentConfig)


def _durations(config: ExperimentConfig) -> Iterator[str]:
    durations = {
        "train.length": config.train.length,
        "optimizer.warmup": config.optimizer.warmup,
        "eval.every": config.eval.every,
        "checkpoint.every": config.checkpoint.every,
        "log.every": config.log.every,
    }
    for key, text in durations.items():
        if key == "optimizer.warmup" and not text:
            continue
        try:
            unit = Duration.parse(text).unit
        except ValueError as error:
            yield f"{key}: found {text!r}, expected {error}"
            continue
        if key == "train.length" and unit == "%":
            yield f"{key}: found {text!r}, expected steps, epochs or examples"
        if key == "train.length" and unit == "epochs" and config.data.fresh:
            yield f"{key}: found {text!r}, expected steps or examples where data.fresh has no end"


def _training(config: ExperimentConfig) -> Iterator[str]:
    if config.train.batch_size % config.train.accumulation:
        yield (
            f"train.accumulation: found {config.train.accumulation}, expected a divisor of train.batch_size "
            f"({config.train.batch_size})"
        )
    if config.model.weights and config.train.start:
        yield f"model.weights: found {config.model.weights!r}, expected '' where train.start names a run"


def _paths(config: ExperimentConfig) -> Iterator[str]:
    flat = flatten(to_dict(config))
    for key in sorted(PATHS):
        if is_address(flat[key]):
            yield (
                f"{key}: found {flat[key]!r}, an address, expected a path of this machine's file system; "
                "mount the bucket"
            )


def _optimizer(config: ExperimentConfig) -> Iterator[str]:
    if config.optimizer.final_learning_rate > config.optimizer.learning_rate:
        yield (
            f"optimizer.final_learning_rate: found {config.optimizer.final_learning_rate}, expected at most "
            f"optimizer.learning_rate ({config.optimizer.learning_rate})"
        )
    if config.optimizer.schedule == "exponential" and config.optimizer.final_learning_rate == 0:
        yield "optimizer.final_learning_rate: found 0, expected more than 0 for an exponential schedule"


def _data(config: ExperimentConfig) -> Iterator[str]:
    data = config.data
    if data.folds and not (data.folds > 1 and data.fold < data.folds):
        yield (
            f"data.fold: found {data.fold} of data.folds {data.folds}, expected at least 2 folds, and one below their "
            "number"
        )
    if data.mix and data.fresh:
        yield f"data.mix: found {data.mix!r}, expected '' where data.fresh renders phantoms without end"
    try:
        RegionNames.parse(data.regions)
    except ValueError as error:
        yield f"data.regions: found {data.regions!r}, expected {error}"


def _task(config: ExperimentConfig) -> Iterator[str]:
    # Here, and not above: tasks and networks import JAX, which a command's help must not wait for.
    from boneage_jax import tasks

    task, layouts = tasks.build(config.task), config.data.input_layouts
    if layouts not in task.input_layouts:
        yield (
            f"data.input_layouts: found {layouts!r}, expected {', '.join(map(repr, task.input_layouts))} for the task "
            f"{config.task.name!r}"
        )
    if task.needs_age and layouts == ("masked_canvas",) and not config.data.regions:
        yield "data.regions: found '', expected regions of the canvas, as in A or A+B+C, for its ages"
    if not task.needs_age and config.data.pictures > 1:
        yield f"data.feature, data.regions: found {config.data.pictures} images of a child, expected one for this task"


def _network(config: ExperimentConfig) -> Iterator[str]:
    from boneage_jax import tasks
    from boneage_jax.models import registry

    head = tasks.build(config.task).head
    fitting = registry.with_head(head)
    for key, found, expected in (("model.name", config.model.name, fitting), ("model.head", config.model.head, [head])):
        if found not in expected and (key == "model.head" or found in registry.ARCHITECTURES):
            yield (
                f"{key}: found {found!r}, expected {' or '.join(map(repr, expected))} for the task {config.task.name!r}"
            )
    try:
        architecture = registry.named(config.model.name)
    except UserError as error:
        yield str(error)
        return
    yield from architecture.problems(config.model, config.data.height, config.data.width)
