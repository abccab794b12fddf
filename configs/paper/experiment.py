"""An experiment of the paper's table: MODEL-HEAD-REGION-SEX.

    boneage train --config=configs/paper/experiment.py:m46-regression-A-all --run=runs/m46-regression-A-all
    boneage train --config=configs/paper/experiment.py:m46-regression-B-male-tiny --run=runs/try   # a tiny twin
    boneage train --config=configs/paper/experiment.py:m46-regression-A-all-half --run=runs/half   # for small images
    boneage train --config=configs/paper/experiment.py:m46-regression-A-all-slim --run=runs/slim   # hours on a CPU
    boneage paper --out paper                                                                      # all of them

Models `m46` and `resnet50`; heads `regression` and `classification`; regions A (whole hand), B (carpals), C
(metacarpals and proximal phalanges); sexes `all`, `male`, `female`. Adam from 1e-3 to 1e-5, shift and zoom by 5%, 5
degrees, as in the paper (confirmed; the length is that of its co-author's code, the batch is ours). Here on phantoms;
on your registered RSNA images `boneage paper --dataset registered_hands/rsna_bone_age-full`.
No figure on real images has been measured with these configs yet.
"""

import ml_collections

from boneage_jax import anatomy
from boneage_jax.config import read_config
from boneage_jax.paper.grid import HEADS, MODELS, SEXES

SIZES = {region.name: region.size for region in anatomy.CANVAS_REGIONS}


def get_config(experiment: str = "m46-regression-A-all") -> ml_collections.ConfigDict:
    """Returns the config of an experiment, by its name.

    With `-half` at the end inputs have half the paper's height and width, for radiographs that carry no more; with
    `-slim` networks are narrow as well and trained for 3 epochs, which takes a CPU core less than an hour each; with
    `-tiny` it is that of a twin, which learns in a minute.
    """
    size = next((known for known in ("tiny", "half", "slim") if experiment.endswith(f"-{known}")), "full")
    name = experiment.removesuffix(f"-{size}")
    model, head, region, sex = (*name.split("-"), "", "", "", "")[:4]
    for part, known in ((model, MODELS), (head, HEADS), (region, SIZES), (sex, SEXES)):
        if part not in known:
            raise ValueError(f"experiment {experiment!r}: found {part!r}, expected one of {', '.join(known)}")
    # The network and the recipe of the paper.
    config = read_config("configs/m46.py")
    config.data.name, config.data.regions, config.data.sex = "hand_phantom/registered", region, sex
    config.data.height, config.data.width = SIZES[region]
    if size in ("half", "slim"):
        # Half a pixel more where the paper's side is odd: A 250 x 188, B 188 x 188, C 150 x 350.
        config.data.height, config.data.width = (-(-side // 2) for side in SIZES[region])
    config.task.age = head
    if model == "resnet50":
        config.model.name, config.model.depth = "resnet", 50
        config.model.widths = (64, 128, 256, 512)
        config.model.dense, config.model.dropout = (), 0.0
    if size == "slim":
        # Both networks at about the same cost: half of the channels, a quarter of ResNet-50's.
        if model == "m46":
            config.model.widths, config.model.dense = (16, 32, 64, 64, 128, 192), (512, 512)
        else:
            config.model.widths = (16, 32, 64, 128)
        config.train.length, config.train.batch_size = "3 epochs", 32
    if size == "tiny":
        # A fifth of the size in each direction.
        config.data.height, config.data.width = (side // 5 for side in SIZES[region])
        config.model.widths = (8, 12, 16, 24)
        if model == "m46":
            config.model.dense = (64,)
        else:
            config.model.depth = 10
        config.optimizer.learning_rate = 3e-3
        config.train.length, config.train.batch_size = "2 epochs", 32
    return config
