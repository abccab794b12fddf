"""The command line: help, exit statuses, messages without tracebacks."""

import argparse
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from boneage_jax import cli
from boneage_jax.cli.hands import AssessOptions
from boneage_jax.cli.models import PaperOptions
from boneage_jax.files import local as path
from boneage_jax.network_ref import NetworkRef
from boneage_jax.options import request_of
from boneage_jax.phantoms.request import PhantomRequest
from boneage_jax.region_spec import RegionSpec
from boneage_jax.sweeps.request import StartRequest
from boneage_jax.workflows.requests import BuildRequest, BundleRequest, ConvertRequest, RegisterRequest
from tests.conftest import boneage, small_arguments

COMMANDS = [
    ["data", "build"],
    ["data", "info"],
    ["phantom"],
    ["train"],
    ["evaluate"],
    ["paper"],
    ["compare"],
    ["pool-folds"],
    ["mine"],
    ["calibrate", "quality"],
    ["calibrate", "ages"],
    ["stress"],
    ["register"],
    ["annotations", "convert"],
    ["assess"],
    ["serve", "dicom"],
    ["bundle"],
    ["export"],
    ["importance"],
    ["plan"],
    ["scaling"],
    ["learning-curve"],
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


def test_a_command_of_an_older_name_is_the_new_one(tmp_path, capsys):
    """It says so, and does what that does."""
    old, new = (call(capsys, name, tmp_path / "nowhere.png", "--sex=F") for name in ("predict", "assess"))
    assert old[0] == new[0] == 2
    assert "the command predict is called assess now" in old[2]
    assert old[2].endswith(new[2])


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


def test_help_waits_for_no_heavy_library():
    """Declaring all options needs the requests alone, none of the work behind them."""
    code = (
        "import sys; from boneage_jax import cli; cli.parser().format_help(); "
        "print(sorted({'jax', 'jaxtyping', 'flax', 'tensorflow', 'cv2', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "register hand_phantom/raw --segmentation shipped --landmarks runs/l --regions A,B@20x30 --coarse-only "
            "--canvas 1040,800,400,50,400,800 --splits train,test",
            RegisterRequest(
                "hand_phantom/raw",
                NetworkRef(None),
                NetworkRef(pathlib.Path("runs/l")),
                regions=(RegionSpec("A"), RegionSpec("B", size=(20, 30))),
                fine_stage=False,
                canvas=(1040, 800, 400, 50, 400, 800),
                splits=("train", "test"),
            ),
        ),
        (
            "assess a.png b.png --run shipped:age0 --run runs/x --sex-conflict use-dicom -o ages",
            AssessOptions(
                (pathlib.Path("a.png"), pathlib.Path("b.png")),
                (NetworkRef(None, "age0"), NetworkRef(pathlib.Path("runs/x"))),
                sex_conflict="use-dicom",
                out=pathlib.Path("ages"),
            ),
        ),
        (
            "bundle --segmentation shipped --landmarks shipped --run runs/a --out b --debias",
            BundleRequest(
                NetworkRef(None),
                NetworkRef(None),
                (NetworkRef(pathlib.Path("runs/a")),),
                pathlib.Path("b"),
                debias=True,
            ),
        ),
        (
            "paper --out p --experiments m46-*,resnet50-* --set train.seed=1 --set model.depth=18 --beside r --dry-run",
            PaperOptions(
                pathlib.Path("p"),
                experiments=("m46-*", "resnet50-*"),
                overrides=("--config.train.seed=1", "--config.model.depth=18"),
                beside=(pathlib.Path("r"),),
                dry_run=True,
            ),
        ),
        (
            "data build rsna_bone_age --from d --validation 0 --counts 4,2,1 --size 500x375",
            BuildRequest(
                "rsna_bone_age",
                source=pathlib.Path("d"),
                validation=0.0,
                counts={"train": 4, "validation": 2, "test": 1},
                size=(500, 375),
            ),
        ),
        (
            "phantom --ages 12:36:12 --set carpals=120 --out g.gif",
            PhantomRequest(ages=(12.0, 24.0, 36.0), counterfactual="carpals=120", out=pathlib.Path("g.gif")),
        ),
        (
            "annotations convert a.json --out b --rename 'thumb tip=1,capitate=17'",
            ConvertRequest(pathlib.Path("a.json"), pathlib.Path("b"), rename={"thumb tip": "1", "capitate": "17"}),
        ),
        (
            "sweep start s.py --out s --lease 5",
            StartRequest(sweep=pathlib.Path("s.py"), out=pathlib.Path("s"), lease=5.0),
        ),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_a_command_line_is_a_request(line, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, _ = cli._parse(shlex.split(line))
    assert request_of(type(expected), options) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("register x --segmentation a --landmarks b --canvas 1,2", "found '1,2', expected HEIGHT,WIDTH,TIP_X,TIP_Y,"),
        ("data build x --counts 4,2", "found '4,2', expected TRAIN,VALIDATION,TEST, as in 400,50,50"),
        ("data build x --quality 0", "found 0, expected a whole number above 0"),
        ("phantom --ages 36:12:12 --out g", "found '36:12:12', expected FIRST:LAST:STEP in months, as in 12:216:12"),
        ("phantom --ages 1.2.3:12:12 --out g", "found '1.2.3:12:12', expected FIRST:LAST:STEP in months"),
        ("annotations convert a --out b --rename x", "found 'x', expected NEW=OLD,..., as in capitate=17"),
        ("scaling --out s --images few", "found 'few', expected whole numbers, as in 250,500,1000"),
        ("scaling --out s --images 1 --widths x", "found 'x', expected numbers, as in 0.5,1,2"),
        ("sweep work s --lease 0", "found 0, expected a number of seconds above 0"),
        ("train --run r --process -1", "found -1, expected a whole number, 0 or more"),
    ],
)
def test_values_that_cannot_be_read_are_status_2(line, expected, capsys):
    with pytest.raises(SystemExit) as leave:
        cli.main(shlex.split(line))
    assert leave.value.code == 2
    assert expected in capsys.readouterr().err


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
        (["assess", "hand.png", "--run=nowhere"], "not a run's folder"),
        (["assess", "hand.png", "--bundle=nowhere"], "nowhere: no such file; expected a bundle"),
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
    options = list(options_of(cli.parser()))
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
        ["assess", "hand.png", "--out"],
        ["assess"],
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
