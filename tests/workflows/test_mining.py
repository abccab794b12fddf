"""Positive mining: rounds, vetoes, corrections, and how a mask is scored."""

import csv
import json

import numpy as np
import pytest

from boneage_jax.data import annotations as drawn
from boneage_jax.data.examples import View
from boneage_jax.data.sources import Dataset
from boneage_jax.errors import UserError
from boneage_jax.hand import masks
from boneage_jax.runs import run_folder
from boneage_jax.workflows import mining
from boneage_jax.workflows.mining.folder import MiningFolder, RoundFolder
from boneage_jax.workflows.mining.scoring import score as score_of
from boneage_jax.workflows.mining.shape_prior import MaskShape, ShapePrior
from boneage_jax.workflows.requests import MiningRequest
from tests.hand_networks import build_radiographs, network_config

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def radiographs(data_dir) -> Dataset:
    return build_radiographs(data_dir)


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
    config = network_config(data_dir, radiographs, "segmentation", train__length="60 steps", eval__every="60 steps")
    folder = tmp_path / "mining"

    def request(rounds):
        return MiningRequest(config, folder, labelled=40, rounds=rounds, accept=0.3, correct=3, measure="test")

    (first,) = mining.mine(request(1))
    assert first["trained_on"] == first["by_hand"] == 36
    assert 0 < first["accepted"] <= 56
    scores = {row["id"]: float(row["score"]) for row in csv.DictReader((folder / "rounds/0/scores.csv").open())}
    assert list(scores.values()) == sorted(scores.values()), "those to look at stand first"
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
        mining.mine(MiningRequest(config, folder, labelled=30, accept=0.3))


def test_a_mask_is_scored_by_what_can_be_seen_of_it():
    """A hand-like mask scores high; ragged, doubled, unsteady or strange ones lower."""
    y, x = np.mgrid[:96, :96]
    truth = np.hypot(x - 48, y - 50) < 25
    prior = ShapePrior.of(
        shape for r in (23, 25, 27) if (shape := MaskShape.of(np.hypot(x - 48, y - 50) < r)) is not None
    )

    def score(mask, mirrored, smaller):
        return score_of(masks.clean([mask.astype(float), mirrored.astype(float)], (96, 96)), smaller, prior)

    good = score(truth, truth, truth)
    assert good > 0.95
    assert score(truth, np.roll(truth, 12, 1), truth) < 0.8
    assert score(truth, truth, np.roll(truth, 12, 0)) < 0.8
    twins = truth | (np.hypot(x - 10, y - 10) < 9)
    assert score(twins, twins, truth) < good - 0.05
    tiny = np.hypot(x - 48, y - 50) < 5
    assert score(tiny, tiny, tiny) < 0.5
    assert score(truth & False, truth & False, truth) == 0


def test_damage_in_the_folder_of_a_mining(tmp_path):
    """Scores that cannot be read, or are cut short, are made again; what the folder is for must be known."""
    scored = RoundFolder(tmp_path / "rounds" / "0")
    assert not scored.is_scored
    mask = masks.clean([np.pad(np.ones((40, 40)), 28)] * 2, (96, 96))
    scored.write_scores([("a", 0.5, mask), ("b", 0.9, mask)])
    path = scored.path / "scores.csv"
    whole = path.read_bytes()
    assert scored.is_scored
    assert scored.scores() == {"a": 0.5, "b": 0.9}
    for damage in (b"", whole[:-9], whole.replace(b"0.9", b"0\xff9"), whole.replace(b"score", b"sc"), b"\x00" * 200):
        path.write_bytes(damage)
        assert not scored.is_scored, damage
    folder = MiningFolder(tmp_path)
    folder.claim({"accept": 0.5})
    folder.claim({"accept": 0.5})
    (tmp_path / "mining.json").write_text("{")
    with pytest.raises(UserError, match=r"mining\.json: damaged"):
        folder.claim({"accept": 0.5})
