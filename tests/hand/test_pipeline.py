"""From radiographs to registered hands with networks that have learnt a little: plumbing, restarts, mining."""

import csv
import errno
import json
import os
import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.canvas import Canvas
from boneage_jax.config import default_config, to_dict, validate
from boneage_jax.data import annotations as drawn
from boneage_jax.data import images, spool
from boneage_jax.data.examples import View
from boneage_jax.data.sources import REGISTERED, Dataset
from boneage_jax.errors import UserError
from boneage_jax.hand import masks
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.regions import named
from boneage_jax.runs import bundle, run_folder
from boneage_jax.train.loop import train
from boneage_jax.workflows import assess, build, bundling, calibrate, derive, mining, register
from boneage_jax.workflows.assess import Assessor, AssessRequest
from boneage_jax.workflows.register import RegisterRequest


def learnt(data_dir, dataset, task, **changes):
    config = default_config()
    config.data.dir, config.data.name = str(data_dir), dataset.name
    config.data.height = config.data.width = 96
    config.task.name = task
    config.model.name, config.model.head = "unet", {"segmentation": "mask"}.get(task, "heatmap")
    config.model.widths, config.model.patch = (8, 12, 16, 24), 2
    config.data.input_layouts = {"segmentation": ("image", "upright_box")}.get(task, ("hand_box", "canvas"))
    config.data.contrast = "local"
    config.optimizer.learning_rate = 1e-2
    config.train.length, config.train.batch_size, config.train.devices = "120 steps", 8, 1
    config.eval.every = config.checkpoint.every = "60 steps"
    config.eval.batch_size = 8
    config.augment.rotation = 10.0
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return validate(config)


@pytest.fixture(scope="module")
def radiographs(data_dir) -> Dataset:
    return build.build(
        "hand_phantom/raw_tiny",
        data_dir,
        workers=2,
        size=(160, 128),
        counts={"train": 96, "validation": 16, "test": 20},
    )


@pytest.fixture(scope="module")
def runs(data_dir, radiographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand-runs")
    for task in ("segmentation", "landmarks"):
        train(learnt(data_dir, radiographs, task), folder / task)
    return folder


@pytest.fixture(scope="module")
def ages(data_dir, radiographs, runs):
    """Two age networks that see regions of the canvas: one for all, one that has seen girls only."""
    for name, sex in (("ages", "all"), ("girls", "female")):
        config = learnt(
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


def test_ages_through_the_whole_chain(runs, ages, files, tmp_path):
    """By folders and by a bundle of them: the same ages but for the rounding of weights."""
    said = bundling.make(
        bundling.BundleRequest(runs / "segmentation", runs / "landmarks", tuple(ages), tmp_path / "b.safetensors")
    )
    assert assess.PHANTOMS_ONLY in said
    networks = {"segmentation": runs / "segmentation", "landmarks": runs / "landmarks"}
    by_folder = AssessRequest((files,), tuple(ages), **networks, sex="F", views=2, batch_size=8)
    by_bundle = AssessRequest((files,), bundle=tmp_path / "b.safetensors", sex="F", views=2, batch_size=8)
    text, status = register.predict(by_folder, tmp_path / "a.csv", tmp_path / "a.html")
    register.predict(by_bundle, tmp_path / "b.csv", None)
    assert status == 0, "a picture without a hand was read all the same"
    one, other = (list(csv.DictReader((tmp_path / name).open())) for name in ("a.csv", "b.csv"))
    assert [row["file"].rsplit("/", 1)[-1] for row in one] == ["0.png", "1.png", "2.png", "3.png", "4.png", "none.png"]
    pairs = [(mine, theirs) for mine, theirs in zip(one, other, strict=True) if mine["months"] and theirs["months"]]
    assert len(pairs) >= 3
    for mine, theirs in pairs:
        assert float(mine["months"]) == pytest.approx(float(theirs["months"]), abs=1.0)
        assert float(mine["spread"]) > 0
    for row in one:
        assert (row["months"] == "") == ("no hand" in row["flags"])
    for shown in (text, (tmp_path / "a.html").read_text()):
        assert assess.PHANTOMS_ONLY in shown
        assert NOT_A_MEDICAL_DEVICE in shown


def test_a_bundle_that_weighs_and_corrects_its_age_networks(runs, ages, files, radiographs, tmp_path):
    """One of them knows girls only. What comes out is the blend, worked out by hand, of what each says alone."""
    request = bundling.BundleRequest(
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
    boys = bundling.BundleRequest(
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
        bundling.make(bundling.BundleRequest(runs / "segmentation", runs / "segmentation", (), path))


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
        data_dir,
        runs / "segmentation",
        runs / "landmarks",
        out,
        regions="whole@104x80,B@40x40",
        **changes,
    )


def test_the_networks_have_learnt_and_the_chain_finds_hands(runs, radiographs):
    settings = Settings(tuple(named(["whole@104x80"])), batch_size=8, threads=2)
    records = radiographs.split("test")
    with HandPipeline(
        run_folder.load(runs / "segmentation", devices=1), run_folder.load(runs / "landmarks", devices=1), settings
    ) as chain:
        found = [
            hand for start in (0, 8) for hand in chain.register([records.image(n) for n in range(start, start + 8)])
        ]
    iou = [masks.iou(hand.mask.inside, records.mask(n)) for n, hand in enumerate(found)]
    assert np.median(iou) > 0.75
    canvas = Canvas()
    for hand in found:
        if hand.placed is not None:
            ends = hand.placed.to_canvas(hand.placed.key_points)[[0, 2]]
            np.testing.assert_allclose(ends, (canvas.fingertip, canvas.capitate), atol=1e-3)
            assert hand.regions["whole"].shape == (104, 80)


def test_limits_of_the_networks_themselves(runs, ages, radiographs, data_dir, files, tmp_path):
    """They go into the registration and the bundle, and are refused for another pair of networks."""
    pair = (runs / "segmentation", runs / "landmarks")
    request = calibrate.CalibrateRequest(
        radiographs.name, data_dir, *pair, tmp_path / "thresholds.json", split="train[:48]", share=0.2, views=2
    )
    found = calibrate.write(request)
    assert found.images > 24
    assert 0 < found.share <= 0.2
    derived = register.derived_of(
        request_of(runs, data_dir, radiographs, tmp_path, splits=("test",), views=2, thresholds=request.out)
    )
    about = json.loads((derived.dataset.path / REGISTERED).read_text())
    assert about["thresholds"]["expected"] == found.thresholds.expected
    wanted = found.thresholds.expected
    for row in csv.DictReader((derived.dataset.path / derive.FLAGS).open()):
        if float(row["expected"]) < wanted:
            assert "uncertain mask" in row["flags"]

    bundled = bundling.BundleRequest(*pair, tuple(ages), tmp_path / "b.safetensors", thresholds=request.out)
    bundling.make(bundled)
    assert calibrate.thresholds_of(bundle.read(bundled.out).about["thresholds"]) == found.thresholds
    stored = json.loads(request.out.read_text())
    stored["networks"]["landmarks"] = "step 1, weights 00"
    request.out.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="thresholds of other networks"):
        Assessor(AssessRequest((files,), tuple(ages), segmentation=pair[0], landmarks=pair[1], thresholds=request.out))


def test_a_run_of_another_task_is_refused(runs, radiographs, data_dir, tmp_path):
    request = RegisterRequest(radiographs.name, data_dir, runs / "landmarks", runs / "landmarks", tmp_path)
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
    done = sum(calls[:3])
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
    with pytest.raises(UserError, match=r"registered otherwise \(regions"):
        register.derived_of(RegisterRequest(**{**vars(request), "regions": "A"}))


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
    for n, image_id in enumerate(records.ids()):
        row = records.row(n)
        original = radiographs.split("test").row(source[image_id])
        assert row["bone_age"] == original["bone_age"]
        assert row["male"] == original["male"]
        assert table[image_id]["flags"] == row["flags"].decode()
        assert bool(row["good"]) == (not row["flags"])
        assert b[n]["image"].shape == (40, 40)
        if np.isfinite(row["to_canvas"]).all():
            fingertip = row["to_canvas"] @ [*row["key_points"][0], 1]
            np.testing.assert_allclose(fingertip, Canvas().fingertip, atol=0.01)
    assert "data:image/jpeg" in (dataset.path / "register.html").read_text()
    with pytest.raises(UserError, match="no image feature 'region_Z'"):
        dataset.split("test", View(features=("region_Z",)))

    corrected = drawn.read(tmp_path / "fix" / "coco.json")
    assert {a.id for a in corrected} == set(source)
    pictures = {a.id: a for a in drawn.read(tmp_path / "fix" / "masks")}
    for a in corrected:
        np.testing.assert_array_equal(a.mask(), pictures[a.id].mask((160, 128)))


def test_only_images_with_masks_are_trained_on(radiographs, data_dir, tmp_path):
    records = radiographs.split("train")
    for n in (0, 5, 7):
        drawn.mask_folder.write_one(records.ids()[n], records.mask(n), tmp_path / "masks")
    labels = drawn.AnnotatedLabels(tuple(drawn.read(tmp_path / "masks")))
    some = radiographs.split("train", View(96, 96, layers=("hand",), labels=labels))
    assert some.ids() == [records.ids()[n] for n in (0, 5, 7)]
    all_of_them = radiographs.split("train", View(96, 96, layers=("hand",)))
    np.testing.assert_array_equal(some[1]["hand"], all_of_them[5]["hand"])
    assert some.fingerprint != all_of_them.fingerprint


def test_mining_grows_honours_vetoes_and_goes_on(radiographs, data_dir, tmp_path):
    config = learnt(data_dir, radiographs, "segmentation", train__length="60 steps", eval__every="60 steps")
    folder = tmp_path / "mining"

    def request(rounds):
        return mining.MiningRequest(config, folder, labelled=40, rounds=rounds, accept=0.3, correct=3, measure="test")

    (first,) = mining.mine(request(1))
    assert first["trained_on"] == first["by_hand"] == 36
    assert 0 < first["accepted"] <= 56
    scores = {row["id"]: float(row["score"]) for row in csv.DictReader((folder / "rounds/0/scores.csv").open())}
    given = {path.stem for name in ("labels", "held_out") for path in (folder / name).glob("*.png")}
    assert len(given) == 40
    assert not given & set(scores)
    assert first["accepted"] == sum(value >= 0.3 for value in scores.values())
    best = max(scores, key=lambda image_id: scores[image_id])
    worst, second, third = sorted(scores, key=lambda image_id: (scores[image_id], image_id))[:3]
    (folder / "veto.txt").write_text(f"{best}  # the thumb is missing\n")
    records = radiographs.split("train")
    numbers = records.numbers()
    # Not the image's own, so that it shows whose counts.
    corrected = records.mask(numbers[worst])[::-1]
    drawn.mask_folder.write_one(worst, corrected, folder / "corrections")

    before = (folder / "rounds/0/scores.csv").read_bytes()
    curve = mining.mine(request(2))
    assert (folder / "rounds/0/scores.csv").read_bytes() == before
    trained_on = {path.stem for path in (folder / "rounds/1/train").glob("*.png")}
    assert best not in trained_on
    assert worst in trained_on
    used = {a.id: a for a in drawn.read(folder / "rounds/1/train")}
    np.testing.assert_array_equal(used[worst].mask(corrected.shape), corrected)
    for image_id in (second, third):
        own = records.mask(numbers[image_id])
        np.testing.assert_array_equal(used[image_id].mask(own.shape), own)
    assert {a.id for a in drawn.read(folder / "rounds/1/by_hand")} >= {worst, second, third}
    assert curve[1]["by_hand"] == 36 + 3
    assert not {worst, second, third} & {row["id"] for row in csv.DictReader((folder / "rounds/1/scores.csv").open())}
    assert curve[1]["trained_on"] == len(trained_on)
    assert json.loads((folder / "curve.json").read_text()) == curve
    assert (folder / "rounds/1/round.html").exists()
    # The round that the held-out masks like best is the one that is named; nothing else is looked at.
    for line in curve:
        assert line["held_out"] == run_folder.load(folder / f"rounds/{line['round']}/run").score
    best = max(curve, key=lambda line: line["held_out"])["round"]
    assert f"network  {folder / 'rounds' / str(best) / 'run'}," in mining.as_text(request(2), curve)
    assert mining.best_of([{"round": 0, "held_out": 0.9}, {"round": 1, "held_out": 0.8}]) == 0
    with pytest.raises(UserError, match="another mining"):
        mining.mine(mining.MiningRequest(config, folder, labelled=30, accept=0.3))


def test_a_mask_is_scored_by_what_can_be_seen_of_it():
    """A hand-like mask scores high; ragged, doubled, unsteady or strange ones lower."""
    y, x = np.mgrid[:96, :96]
    truth = np.hypot(x - 48, y - 50) < 25
    prior = mining.Prior.of(
        shape for r in (23, 25, 27) if (shape := mining.Shape.of(np.hypot(x - 48, y - 50) < r)) is not None
    )

    def score(mask, mirrored, smaller):
        return mining.score(masks.clean([mask.astype(float), mirrored.astype(float)], (96, 96)), smaller, prior)

    good = score(truth, truth, truth)
    assert good > 0.95
    assert score(truth, np.roll(truth, 12, 1), truth) < 0.8
    assert score(truth, truth, np.roll(truth, 12, 0)) < 0.8
    twins = truth | (np.hypot(x - 10, y - 10) < 9)
    assert score(twins, twins, truth) < good - 0.05
    tiny = np.hypot(x - 48, y - 50) < 5
    assert score(tiny, tiny, tiny) < 0.5
    assert score(truth & False, truth & False, truth) == 0
