"""The commands as a user types them, on a folder in the official RSNA layout made of phantoms."""

import csv
import json
import re

import pytest

from boneage_jax.data.sources import Dataset
from tests import rsna_layouts as make
from tests.conftest import boneage

pytestmark = pytest.mark.integration


def as_children(records, first_id):
    return [
        make.Child(str(first_id + n), round(float(row["bone_age"])), bool(row["male"]), row["image"])
        for n in range(len(records))
        for row in [records.row(n)]
    ]


def test_official_layout_end_to_end(phantoms: Dataset, tmp_path):
    splits = {
        name: as_children(phantoms.split(name), first)
        for name, first in (("train", 1377), ("validation", 1386), ("test", 4360))
    }
    make.official(tmp_path / "rsna", **splits)
    (tmp_path / "rsna" / "boneage-training-dataset" / "1380.png").unlink()

    refused = boneage("data", "build", "rsna_bone_age", "--from", "rsna", "--out", "data", cwd=tmp_path)
    assert refused.returncode == 2
    assert "no image '1380'" in refused.stderr

    built = boneage(
        "data", "build", "rsna_bone_age", "--from", "rsna", "--out", "data", "--missing=skip", "--workers", 2,
        "--size", "96x72", "--encoding", "jpeg", cwd=tmp_path,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "left out, rows without an image (1):" in built.stderr
    assert re.search(r"\d+(\.\d+)? images/s", built.stderr), built.stderr
    info = boneage("data", "info", "rsna_bone_age/96x72_jpeg95", "--out", "data", "--json", cwd=tmp_path)
    facts = json.loads(info.stdout)
    assert {name: split["images"] for name, split in facts["splits"].items()} == {
        "train": 71,
        "validation": 20,
        "test": 21,
    }

    config = ["--config=configs/tiny.py", "--config.data.dir=data", "--config.data.name=rsna_bone_age/96x72_jpeg95"]
    config += [
        "--config.data.height=96",
        "--config.data.width=72",
        "--config.train.length=8 steps",
        "--config.model.widths=(4,8)",
    ]
    trained = boneage("train", *config, "--run=runs/a", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "The run lies in runs/a" in trained.stdout
    assert "steps/s" in trained.stderr

    evaluated = boneage("evaluate", "runs/a", "--report", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    folder = tmp_path / "runs/a/evaluation/rsna_bone_age-96x72_jpeg95/test"
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    readings = {r["id"]: float(r["reading"]) for r in rows}
    assert readings == {c.id: c.months + 0.25 for c in splits["test"]}
    assert json.loads((folder / "scores.json").read_text())["phantom"] is False

    images = tmp_path / "rsna" / "Bone Age Test Set" / "Test Set Images"
    predicted = boneage("assess", images, "--sex=F", "--run=runs/a", "--out=p", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert len((tmp_path / "p" / "ages.csv").read_text().splitlines()) == 1 + 21

    again = boneage("train", *config, "--run=runs/a", cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing left to do" in again.stderr


@pytest.mark.engine
@pytest.mark.parametrize("trained", [[], ["--train-all", "--config.model.widths=(4,8)"]], ids=["shipped", "trained"])
def test_demo_goes_the_whole_way_and_is_not_done_twice(trained, tmp_path):
    arguments = ["demo", "--quick", "--out", "d", *trained]
    first = boneage(*arguments, cwd=tmp_path, timeout=900)
    assert first.returncode == 0, first.stderr
    assert "Everything lies in d" in first.stdout
    page = (tmp_path / "d" / "report.html").read_text()
    assert len(page) > 100_000
    for stage in ("Masks and key points", "The way of a hand", "What the pipeline&#x27;s errors cost", "Scores"):
        assert stage in page
    assert "rendered hand phantoms" in page
    assert "rendered phantoms: says nothing about children" in first.stdout.split("through the whole pipeline")[1]
    checkpoints = sorted((tmp_path / "d" / "run" / "checkpoints").iterdir())
    second = boneage(*arguments, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "nothing left to do" in second.stderr
    assert "rendering" not in second.stderr
    assert sorted((tmp_path / "d" / "run" / "checkpoints").iterdir()) == checkpoints
    table = [text.split("\n\nDone in")[0] for text in (first.stdout, second.stdout)]
    assert table[0] == table[1]
