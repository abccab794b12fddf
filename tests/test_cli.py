"""The command line: help, exit statuses, messages without tracebacks."""

import csv
import json
import re
import subprocess

import pytest

from boneage_jax import NOT_A_MEDICAL_DEVICE, cli
from tests import rsna_layouts as make
from tests.conftest import REAL, needs_real

COMMANDS = [["data", "build"], ["data", "info"], ["train"], ["evaluate"], ["predict"], ["demo"]]


def call(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_that_parses(command, capsys):
    with pytest.raises(SystemExit) as leave:
        cli.main([*command, "--help"])
    assert leave.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(rf"^  (boneage {' '.join(command)} .*)$", text, re.M)
    assert examples
    for example in examples:
        cli._parse(example.split()[1:])


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
        (["data", "info", "hand_phantom/tiny", "--out=nowhere"], "Build it with: boneage data build"),
        (["data", "build", "rsna_bone_age"], "name its folder with --from"),
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


def test_evaluate_writes_table_json_and_csv(trained, capsys):
    status, out, _ = call(capsys, "evaluate", trained, "--split", "validation", "--report")
    assert status == 0
    folder = next((trained / "evaluation").iterdir()) / "validation"
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    summary = json.loads((folder / "scores.json").read_text())
    error = [float(r["months"]) - float(r["reading"]) for r in rows]
    assert len(rows) == 100 == summary["scores"]["all"]["images"]
    assert summary["scores"]["all"]["MAE"]["value"] == pytest.approx(sum(map(abs, error)) / 100, abs=0.01)
    assert summary["phantom"] is True
    assert "says nothing about children" in out
    assert NOT_A_MEDICAL_DEVICE in out
    page = (folder / "report.html").read_text()
    assert NOT_A_MEDICAL_DEVICE in page
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r'(src|href)="(?!data:)', page), "the page stands by itself"


def test_evaluation_and_prediction_agree(trained, data_dir, tmp_path, capsys):
    """The same pictures through files and through TFDS come to the same ages."""
    from boneage_jax.data.sources import Dataset
    from boneage_jax.train import run

    config = run.load(trained).config
    records = Dataset.open(data_dir, config.data.name).split("validation[:6]")
    with (tmp_path / "sexes.csv").open("w") as table:
        table.write("file,male\n")
        for n, name in enumerate(records.ids()):
            (tmp_path / f"{name}.png").write_bytes(records.row(n)["image"])
            table.write(f"{name}.png,{bool(records.row(n)['male'])}\n")
    status, out, _ = call(
        capsys, "predict", tmp_path, "--run", trained, "--sex-csv", tmp_path / "sexes.csv", "--out", tmp_path / "p.csv"
    )
    assert status == 0
    assert NOT_A_MEDICAL_DEVICE in out
    with (tmp_path / "p.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["file", "months"]
    assert call(capsys, "evaluate", trained, "--split", "validation[:6]")[0] == 0
    (folder,) = (trained / "evaluation").glob("*/validation[[]:6[]]")
    evaluated = {r["id"]: float(r["months"]) for r in csv.DictReader((folder / "predictions.csv").open())}
    predicted = {row[0].rsplit("/", 1)[-1].removesuffix(".png"): float(row[1]) for row in rows}
    assert predicted == pytest.approx(evaluated, abs=0.06)


def test_predict_refuses_what_it_cannot_read(trained, tmp_path, capsys):
    for child in make.children(3, 1):
        (tmp_path / f"{child.id}.png").write_bytes(child.png)
    (tmp_path / "4.png").write_bytes(b"")
    (tmp_path / "5.png").write_bytes(b"no image")
    status, _, err = call(capsys, "predict", tmp_path, "--run", trained, "--sex=F", "--out", tmp_path / "p.csv")
    assert status == 2
    assert "4.png: the file is empty" in err
    assert "5.png: not a readable PNG or JPEG" in err
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "Give it with --sex M, --sex F or --sex-csv"),
        (["--sex=x"], "unknown sex 'x'"),
        (["--sex=M", "--sex-csv=SEXES"], "expected one of them"),
        (["--sex-csv=SEXES"], "which is not given for these files (1)"),
        (["--sex-csv=nowhere.csv"], "nowhere.csv: No such file"),
    ],
)
def test_predict_wants_to_know_the_sex(trained, tmp_path, capsys, options, expected):
    (tmp_path / "7.png").write_bytes(make.children(1, 7)[0].png)
    (tmp_path / "sexes.csv").write_text("file,male\n8.png,True\n")
    options = [o.replace("SEXES", str(tmp_path / "sexes.csv")) for o in options]
    status, _, err = call(capsys, "predict", tmp_path / "7.png", "--run", trained, *options)
    assert status == 2
    assert expected in err


@needs_real
def test_predict_on_a_real_radiograph(trained, capsys):
    """It runs, and says what it is: a model of phantoms has nothing to say of real hands yet."""
    status, out, _ = call(capsys, "predict", REAL / "hand_1381" / "original.png", "--run", trained, "--sex", "F")
    assert status == 0
    assert re.search(r"\d+\.\d months", out)
    assert "trained on rendered phantoms only" in out


def test_an_output_that_cannot_be_written(trained, tmp_path, capsys):
    (tmp_path / "7.png").write_bytes(make.children(1, 7)[0].png)
    status, _, err = call(
        capsys, "predict", tmp_path / "7.png", "--sex=M", "--run", trained, "--out", tmp_path / "7.png" / "p.csv"
    )
    assert status == 2
    assert "cannot be written" in err


def test_a_damaged_checkpoint_is_named(trained, tmp_path, capsys):
    import shutil

    folder = shutil.copytree(trained, tmp_path / "run")
    for file in (folder / "checkpoints").glob("*/arrays/**/*"):
        if file.is_file() and file.stat().st_size > 1000:
            file.write_bytes(file.read_bytes()[:500])
    status, _, err = call(capsys, "evaluate", folder)
    assert status == 2
    assert "the checkpoint is damaged" in err
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
        from tests.conftest import boneage

        done = boneage("data", "build", "hand_phantom/tiny", "--out", disk / "data", "--counts", "90,10,10")
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert not [p for p in disk.rglob("*.array_record*") if p.is_file()]
        assert not [p for p in disk.rglob("dataset_info.json") if p.is_file()]

        config = ["--config=configs/tiny.py", f"--config.data.dir={data_dir}", f"--config.data.name={phantoms.name}"]
        config += ["--config.train.length=6 steps", "--config.checkpoint.every=1 steps", "--config.eval.every=6 steps"]
        done = boneage("train", *config, "--run", disk / "run")
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        whole = [p.name for p in (disk / "run" / "checkpoints").iterdir() if p.name.isdigit()]
        assert len(whole) < 6
    finally:
        subprocess.run(["umount", str(disk)], check=False)
