"""All nine pairs of a learning rate and a weight decay for the paper's network, three seeds each.

boneage sweep start configs/sweeps/grid.py --out sweeps/grid --workers 0
python -m launch.slurm launch/jobs/sweep.toml       # its command names the folder: ["sweep", "work", "sweeps/grid"]
"""

from boneage_jax.sweeps.space import Sweep, choice, integer


def get_sweep() -> Sweep:
    """Returns the search: all points, none given up."""
    return Sweep(
        config="configs/m46.py",
        fixed={"optimizer.name": "adamw"},
        space={
            "optimizer.learning_rate": choice(3e-4, 1e-3, 3e-3),
            "optimizer.weight_decay": choice(0.0, 1e-4, 1e-2),
            "train.seed": integer(0, 2),
        },
        sampler="grid",
        pruner="NopPruner",
    )
