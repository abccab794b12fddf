"""Three key points of a hand: middle fingertip, thumb tip, capitate.

    boneage data build hand_phantom/raw --out data
    boneage train --config=configs/landmarks.py --run=runs/landmarks             # heat maps with soft-argmax
    boneage train --config=configs/landmarks.py:vgg --run=runs/landmarks-vgg     # the paper's regression of six numbers
    boneage train --config=configs/landmarks.py:tiny --run=runs/tiny-landmarks   # that of boneage demo --train-all

The heat map network sees the hand cut to its box (coarse stage), then on the canvas (fine stage), both at 256 x 192
and with background: so it does not depend on a mask that has lost a fingertip. The paper's network sees the masked
image reduced to 130 x 100, through three VGG blocks of 64, 128 and 256 and three dense layers (the last of them the
six outputs); mean square error, Adam.
To learn from your own points: --config.data.name=rsna_bone_age/full --config.data.masks=masks/
--config.data.key_points=points.json
"""

import ml_collections

from boneage_jax.config import default_config


def get_config(variant: str = "heatmap") -> ml_collections.ConfigDict:
    """Returns the config: `heatmap`, the paper's `vgg`, or the small `tiny`."""
    if variant not in ("heatmap", "vgg", "tiny"):
        raise ValueError(f"variant {variant!r}, expected heatmap, vgg or tiny")
    config = default_config()
    config.task.name = "landmarks"
    config.data.name = "hand_phantom/raw"
    config.augment.shift, config.augment.zoom, config.augment.rotation = 0.06, 0.12, 20.0
    config.augment.flip = 0.5
    config.augment.gamma, config.augment.contrast = 0.3, 0.2
    config.train.batch_size = 16
    config.train.ema = 0.995
    if variant == "vgg":
        config.data.input_layouts = ("masked_image",)
        config.data.height, config.data.width = 130, 100
        config.task.points = "regression"
        config.model.name, config.model.head, config.model.sex = "vgg", "points", "none"
        config.model.widths, config.model.dense, config.model.dropout = (64, 128, 256), (512, 512), 0.0
        config.train.length = "10 epochs"
        return config
    config.data.input_layouts, config.data.contrast = ("hand_box", "canvas"), "local"
    config.data.height, config.data.width = 256, 192
    config.model.name, config.model.head = "unet", "heatmap"
    config.model.widths, config.model.patch = (16, 24, 32, 48, 64), 2
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 1e-4
    config.optimizer.learning_rate = 3e-3
    # Both stages see bone bright, unless the mask misleads.
    config.augment.invert = 0.05
    # Of both stages.
    config.train.length = "6 epochs"
    if variant == "tiny":
        config.data.name = "hand_phantom/raw_tiny"
        config.data.input_layouts, config.data.contrast = ("masked_hand_box",), "as is"
        config.data.height, config.data.width = 160, 128
        config.augment.invert = 0.0
        config.model.widths = (12, 16, 24, 32)
        config.train.length = "5 epochs"
        config.train.ema = 0.98
    return config
