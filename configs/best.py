"""The strongest single age model of this project; train it from several seeds: `boneage assess` averages them.

    boneage register rsna_bone_age/full --segmentation runs/s --landmarks runs/l --regions whole@1040x800 --drop-flagged
    boneage train --config=configs/best.py --config.data.name=registered_hands/rsna_bone_age-full --run=runs/best-0
    boneage train --config=configs/best.py --config.data.name=registered_hands/rsna_bone_age-full --run=runs/best-1 \
        --config.train.seed=1
    boneage train --config=configs/best.py:tiny --run=runs/best-tiny         # its twin on small phantoms, a few minutes

Differences from the paper, and their reasons:
- label distributions (`task.age`): four readings in five are multiples of six months, which soft labels allow for;
- hand, carpals and metacarpals at once (`data.regions`), each through its own backbone: the paper averages networks
  that have seen one region each and cannot weigh one against another;
- AdamW with cosine decay and averaged weights, which allow the higher learning rate;
- the sex as an input: one network learns from all children, not from half of them.
No figure on real images has been measured with it yet.
"""

import ml_collections

from boneage_jax.config import default_config


def get_config(size: str = "full") -> ml_collections.ConfigDict:
    """Returns the config: `full`, or its `tiny` twin."""
    if size not in ("full", "tiny"):
        raise ValueError(f"size {size!r}, expected full or tiny")
    config = default_config()
    config.data.name, config.data.regions = "hand_phantom/registered", "A+B+C"
    config.data.height, config.data.width = 400, 400
    config.model.name, config.model.depth = "resnet", 34
    config.model.widths = (48, 96, 192, 384)
    config.model.dense, config.model.dropout = (256,), 0.2
    config.model.sex = "input"
    config.task.age, config.task.label_sd = "distribution", 6.0
    config.augment.shift, config.augment.zoom, config.augment.rotation = 0.04, 0.08, 8.0
    config.augment.gamma, config.augment.contrast = 0.3, 0.2
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 1e-4
    config.optimizer.learning_rate, config.optimizer.final_learning_rate = 2e-3, 1e-6
    config.train.length, config.train.batch_size = "60 epochs", 64
    config.train.ema = 0.999
    if size == "tiny":
        config.data.name = "hand_phantom/tiny"
        config.data.height = config.data.width = 96
        config.model.depth, config.model.widths = 10, (8, 16, 24, 32)
        config.model.dense = (64,)
        config.augment.shift, config.augment.zoom, config.augment.rotation = 0.02, 0.03, 3.0
        config.train.length, config.train.batch_size = "6 epochs", 32
        config.train.ema = 0.99
    return config
