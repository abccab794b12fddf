"""The tiny twins of the age recipes train, on a few phantoms and as small as can be."""

import pytest

from boneage_jax.config import loading
from boneage_jax.runs import run_folder
from boneage_jax.train.loop import train

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["best", "finetune"])
def test_a_twin_trains(name, data_dir, phantoms, tmp_path):
    small = {
        "data.dir": data_dir,
        "data.name": phantoms.name,
        "data.height": 48,
        "data.width": 40,
        "train.length": "2 steps",
        "train.batch_size": 8,
        "train.devices": 1,
        "eval.every": "2 steps",
        "eval.batch_size": 8,
        "checkpoint.every": "2 steps",
        "log.tensorboard": False,
    }
    arguments = [f"--config=configs/{name}.py:tiny", *(f"--config.{key}={value}" for key, value in small.items())]
    train(loading.load(arguments), tmp_path / "run")
    trained = run_folder.load(tmp_path / "run")
    assert trained.step == 2
    assert 0 < trained.score < 240
