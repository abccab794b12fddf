"""ConvNeXt on registered hands, beside a ResNet of as many weights: is the newer network the better one here?

    boneage data build hand_phantom/registered --out data
    boneage train --config=configs/convnext.py --run=runs/convnext
    boneage train --config=configs/convnext.py:resnet --run=runs/resnet          # all else is equal
    boneage train --config=configs/convnext.py:tiny --run=runs/convnext-tiny     # its twin, a minute or two

Region A, label distributions and sex as `configs/finetune.py`, from random weights.
"""

import ml_collections

from boneage_jax.config import read_config


def get_config(variant: str = "convnext") -> ml_collections.ConfigDict:
    """Returns the config: `convnext`, the `resnet` to compare it with, or the `tiny` twin."""
    if variant not in ("convnext", "resnet", "tiny"):
        raise ValueError(f"variant {variant!r}, expected convnext, resnet or tiny")
    config = read_config("configs/finetune.py" + (":tiny" if variant == "tiny" else ""))
    config.train.start = ""
    if variant == "resnet":
        return config
    config.model.name, config.model.depth = "convnext", 12
    config.model.widths = (18, 36, 72, 144)
    if variant == "tiny":
        config.data.height, config.data.width = 100, 75
        config.model.depth, config.model.widths = 4, (8, 16, 24, 32)
    return config
