"""The paper's network on whole hands of 500 x 375 pixels, trained as its co-author's released recipe.

    boneage data build rsna_bone_age/small --from rsna --out data
    boneage train --config=configs/m46.py --run=runs/m46

    boneage train --config=configs/m46.py:3x3 --run=runs/m46-3x3     # second convolution 3 x 3, pooling 2 x 2

24.75 million parameters. No figure on real RSNA images has been measured with this config yet; the co-author's
checkpoint of the same network is named after a validation MAE of 7.1 months.
"""

import ml_collections

from boneage_jax.config import default_config


def get_config(variant: str = "1x1") -> ml_collections.ConfigDict:
    """Returns the config of the paper's network (`1x1`) or of its variant (`3x3`)."""
    if variant not in ("1x1", "3x3"):
        raise ValueError(f"variant {variant!r}, expected 1x1 or 3x3")
    config = default_config()
    config.data.name = "rsna_bone_age/small"
    config.data.height, config.data.width = 500, 375
    config.model.widths = (32, 64, 128, 128, 256, 384)
    config.model.dense = (2048, 2048)
    config.model.dropout = 0.3
    config.model.sex = "none"
    if variant == "3x3":
        config.model.second_kernel, config.model.pool = 3, 2
    config.augment.shift = 0.05
    config.augment.zoom = 0.05
    config.augment.rotation = 5.0
    config.augment.gamma = 0.2
    config.augment.contrast = 0.0
    config.optimizer.learning_rate = 1e-3
    config.optimizer.final_learning_rate = 1e-5
    config.optimizer.schedule = "exponential"
    config.train.length = "50 epochs"
    config.train.batch_size = 64
    return config
