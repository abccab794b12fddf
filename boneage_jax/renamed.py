"""Names of older versions, in one table: their configs, runs, bundles and calibration files still load."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

KEYS = {
    "augment.grain": "augment.noise",
    "data.echoes": "data.echo_factor",
    "data.emphasis": "data.oversampled_masks",
    "data.frame": "data.input_layouts",
}
"""Keys of configs: old and new."""

INPUT_LAYOUTS: dict[str, tuple[str, ...]] = {
    "image": ("image",),
    "upright": ("image", "upright_box"),
    "masked": ("masked_image",),
    "hand": ("masked_hand_box",),
    "canvas": ("masked_canvas",),
}
"""Values of `data.frame`, and of `data.input_layouts`. `looks` depends on the task: see `COARSE_TO_FINE`."""

COARSE_TO_FINE = {
    "segmentation": ("image", "hand_box"),
    "landmarks": ("hand_box", "canvas"),
    "bone_age": ("image", "hand_box"),
}
"""The layouts of `data.frame` `looks`, by task."""

COMMANDS = {"predict": "assess"}
"""Commands: old and new."""

STORED = {"limits": "thresholds", "second_look": "fine_stage", "flesh_sd": "soft_tissue_sd"}
"""Keys in bundles, calibration files, and datasets of phantoms or registered hands: old and new."""


def config(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's nested dictionaries under today's names; an old name takes precedence over a new one.

    Args:
      nested: as a file, a run or a bundle holds it.
    """
    new = {key: dict(value) if isinstance(value, Mapping) else value for key, value in nested.items()}
    for old_key, new_key in KEYS.items():
        (section, old), name = old_key.split("."), new_key.split(".")[1]
        group = new.get(section)
        if not isinstance(group, dict) or old not in group:
            continue
        value = group.pop(old)
        group[name] = _layouts(value, new) if old_key == "data.frame" else value
    return new


def _layouts(frame: Any, nested: Mapping[str, Any]) -> Any:
    """The layouts of an old frame; other values are left to the validation."""
    if frame == "looks":
        task = nested.get("task")
        return COARSE_TO_FINE.get(task.get("name", "bone_age") if isinstance(task, Mapping) else "", frame)
    return INPUT_LAYOUTS.get(frame, frame) if isinstance(frame, str) else frame


def stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of a file under today's names.

    Args:
      values: the file's JSON, or a part of it.
    """
    return {STORED.get(key, key): copy.deepcopy(value) for key, value in values.items()}
