"""Twenty small trials on small phantoms: settings of the demo's network.

boneage data build hand_phantom/tiny --out data
boneage sweep start configs/sweeps/tiny.py --out sweeps/tiny --workers 2
boneage sweep report sweeps/tiny
"""

from boneage_jax.sweeps.space import Sweep, choice, loguniform, uniform


def get_sweep() -> Sweep:
    """Returns the search: Optuna's TPE, which gives up a trial that is worse than the median."""
    return Sweep(
        config="configs/tiny.py",
        fixed={
            "data.height": 96,
            "data.width": 72,
            "train.length": "3 epochs",
            "eval.every": "1 epochs",
        },
        space={
            "optimizer.learning_rate": loguniform(3e-4, 2e-2),
            "model.dropout": uniform(0.0, 0.5),
            "model.widths": choice((8, 16, 32, 64), (16, 32, 48, 64), (8, 16, 32, 64, 96)),
            "train.batch_size": choice(16, 32),
        },
        trials=20,
        pruner_options={"n_startup_trials": 5, "n_warmup_steps": 100},
    )
