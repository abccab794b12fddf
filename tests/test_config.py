"""The door: what it lets in, and what it says of the rest."""

import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax import resources
from boneage_jax.config import Duration, default_config, loading, to_dict, validate
from boneage_jax.errors import UserError
from boneage_jax.settings import flatten

GOLDEN = pathlib.Path(__file__).parent / "golden"


def test_defaults_are_valid_and_round_trip():
    config = validate(default_config())
    assert validate(to_dict(config)) == config


@pytest.mark.parametrize("name", resources.shipped_configs())
def test_every_shipped_config_is_as_reviewed(name):
    """A changed default shows as a changed golden file; UPDATE_GOLDEN=1 rewrites them."""
    config = loading.load([f"--config={name}"])
    text = "".join(f"{key} = {value!r}\n" for key, value in flatten(to_dict(config)).items())
    path = GOLDEN / (name.removeprefix("configs/").replace("/", "-").removesuffix(".py") + ".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text, f"{name} changed: review it, then UPDATE_GOLDEN=1 make test"


@pytest.mark.parametrize(
    ("one", "other", "differing"),
    [
        (
            "configs/m46.py",
            "configs/paper/experiment.py:m46-regression-A-all",
            {"data.name", "data.regions"},
        ),
        (
            "configs/paper/experiment.py:m46-classification-A-all",
            "configs/paper/experiment.py:resnet50-classification-A-all",
            {"model.name", "model.widths", "model.dense", "model.dropout"},
        ),
        (
            "configs/convnext.py",
            "configs/convnext.py:resnet",
            {"model.name", "model.depth", "model.widths"},
        ),
    ],
)
def test_configs_that_are_compared_differ_in_what_is_compared(one, other, differing):
    first, second = (flatten(to_dict(loading.load([f"--config={name}"]))) for name in (one, other))
    assert {key for key in first if first[key] != second[key]} == differing


def test_fine_tuning_has_the_network_of_the_weights_that_it_starts_from():
    first, second = (loading.load([f"--config=configs/{name}.py"]) for name in ("phantom_only", "finetune"))
    assert (first.model, first.task) == (second.model, second.task)
    assert (first.data.regions, first.data.height, first.data.width) == ("A", second.data.height, second.data.width)


def test_arguments_of_a_config_are_told_from_others():
    found = loading.split_arguments(
        ["train", "--config", "a.py:b", "--run=r", "--config.model.depth", "18", "--config.train.seed=1", "--configs"]
    )
    assert found == (
        ["--config=a.py:b", "--config.model.depth=18", "--config.train.seed=1"],
        ["train", "--run=r", "--configs"],
    )
    with pytest.raises(UserError, match="--run=r: not an argument of a config"):
        loading.load(["--config=configs/tiny.py", "--run=r"])


def test_all_problems_are_told_at_once():
    config = to_dict(validate(default_config()))
    config["train"]["batchsize"] = 8
    config["optimizer"]["learning_rate"] = "fast"
    config["model"]["dropout"] = 2.0
    config["model"]["head"] = "oracle"
    config["train"]["length"] = "ten epochs"
    with pytest.raises(UserError) as error:
        validate(config, origin="mine.py")
    message = str(error.value)
    assert message.startswith("mine.py")
    assert "train.batchsize: no such key (did you mean 'train.batch_size'?)" in message
    assert "optimizer.learning_rate: found 'fast', expected a number" in message
    assert "model.dropout: found 2.0, expected at most 0.95" in message
    assert "model.head: found 'oracle', expected one of 'regression'" in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.length", "10%", "expected steps, epochs or examples"),
        ("train.length", "0 steps", "a positive number"),
        ("train.accumulation", 5, "a divisor of train.batch_size"),
        ("train.seed", -1, "at least 0"),
        ("optimizer.final_learning_rate", 1.0, "at most optimizer.learning_rate"),
        ("model.widths", (4,) * 9, "leave nothing of an image"),
        ("model.widths", (), "a non-empty tuple"),
        ("train.batch_size", True, "a whole number"),
        ("optimizer.learning_rate", float("nan"), "a finite number"),
    ],
)
def test_impossible_values(key, value, expected):
    nested = to_dict(validate(default_config()))
    section, name = key.split(".")
    nested[section][name] = value
    with pytest.raises(UserError, match=expected):
        validate(nested)


def test_overrides_as_ml_collections_users_know_them():
    config = loading.load(
        [
            "--config=configs/m46.py:3x3",
            "--config.train.batch_size=16",
            "--config.model.widths=(8,16)",
            "--config.model.dtype",
            "bfloat16",
        ]
    )
    assert (config.model.second_kernel, config.model.pool) == (3, 2)
    assert config.train.batch_size == 16
    assert config.model.widths == (8, 16)
    assert config.model.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected it once"),
        (["--config=nowhere.py"], "no such config; shipped are .*configs/m46.py"),
        (["--config=configs/tiny.py", "--config.train.bach_size=8"], "did you mean 'train.batch_size'"),
        (["--config=configs/tiny.py", "--config.train.batch_size=many"], "batch_size"),
        (["--config=configs/m46.py:5x5"], "expected 1x1 or 3x3"),
        (
            ["--config=configs/landmarks.py", "--config.data.input_layouts=('image',)"],
            "'image',.*expected .*'hand_box', 'canvas'.*'masked_image'",
        ),
        (["--config=configs/segmentation.py", "--config.data.frame=hand"], "'masked_hand_box',.*expected .*'image'"),
    ],
)
def test_bad_arguments(arguments, expected):
    with pytest.raises(UserError, match=expected):
        loading.load(arguments)


def test_misspelt_key_in_a_config_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from boneage_jax.config import default_config\n"
        "def get_config():\n    c = default_config()\n    c.train.bach_size = 4\n    return c\n"
    )
    with pytest.raises(UserError, match=r"mine\.py(.|\n)*did you mean 'train\.batch_size'"):
        loading.load([f"--config={path}"])


@given(
    amount=st.integers(1, 10_000),
    batch=st.integers(1, 512),
    epoch=st.integers(1, 20_000),
)
def test_durations_agree_across_units(amount, batch, epoch):
    def steps(text):
        return Duration.parse(text).in_steps(batch_size=batch, examples_per_epoch=epoch, total_steps=amount)

    assert steps(f"{amount} steps") == amount
    assert steps("100%") == amount
    # A duration covers at least what it says, and at most one step more.
    assert (steps(f"{amount} examples") - 1) * batch < amount <= steps(f"{amount} examples") * batch
    assert steps(f"{amount} epochs") == steps(f"{amount * epoch} examples")


@pytest.mark.parametrize(
    ("task", "frame", "expected"),
    [
        ("segmentation", "looks", ("image", "hand_box")),
        ("landmarks", "looks", ("hand_box", "canvas")),
        ("segmentation", "upright", ("image", "upright_box")),
        ("landmarks", "hand", ("masked_hand_box",)),
        ("landmarks", "masked", ("masked_image",)),
        ("bone_age", "canvas", ("masked_canvas",)),
        ("bone_age", "image", ("image",)),
    ],
)
def test_configs_of_older_versions_load_under_their_new_names(task, frame, expected):
    """The keys that version 0.0 knew; its shipped bundle is loaded in tests/runs."""
    networks = {
        "segmentation": {"name": "unet", "head": "mask"},
        "landmarks": {"name": "unet", "head": "heatmap"},
        "bone_age": {},
    }
    model = networks[task]
    if (task, frame) == ("landmarks", "masked"):
        model = {"name": "vgg", "head": "points"}
    old = {
        "task": {"name": task, "points": "regression" if model.get("head") == "points" else "heatmap"},
        "model": model,
        "data": {
            "frame": frame,
            "echoes": 3,
            "emphasis": "few/",
            "regions": "A" if frame == "canvas" else "",
            "height": 160,
            "width": 160,
        },
        "augment": {"grain": 0.25},
    }
    found = validate(old)
    assert found.data.input_layouts == expected
    assert (found.data.echo_factor, found.data.oversampled_masks, found.augment.noise) == (3, "few/", 0.25)


def test_old_keys_on_the_command_line_and_in_a_file(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from configs import segmentation\n\n\ndef get_config():\n    config = segmentation.get_config()\n"
        "    config.data.frame = 'looks'\n    config.augment.grain = 0.5\n    return config\n"
    )
    found = loading.load([f"--config={mine}", "--config.data.echoes=2"])
    assert (found.data.input_layouts, found.data.echo_factor) == (("image", "hand_box"), 2)
    assert found.augment.noise == 0.5
    with pytest.raises(UserError, match=r"data\.input_layouts: found 'askew'"):
        loading.load([f"--config={mine}", "--config.data.frame=askew"])
