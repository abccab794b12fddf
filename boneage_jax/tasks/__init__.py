"""What is learnt: each task says its loss, metrics and prediction. `build` is the only door."""

from __future__ import annotations

from boneage_jax.config import TaskConfig
from boneage_jax.tasks.bone_age import BoneAgeTask

__all__ = ["BoneAgeTask", "build"]


def build(config: TaskConfig) -> BoneAgeTask:
    """Returns the task that a validated config names."""
    return {"bone_age": BoneAgeTask}[config.name](config)
