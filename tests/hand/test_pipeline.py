"""From radiographs to registered hands and ages, with networks of a short training: results, bundles, restarts."""

import csv
import dataclasses
import errno
import json
import os
import pathlib
import types

import jax
import numpy as np
import pytest
import safetensors.numpy

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.canvas import Canvas
from boneage_jax.config import to_dict
from boneage_jax.data import annotations as drawn
from boneage_jax.data import images, spool
from boneage_jax.data.examples import View
from boneage_jax.data.sources import REGISTERED, Dataset
from boneage_jax.errors import UserError
from boneage_jax.hand import accuracy, masks, quality
from boneage_jax.hand.age_ensemble import canvas_from
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.quality import Thresholds
from boneage_jax.hand.regions import named
from boneage_jax.region_spec import parse_regions
from boneage_jax.runs import bundle, run_folder
from boneage_jax.train.loop import train
from boneage_jax.workflows import assess_command, bundling, calibrate, derive, register
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.assessment import PHANTOMS_ONLY, UNCALIBRATED_NOTICE
from boneage_jax.workflows.calibration import Calibration
from boneage_jax.workflows.hand_networks import open_networks
from boneage_jax.workflows.requests import AssessRequest, BundleRequest, CalibrateRequest, RegisterRequest
from tests.hand_networks import build_radiographs, network_config

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def radiographs(data_dir) -> Dataset:
    return build_radiographs(data_dir)


@pytest.fixture(scope="module")
def runs(data_dir, radiographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand-runs")
    for task in ("segmentation", "landmarks"):
        train(network_config(data_dir, radiographs, task), folder / task)
    return folder


@pytest.fixture(scope="module")
def ages(data_dir, radiographs, runs):
    """Two age networks that see regions of the canvas: one for all, one that has seen girls only."""
    for name, sex in (("ages", "all"), ("girls", "female")):
        config = network_config(
            data_dir,
            radiographs,
            "bone_age",
            data__input_layouts=("masked_canvas",),
            data__regions="A+B",
            data__sex=sex,
            data__contrast="as is",
            data__height=48,
            data__width=48,
            train__length="20 steps",
            task__age="distribution",
            model__name="resnet",
            model__head="regression",
            model__depth=10,
            model__widths=(4, 6, 8, 8),
            model__sex="none",
            model__dense=(),
            eval__every="10 steps",
        )
        train(config, runs / name)
    return [runs / "ages", runs / "girls"]


@pytest.fixture(scope="module")
def files(radiographs, tmp_path_factory):
    """Radiographs as files, and one without a hand."""
    folder, records = tmp_path_factory.mktemp("radiographs"), radiographs.split("test[:5]")
    for n in range(5):
        (folder / f"{n}.png").write_bytes(records.row(n)["image"])
    (folder / "none.png").write_bytes(images.encode(np.zeros((160, 128), np.uint8), "png"))
    return folder


def test_ages_through_the_whole_pipeline(runs, ages, files, tmp_path, capsys):
    """By folders and by a bundle of them: the same ages but for the rounding of weights."""
    said = bundling.make(
        BundleRequest(runs / "segmentation", runs / "landmarks", tuple(ages), tmp_path / "b.safetensors")
    )
    assert PHANTOMS_ONLY in said
    networks = {"segmentation": runs / "segmentation", "landmarks": runs / "landmarks"}
    by_folder = AssessRequest((files,), tuple(ages), **networks, sex="F", views=2, batch_size=8)
    by_bundle = AssessRequest((files,), bundle=tmp_path / "b.safetensors", sex="F", views=2, batch_size=8)
    capsys.readouterr()
    text, status = assess_command.assess(by_folder, tmp_path / "a")
    assert capsys.readouterr().err.count("no quality thresholds were chosen for these networks") == 1
    assess_command.assess(by_bundle, tmp_path / "b")
    assert status == 0, "a picture without a hand was read all the same"
    one, other = (list(csv.DictReader((tmp_path / name / "ages.csv").open())) for name in "ab")
    assert [row["file"].rsplit("/", 1)[-1] for row in one] == ["0.png", "1.png", "2.png", "3.png", "4.png", "none.png"]
    pairs = [(mine, theirs) for mine, theirs in zip(one, other, strict=True) if mine["months"] and theirs["months"]]
    assert len(pairs) >= 3
    for mine, theirs in pairs:
        assert float(mine["months"]) == pytest.approx(float(theirs["months"]), abs=1.0)
        assert float(mine["spread"]) > 0
    for row in one:
        assert (row["months"] == "") == ("no hand" in row["flags"])
    flags = [flag for row in one for flag in row["flags"].split(", ") if flag]
    assert flags
    assert all(flag.endswith(" (uncalibrated)") for flag in flags)
    assert UNCALIBRATED_NOTICE in text
    for shown in (text, (tmp_path / "a" / "index.html").read_text()):
        assert PHANTOMS_ONLY in shown
        assert NOT_A_MEDICAL_DEVICE in shown


def test_a_bundle_that_weighs_and_corrects_its_age_networks(runs, ages, files, radiographs, tmp_path):
    """One of them knows girls only. What comes out is the blend, worked out by hand, of what each says alone."""
    request = BundleRequest(
        runs / "segmentation", runs / "landmarks", tuple(ages), tmp_path / "b.safetensors", weights=True, debias=True
    )
    bundling.make(request)
    stored = bundle.read(request.out).about["blend"]
    (first, second), line = stored["weights"], stored["debias"]
    assert first + second > 0
    # Each by its name in the bundle, where its weights are rounded: a network of few steps makes much of a little.
    networks = {"segmentation": request.out, "landmarks": request.out}
    options = {"paths": (files / "0.png",), "sex": "F", "views": 2, "batch_size": 8}

    def months(**which):
        ((assessment, _),) = Assessor(AssessRequest(**options, **which)).assess()
        return assessment.months

    together = months(bundle=request.out)
    alone = [months(runs=(pathlib.Path(f"{request.out}:age{n}"),), **networks) for n in range(2)]
    weighed = first * alone[0] + second * alone[1]
    assert together == pytest.approx(weighed - (line["slope"] * weighed + line["intercept"]), abs=0.01)
    boys = BundleRequest(
        runs / "segmentation", runs / "landmarks", tuple(ages), request.out, weights=True, split="boys"
    )
    with pytest.raises(UserError, match="no split 'boys'"):
        bundling.make(boys)


def test_a_network_of_girls_says_nothing_of_boys(runs, ages, files):
    boys, girls = (
        [
            assessment.months
            for assessment, _ in Assessor(
                AssessRequest(
                    (files / "0.png",),
                    tuple(folders),
                    segmentation=runs / "segmentation",
                    landmarks=runs / "landmarks",
                    sex=sex,
                    views=2,
                    batch_size=8,
                )
            ).assess()
        ]
        for folders, sex in (([ages[0]], "M"), (ages, "M"))
    )
    assert boys == girls, "for a boy, the network of girls changes nothing"
    request = AssessRequest(
        (files / "0.png",), (ages[1],), segmentation=runs / "segmentation", landmarks=runs / "landmarks"
    )
    with pytest.raises(UserError, match="sex, which is not given"):
        list(Assessor(request).assess())


def test_what_is_no_bundle(runs, tmp_path):
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"no bundle")
    with pytest.raises(UserError, match=r"b\.safetensors: not a bundle"):
        bundle.read(path)
    safetensors.numpy.save_file({"a": np.zeros(3)}, str(path))
    with pytest.raises(UserError, match="found format None"):
        bundle.read(path)
    with pytest.raises(UserError, match="a run of the task 'segmentation', expected 'landmarks'"):
        bundling.make(BundleRequest(runs / "segmentation", runs / "segmentation", (), path))


def test_a_bundle_rounds_weights_and_nothing_else(runs, tmp_path):
    loaded = run_folder.load(runs / "landmarks")
    bundle.write({"it": loaded}, {"said": "so"}, tmp_path / "b.safetensors")
    opened = bundle.read(tmp_path / "b.safetensors")
    assert opened.about == {"said": "so"}
    again = opened.runs["it"]
    told, known = to_dict(again.config), to_dict(loaded.config)
    assert told["data"].pop("dir") == "data" != known["data"].pop("dir"), "this machine's folders stay here"
    assert told == known
    assert (again.step, again.score) == (loaded.step, loaded.score)

    def same(kind, rounded):
        jax.tree.map(
            lambda mine, theirs: np.testing.assert_array_equal(mine, rounded(np.asarray(theirs))),
            again.arrays[kind],
            loaded.arrays[kind],
        )

    same("params", lambda x: x.astype(np.float16).astype(np.float32))
    same("batch_stats", lambda x: x)
    # Where a run's folder is asked for, a bundle will do.
    assert bundle.load(tmp_path / "b.safetensors", "it").config == again.config
    assert bundle.load(runs / "landmarks", "it").folder == runs / "landmarks"
    # One of its networks by name, and those that come with the package.
    assert bundle.load(tmp_path / "b.safetensors:it", "landmarks").config == again.config
    assert bundle.load(pathlib.Path("shipped"), "landmarks").config.task.name == "landmarks"
    assert bundle.load(pathlib.Path("shipped:age1"), "age0").config.task.name == "bone_age"
    with pytest.raises(UserError, match="holds no 'landmarks' but it"):
        bundle.load(tmp_path / "b.safetensors", "landmarks")
    assert bundle.load(tmp_path / "b.safetensors", "it", step=loaded.step).step == loaded.step
    with pytest.raises(UserError, match=f"it: found step {loaded.step}, expected 7; a bundle keeps no other"):
        bundle.load(tmp_path / "b.safetensors", "it", step=7)


def request_of(runs, data_dir, radiographs, out, **changes):
    return RegisterRequest(
        radiographs.name,
        runs / "segmentation",
        runs / "landmarks",
        data=data_dir,
        out=out,
        regions=parse_regions("whole@104x80,B@40x40"),
        **changes,
    )


def test_the_networks_have_learnt_and_the_pipeline_finds_hands(runs, radiographs):
    settings = Settings(tuple(named(["whole@104x80"])), batch_size=8, threads=2)
    records = radiographs.split("test")
    with HandPipeline(
        run_folder.load(runs / "segmentation", devices=1), run_folder.load(runs / "landmarks", devices=1), settings
    ) as pipeline:
        found = [
            hand for start in (0, 8) for hand in pipeline.register([records.image(n) for n in range(start, start + 8)])
        ]
    iou = [masks.iou(hand.mask.inside, records.mask(n)) for n, hand in enumerate(found)]
    assert np.median(iou) > 0.75
    canvas = Canvas()
    registered = [hand for hand in found if hand.registration is not None]
    assert len(registered) >= 12
    for hand in registered:
        ends = hand.registration.to_canvas(hand.registration.key_points)[[0, 2]]
        np.testing.assert_allclose(ends, (canvas.fingertip, canvas.capitate), atol=1e-3)
        assert hand.regions["whole"].shape == (104, 80)


def calibrate_request(runs, radiographs, data_dir, out, **options):
    pair = (runs / "segmentation", runs / "landmarks")
    return CalibrateRequest(radiographs.name, *pair, out, data=data_dir, share=0.2, **options)


def test_thresholds_of_the_networks_themselves(runs, ages, radiographs, data_dir, files, tmp_path, capsys):
    """They go into the registration and the bundle, and are refused for another pair of networks."""
    pair = (runs / "segmentation", runs / "landmarks")
    request = calibrate_request(runs, radiographs, data_dir, tmp_path / "thresholds.json", split="train[:48]", views=2)
    found = calibrate.write(request)
    assert found.origin.images > 24
    assert 0 < found.origin.share <= 0.2
    derived = register.derived_of(
        request_of(runs, data_dir, radiographs, tmp_path, splits=("test",), views=2, thresholds=request.out)
    )
    about = json.loads((derived.dataset.path / REGISTERED).read_text())
    assert about["thresholds"]["expected"] == found.thresholds.expected
    assert about["calibrated"]
    assert derived.calibrated
    rows = list(csv.DictReader((derived.dataset.path / derive.FLAGS).open()))
    assert len(rows) == 20
    measures = [{name: float(row[name]) for name in quality.MEASURES if row[name]} for row in rows]
    flags = [row["flags"] for row in rows]
    assert flags == [", ".join(quality.flags_of(row, found.thresholds)) for row in measures]
    assert flags != [", ".join(quality.flags_of(row, Thresholds())) for row in measures]
    assert any(flags)

    bundled = BundleRequest(*pair, tuple(ages), tmp_path / "b.safetensors", thresholds=request.out)
    bundling.make(bundled)
    notes = bundle.notes(bundled.out)
    assert Calibration.from_json(notes) == found
    assert canvas_from(notes["canvas"]) == Canvas()
    # A bundle of networks that come from one bundle keeps its thresholds; of networks that do not, it has none.
    again = BundleRequest(bundled.out, bundled.out, (ages[0],), tmp_path / "again.safetensors")
    assert f"{found.origin.images} hands" in bundling.make(again)
    assert Calibration.from_json(bundle.notes(again.out)) == found
    assert "no quality thresholds" in bundling.make(BundleRequest(bundled.out, pair[1], (ages[0],), again.out))
    assert Calibration.from_json(bundle.notes(again.out)) is None
    capsys.readouterr()
    with Assessor(AssessRequest((), bundle=bundled.out)) as assessor:
        assert assessor.calibrated
    assert "thresholds" not in capsys.readouterr().err
    stored = json.loads(request.out.read_text())
    stored["networks"]["landmarks"] = "step 1, weights 00"
    request.out.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="thresholds of other networks"):
        Assessor(AssessRequest((files,), tuple(ages), segmentation=pair[0], landmarks=pair[1], thresholds=request.out))


def test_thresholds_for_radiographs_of_other_sources(runs, radiographs, data_dir, tmp_path):
    """Changed copies are less certain: thresholds that allow for them flag fewer hands."""
    request = calibrate_request(runs, radiographs, data_dir, tmp_path / "t.json", split="train[:24]", views=1)
    as_they_are, varied = calibrate.write(request), calibrate.write(dataclasses.replace(request, varied=True))
    assert as_they_are.origin.images < varied.origin.images <= 48
    assert "as they are and changed" in varied.origin.source
    assert varied.thresholds.expected < as_they_are.thresholds.expected
    with pytest.raises(UserError, match="expected --method quantile"):
        calibrate.write(dataclasses.replace(request, varied=True, method="failures"))


def test_thresholds_that_catch_failures(runs, radiographs, data_dir, tmp_path):
    """Where the truth is known. These networks fail too often: every third hand stands for the failures."""
    pair = (runs / "segmentation", runs / "landmarks")
    request = calibrate_request(
        runs, radiographs, data_dir, tmp_path / "t.json", split="train[:24]", views=2, method="failures"
    )
    compared = []

    def every_third(hand, mask, key_points):
        compared.append(accuracy.against_truth(hand, mask, key_points))
        return types.SimpleNamespace(failed=len(compared) % 3 == 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "against_truth", every_third)
        found = calibrate.write(request)
    assert np.median([one.iou for one in compared]) > 0.75, "the true masks are those of the images"
    assert np.median([max(one.errors) for one in compared]) < 50
    assert found.origin.images == 24
    assert (found.origin.method, found.origin.failures) == ("failures", 8)
    assert 0 <= found.origin.caught <= 1
    networks = open_networks(*pair, request.out)
    assert networks.calibration == found
    text = calibrate.as_text(found, request.out)
    assert f"of {found.origin.failures} failures" in text
    assert "beyond" in text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "FAILED_IOU", 1.1)
        with pytest.raises(UserError, match="found 24 failures among 24 hands, expected some failures and some good"):
            calibrate.write(request)


def test_a_run_of_another_task_is_refused(runs, radiographs, data_dir, tmp_path):
    request = RegisterRequest(radiographs.name, runs / "landmarks", runs / "landmarks", data=data_dir, out=tmp_path)
    with pytest.raises(UserError, match=r"a run of the task 'landmarks', expected 'segmentation'"):
        register.register(request)


def test_a_dataset_of_hands_cut_short_and_taken_up_again(runs, radiographs, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(derive, "_PART", 8)
    whole = register.derived_of(request_of(runs, data_dir, radiographs, tmp_path / "whole", batch_size=8))
    calls = []
    plain = HandPipeline.register

    def counted(self, pictures):
        calls.append(len(pictures))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, pictures)

    monkeypatch.setattr(HandPipeline, "register", counted)
    request = request_of(runs, data_dir, radiographs, tmp_path / "cut", batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        register.derived_of(request)
    assert not list((tmp_path / "cut").glob("registered_hands/*/*/dataset_info.json"))
    # One of the three parts is damaged meanwhile: it is registered again.
    part = min((tmp_path / "cut" / "registered_hands").glob(".*-*/*.npz"))
    part.write_bytes(part.read_bytes()[:-100])
    done = sum(calls[:3]) - 8
    cut = register.derived_of(request)
    assert sum(calls[4:]) == 96 + 16 + 20 - done
    assert cut.flags == whole.flags
    for split in ("train", "test"):
        ours, theirs = cut.dataset.split(split), whole.dataset.split(split)
        assert ours.ids() == theirs.ids()
        for n in (0, len(ours) - 1):
            for key, value in ours.row(n).items():
                nan = key in ("key_points", "to_canvas")
                assert np.array_equal(value, theirs.row(n)[key], equal_nan=nan), key
    assert not list((tmp_path / "cut" / "registered_hands").glob(".*-*"))

    monkeypatch.setattr(HandPipeline, "register", None)
    assert register.derived_of(request).images == cut.images
    # As an older version stored it.
    stored = json.loads((cut.dataset.path / REGISTERED).read_text())
    del stored["calibrated"]
    stored["limits"] = stored.pop("thresholds")
    (cut.dataset.path / REGISTERED).write_text(json.dumps(stored))
    assert register.derived_of(request) == cut
    with pytest.raises(UserError, match=r"registered otherwise \(regions"):
        register.derived_of(RegisterRequest(**{**vars(request), "regions": parse_regions("A")}))


def test_work_that_fails_at_its_last_step_is_kept(runs, radiographs, data_dir, tmp_path, monkeypatch):
    """The disk is full once the records are written: the hands stay, and the message says how to go on."""
    request = request_of(runs, data_dir, radiographs, tmp_path, batch_size=8, splits=("test",))

    def full(self, key, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(spool.SpooledShuffler, "add", full)
        with pytest.raises(UserError) as error:
            register.derived_of(request)
    message = str(error.value)
    assert "No space left on device" in message
    assert "All hands are registered, and kept in" in message
    kept = pathlib.Path(message.partition("kept in ")[2].partition(":")[0])
    assert len(list(kept.glob("test-*.npz"))) == 1
    monkeypatch.setattr(HandPipeline, "register", None)
    assert register.derived_of(request).images == {"test": 20}
    assert not kept.exists()


def test_what_a_dataset_of_hands_holds(runs, radiographs, data_dir, tmp_path):
    text = register.register(
        request_of(runs, data_dir, radiographs, tmp_path, splits=("test",), annotations=tmp_path / "fix", name="mine")
    )
    dataset = Dataset.open(tmp_path, "registered_hands/mine")
    assert "registered_hands/mine: 20 images" in text
    assert dataset.is_phantom
    source = {image_id: n for n, image_id in enumerate(radiographs.split("test").ids())}
    records, b = dataset.split("test"), dataset.split("test", View(40, 40, features=("region_B",)))
    table = {row["id"]: row for row in csv.DictReader((dataset.path / derive.FLAGS).open())}
    registered = 0
    for n, image_id in enumerate(records.ids()):
        row = records.row(n)
        original = radiographs.split("test").row(source[image_id])
        assert row["bone_age"] == original["bone_age"]
        assert row["male"] == original["male"]
        assert table[image_id]["flags"] == row["flags"].decode()
        assert bool(row["good"]) == (not row["flags"])
        assert b[n]["image"].shape == (40, 40)
        if np.isfinite(row["to_canvas"]).all():
            registered += 1
            fingertip = row["to_canvas"] @ [*row["key_points"][0], 1]
            np.testing.assert_allclose(fingertip, Canvas().fingertip, atol=0.01)
    assert registered >= 15
    assert "data:image/jpeg" in (dataset.path / "register.html").read_text()
    with pytest.raises(UserError, match="no image feature 'region_Z'"):
        dataset.split("test", View(features=("region_Z",)))

    corrected = drawn.read(tmp_path / "fix" / "coco.json")
    assert {a.id for a in corrected} == set(source)
    pictures = {a.id: a for a in drawn.read(tmp_path / "fix" / "masks")}
    for a in corrected:
        np.testing.assert_array_equal(a.mask(), pictures[a.id].mask((160, 128)))
