"""Configs: `files` reads them, `loading` adds the command line, and `validation` checks it all.

The settings themselves are declared in `boneage_jax.schema`.
"""

from __future__ import annotations

import ml_collections

from boneage_jax.config.duration import Duration
from boneage_jax.config.files import read_config
from boneage_jax.config.validation import all_keys, validate
from boneage_jax.schema import (
    INPUT_LAYOUTS,
    MAY_DIFFER_ON_RESUME,
    PATHS,
    AugmentConfig,
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ExperimentConfig,
    InputLayout,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    TaskConfig,
    TrainConfig,
    to_dict,
)

__all__ = [
    "INPUT_LAYOUTS", "MAY_DIFFER_ON_RESUME", "PATHS", "AugmentConfig", "CheckpointConfig", "DataConfig", "Duration",
    "EvalConfig", "ExperimentConfig", "InputLayout", "LogConfig", "ModelConfig", "OptimizerConfig", "TaskConfig",
    "TrainConfig", "all_keys", "default_config", "read_config", "to_dict", "validate",
]  # fmt: skip


def default_config() -> ml_collections.ConfigDict:
    """Returns all settings at their defaults, as a config that files and flags may change but not extend.

    Keys of older versions are taken too: `validate` gives them their new names.
    """
    return ml_collections.ConfigDict(to_dict(ExperimentConfig()))
