"""The age network of the bundle: phantoms only, endless, all disturbances on. A research demonstration.

    boneage data build hand_phantom/raw --out data      # for evaluation; training images are rendered meanwhile
    boneage train --config=configs/phantom_only.py --run=runs/phantom-only
    boneage train --config=configs/phantom_only.py:tiny --run=runs/phantom-only-tiny      # its twin, a minute or two

Hands as acquired, cut from their background and laid on the canvas by their true masks and key points, then shifted,
rotated and zoomed by as much as the pipeline errs, blurred and with noise. Labels are the true age, not a reading, and
every age is as likely as any other: the network is meant for hands from infants to adults, not for a test set of
phantoms.
"""

import ml_collections

from boneage_jax.config import default_config


def get_config(size: str = "full") -> ml_collections.ConfigDict:
    """Returns the config: `full`, or its `tiny` twin."""
    if size not in ("full", "tiny"):
        raise ValueError(f"size {size!r}, expected full or tiny")
    config = default_config()
    config.data.name, config.data.regions = "hand_phantom/raw", "A"
    config.data.input_layouts = ("masked_canvas",)
    # Several sizes: real radiographs differ in sharpness.
    config.data.fresh = "raw@520x400+480x480+640x480"
    config.data.fresh_ages, config.data.fresh_rater_sd = "even", 0.0
    config.data.height, config.data.width = 250, 188
    config.model.name, config.model.depth = "resnet", 18
    config.model.widths = (16, 32, 64, 128)
    config.model.dense = (128,)
    config.model.sex = "input"
    config.task.age, config.task.label_sd = "distribution", 6.0
    config.augment.shift, config.augment.zoom, config.augment.rotation = 0.04, 0.08, 8.0
    config.augment.gamma, config.augment.contrast = 0.3, 0.2
    # Real radiographs are softer than phantoms, and noisier.
    config.augment.blur, config.augment.noise = 2.0, 0.04
    config.data.echo_factor = 4
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 1e-4
    config.optimizer.learning_rate = 2e-3
    config.train.length, config.train.batch_size = "5000 steps", 32
    config.train.ema = 0.995
    config.eval.every, config.checkpoint.every = "1000 steps", "500 steps"
    config.eval.batch_size = 32
    if size == "tiny":
        config.data.name, config.data.fresh = "hand_phantom/raw_tiny", "raw@260x208"
        config.data.height, config.data.width = 100, 75
        config.model.depth, config.model.widths = 10, (8, 16, 24, 32)
        config.train.length = "200 steps"
        config.eval.every = config.checkpoint.every = "100 steps"
        config.train.ema = 0.98
    return config
