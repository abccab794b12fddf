"""The experiment of `boneage demo --train-all`: a small VGG-style network on small phantoms, minutes on two CPU cores.

boneage data build hand_phantom/tiny --out data
boneage train --config=configs/tiny.py --run=runs/tiny
"""

import ml_collections

from boneage_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = default_config()
    config.data.name = "hand_phantom/tiny"
    config.data.height, config.data.width = 160, 120
    config.model.widths = (8, 16, 32, 64, 96)
    config.model.dense = (128,)
    config.model.dropout = 0.1
    # Registered hands lie where they should: little is left to shift and turn.
    config.augment.shift, config.augment.zoom, config.augment.rotation = 0.015, 0.03, 3.0
    config.optimizer.learning_rate = 3e-3
    config.train.length = "6 epochs"
    config.eval.every = "2 epochs"
    config.train.batch_size = 32
    config.train.ema = 0.99
    return config
