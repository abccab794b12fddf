"""`import boneage_jax as ba`: light, the same numbers as the command line, and results that show themselves."""

import csv
import dataclasses
import inspect
import itertools
import math
import os
import subprocess
import sys
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import boneage_jax as ba
from boneage_jax import anatomy, environment, resources
from boneage_jax.api import startup
from boneage_jax.api.hands import RegisteredHand
from boneage_jax.api.predictions import Prediction
from boneage_jax.canvas import Canvas
from boneage_jax.data import images
from boneage_jax.hand import quality
from boneage_jax.hand.age_ensemble import Ages, EnsembleAges
from boneage_jax.hand.masks import Mask
from boneage_jax.hand.pipeline import Registered
from boneage_jax.hand.quality import QualityReport
from boneage_jax.phantoms import export
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.assessment import PHANTOMS_ONLY, Assessment, Seen
from boneage_jax.workflows.requests import AssessRequest
from tests.conftest import LESS_OPTIMISED
from tests.test_cli import call


def run_python(code, **variables):
    """What a program prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": LESS_OPTIMISED, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_package_is_light_until_it_is_used():
    code = "import sys, boneage_jax as ba; print(sorted({'jax', 'numpy', 'cv2', 'flax'} & set(sys.modules)), dir(ba))"
    out = run_python(code).stdout
    assert out.startswith("[] ")
    for name in ("load", "open_dataset", "phantom", "Prediction"):
        assert f"'{name}'" in out
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        ba.laod()
    assert all(getattr(ba, name) is not None for name in ba.__all__)


def test_what_is_set_before_jax_starts():
    """JAX computes as for the command line; figures stay the notebook's."""
    code = (
        "import os, boneage_jax as ba; ba.load; import jax\n"
        "print(jax.config.jax_enable_x64, jax.config.jax_threefry_partitionable, os.environ['MPLBACKEND'])"
    )
    done = run_python(code, JAX_ENABLE_X64="1", JAX_THREEFRY_PARTITIONABLE="0", MPLBACKEND="module://inline")
    assert done.stdout == "False True module://inline\n"
    assert "would change the numbers: JAX_ENABLE_X64, JAX_THREEFRY_PARTITIONABLE" in done.stderr


def test_a_jax_that_runs_already_is_asked(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        startup.prepare()
    monkeypatch.setitem(environment.CHANGE_NUMBERS, "JAX_RANDOM_SEED_OFFSET", ("7",))
    with pytest.warns(UserWarning, match="other values of jax_random_seed_offset than the command line"):
        startup.prepare()


# ---- predictions, by a stand-in for trained networks: the mean of an image, and 100 months more for a boy ------------


class Means:
    regions, labels, members = (), (), ("whole radiograph",)
    needs_sex = True

    def on_canvas(self, picture):
        return {"mean": picture[:2, :2]}

    def predict(self, regions, images, males):
        months = np.array([image.mean() + 100 * bool(male) for image, male in zip(images, males, strict=True)])
        ages = Ages(months, np.full(len(months), 2.0))
        return EnsembleAges(ages, (ages,))


@pytest.fixture
def model(monkeypatch):
    def init(self, request):
        self._request, self.ensemble, self._pipeline, self._finds_hands = request, Means(), None, False
        self.networks, self.phantoms_only, self.calibrated = ("a stand-in",), True, True
        self.remarks, self.age_calibration, self.intervals = (PHANTOMS_ONLY,), None, None

    monkeypatch.setattr(Assessor, "__init__", init)
    return ba.load(batch_size=2)


def grey(level):
    """An image of this mean that is no image of one value."""
    image = np.full((60, 40), level, np.uint8)
    image[0, 0], image[0, 1] = level - 9, level + 9
    return image


def test_one_radiograph_of_every_kind(model, tmp_path):
    path = tmp_path / "hand.png"
    path.write_bytes(images.encode(grey(80), "png"))
    colour = np.repeat(grey(80)[..., None], 3, axis=-1)
    in_memory = (grey(80), colour, jnp.asarray(grey(80)), Image.fromarray(grey(80)))
    for image, name in ((path, str(path)), (str(path), str(path)), *((one, "image 0") for one in in_memory)):
        found = model.predict(image, sex="F")
        assert (found.name, found.months, found.sex) == (name, 80.0, "F")
        np.testing.assert_array_equal(found.image, grey(80))
    assert model.predict(grey(80), sex="male").months == 180.0
    # Numbers of other types are stretched to the whole range, so that only their order of grey counts.
    np.testing.assert_array_equal(
        model.predict(grey(80).astype(float), sex="F").image, model.predict(grey(80) * np.uint16(9), sex="F").image
    )
    found = model.predict(grey(80), sex="F")
    assert found.years == pytest.approx(80 / 12)
    assert found.intervals == ()
    with pytest.raises(ba.UserError, match=r"found 0\.9, expected .* boneage calibrate intervals"):
        found.interval()
    assert (found.flags, found.hand, found.regions, found.mask, found.key_points) == ((), None, {}, None, None)
    assert [one.shape for one in found.inputs] == [(2, 2)]
    assert repr(found) == "Prediction(image 0: 80.0 ± 2.0 months (6.7 years), sex F)"
    assert found.notice == f"{PHANTOMS_ONLY} {ba.NOT_A_MEDICAL_DEVICE}"


def test_a_dicom_dataset_states_its_sex(model):
    pytest.importorskip("pydicom")
    from tests.dicom_files import dataset

    window = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}
    boy = dataset(grey(50).astype(np.uint16), PatientSex="M", **window)
    assert (model.predict(boy).months, model.predict(boy).sex) == (150.0, "M")
    with pytest.raises(ba.UserError, match="image 0: its PatientSex is M, F was given"):
        model.predict(boy, sex="F")
    kept = ba.load(sex_conflict="keep-given").predict(boy, sex="F")
    assert (kept.months, kept.flags) == (50.0, ("PatientSex differs",))
    assert repr(kept).endswith("sex F; flags: PatientSex differs)")


def test_many_radiographs_stream(model, tmp_path):
    """Batches of two, four of them ahead; a folder stands for its radiographs."""
    taken = itertools.count()
    predictions = model.predict_many((grey(20 + next(taken)) for _ in range(100)), sex="F")
    assert next(predictions).months == 20.0
    assert next(taken) == 8
    assert [one.name for one in itertools.islice(predictions, 2)] == ["image 1", "image 2"]
    for level in (30, 60):
        (tmp_path / f"{level}.png").write_bytes(images.encode(grey(level), "png"))
    found = list(model.predict_many([tmp_path, grey(90)], sex=["F", "M"]))
    assert [one.months for one in found] == [30.0, 60.0, 190.0]
    assert list(model.predict_many([])) == []


def test_what_cannot_be_used(model, tmp_path):
    (tmp_path / "30.png").write_bytes(images.encode(grey(30), "png"))
    (tmp_path / "cut.png").write_bytes(images.encode(grey(30), "png")[:-20])
    with pytest.raises(ba.UserError, match=r"cut\.png: the PNG is truncated"):
        list(model.predict_many([tmp_path], sex="F"))
    with pytest.warns(UserWarning, match=r"cut\.png: the PNG is truncated"):
        assert [one.months for one in model.predict_many([tmp_path], sex="F", unusable="warn")] == [30.0]
    (tmp_path / "cut.png").write_bytes(images.encode(grey(50), "png"))
    with pytest.raises(ba.UserError, match="holds several radiographs, expected one; use predict_many"):
        model.predict(tmp_path, sex="F")
    with pytest.raises(ba.UserError, match="holds 2 radiographs, expected one"):
        model.register(tmp_path)
    for image, sex, why in (
        (grey(9), None, "image 0: the networks need the child's sex; give it as sex='M' or sex='F'"),
        (grey(9), "x", "sex: found 'x', expected M or F"),
        (grey(9), 3, "sex: found 3, expected M or F"),
        (grey(9).ravel(), "F", r"image 0: an array of shape \(2400,\), expected \(h, w\)"),
        (np.full((60, 40), math.nan), "F", "image 0: an array with values that are not finite"),
        ({}, "F", "image 0: found dict, expected a path, an array, a pydicom.Dataset, an example or a phantom"),
        (tmp_path / "none.png", "F", "no such file or folder"),
    ):
        with pytest.raises(ba.UserError, match=why):
            model.predict_many([image], sex=[sex]).__next__()
    for sexes, why in ((["F"], "found 1 sexes, expected one for each image"), (["F"] * 3, "more sexes than images")):
        with pytest.raises(ba.UserError, match=why):
            list(model.predict_many([grey(9), grey(10)], sex=sexes))
    with pytest.raises(ba.UserError, match="a bundle among several networks"):
        ba.load(["shipped", "shipped:age0"])


def test_which_networks_are_opened(monkeypatch, tmp_path):
    requests = []
    monkeypatch.setattr(Assessor, "__init__", lambda self, request: requests.append(request) or vars(self).update(
        networks=(), phantoms_only=False, ensemble=Means(), remarks=(), age_calibration=None, intervals=None
    ))  # fmt: skip
    bundle = tmp_path / "mine.safetensors"
    bundle.touch()
    for networks in (None, "shipped", bundle, "shipped:age0", [tmp_path, f"{bundle}:age1"]):
        ba.load(networks, segmentation=tmp_path / "seg")
    assert [request.bundle for request in requests] == [None, resources.shipped_bundle(), bundle, None, None]
    assert [[str(run) for run in request.runs] for request in requests] == [
        [], [], [], ["shipped:age0"], [str(tmp_path), f"{bundle}:age1"],
    ]  # fmt: skip
    assert {str(request.segmentation) for request in requests} == {str(tmp_path / "seg")}


# ---- the shipped networks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hands():
    """Phantoms as acquired: hands that the shipped networks can find."""
    ages = ((60, "F", 0), (120, "M", 1), (180, "F", 2))
    return [ba.phantom(age, sex, seed, view="raw", size=(320, 256)) for age, sex, seed in ages]


@pytest.fixture(scope="module")
def shipped():
    with ba.load("phantom_only", views=1, batch_size=8) as model:
        yield model


@pytest.mark.integration
def test_the_command_line_says_the_same(shipped, hands, tmp_path, capsys):
    """Equal to the last digit that the command writes; alone, an image has the same age but for rounding."""
    paths = [tmp_path / f"{n}.png" for n in range(len(hands))]
    for path, hand in zip(paths, hands, strict=True):
        path.write_bytes(images.encode(hand.image, "png"))
    (tmp_path / "sexes.csv").write_text(
        "file,male\n" + "".join(f"{n}.png,{hand.sex == 'M'}\n" for n, hand in enumerate(hands))
    )
    arguments = ("--sex-csv", tmp_path / "sexes.csv", "--out", tmp_path / "ages", "--views", 1, "--batch-size", 8)
    assert call(capsys, "assess", *paths, "--bundle", "phantom_only", *arguments)[0] == 0
    with (tmp_path / "ages" / "ages.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = list(shipped.predict_many(paths, sex=[hand.sex for hand in hands]))
    assert [(one.name, f"{one.months:.1f}", f"{one.spread:.1f}", one.sex, ", ".join(one.flags)) for one in found] == [
        (row["file"], row["months"], row["spread"], row["sex"], row["flags"]) for row in rows
    ]
    for hand, together in zip(hands, found, strict=True):
        alone = shipped.predict(hand)
        assert (alone.months, alone.spread) == pytest.approx((together.months, together.spread), abs=0.01)
        assert alone.name == f"phantom {hand.sex} {hand.months:g} months, seed {hand.seed}"
        assert abs(alone.months - hand.months) < 36


def test_a_registered_hand(shipped, hands):
    """Held against the phantom's truth; the regions of a prediction are those of `register`."""
    hand = hands[0]
    found = shipped.register(hand)
    overlap = (found.mask & hand.mask).sum() / (found.mask | hand.mask).sum()
    assert overlap > 0.85
    length = np.linalg.norm(hand.key_points[0] - hand.key_points[2])
    assert np.linalg.norm(found.key_points - hand.key_points, axis=1).max() < 0.1 * length
    laid = found.to_canvas(found.key_points)
    np.testing.assert_allclose(laid[[0, 2]], (anatomy.CANVAS_FINGERTIP, anatomy.CANVAS_CAPITATE), atol=1e-6)
    shapes = {name: region.shape for name, region in found.regions.items()}
    assert shapes == {"whole": (520, 400), "A": (500, 375), "B": (375, 375), "C": (300, 700)}
    (wrist,) = found.cut("wrist=1500:2000,400:1200@250x400").values()
    assert wrist.shape == (250, 400)
    np.testing.assert_array_equal(found.cut("A")["A"], found.regions["A"])
    with pytest.raises(ba.UserError, match="region 'Z'"):
        found.cut("Z")
    assert set(found.measures) >= {"area", "expected"}
    predicted = shipped.predict(hand)
    np.testing.assert_array_equal(predicted.regions["B"], found.regions["B"])
    assert predicted.flags == found.flags
    for one in (found, predicted):
        assert one.overlay.shape == (*hand.image.shape, 3)
        assert (one.overlay != hand.image[..., None]).any(), "nothing is drawn on it"
        assert one._repr_png_().startswith(b"\x89PNG")
        assert ba.NOT_A_MEDICAL_DEVICE in one._repr_html_()
    assert f"{predicted.months:.1f}" in predicted._repr_html_()
    assert repr(found).startswith("RegisteredHand(phantom F 60 months, seed 0: key points at [[")


@pytest.mark.integration
def test_no_age_without_a_whole_hand_unless_it_is_forced(shipped, hands):
    """Fingers alone are refused with the flags that say so, and a hand upside down is turned and read."""
    hand = hands[1]
    knuckles = int(hand.key_points[:2, 1].max())
    (fingers,) = shipped.predict_many([hand.image[:knuckles]], sex="M")
    assert math.isnan(fingers.months)
    assert fingers.refused
    assert set(fingers.refused) <= set(fingers.flags) & quality.REFUSING
    assert fingers.intervals == ()
    with ba.load("phantom_only", views=1, batch_size=8, force=True) as forced:
        (other,) = forced.predict_many([hand.image[:knuckles]], sex="M")
    assert (other.flags, other.refused) == (fingers.flags, ())
    assert math.isfinite(other.months) == (other.key_points is not None)

    upright = shipped.predict(hand)
    assert (upright.turned, upright.refused) == (0, ())
    turned = shipped.predict(np.rot90(hand.image, 2).copy(), sex="M")
    assert turned.turned == 180
    np.testing.assert_array_equal(turned.image, hand.image)
    assert turned.months == pytest.approx(upright.months, abs=0.01)


def test_a_radiograph_without_a_hand():
    mask = Mask(np.zeros((60, 40), bool), area=0.0, second=0.0, border=0.0, agreement=1.0, expected=0.0)
    found = Registered(mask, None, None, QualityReport(("no hand",), {"area": 0.0}), {})
    hand = RegisteredHand.of("x", grey(9), found, Canvas())
    assessment = Assessment("x", math.nan, math.nan, "F", ("no hand",), calibrated=False)
    predicted = Prediction.of(assessment, Seen(grey(9), mask.inside, None, (), found), hand, "notice")
    assert (predicted.regions, predicted.key_points, hand.to_canvas, hand.cut("A")) == ({}, None, None, {})
    assert repr(predicted) == "Prediction(x: no age, sex F; flags: no hand (uncalibrated))"
    assert repr(hand) == "RegisteredHand(x: no hand; flags: no hand (uncalibrated))"
    for shown in (predicted._repr_html_(), hand._repr_html_()):
        assert "no hand (uncalibrated)" in shown
    assert "no age" in predicted._repr_html_()
    assert predicted.intervals == ()


def test_defaults_are_those_of_the_command_line():
    ours = {name: one.default for name, one in inspect.signature(ba.load).parameters.items() if name != "networks"}
    theirs = {field.name: field.default for field in dataclasses.fields(AssessRequest)}
    assert ours == {name: theirs[name] for name in ours}


# ---- phantoms and datasets -------------------------------------------------------------------------------------------


def test_a_phantom_and_its_truth():
    made = ba.phantom(96.5, "M", seed=3, view="registered", size=(104, 80))
    drawn = export.draw(export.Subject("M", 3, 104, 80, "registered"), 96.5)
    np.testing.assert_array_equal(made.image, export.grey(drawn))
    assert (made.image.dtype, made.image.shape, made.mask.dtype) == (np.uint8, (104, 80), bool)
    np.testing.assert_array_equal(made.mask, np.asarray(drawn.mask) > 0)
    np.testing.assert_array_equal(made.key_points, drawn.key_points)
    assert list(made.bone_ages) == [bone.name for bone in anatomy.BONES]
    assert made.bone_ages == dict(zip(made.bone_ages, drawn.maturity.tolist(), strict=True))
    assert (made.months, made.sex, made.name) == (96.5, "M", "phantom M 96.5 months, seed 3")
    assert repr(made) == "PhantomRadiograph(phantom M 96.5 months, seed 3, registered, 104 x 80)"
    assert made._repr_png_().startswith(b"\x89PNG")
    assert "96.5 months" in made._repr_html_()
    older = ba.phantom(96.5, "M", seed=3, view="registered", size=(104, 80), counterfactual="radius=180")
    assert {bone for bone in older.bone_ages if older.bone_ages[bone] != made.bone_ages[bone]} == {"radius"}
    assert older.bone_ages["radius"] == 180.0
    for bad in (
        {"age": 300},
        {"age": 9, "sex": "x"},
        {"age": 9, "view": "x"},
        {"age": 9, "size": (9, 9)},
        {"age": 9, "counterfactual": "x"},
    ):
        with pytest.raises(ba.UserError):
            ba.phantom(**bad)


def test_the_images_of_a_dataset(phantoms, data_dir):
    found = ba.open_dataset(phantoms.name, data_dir)
    assert found.splits == {"test": 21, "train": 72, "validation": 20} == dict(sorted(phantoms.splits.items()))
    assert len(found) == 113
    assert found.is_phantom
    assert repr(found).startswith(f"LabelledImages({phantoms.name}: ")
    start = 0
    for split, count in found.splits.items():
        records = phantoms.split(split)
        for number in (0, count - 1):
            example = found[start + number]
            assert example.id == records.ids()[number]
            np.testing.assert_array_equal(example.image, records.image(number))
            np.testing.assert_array_equal(example.mask, records.mask(number))
            np.testing.assert_array_equal(example.key_points, records.key_points(number))
            assert (example.months, example.sex == "M") == tuple(label[number] for label in records.labels())
        start += count
    assert found[-1].id == found[112].id
    for outside in (113, -114):
        with pytest.raises(IndexError, match=f"found number {outside}, expected one of 113 images"):
            found[outside]
    test = found.split("test[:3]")
    assert [one.id for one in test] == phantoms.split("test").ids()[:3]
    assert test.labels.id == [one.id for one in test]
    np.testing.assert_array_equal(test.labels.months, [one.months for one in test])
    np.testing.assert_array_equal(test.labels.male, [one.sex == "M" for one in test])
    assert len(found.labels.months) == 113
    assert ba.open_dataset(phantoms.name, data_dir, "test").splits == {"test": 21}
    height, width = test[0].image.shape
    assert repr(test[0]).endswith(f"months, sex {test[0].sex}, {height} x {width})")
    assert test[0].id in test[0]._repr_html_()
    assert test[0]._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ba.UserError, match="no such dataset"):
        ba.open_dataset("hand_phantom/none", data_dir)
    with pytest.raises(ba.UserError, match="no split 'other'"):
        found.split("other")


def test_an_example_is_predicted_with_its_sex(model, phantoms, data_dir):
    example = ba.open_dataset(phantoms.name, data_dir, "test")[0]
    found = model.predict(example)
    assert (found.name, found.sex) == (example.id, example.sex)
    assert found.months == pytest.approx(example.image.mean() + 100 * (example.sex == "M"))
