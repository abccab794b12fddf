"""The shipped bundle's age network goes on learning: from endless phantoms of every kind to the hands that you have.

    boneage train --config=configs/finetune.py --run=runs/fine-0
    boneage train --config=configs/finetune.py --config.train.start=shipped:age1 --config.train.seed=1 --run=runs/fine-1
    boneage train --config=configs/finetune.py:tiny --run=runs/fine-tiny         # its twin, a minute or two

(On real hands: `--config.data.name=registered_hands/rsna_bone_age-full`, made by `boneage register`.)

`train.start` names any run's folder, or a bundle's network as FILE:MEMBER, and all weights of it, the head's too, are
where training begins; optimiser, schedule and seed are the new run's own. The network must be the same one, so what it
reads (region, size, sex, label distributions) stays as in `configs/phantom_only.py`. What a start on phantoms brings on
real hands has not been measured.
"""

import ml_collections

from boneage_jax.config import default_config


def get_config(size: str = "full") -> ml_collections.ConfigDict:
    """Returns the config: `full`, or its `tiny` twin."""
    if size not in ("full", "tiny"):
        raise ValueError(f"size {size!r}, expected full or tiny")
    config = default_config()
    config.data.name, config.data.regions = "hand_phantom/registered", "A"
    config.data.height, config.data.width = 250, 188
    config.model.name, config.model.depth = "resnet", 18
    config.model.widths = (16, 32, 64, 128)
    config.model.dense = (128,)
    config.model.sex = "input"
    config.task.age, config.task.label_sd = "distribution", 6.0
    config.augment.shift, config.augment.zoom, config.augment.rotation = 0.02, 0.03, 3.0
    config.augment.gamma, config.augment.contrast = 0.3, 0.2
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 1e-4
    config.optimizer.learning_rate = 1e-3
    config.train.start = "shipped:age0"
    config.train.length, config.train.batch_size = "6 epochs", 32
    config.train.ema = 0.995
    config.eval.every, config.checkpoint.every = "2 epochs", "1 epochs"
    if size == "tiny":
        config.data.name = "hand_phantom/tiny"
        config.train.length = "60 steps"
        config.eval.every = config.checkpoint.every = "30 steps"
    return config
