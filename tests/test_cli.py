"""The command line: help, exit statuses, messages without tracebacks."""

import argparse
import pathlib
import re
import shlex
import subprocess

import pytest

from boneage_jax import cli
from boneage_jax.cli.options import path
from tests.conftest import boneage, small_arguments

COMMANDS = [
    ["data", "build"],
    ["data", "info"],
    ["train"],
    ["evaluate"],
    ["mine"],
    ["register"],
    ["annotations", "convert"],
    ["predict"],
    ["bundle"],
    ["importance"],
    ["plan"],
    ["scaling"],
    ["sweep", "start"],
    ["sweep", "resume"],
    ["sweep", "work"],
    ["sweep", "status"],
    ["sweep", "best"],
    ["sweep", "report"],
    ["demo"],
]


def call(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_that_parses(command, capsys):
    with pytest.raises(SystemExit) as leave:
        cli.main([*command, "--help"])
    assert leave.value.code == 0
    text = re.sub(r"\\\n\s*", "", capsys.readouterr().out)
    examples = re.findall(rf"^  (boneage {' '.join(command)} .*)$", text, re.M)
    assert examples
    for example in examples:
        cli._parse(shlex.split(example, comments=True)[1:])


def test_bad_usage_is_status_2():
    with pytest.raises(SystemExit) as leave:
        cli.main(["data", "build", "rsna_bone_age", "--size", "big"])
    assert leave.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--run=RUN"], "expected it once, as in --config=configs/tiny.py"),
        (
            ["train", "--run=RUN", "--config=configs/tiny.py", "--config.train.bach_size=4"],
            "did you mean 'train.batch_size'",
        ),
        (["train", "--run=RUN", "--config=configs/tiny.py", "--config.data.dir=nowhere"], "nothing is built there"),
        (
            ["train", "--run=RUN", "--config=configs/tiny.py", "--config.train.batch_size=12"],
            "which 8 devices do not divide",
        ),
        (["evaluate", "nowhere"], "not a run's folder"),
        (["predict", "hand.png", "--run=nowhere"], "not a run's folder"),
        (["predict", "hand.png", "--bundle=nowhere"], "nowhere: no such file; expected a bundle"),
        (["bundle", "--segmentation=a", "--landmarks=b", "--run=c", "--out=d"], "a: not a run's folder"),
        (["data", "info", "hand_phantom/tiny", "--out=nowhere"], "Build it with: boneage data build"),
        (["data", "build", "rsna_bone_age"], "name its folder with --from"),
        (["register", "hand_phantom/raw", "--segmentation=a", "--landmarks=b"], "nothing is built there"),
        (["register", "x", "--segmentation=a", "--landmarks=b", "--regions=Q"], "region 'Q': expected one of A, B, C"),
        (["mine", "--config=configs/tiny.py", "--out=m"], "task.name: found 'bone_age', expected 'segmentation'"),
        (["annotations", "convert", "nowhere.json", "--out=a.json"], "no such file or folder"),
        (["data", "build", "rsna_bone_age", "--from=nowhere"], "no such folder"),
        (["data", "info", "x", "--config.train.seed=1"], "takes no config"),
    ],
)
def test_bad_input_is_one_message_and_status_2(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments)
    assert status == 2
    assert expected in err
    assert "Traceback" not in err
    assert not out
    assert not (tmp_path / "RUN").exists()


def options_of(parser):
    """Every option of every command, with the words that lead to it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from (((word, *words), option) for words, option in options_of(below))
        else:
            yield (), action


def test_every_option_that_takes_a_path_refuses_addresses():
    options = list(options_of(cli._parser()))
    for words, option in options:
        assert option.type is not pathlib.Path, (words, option.dest)
        assert option.type is path or not isinstance(option.default, pathlib.Path), (words, option.dest)
    assert sum(option.type is path for _, option in options) > 40


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://bucket/x", "https://host/x", "file:///x", "GS://b"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--config=configs/tiny.py", "--run"],
        ["evaluate", "RUN", "--out"],
        ["evaluate"],
        ["paper", "--out"],
        ["predict", "hand.png", "--out"],
        ["predict"],
        ["sweep", "start", "configs/sweeps/tiny.py", "--out"],
        ["sweep", "start", "--out=s"],
        ["train", "--run=r", "--config"],
        ["bundle", "--segmentation=shipped", "--landmarks=shipped", "--run=shipped", "--out"],
        ["data", "build", "hand_phantom/tiny", "--out"],
        ["demo", "--out"],
        ["scaling", "--config=configs/tiny.py", "--images=1,2,3", "--out"],
    ],
    ids=" ".join,
)
def test_addresses_are_refused(arguments, address, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments, address)
    assert status == 2
    assert f"{address}: an address, expected a path of this machine's file system" in err
    assert err.count("\n") == 1
    assert not out
    assert not list(tmp_path.iterdir()), "today's fault: a folder named gs:"


@pytest.mark.parametrize("name", ["gs:", "gs:/bucket", "./gs://bucket", "C:\\x", "a:b", "shipped:age0"])
def test_names_with_colons_are_paths(name):
    assert path(name) == pathlib.Path(name)


def test_an_unwritable_folder(capsys, tmp_path, phantoms, data_dir):
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "run"
    config = ["--config=configs/tiny.py", f"--config.data.dir={data_dir}", f"--config.data.name={phantoms.name}"]
    for arguments in (
        ["train", f"--run={blocked}", *config],
        ["demo", f"--out={blocked}"],
        ["data", "build", "hand_phantom/tiny", f"--out={blocked}"],
    ):
        status, _, err = call(capsys, *arguments)
        assert status == 2, arguments
        assert "Not a directory" in err
        assert "Traceback" not in err


@pytest.mark.integration
def test_a_full_disk(tmp_path, data_dir, phantoms):
    """A real one, of a megabyte: build and training say so; nothing half-written is left under its final name."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        done = boneage("data", "build", "hand_phantom/tiny", "--out", disk / "data", "--counts", "90,10,10")
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert not [p for p in disk.rglob("*.array_record*") if p.is_file()]
        assert not [p for p in disk.rglob("dataset_info.json") if p.is_file()]

        arguments = small_arguments(data_dir, phantoms, checkpoint__every="1 steps", model__dense="(24,)")
        done = boneage("train", *arguments, "--run", disk / "run")
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        whole = [p.name for p in (disk / "run" / "checkpoints").iterdir() if p.name.isdigit()]
        assert len(whole) < 12
    finally:
        subprocess.run(["umount", str(disk)], check=False)
