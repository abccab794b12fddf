"""Age network for real radiographs, from the phantoms' weights: longer, and more averaged, than `configs/finetune.py`.

    boneage register rsna_bone_age/full --segmentation shipped --landmarks shipped --regions whole@520x400
    boneage train --config=configs/rsna.py --run=runs/rsna-0
    boneage train --config=configs/rsna.py --config.train.start=phantom_only:age1 --run=runs/rsna-1
    boneage train --config=configs/rsna.py:tiny --run=runs/rsna-tiny         # its twin on phantoms, a minute or two

The networks of the shipped bundle `rsna` were trained by it, but shorter: see the model card for the commands. What the
whole length comes to on real hands has not been measured.
"""

import ml_collections

from boneage_jax.config import read_config


def get_config(size: str = "full") -> ml_collections.ConfigDict:
    """Returns the config: `full`, or its `tiny` twin."""
    if size not in ("full", "tiny"):
        raise ValueError(f"size {size!r}, expected full or tiny")
    config = read_config("configs/finetune.py" + (":tiny" if size == "tiny" else ""))
    config.optimizer.learning_rate = 1.5e-3
    if size == "tiny":
        return config
    config.data.name = "registered_hands/rsna_bone_age-full"
    config.train.length = "12 epochs"
    config.train.ema = 0.999
    config.eval.every, config.checkpoint.every = "2 epochs", "1 epochs"
    return config
