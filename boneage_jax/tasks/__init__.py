"""Tasks: loss, metrics and prediction of each. `build` makes the one that a config names."""

from __future__ import annotations

from boneage_jax.schema import TaskConfig
from boneage_jax.tasks.bone_age import BoneAgeTask
from boneage_jax.tasks.landmarks import LandmarksTask
from boneage_jax.tasks.segmentation import SegmentationTask
from boneage_jax.tasks.task import Score, Task

__all__ = ["BoneAgeTask", "LandmarksTask", "Score", "SegmentationTask", "Task", "build"]

_TASKS: dict[str, type[Task]] = {
    "bone_age": BoneAgeTask,
    "segmentation": SegmentationTask,
    "landmarks": LandmarksTask,
}


def build(config: TaskConfig) -> Task:
    """Returns the task that a validated config names."""
    return _TASKS[config.name](config)
