"""Changes of radiographs, against their definitions; and the study of what they do to ages."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import boneage_jax
from boneage_jax.errors import UserError
from boneage_jax.workflows import stress
from boneage_jax.workflows.transformations import TRANSFORMATIONS, UNCHANGED
from tests.hand_networks import build_radiographs
from tests.test_cli import call


def picture(h=120, w=90):
    y, x = np.mgrid[:h, :w]
    return (96 + 60 * np.sin(x / 9) * np.cos(y / 13) + 20 * (x > w / 3)).astype(np.uint8)


def changed(name, image=None, seed=0):
    (one,) = [one for one in TRANSFORMATIONS if one.name == name]
    return one.change(picture() if image is None else image, np.random.default_rng(seed))


@pytest.mark.parametrize("one", TRANSFORMATIONS, ids=lambda one: one.slug)
def test_every_change_is_one_and_is_the_same_each_time(one):
    image = picture(600, 450)
    kept = image.copy()
    first, again = (one.change(image, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(image, kept, "the radiograph itself stays as it is")
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    assert first.ndim == 2
    assert first.shape != image.shape or (first != image).any() or one.name.startswith("reduced")


def test_there_are_about_thirty_with_names_of_their_own():
    assert len(TRANSFORMATIONS) >= 30
    assert len({one.slug for one in (UNCHANGED, *TRANSFORMATIONS)}) == len(TRANSFORMATIONS) + 1


def test_changes_are_what_they_are_called():
    image = picture()
    np.testing.assert_array_equal(changed("mirrored"), image[:, ::-1])
    np.testing.assert_array_equal(changed("upside down"), image[::-1, ::-1])
    np.testing.assert_array_equal(changed("lying to the left"), image.T[::-1])
    np.testing.assert_array_equal(changed("inverted"), 255 - image)
    expected = np.round(255 * (image / 255) ** 1.7)
    np.testing.assert_allclose(changed("gamma 1.7"), expected, atol=1)
    assert changed("brighter").mean() - image.mean() == pytest.approx(0.15 * 255, abs=2)
    noise = changed("noise, SD 15 of 255").astype(float) - image
    assert noise.std() == pytest.approx(15, rel=0.05)
    assert changed("reduced to 150 pixels", picture(600, 400)).shape == (225, 150)
    assert changed("reduced to 150 pixels").shape == image.shape, "a smaller one is not enlarged"
    np.testing.assert_array_equal(changed("forearm cut off, 10%"), image[:108])
    np.testing.assert_array_equal(changed("black border")[18:-18, 18:-18], image)
    turned = np.asarray(Image.fromarray(image).rotate(30, Image.Resampling.BILINEAR, expand=True))
    ours = changed("turned by 30 degrees")
    assert np.abs(np.array(ours.shape) - turned.shape).max() <= 1
    middle = [side // 2 for side in turned.shape]
    region = tuple(slice(m - 25, m + 25) for m in middle)
    assert np.abs(ours[region].astype(int) - turned[region]).mean() < 6


def test_unknown_changes_are_refused():
    with pytest.raises(UserError, match="--only 'blurrr': no such change"):
        stress.chosen(["blurrr"])
    assert [one.name for one in stress.chosen(["JPEG*", "mirrored"])] == [
        "mirrored",
        "JPEG, quality 50",
        "JPEG, quality 15",
    ]
    assert {one.kind for one in stress.chosen(["exposure"])} == {"exposure"}


@pytest.mark.integration
def test_the_study_agrees_with_single_predictions_and_goes_on(data_dir, tmp_path, capsys):
    dataset = build_radiographs(data_dir)
    arguments = [
        "stress", dataset.name, "--data", data_dir, "--split", "test", "--images", 4, "--bundle", "phantom_only",
        "--out", tmp_path / "s", "--only", "mirrored", "--only", "inverted",
    ]  # fmt: skip
    status, said, _ = call(capsys, *arguments)
    assert status == 0
    assert "mirrored" in said
    records = dataset.split("test[:4]")
    reading, male = records.labels()
    model = boneage_jax.load("phantom_only", views=2)
    alone = [
        model.predict(records.image(n)[:, ::-1].copy(), sex="M" if male[n] else "F").months for n in range(len(records))
    ]
    with (tmp_path / "s" / "ages" / "mirrored.csv").open() as file:
        found = [float(row["months"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(found, alone, atol=0.01)
    assert np.isfinite(found).sum() >= 2, "phantoms that flags refuse get no age in either"
    facts = json.loads((tmp_path / "s" / "stress.json").read_text())
    row = facts["changes"][0]
    assert row["change"] == "mirrored"
    assert row["mae"]["value"] == pytest.approx(np.nanmean(np.abs(np.array(found) - reading)), abs=0.01)
    assert facts["phantom"]
    before = (tmp_path / "s" / "ages" / "mirrored.csv").stat().st_mtime_ns
    assert call(capsys, *arguments)[0] == 0
    assert (tmp_path / "s" / "ages" / "mirrored.csv").stat().st_mtime_ns == before, "what is done is not redone"
    status, _, said = call(capsys, *[3 if one == 4 else one for one in arguments])
    assert status == 2
    assert "holds another study (images differ)" in said
