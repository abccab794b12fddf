"""Networks written so that they run without this package: their outputs, the standalone reader, refusals."""

import dataclasses
import errno
import json
import math
import pathlib
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest
from jax import export as jax_export

from boneage_jax import NOT_A_MEDICAL_DEVICE, cli, tasks
from boneage_jax.config import default_config, validate
from boneage_jax.distributed.mesh import make_mesh, replicated
from boneage_jax.hand.network import Network
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs import state as run_state
from boneage_jax.runs.inference import ages_of
from boneage_jax.workflows import exporting
from tests.test_cli import call

UNET = {"model__name": "unet", "model__widths": (4, 6, 8), "model__patch": 2}
SMALL = {"model__widths": (4, 6), "model__dense": (8,)}
NETWORKS = {
    "distribution": SMALL | {"task__age": "distribution", "data__regions": "A"},
    "regions": {
        "model__name": "resnet",
        "model__depth": 18,
        "model__widths": (4, 6, 8, 10),
        "model__dense": (),
        "task__age": "classification",
        "data__regions": "B+C",
    },
    "regression": SMALL | {"model__sex": "heads"},
    "convnext": {"model__name": "convnext", "model__depth": 4, "model__widths": (4, 6, 8, 10), "model__dense": ()},
    "segmentation": UNET | {"task__name": "segmentation", "model__head": "mask"},
    "landmarks": UNET
    | {"task__name": "landmarks", "model__head": "heatmap", "data__input_layouts": ("hand_box", "canvas")},
    "points": SMALL
    | {
        "task__name": "landmarks",
        "task__points": "regression",
        "model__head": "points",
        "data__input_layouts": ("masked_image",),
    },
}
"""One of each form of output and architecture, as small as can be; `changes` of `untrained`."""

TERMS = "Made for a test."


def untrained(seed: int, **changes) -> run_folder.LoadedRun:
    """A network of random weights, no small ones: its outputs differ from image to image."""
    config = default_config()
    config.data.height, config.data.width = 64, 48
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    config = validate(config)
    network, params, batch_stats = run_state.Network.build(config, seed=0)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: np.asarray(x) + rng.normal(0, 0.05, x.shape).astype(np.float32), params)
    mesh = make_mesh(1)
    return run_folder.LoadedRun(
        folder=pathlib.Path("made for a test"),
        config=config,
        step=1,
        score=7.5,
        about={"data": {"registered": True, "phantom": False}},
        network=network,
        arrays=jax.device_put({"params": params, "batch_stats": jax.device_get(batch_stats)}, replicated(mesh)),
        task=tasks.build(config.task),
        mesh=mesh,
        chosen="step 1",
    )


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> pathlib.Path:
    """A bundle of all `NETWORKS`."""
    path = tmp_path_factory.mktemp("networks") / "b.safetensors"
    bundle.write({name: untrained(n, **NETWORKS[name]) for n, name in enumerate(NETWORKS)}, {"terms": TERMS}, path)
    return path


def read(folder: pathlib.Path) -> tuple[dict, jax_export.Exported]:
    about = json.loads((folder / "network.json").read_text())
    return about, jax_export.deserialize(bytearray((folder / "network.stablehlo").read_bytes()))


def hands(loaded: run_folder.LoadedRun, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, each brighter than the one before, and sexes."""
    data, rng = loaded.config.data, np.random.default_rng(count)
    regions = (data.pictures,) if data.pictures > 1 else ()
    noise = rng.uniform(0, 256, (count, data.height, data.width, *regions))
    levels = np.linspace(0.3, 1, count).reshape(-1, *(1,) * (noise.ndim - 1))
    return (noise * levels).astype(np.uint8), (np.arange(count) % 2).astype(np.float32)


def own(loaded: run_folder.LoadedRun, images: np.ndarray, male: np.ndarray) -> dict[str, np.ndarray]:
    """The package's own predictions, by the names of an exported network's outputs."""
    predicted = Network(loaded, len(images)).predict(images, male)
    if loaded.config.task.name == "bone_age":
        return dataclasses.asdict(ages_of(loaded, predicted))
    if loaded.config.task.name == "segmentation":
        return {"probability": predicted}
    return {"points": predicted[..., :2], "spread": predicted[..., 2]}


def expect_own(loaded: run_folder.LoadedRun, about: dict, program, *, tolerance: float = 1e-4) -> None:
    """One program answers for 1 and for 5 hands as the package does, in the shapes that `network.json` states."""
    for count in (1, 5):
        images, male = hands(loaded, count)
        expected = own(loaded, images, male)
        found = program(images, male)
        assert [output["name"] for output in about["outputs"]] == list(expected)
        for output, values in zip(about["outputs"], found, strict=True):
            assert ["b" if size == count and not n else size for n, size in enumerate(values.shape)] == output["shape"]
            assert str(values.dtype) == output["dtype"]
            np.testing.assert_allclose(values, expected[output["name"]], rtol=0, atol=tolerance)
    first = next(iter(expected.values()))
    assert np.ptp(first, axis=0).max() > 100 * tolerance, "else any network would do"


@pytest.mark.parametrize("name", NETWORKS)
def test_one_file_predicts_as_the_package_does_for_any_batch(name, networks, tmp_path, capsys):
    status, said, _ = call(capsys, "export", f"{networks}:{name}", "--out", tmp_path / "out")
    assert status == 0
    assert TERMS in said
    assert NOT_A_MEDICAL_DEVICE in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "network.json",
        "network.stablehlo",
        "read.py",
    ]
    about, exported = read(tmp_path / "out")
    loaded = bundle.load(networks, name)
    expect_own(loaded, about, exported.call)
    assert [(port["name"], port["dtype"]) for port in about["inputs"]] == [("images", "uint8"), ("male", "float32")]
    assert [list(map(str, aval.shape)) for aval in exported.in_avals] == [
        list(map(str, port["shape"])) for port in about["inputs"]
    ]
    assert about["fingerprint"] == run_folder.digest(loaded)
    assert about["terms"] == [TERMS]
    assert about["notice"] == NOT_A_MEDICAL_DEVICE
    assert about["network"] == f"b.safetensors:{name}"
    assert str(tmp_path) not in json.dumps(about) + said.replace(str(tmp_path / "out"), "")
    assert about["versions"]["exported"]["jax"] == jax.__version__


def test_regions_and_their_place_on_the_canvas(networks, tmp_path, capsys):
    call(capsys, "export", f"{networks}:regions", "--out", tmp_path / "out")
    about, _ = read(tmp_path / "out")
    assert about["inputs"][0]["shape"] == ["b", 64, 48, 2]
    assert [(region["name"], region["rows"]) for region in about["regions"]] == [
        ("B", [1225, 1975]),
        ("C", [685, 1285]),
    ]
    assert about["canvas"]["height"] == 2080
    call(capsys, "export", f"{networks}:segmentation", "--out", tmp_path / "out")
    about, _ = read(tmp_path / "out")
    assert (about["regions"], about["canvas"], about["input_layouts"]) == ([], None, {"image": "the whole image"})


def test_a_runs_folder_and_its_constant_spread(trained, tmp_path, capsys):
    """That of a regression: the root of two times the evaluation's mean absolute error."""
    status, _, _ = call(capsys, "export", trained, "--out", tmp_path / "out")
    assert status == 0
    about, exported = read(tmp_path / "out")
    loaded = run_folder.load(trained)
    images, male = hands(loaded, 3)
    months, spread = exported.call(images, male)
    np.testing.assert_allclose(months, own(loaded, images, male)["months"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(spread, math.sqrt(2) * loaded.score, rtol=1e-6)
    assert about["network"] == trained.name
    assert about["notice"].startswith("Trained on phantoms only")


def test_a_run_without_evaluation_has_no_spread(tmp_path):
    loaded = dataclasses.replace(untrained(0, **NETWORKS["regression"]), score=math.nan)
    inputs, _ = exporting.ports(loaded, None)
    exported = jax_export.deserialize(bytearray(exporting.stablehlo(loaded, inputs, ("cpu",))))
    months, spread = exported.call(*hands(loaded, 2))
    assert np.isfinite(months).all()
    assert np.isnan(spread).all()
    differences = exporting._differences(loaded, {"it": exported.call}, 2)
    assert differences["it"] <= 1e-4, "what is not known on both sides is the same"


def test_a_fixed_batch_takes_no_other(networks, tmp_path, capsys):
    out = tmp_path / "out"
    status, said, _ = call(capsys, "export", f"{networks}:distribution", "--out", out, "--batch-size", 2)
    assert status == 0
    assert "images uint8 (2, 64, 48)" in said
    about, exported = read(out)
    assert about["inputs"][0]["shape"] == [2, 64, 48]
    loaded = bundle.load(networks, "distribution")
    np.testing.assert_allclose(
        exported.call(*hands(loaded, 2))[0], own(loaded, *hands(loaded, 2))["months"], rtol=0, atol=1e-4
    )
    with pytest.raises(ValueError, match="shape"):
        exported.call(*hands(loaded, 3))
    call(capsys, "export", f"{networks}:segmentation", "--out", out, "--batch-size", 2)
    assert read(out)[1].module_kept_var_idx == (0, 1), "the sex is an input of networks too that do not read it"


@pytest.mark.parametrize("name", ["distribution", "convnext", "segmentation"])
def test_one_file_for_several_platforms(name, networks, tmp_path, capsys):
    """Lowered for devices that are not here; the program for the CPU is tried."""
    out = tmp_path / "out"
    status, said, _ = call(capsys, "export", f"{networks}:{name}", "--out", out, "--platforms", "cpu,cuda,tpu")
    assert status == 0
    assert "was not tried" not in said
    about, exported = read(out)
    assert exported.platforms == tuple(about["platforms"]) == ("cpu", "cuda", "tpu")
    expect_own(bundle.load(networks, name), about, exported.call)
    status, said, _ = call(capsys, "export", f"{networks}:{name}", "--out", out, "--platforms", "tpu")
    assert status == 0
    assert "network.stablehlo was not tried: only programs for the CPU are" in said


WITHOUT_THE_PACKAGE = """
import runpy, sys
for name in ("boneage_jax", "flax", "optax", "PIL"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_reader(folder: pathlib.Path, *arguments) -> subprocess.CompletedProcess:
    """Runs `read.py` of a folder in an isolated Python that cannot import this package."""
    command = [sys.executable, "-I", "-c", WITHOUT_THE_PACKAGE, folder / "read.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd="/", check=False)


def test_the_reader_needs_no_package(networks, tmp_path, capsys):
    call(capsys, "export", f"{networks}:distribution", "--out", tmp_path / "age")
    call(capsys, "export", f"{networks}:regions", "--out", tmp_path / "regions")
    one, several = bundle.load(networks, "distribution"), bundle.load(networks, "regions")
    image, both = hands(one, 1)[0][0], hands(several, 3)[0]
    cv2.imwrite(str(tmp_path / "hand.png"), image)
    np.save(tmp_path / "three.npy", both)
    for n in range(2):
        cv2.imwrite(str(tmp_path / f"{n}.png"), both[0, ..., n])

    done = run_reader(tmp_path / "age", "M", tmp_path / "hand.png")
    assert done.returncode == 0, done.stderr
    expected = own(one, image[None], np.ones(1, np.float32))
    lines = done.stdout.splitlines()
    assert float(lines[0].removeprefix("months, months: [").removesuffix("]")) == pytest.approx(
        expected["months"][0], abs=1e-4
    )
    assert float(lines[1].removeprefix("spread, months: [").removesuffix("]")) == pytest.approx(
        expected["spread"][0], abs=1e-4
    )
    assert lines[2] == f"{TERMS} {NOT_A_MEDICAL_DEVICE}"

    expected = own(several, both, np.zeros(3, np.float32))["months"]
    for arguments, count in ((["three.npy"], 3), (["0.png", "1.png"], 1)):
        done = run_reader(tmp_path / "regions", "F", *(tmp_path / name for name in arguments))
        assert done.returncode == 0, done.stderr
        found = done.stdout.partition("[")[2].partition("]")[0].split()
        np.testing.assert_allclose(np.array(found, float), expected[:count], rtol=0, atol=1e-4)

    assert len((tmp_path / "age" / "read.py").read_text().splitlines()) <= 30
    for arguments, problem in (
        (["M", tmp_path / "0.png", tmp_path / "1.png"], "found M, uint8 (64, 48, 2); expected M or F, uint8"),
        (["male", tmp_path / "hand.png"], "found male, uint8 (1, 64, 48); expected M or F"),
        (["M", tmp_path / "nothing.png"], "expected M or F, uint8 ('b', 64, 48)"),
        ([], "python read.py M|F PICTURE..."),
    ):
        done = run_reader(tmp_path / "age", *arguments)
        assert done.returncode == 1
        assert problem in done.stderr
        assert "Traceback" not in done.stderr


def test_refusals_leave_nothing_behind(networks, tmp_path, capsys):
    out, file, full = tmp_path / "out", tmp_path / "file", tmp_path / "full"
    file.write_text("mine")
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    for network, where, problem in (
        (tmp_path / "nowhere", out, "nowhere: not a run's folder"),
        (full, out, "full: not a run's folder"),
        (file, out, "file: not a bundle"),
        (networks, out, "holds distribution, regions, "),
        (f"{networks}:age7", out, "holds no 'age7' but distribution"),
        (f"{networks}:regression", file, "file: found a file, expected a folder to write"),
        (f"{networks}:regression", full, "full: found a folder that holds something else than an exported network"),
        (f"{networks}:regression", file / "below", "file: cannot be written"),
    ):
        status, said, err = call(capsys, "export", network, "--out", where)
        assert status == 2, err
        assert problem in err
        assert not said
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "notes.txt"]
    for options, problem in (
        (["--batch-size", "0"], "found '0', expected a whole number above 0, or symbolic for any"),
        (["--batch-size", "some"], "expected a whole number above 0, or symbolic for any"),
        (["--platforms", "cpu,gpu"], "found 'cpu,gpu', expected one or more of cpu, cuda, rocm, tpu"),
    ):
        with pytest.raises(SystemExit) as leave:
            cli.main(["export", f"{networks}:regression", "--out", str(out), *options])
        assert leave.value.code == 2
        assert problem in capsys.readouterr().err


def test_a_disk_that_fills_up_leaves_the_older_files(networks, tmp_path, capsys, monkeypatch):
    """All files or none get their names: the last that is written fails."""
    out = tmp_path / "out"
    call(capsys, "export", f"{networks}:regression", "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_bytes = pathlib.Path.write_bytes

    def full(path, content):
        if path.name.startswith(".read.py"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    status, _, err = call(capsys, "export", f"{networks}:distribution", "--out", out)
    assert status == 2
    assert f"{out / 'read.py'}: cannot be written (No space left on device)" in err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("difference", [0.5, math.nan])
def test_a_program_that_predicts_otherwise_is_not_written(difference, networks, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exporting, "_largest", lambda *_: difference)
    status, _, err = call(capsys, "export", f"{networks}:regression", "--out", tmp_path / "out")
    assert status == 2
    assert "network.stablehlo: not written: found predictions that differ from this package's by" in err
    assert not (tmp_path / "out").exists()


def test_onnx_without_its_extra(networks, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    status, _, err = call(capsys, "export", f"{networks}:regression", "--out", tmp_path / "out", "--onnx")
    assert status == 2
    assert "--onnx needs the package 'jax2onnx'" in err
    assert "[onnx]" in err
    assert not (tmp_path / "out").exists()


def test_an_older_onnx_file_goes_with_its_network(networks, tmp_path, capsys):
    out = tmp_path / "out"
    call(capsys, "export", f"{networks}:regression", "--out", out)
    (out / "network.onnx").write_bytes(b"of another network")
    call(capsys, "export", f"{networks}:distribution", "--out", out)
    assert not (out / "network.onnx").exists()


@pytest.mark.integration
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_predicts_as_the_package_does(name, networks, tmp_path, capsys):
    pytest.importorskip("jax2onnx", exc_type=ImportError)
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    status, said, err = call(capsys, "export", f"{networks}:{name}", "--out", out, "--onnx")
    assert status == 0, err
    assert "network.onnx" in said
    about, _ = read(out)
    session = onnxruntime.InferenceSession(str(out / "network.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["images", "male"]
    assert [one.name for one in session.get_outputs()] == [output["name"] for output in about["outputs"]]
    assert session.get_modelmeta().custom_metadata_map == {
        "fingerprint": about["fingerprint"],
        "terms": TERMS,
        "notice": NOT_A_MEDICAL_DEVICE,
    }
    expect_own(
        bundle.load(networks, name), about, lambda images, male: session.run(None, {"images": images, "male": male})
    )


@pytest.mark.integration
@pytest.mark.parametrize("name", ["age0", "age1", "segmentation", "landmarks"])
def test_shipped_networks_predict_as_the_package_does(name, tmp_path, capsys):
    status, said, _ = call(capsys, "export", f"rsna:{name}", "--out", tmp_path / "out")
    assert status == 0
    assert "Learnt from the images of the RSNA" in said
    about, exported = read(tmp_path / "out")
    assert about["network"] == f"rsna:{name}"
    expect_own(bundle.load(f"rsna:{name}", ""), about, exported.call, tolerance=2e-4)
