"""The shell scripts: how they are called, and that what they call is understood."""

import pathlib
import subprocess

import pytest

from boneage_jax.config import loading

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"


def run(script, arguments, folder, **settings):
    return subprocess.run(
        ["bash", LAUNCH / script, *arguments], cwd=folder, capture_output=True, text=True, check=False, **settings
    )


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("rsna_bundle.sh", [], "launch/rsna_bundle.sh downloads/rsna299 work"),
        ("rsna_bundle.sh", ["a", "b", "data", "nope"], "found the step 'nope'"),
        ("rsna_levers.sh", [], "launch/rsna_levers.sh registered_hands/rsna_bone_age-full data work"),
        ("rsna_levers.sh", ["a", "b", "c", "nope"], "found the lever 'nope'"),
    ],
)
def test_a_script_says_how_it_is_called(tmp_path, script, arguments, said):
    done = run(script, arguments, tmp_path)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_every_lever_is_a_config_unlike_the_base(tmp_path):
    """With a command in the place of `boneage` that writes down how it is called and makes a run's folders."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "boneage"
    stand_in.write_text(
        f'#!/bin/bash\nprintf "%s\\t" "$@" >> {tmp_path}/calls\necho >> {tmp_path}/calls\n'
        'for one in "$@"; do case $one in --run=*) mkdir -p "${one#--run=}/checkpoints";; esac; done\n'
    )
    stand_in.chmod(0o755)
    done = run(
        "rsna_levers.sh",
        ["registered_hands/x", "data", "work"],
        tmp_path,
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "LENGTH": "3 epochs"},
    )
    assert done.returncode == 0, done.stderr
    calls = [line.split("\t")[:-1] for line in (tmp_path / "calls").read_text().splitlines()]
    assert [call for call in calls if call[0] == "data"] == [
        ["data", "build", "hand_phantom/registered", "--out", "data"]
    ]
    configs = {}
    for arguments in (call[1:] for call in calls if call[0] == "train"):
        folder = next(one.removeprefix("--run=") for one in arguments if one.startswith("--run="))
        configs[folder] = loading.load([one for one in arguments if not one.startswith("--run=")])
    assert len(configs) == 17
    assert len(set(configs.values())) == len(configs), "each lever changes something"
    assert configs["work/longer"].train.length == "6 epochs"
    assert {c.train.length for name, c in configs.items() if name != "work/longer"} == {"3 epochs"}
    assert calls[-1] == [
        "compare", *configs, "--with-first", "--split", "validation", "--out", "work/comparison"
    ]  # fmt: skip
