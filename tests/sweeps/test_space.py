"""What a sweep's file may say."""

import json

import pytest

from boneage_jax.config import loading
from boneage_jax.errors import UserError
from boneage_jax.sweeps.space import Sweep, choice, integer, loguniform, read, uniform

SPACE = {
    "optimizer.learning_rate": loguniform(1e-4, 1e-2),
    "model.widths": choice((4, 8), (8, 8)),
    "train.batch_size": integer(8, 16),
}


def test_a_point_becomes_the_config_it_names():
    sweep = Sweep("configs/tiny.py", SPACE, fixed={"model.dense": (8,), "train.length": "2 epochs"})
    point = {"optimizer.learning_rate": "0.00123", "model.widths": "(8, 8)", "train.batch_size": "8"}
    config = loading.load(sweep.arguments(point))
    assert config.optimizer.learning_rate == 0.00123
    assert (config.model.widths, config.model.dense, config.train.batch_size) == ((8, 8), (8,), 8)
    assert config.train.length == "2 epochs"


def test_a_sweep_survives_its_file():
    sweep = Sweep("configs/tiny.py", SPACE, fixed={"model.dense": (8,)}, sampler_options={"multivariate": True})
    again = Sweep.of_dict(json.loads(json.dumps(sweep.as_dict())))
    assert again.as_dict() == sweep.as_dict()
    assert again.space == sweep.space


def test_a_grid_has_all_points():
    sweep = Sweep(
        "configs/tiny.py",
        {"model.dropout": choice(0.0, 0.5), "train.seed": integer(0, 2)},
        sampler="grid",
        trials=99,
    )
    assert sweep.count == 6
    assert {tuple(point.values()) for point in sweep.grid()} == {(d, s) for d in ("0.0", "0.5") for s in "012"}


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        ({"model.dropuot": uniform(0, 1)}, {}, r"model\.dropuot: no such key \(did you mean 'model.dropout'\?\)"),
        ({"model.dropout": uniform(0, 2)}, {}, r"model\.dropout: 2\.0: .*at most 0\.95"),
        ({"model.dropout": uniform(0.5, 0.5)}, {}, "expected a lower and a higher number"),
        ({"optimizer.learning_rate": loguniform(0, 1)}, {}, "expected numbers above 0"),
        ({"model.name": choice("vgg", "vgh")}, {}, r"model\.name: vgh: .*expected one of"),
        ({"model.dropout": choice()}, {}, "found no values"),
        ({"model.dropout": uniform(0, 0.5)}, {"sampler": "grid"}, "for a grid"),
        ({"model.dropout": uniform(0, 0.5)}, {"fixed": {"model.dropout": 0.1}}, "both varied and fixed"),
        ({"model.dropout": uniform(0, 0.5)}, {"trials": 0}, "trials: found 0"),
        ({}, {}, "space: found nothing"),
    ],
)
def test_bad_sweeps(space, changes, message):
    with pytest.raises(UserError, match=message):
        Sweep("configs/tiny.py", space, **changes).check()


def test_files_that_are_no_sweeps(tmp_path):
    with pytest.raises(UserError, match="no such sweep"):
        read("configs/sweeps/none.py")
    for text, message in (("x =", "SyntaxError"), ("def get_sweep(): return 3", "gives int, expected a Sweep")):
        (tmp_path / "sweep.py").write_text(text)
        with pytest.raises(UserError, match=message):
            read(str(tmp_path / "sweep.py"))


@pytest.mark.parametrize("name", ["tiny", "grid"])
def test_shipped_sweeps(name):
    sweep = read(f"configs/sweeps/{name}.py")
    assert sweep.check().task.name == "bone_age"
