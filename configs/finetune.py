"""Fine-tunes an age network of the shipped bundle `phantom_only` on hands of your own.

    boneage train --config=configs/finetune.py --run=runs/fine-0
    boneage train --config=configs/finetune.py --config.train.start=phantom_only:age1 --run=runs/fine-1
    boneage train --config=configs/finetune.py:tiny --run=runs/fine-tiny         # its twin, a minute or two

(On real hands: `--config.data.name=registered_hands/rsna_bone_age-full`, made by `boneage register`.)

Training starts from all weights of the network that `train.start` names, those of its head too: a run's folder, or
FILE:MEMBER of a bundle. Optimiser, schedule and seed are the new run's own. The network must be the same one, so its
model, region, size and task are those of `configs/phantom_only.py`. The gain on real hands has not been measured.
"""

import ml_collections

from boneage_jax.config import default_config, read_config


def get_config(size: str = "full") -> ml_collections.ConfigDict:
    """Returns the config: `full`, or its `tiny` twin."""
    if size not in ("full", "tiny"):
        raise ValueError(f"size {size!r}, expected full or tiny")
    config, first = default_config(), read_config("configs/phantom_only.py")
    # The same network on the same input: its weights fit no other.
    config.model, config.task, config.data.regions = first.model, first.task, first.data.regions
    config.data.height, config.data.width = first.data.height, first.data.width
    config.data.name = "hand_phantom/registered"
    config.augment.shift, config.augment.zoom, config.augment.rotation = 0.02, 0.03, 3.0
    config.augment.gamma, config.augment.contrast = 0.3, 0.2
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 1e-4
    config.optimizer.learning_rate = 1e-3
    config.train.start = "phantom_only:age0"
    config.train.length, config.train.batch_size = "6 epochs", 32
    config.train.ema = 0.995
    config.eval.every, config.checkpoint.every = "2 epochs", "1 epochs"
    if size == "tiny":
        config.data.name = "hand_phantom/tiny"
        config.train.length = "60 steps"
        config.eval.every = config.checkpoint.every = "30 steps"
    return config
