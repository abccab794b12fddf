"""What a trained run is for: evaluation, prediction, and the proof that age is read from anatomy alone."""

import csv
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from boneage_jax import NOT_A_MEDICAL_DEVICE, resources
from boneage_jax.analysis import evaluate
from boneage_jax.data import images
from boneage_jax.data.augment import TEST_TIME
from boneage_jax.data.examples import View
from boneage_jax.data.reading import view_of
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import EXIT_PARTIAL
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.inference import predict_ages
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest
from tests import rsna_layouts as make
from tests.conftest import REAL, needs_real
from tests.test_cli import call


def test_evaluate_writes_table_json_and_csv(trained, capsys):
    status, out, _ = call(capsys, "evaluate", trained, "--split", "validation", "--report")
    assert status == 0
    folder = evaluate.folder_of(trained, run_folder.load(trained).config.data.name, "validation")
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    summary = json.loads((folder / "scores.json").read_text())
    error = [float(r["months"]) - float(r["reading"]) for r in rows]
    assert len(rows) == 20 == summary["scores"]["all"]["images"]
    assert summary["scores"]["all"]["MAE"]["value"] == pytest.approx(sum(map(abs, error)) / 20, abs=0.01)
    assert summary["phantom"] is True
    assert "says nothing about children" in out
    assert NOT_A_MEDICAL_DEVICE in out
    page = (folder / "report.html").read_text()
    assert NOT_A_MEDICAL_DEVICE in page
    assert page.count("data:image/png;base64,") == 6
    assert not re.search(r'(src|href)="(?!data:)', page), "the page stands by itself"


@pytest.mark.integration
def test_views_at_test_time_are_averaged(trained, capsys):
    assert call(capsys, "evaluate", trained, "--split", "validation[:8]", "--test-time")[0] == 0
    (folder,) = (trained / "evaluation").glob("*/validation*-test-time")
    said = [float(row["months"]) for row in csv.DictReader((folder / "predictions.csv").open())]
    loaded = run_folder.load(trained)
    dataset = Dataset.open(pathlib.Path(loaded.config.data.dir), loaded.config.data.name)
    records = dataset.split("validation[:8]", View(loaded.config.data.height, loaded.config.data.width))
    one_by_one = [predict_ages(loaded, records, moves=(move,)).months for move in TEST_TIME]
    assert np.ptp(one_by_one, axis=0).max() > 0.1, "the pictures do move"
    np.testing.assert_allclose(said, np.mean(one_by_one, axis=0), atol=0.02)


def test_evaluation_of_data_that_have_moved(trained, data_dir, tmp_path, capsys):
    """Only the folder given with --data is read, for the page too."""
    run_copy = shutil.copytree(trained, tmp_path / "run")
    dataset = run_folder.load(trained).config.data.name
    shutil.copytree(data_dir / dataset, tmp_path / "moved" / dataset)
    hidden = (data_dir / dataset).rename(data_dir / "hidden")
    try:
        status, _, err = call(
            capsys, "evaluate", run_copy, "--split", "validation", "--data", tmp_path / "moved", "--report"
        )
    finally:
        hidden.rename(data_dir / dataset)
    assert status == 0, err
    assert list((run_copy / "evaluation").glob("*/validation/report.html"))


def test_evaluation_and_prediction_agree(trained, data_dir, tmp_path, capsys):
    """The same pictures through files and through TFDS come to the same ages."""
    config = run_folder.load(trained).config
    records = Dataset.open(data_dir, config.data.name).split("validation[:6]")
    with (tmp_path / "sexes.csv").open("w") as table:
        table.write("file,male\n")
        for n, name in enumerate(records.ids()):
            (tmp_path / f"{name}.png").write_bytes(records.row(n)["image"])
            table.write(f"{name}.png,{bool(records.row(n)['male'])}\n")
    status, out, _ = call(
        capsys,
        *("assess", tmp_path, "--as-is", "--views=1", "--run", trained),
        *("--sex-csv", tmp_path / "sexes.csv", "--out", tmp_path / "p"),
    )
    assert status == 0
    assert NOT_A_MEDICAL_DEVICE in out
    with (tmp_path / "p" / "ages.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == [
        "file", "months", "spread", "low_80", "high_80", "low_90", "high_90", "chronological_months", "sd_score", "sex",
        "turned", "flags", "refused", "problem",
    ]  # fmt: skip
    assert call(capsys, "evaluate", trained, "--split", "validation[:6]")[0] == 0
    (folder,) = (trained / "evaluation").glob("*/validation[[]:6[]]")
    evaluated = {r["id"]: float(r["months"]) for r in csv.DictReader((folder / "predictions.csv").open())}
    predicted = {row[0].rsplit("/", 1)[-1].removesuffix(".png"): float(row[1]) for row in rows}
    assert predicted == pytest.approx(evaluated, abs=0.06)


def test_predict_gives_the_reason_for_what_it_cannot_read(trained, tmp_path, capsys):
    """All kinds of it stand in tests/hand/test_assess.py."""
    for child in make.children(3, 1):
        (tmp_path / f"{child.id}.png").write_bytes(child.png)
    (tmp_path / "4.png").write_bytes(b"")
    (tmp_path / "5.png").write_bytes(b"no image")
    options = ("--as-is", "--views=1", "--run", trained, "--sex=F", "--out", tmp_path / "p")
    status, out, _ = call(capsys, "assess", tmp_path, *options)
    assert status == EXIT_PARTIAL
    assert "4.png: the file is empty" in out
    assert "5.png: not a readable PNG, JPEG" in out
    with (tmp_path / "p" / "ages.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["months"]) for row in rows] == [not row["problem"] for row in rows]
    assert [pathlib.Path(row["file"]).name for row in rows if row["problem"]] == ["4.png", "5.png"]
    shutil.rmtree(tmp_path / "p")
    status, _, err = call(capsys, "assess", tmp_path / "4.png", tmp_path / "5.png", *options)
    assert status == 2
    assert "4.png: the file is empty" in err
    assert not (tmp_path / "p").exists()


def test_one_radiograph_in_every_format_has_one_age(trained, data_dir, tmp_path, capsys):
    """Saved without loss, as grey and as colour, upright and turned; by the file's own sex, where it has one."""
    pytest.importorskip("pydicom")
    from tests.dicom_files import dataset, written

    config = run_folder.load(trained).config
    picture = Dataset.open(data_dir, config.data.name).split("validation[:1]").image(0)
    deep = picture.astype(np.uint16) * 16
    window = {"WindowCenter": "2040", "WindowWidth": "4080", "VOILUTFunction": "LINEAR_EXACT"}
    image, turned = Image.fromarray(picture), Image.Exif()
    turned[0x0112] = 6
    image.save(tmp_path / "a.png")
    image.convert("RGB").save(tmp_path / "b.tiff", compression="tiff_lzw")
    image.save(tmp_path / "c.bmp")
    image.save(tmp_path / "d.webp", lossless=True)
    Image.fromarray(np.ascontiguousarray(np.rot90(picture))).save(tmp_path / "e.png", exif=turned)
    (tmp_path / "f").write_bytes(written(dataset(deep, **window)))
    inverted = dataset((4080 - deep).astype(np.uint16), PhotometricInterpretation="MONOCHROME1", **window)
    (tmp_path / "g.dcm").write_bytes(written(inverted))
    Image.fromarray(picture.astype(np.float32)).save(tmp_path / "h.tif")
    options = ("--as-is", "--views=1", "--run", trained, "--out", tmp_path / "p")
    assert call(capsys, "assess", tmp_path, *options, "--sex=F")[0] == 0
    with (tmp_path / "p" / "ages.csv").open() as file:
        months = {pathlib.Path(row["file"]).name: float(row["months"]) for row in csv.DictReader(file)}
    assert len(months) == 8
    stretched = months.pop("h.tif")
    assert set(months.values()) == {months["a.png"]}
    assert stretched == pytest.approx(months["a.png"], abs=3), "floats are stretched from their least to their greatest"
    assert call(capsys, "assess", tmp_path / "f", *options[:-1], tmp_path / "one")[0] == 0
    with (tmp_path / "one" / "ages.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["sex"], float(row["months"])) == ("F", months["a.png"])


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
    status, _, err = call(capsys, "assess", tmp_path / "7.png", "--run", trained, *options)
    assert status == 2
    assert expected in err


@pytest.mark.integration
@needs_real
def test_predict_on_a_real_radiograph(trained, capsys):
    """It runs, and says what it is: a model of phantoms has nothing to say of real hands yet."""
    status, out, _ = call(capsys, "assess", REAL / "hand_1381" / "original.png", "--run", trained, "--sex", "F")
    assert status == 0
    assert re.search(r"\d+\.\d ± \d+\.\d months", out)
    assert "Trained on phantoms only" in out


@pytest.mark.integration
def test_pictures_without_a_hand_are_flagged(tmp_path, capsys):
    """By the shipped bundle, which is used when no run is named."""
    noise = np.random.default_rng(0).normal(90, 12, (400, 320)).clip(0, 255).astype(np.uint8)
    for name, picture in (("black", np.zeros_like(noise)), ("wall", noise)):
        (tmp_path / f"{name}.png").write_bytes(images.encode(picture, "png"))
    status, out, _ = call(capsys, "assess", tmp_path, "--sex=F", "--out", tmp_path / "p")
    assert status == 0
    assert re.search(r"no age  F  .*black\.png  \[.*no hand", out)
    assert "2 of 2 get no age" in out
    black, wall = csv.DictReader((tmp_path / "p" / "ages.csv").open())
    for row in (black, wall):
        assert (row["months"], row["spread"]) == ("", "")
        assert "no hand" in row["refused"]


@pytest.mark.integration
@needs_real
@pytest.mark.parametrize(
    ("bundle", "notice"), [("phantom_only", "Trained on phantoms only"), ("rsna", "Learnt from the images of the RSNA")]
)
def test_shipped_bundles_order_real_hands_by_age(bundle, notice, tmp_path, capsys):
    """An infant's hand and an adolescent's are told apart, by networks that have seen drawings only too.

    By force: of the infant's hand the wrist is cut off by a mask.
    """
    hands = [REAL / "hands" / "15605_masked.png", REAL / "hand_1381" / "original.png"]
    hands += [REAL / "hands" / f"{name}_registered.png" for name in (4556, 4557)]
    table, page = tmp_path / "p" / "ages.csv", tmp_path / "p" / "index.html"
    options = ["--bundle", bundle, "--out", tmp_path / "p"]
    status, out, _ = call(capsys, "assess", *hands, "--sex=F", "--force", *options)
    assert status == 0
    with table.open() as file:
        months = [float(row["months"]) for row in csv.DictReader(file)]
    assert months == sorted(months), "rsna reads 50, 71, 132 and 165 months"
    for text in (out, page.read_text()):
        assert notice in text
        assert NOT_A_MEDICAL_DEVICE in text


def test_an_output_that_cannot_be_written(trained, tmp_path, capsys):
    (tmp_path / "7.png").write_bytes(make.children(1, 7)[0].png)
    status, _, err = call(
        capsys, "assess", tmp_path / "7.png", "--sex=M", "--run", trained, "--out", tmp_path / "7.png" / "p"
    )
    assert status == 2
    assert "cannot be written" in err


def test_a_damaged_checkpoint_is_named(trained, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "run")
    for file in (folder / "checkpoints").glob("*/arrays/**/*"):
        if file.is_file() and file.stat().st_size > 1000:
            file.write_bytes(file.read_bytes()[:500])
    status, _, err = call(capsys, "evaluate", folder)
    assert status == 2
    assert "the checkpoint is damaged" in err
    assert "Traceback" not in err


def global_statistics(row, place) -> list[float]:
    """Brightness, contrast, sizes and place in the file: all that is not anatomy."""
    image = images.decode(row["image"]).astype(float) / 255
    mask = images.decode(row["mask"]) > 0
    hand = image[mask]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    bright = [(image > level).mean() for level in (0.2, 0.35, 0.5, 0.65, 0.8)]
    moments = [hand.mean(), hand.std(), ((hand - hand.mean()) ** 3).mean() / hand.std() ** 3, image[~mask].mean()]
    sizes = [mask.mean(), np.ptp(rows), np.ptp(columns), rows[0], columns[0]]
    percentiles = [*np.percentile(image, [1, 5, 25, 50, 75, 95, 99]), *np.percentile(hand, [5, 25, 50, 75, 95])]
    return [*bright, *moments, *sizes, *percentiles, place, float(row["male"]), 1.0]


@pytest.mark.integration
def test_age_is_read_from_anatomy_alone(data_dir):
    """A linear model on global statistics stays above twice the error of a small network, one of the bundle's."""
    counts = {"train": 900, "validation": 10, "test": 200}
    dataset = build.build(BuildRequest("hand_phantom/tiny", out=data_dir, workers=2, counts=counts))
    features, ages = {}, {}
    for split in ("train", "test"):
        records = dataset.split(split)
        features[split] = np.array([global_statistics(records.row(n), n / len(records)) for n in range(len(records))])
        ages[split] = records.labels()[0]
    scale = features["train"].std(0) + 1e-9
    weights, *_ = np.linalg.lstsq(features["train"] / scale, ages["train"], rcond=None)
    linear = np.abs(features["test"] / scale @ weights - ages["test"]).mean()

    loaded = bundle.load(resources.shipped_bundle(resources.PHANTOM_BUNDLE), "age0")
    predicted = predict_ages(loaded, dataset.split("test", view_of(loaded.config.data))).months
    network = np.abs(predicted - ages["test"]).mean()
    print(f"linear model on global statistics {linear:.2f} months, network {network:.2f} months")
    assert linear > 2 * network
