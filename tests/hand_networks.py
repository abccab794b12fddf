"""Small networks of hands, and the phantoms that they are trained on."""

import pathlib

from boneage_jax.config import ExperimentConfig, default_config, validate
from boneage_jax.data.sources import Dataset
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest


def build_radiographs(data_dir: pathlib.Path) -> Dataset:
    """A few small radiographs with all disturbances."""
    return build.build(
        BuildRequest(
            "hand_phantom/raw_tiny",
            out=data_dir,
            workers=2,
            size=(160, 128),
            counts={"train": 96, "validation": 16, "test": 20},
        )
    )


def network_config(data_dir: pathlib.Path, dataset: Dataset, task: str, **changes: object) -> ExperimentConfig:
    """A config that learns a task a little within a minute; `changes` are dotted keys with `__` for the dot."""
    config = default_config()
    config.data.dir, config.data.name = str(data_dir), dataset.name
    config.data.height = config.data.width = 96
    config.task.name = task
    config.model.name, config.model.head = "unet", {"segmentation": "mask"}.get(task, "heatmap")
    config.model.widths, config.model.patch = (8, 12, 16, 24), 2
    config.data.input_layouts = {"segmentation": ("image", "upright_box")}.get(task, ("hand_box", "canvas"))
    config.data.contrast = "local"
    config.optimizer.learning_rate = 1e-2
    config.train.length, config.train.batch_size, config.train.devices = "120 steps", 8, 1
    config.eval.every = config.checkpoint.every = "60 steps"
    config.eval.batch_size = 8
    config.augment.rotation = 10.0
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return validate(config)
