"""The door of all configs: checks every key, type, value and combination, and returns the frozen config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections

from boneage_jax import anatomy
from boneage_jax.config import renamed
from boneage_jax.config.duration import Duration
from boneage_jax.config.schema import PATHS, ExperimentConfig, InputLayout, to_dict
from boneage_jax.errors import UserError
from boneage_jax.files import is_address
from boneage_jax.settings import checked, flatten, keys_of


def validate(config: ml_collections.ConfigDict | Mapping[str, Any], *, origin: str = "the config") -> ExperimentConfig:
    """Checks every key, type and value, and returns the frozen config.

    Args:
      config: nested dictionaries; missing keys take their defaults, and keys of older versions their new names.
      origin: where the config came from, for the message.

    Raises:
      UserError: listing every unknown key (with the likeliest meant one), wrong type and impossible value.
    """
    nested = renamed.config(config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config))
    problems: list[str] = []
    validated = checked(ExperimentConfig, nested, problems)
    if validated is not None:
        _check_together(validated, problems)
    if problems or validated is None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"{origin} cannot be used ({len(problems)}):\n{lines}")
    return validated


def all_keys() -> list[str]:
    """Returns every dotted key of a config, in order."""
    return keys_of(ExperimentConfig)


def _check_together(config: ExperimentConfig, problems: list[str]) -> None:
    """Checks what no single value can say: durations, divisibility, the size left after pooling."""
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
            problems.append(f"{key}: found {text!r}, expected {error}")
            continue
        if key == "train.length" and unit == "%":
            problems.append(f"{key}: found {text!r}, expected steps, epochs or examples")
    if config.train.batch_size % config.train.accumulation:
        problems.append(
            f"train.accumulation: found {config.train.accumulation}, expected a divisor of train.batch_size "
            f"({config.train.batch_size})"
        )
    flat = flatten(to_dict(config))
    problems += [
        f"{key}: found {flat[key]!r}, an address, expected a path of this machine's file system; mount the bucket"
        for key in sorted(PATHS)
        if is_address(flat[key])
    ]
    if config.optimizer.final_learning_rate > config.optimizer.learning_rate:
        problems.append(
            f"optimizer.final_learning_rate: found {config.optimizer.final_learning_rate}, expected at most "
            f"optimizer.learning_rate ({config.optimizer.learning_rate})"
        )
    if config.optimizer.schedule == "exponential" and config.optimizer.final_learning_rate == 0:
        problems.append("optimizer.final_learning_rate: found 0, expected more than 0 for an exponential schedule")
    if config.data.folds and not (config.data.folds > 1 and config.data.fold < config.data.folds):
        problems.append(
            f"data.fold: found {config.data.fold} of data.folds {config.data.folds}, expected at least 2 folds, and "
            "one below their number"
        )
    layouts = config.data.input_layouts
    if config.task.name == "bone_age" and layouts == ("masked_canvas",) and not config.data.regions:
        problems.append("data.regions: found '', expected regions of the canvas, as in A or A+B+C, for its ages")
    expected = _INPUT_LAYOUTS[config.task.name]
    if layouts not in expected:
        problems.append(
            f"data.input_layouts: found {layouts!r}, expected {', '.join(map(repr, expected))} for the task "
            f"{config.task.name!r}"
        )
    _check_network(config, problems)


_INPUT_LAYOUTS: dict[str, tuple[tuple[InputLayout, ...], ...]] = {
    "segmentation": (("image",), ("image", "hand_box"), ("image", "upright_box")),
    "landmarks": (("hand_box", "canvas"), ("masked_image",), ("masked_hand_box",)),
    "bone_age": (("image",), ("masked_image",), ("masked_hand_box",), ("masked_canvas",)),
}
"""Layouts by task that the hand pipeline can give a network: no mask is known before the segmentation, and no key
points before the coarse stage of the landmarks."""

_FITTING = {
    ("bone_age", "heatmap"): (("vgg", "resnet"), "regression"),
    ("bone_age", "regression"): (("vgg", "resnet"), "regression"),
    ("segmentation", "heatmap"): (("unet",), "mask"),
    ("segmentation", "regression"): (("unet",), "mask"),
    ("landmarks", "heatmap"): (("unet",), "heatmap"),
    ("landmarks", "regression"): (("vgg", "resnet"), "points"),
}
"""Networks and head by task and `task.points`."""


def _check_network(config: ExperimentConfig, problems: list[str]) -> None:
    """Checks that the network fits the task and the size of its input."""
    if config.data.fresh and Duration.parse(config.train.length).unit == "epochs":
        problems.append(
            f"train.length: found {config.train.length!r}, expected steps or examples where data.fresh has no end"
        )
    known = [region.name for region in anatomy.CANVAS_REGIONS]
    if config.data.regions and not set(config.data.regions.split("+")) <= set(known):
        problems.append(f"data.regions: found {config.data.regions!r}, expected of {', '.join(known)}, joined by +")
    if config.task.name != "bone_age" and config.data.pictures > 1:
        problems.append(
            f"data.feature, data.regions: found {config.data.pictures} pictures, expected one for this task"
        )
    names, head = _FITTING[config.task.name, config.task.points]
    for key, found, expected in (("model.name", config.model.name, names), ("model.head", config.model.head, (head,))):
        if found not in expected:
            problems.append(
                f"{key}: found {found!r}, expected {' or '.join(map(repr, expected))} for the task {config.task.name!r}"
            )
    height, width = config.data.height, config.data.width
    if config.model.weights and config.model.name != "resnet":
        problems.append(f"model.weights: found {config.model.weights!r}, expected '' for a {config.model.name}")
    if config.model.weights and config.train.start:
        problems.append(f"model.weights: found {config.model.weights!r}, expected '' where train.start names a run")
    if config.model.name == "unet":
        unit = config.model.patch * 2 ** (len(config.model.widths) - 1)
        if height % unit or width % unit:
            problems.append(
                f"data.height x data.width: found {height} x {width}, expected multiples of {unit} for a U-Net of "
                f"{len(config.model.widths)} levels on patches of {config.model.patch}"
            )
        return
    if config.model.name == "resnet":
        if len(config.model.widths) != 4:
            problems.append(
                f"model.widths: found {len(config.model.widths)} widths, expected four for a resnet, one a stage"
            )
        return
    for _ in config.model.widths:
        height, width = (height - config.model.pool) // 2 + 1, (width - config.model.pool) // 2 + 1
    if height < 1 or width < 1:
        problems.append(
            f"model.widths: {len(config.model.widths)} blocks leave nothing of an image of {config.data.height} x "
            f"{config.data.width} (data.height x data.width); use fewer blocks or larger images"
        )
