"""Every benchmark starts; their figures are measured by people, not by tests."""

import json
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest

from benchmarks import (
    bundle_ages,
    hand_real,
    koitka,
    phantom_realism,
    real_key_points,
    real_outlines,
    real_subset,
    wrong_inputs,
    wrong_sets,
)
from boneage_jax.anatomy import OSSIFICATION_AREAS
from boneage_jax.data import annotations as annotation_files
from boneage_jax.data.annotations import Annotation
from boneage_jax.workflows import radiographs
from tests.conftest import REAL, boneage, needs_real

BENCHMARKS = (
    "accuracy",
    "bundle_ages",
    "hand_accuracy",
    "hand_other_pipeline",
    "hand_real",
    "real_key_points",
    "outline_folds",
    "real_outlines",
    "real_subset",
    "hand_speed",
    "importance_truth",
    "input_pipeline",
    "irreducible",
    "train_step",
    "phantom_layout",
    "huge_pages",
    "processes",
    "phantom_realism",
    "phantom_speed",
    "rsna_hours",
    "serve_load",
    "wrong_inputs",
)

START_ALL = """
import contextlib, io, json, runpy, sys, traceback

said = {}
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
            status = "came back"
        except SystemExit as leave:
            status = leave.code
        except BaseException:
            traceback.print_exc()
            status = "failed"
    said[name] = [status, out.getvalue()]
print(json.dumps(said))
"""
"""Asks one benchmark after the other for its help, each as the program that it is; one process loads JAX for all."""


@pytest.fixture(scope="module")
def said(pytestconfig):
    """Exit status and output of each benchmark's --help."""
    done = subprocess.run(
        [sys.executable, "-c", START_ALL, *BENCHMARKS],
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_start(name, said):
    status, output = said[name]
    assert status == 0, output
    assert f"python -m benchmarks.{name}" in output


def test_the_command_is_installed():
    assert boneage("--version").stdout.startswith("boneage-jax ")


def test_hands_are_laid_on_one_frame_however_they_lay():
    generator = np.random.default_rng(0)
    base = generator.uniform(200, 1600, size=(17, 2))
    hands = base + generator.normal(scale=10, size=(6, 17, 2))
    laid, zoom = koitka.align(hands)
    angles, zooms = generator.uniform(-3, 3, 6), generator.uniform(0.2, 4, 6)
    turned = hands[..., 0] + 1j * hands[..., 1]
    turned = turned * (zooms * np.exp(1j * angles))[:, None] + generator.normal(size=(6, 1)) * 500
    again, zoom_again = koitka.align(np.stack([turned.real, turned.imag], -1))
    np.testing.assert_allclose(laid, again, atol=1e-6)
    np.testing.assert_allclose(zoom, zoom_again * zooms)


@needs_real
def test_real_boxes_are_read_digit_by_digit():
    hands = koitka.read(REAL / "koitka_rois", REAL / "rsna" / "train.csv")
    assert len(hands.boxes) == 327, "329 less two that lack a box"
    assert (hands.ages.min(), hands.ages.max()) == (6, 216)
    points, _ = koitka.align(koitka.centres(hands.boxes))
    place = {name: points[:, n] for n, name in enumerate(OSSIFICATION_AREAS)}
    for digit in (2, 3, 4, 5):
        assert (place[f"DIP {digit}"][:, 1] < place[f"PIP {digit}"][:, 1]).mean() > 0.99
        assert (place[f"PIP {digit}"][:, 1] < place[f"MCP {digit}"][:, 1]).all()
    across = np.stack([place[f"MCP {digit}"][:, 0] for digit in (1, 2, 3, 4, 5)])
    assert (np.diff(across, axis=0) < 0).all(), "thumb on the right, then finger by finger"
    assert (place["Radius"][:, 0] > place["Ulna"][:, 0]).all()


@needs_real
def test_phantoms_have_the_geometry_of_real_hands():
    """Kolmogorov-Smirnov distance at most 0.2 for each ratio of sizes and places."""
    hands = koitka.read(REAL / "koitka_rois", REAL / "rsna" / "train.csv")
    rows = phantom_realism.geometry(hands, koitka.reader_scatter(REAL / "koitka_rois"), repeats=3)
    misses = {row["quantity"]: row["ks"] for row in rows if row["ks"] > phantom_realism.GOAL}
    assert not misses


def a_hand(*, mirrored=False, turn=0.0):
    """Key points of a hand 200 pixels long, thumb on the right unless it is mirrored, turned by degrees."""
    points = np.array([[100.0, 20.0], [160.0, 120.0], [100.0, 220.0]])
    if mirrored:
        points[:, 0] = 200 - points[:, 0]
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    return points @ np.array([[c, s], [-s, c]])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turn", [0.0, 37.0, 180.0, -100.0])
def test_differences_are_in_the_hands_own_directions(mirrored, turn):
    """One percent to the thumb's side and two to the wrist, however the hand lies; and the way back."""
    person = a_hand(mirrored=mirrored, turn=turn)
    off = np.array([[1.0, 2.0]] * 3)
    right = np.array([-1.0, 0.0]) if mirrored else np.array([1.0, 0.0])
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    rotation = np.array([[c, s], [-s, c]])
    found = person + (2.0 * right + np.array([0.0, 4.0])) @ rotation
    np.testing.assert_allclose(hand_real.in_hand(found, person), off, atol=1e-9)
    np.testing.assert_allclose(real_key_points.moved(person, off), found, atol=1e-9)


def test_an_outline_covers_the_pixels_whose_centres_lie_in_it():
    """Ten pixels of the original are one of the copy."""
    square = [(99.5, 199.5), (599.5, 199.5), (599.5, 799.5), (99.5, 799.5)]
    hole = [(199.5, 299.5), (299.5, 299.5), (299.5, 399.5), (199.5, 399.5)]
    expected = np.zeros((100, 100), bool)
    expected[20:80, 10:60] = True
    expected[30:40, 20:30] = False
    shapes = [{"exterior": square, "interior": [hole]}]
    np.testing.assert_array_equal(real_outlines.inside(shapes, (1000, 1000), (100, 100)), expected)
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = [{"exterior": np.stack([700 + 480 * np.cos(angles), 500 + 480 * np.sin(angles)], -1), "interior": []}]
    found = real_outlines.inside(circle, (1400, 1000), (300, 420))
    assert found.sum() == pytest.approx(np.pi * (480 * 0.3) ** 2, rel=2e-3)
    assert np.argwhere(found).mean(0) == pytest.approx([500.5 * 0.3 - 0.5, 700.5 * 0.3 - 0.5], abs=0.02)


def test_a_habit_is_taken_out_and_failures_are_counted():
    draws = np.random.default_rng(0)
    habit = np.array([[0.2, 1.2], [0.0, 0.8], [0.9, -0.5]])
    hands = [hand_real.Hand("train", str(n), (), True, habit + draws.normal(0, 0.3, (3, 2)), None) for n in range(400)]
    np.testing.assert_allclose(hand_real.habit_of(hands), habit, atol=0.06)
    away = np.zeros((3, 2))
    away[1, 0] = 30.0
    hands += [
        hand_real.Hand("validation", "a", (), False, habit + away, None),
        hand_real.Hand("validation", "b", ("wrong side",), False, habit + away, None),
        hand_real.Hand("validation", "c", (), False, np.full((3, 2), np.nan), None),
        hand_real.Hand("validation", "d", (), False, habit + 0.1, None),
    ]
    found = hand_real.of_points(hands[400:], habit)
    assert found["hands"] == 4
    assert found["gross failures"] == 3, "two thumbs, and a hand that was not found"
    assert found["gross failures not flagged"] == 2
    assert found["flagged, %"] == 25.0


def test_scatter_of_people_is_told_from_that_of_networks():
    draws = np.random.default_rng(0)

    def hands(off):
        return [hand_real.Hand("validation", str(n), (), True, one, None) for n, one in enumerate(off)]

    person, first, second = draws.normal(0, (1.0, 0.5, 0.5), (4000, 3, 2, 3)).transpose(3, 0, 1, 2)
    for of in hand_real.in_common(hands(person + first), hands(person + second)).values():
        assert of["in common, %"] == pytest.approx(100 * 1.0 / 1.25, abs=3)
        assert of["between the networks, median"] == pytest.approx(0.5 * 2**0.5 * 1.1774, abs=0.03)


@needs_real
def test_the_real_annotations_are_read(tmp_path):
    """Of the few hands unpacked here, those with points or outlines; fingertips above wrists or thereabouts."""
    folder = REAL / "rsna299"
    if not folder.is_dir():
        pytest.skip("the real radiographs are not here")
    subprocess.run(
        [sys.executable, folder / "unpack.py", "--out", tmp_path / "real", "--only", "60"],
        check=True,
        capture_output=True,
    )
    ids = [path.stem for path in (tmp_path / "real" / "radiographs").rglob("*.png")]
    dataset = types.SimpleNamespace(splits={"train": len(ids)}, split=lambda _: types.SimpleNamespace(ids=lambda: ids))
    points, outlines, set_by_hand = hand_real.read_annotations(tmp_path / "real" / "annotations", dataset)
    assert set(points) <= set(ids)
    assert set_by_hand <= set(points)
    assert points
    lengths = [np.linalg.norm(one[0] - one[2]) for one in points.values()]
    assert 80 < np.median(lengths) < 350
    for image_id, outline in outlines.items():
        image = cv2.imread(str(next((tmp_path / "real" / "radiographs").rglob(f"{image_id}.png"))), 0)
        assert 0.05 < outline.mask(image.shape).mean() < 0.8


def test_groups_of_a_bundles_ages():
    male, flagged = np.array([True, False, True]), np.array([False, False, True])
    groups = bundle_ages.members(["7", "2001", "x"], np.array([5.0, 24.0, 239.0]), male, flagged, {"far": (2000, 3999)})
    assert {name: np.flatnonzero(inside).tolist() for name, inside in groups.items()} == {
        "all": [0, 1, 2],
        "boys": [0, 2],
        "girls": [1],
        "without flags": [0, 1],
        "ids 2000 to 3999 (far)": [1],
        "all but ids 2000 to 3999": [0, 2],
        "0 to 24 months": [0],
        "24 to 48 months": [1],
        "216 to 240 months": [2],
    }


def test_parts_of_the_real_radiographs(tmp_path):
    """Annotated hands, and others of which none is annotated; images are there once, under two names."""
    source = tmp_path / "real"
    for split, ids in {"train": range(1, 9), "validation": range(11, 15)}.items():
        (source / "radiographs" / split / "images").mkdir(parents=True)
        rows = "".join(f"{one},60,True\n" for one in ids)
        (source / "radiographs" / split / f"{split}.csv").write_text("id,boneage,male\n" + rows)
        for one in ids:
            (source / "radiographs" / split / "images" / f"{one}.png").write_bytes(b"x")
    (source / "annotations" / "masks").mkdir(parents=True)
    (source / "annotations" / "masks" / "5.png").write_bytes(b"x")
    pointed = [Annotation(f"{one}.png", 30, 40, points={"capitate": (9.0, 9.0)}) for one in (1, 2, 3, 12)]
    annotation_files.write(pointed, source / "annotations" / "key_points.json")
    (source / "annotations" / "by_hand.txt").write_text("1\n2\n")
    counts = real_subset.link(source, tmp_path / "annotated", "annotated", 0)
    assert counts == {"train": 2, "validation": 1}
    assert sorted(path.name for path in (tmp_path / "annotated").rglob("*.png")) == ["1.png", "12.png", "2.png"]
    assert (tmp_path / "annotated/validation/validation.csv").read_text().splitlines()[1:] == ["12,60,True"]
    assert real_subset.link(source, tmp_path / "others", "others", 3) == {"train": 3}
    first = {path.stem for path in (tmp_path / "others").rglob("*.png")}
    assert len(first) == 3
    assert first <= {"3", "4", "6", "7", "8"}
    assert real_subset.link(source, tmp_path / "others", "others", 3) == {"train": 3}, "the same ones again"
    assert {path.stem for path in (tmp_path / "others").rglob("*.png")} == first


def test_wrong_inputs_are_the_same_each_time_and_differ_from_one_another():
    """Kinds that need nothing but what the project installs are always there, and are enough."""
    upright = np.random.default_rng(0).integers(0, 256, (40, 90, 60), np.uint8)
    kinds = wrong_sets.kinds([radiographs.of_array(image, f"folder/{n}.png") for n, image in enumerate(upright)])
    names = {kind.name for kind in kinds}
    assert len(names) == len(kinds)
    assert {"MR slices", "photographs", "noise", "chest-like shapes", "foot-like shapes", "drawings of hands"} <= names
    assert {f"{cut}, {source}" for cut in wrong_sets.CUTS for source in ("phantoms", "real")} <= names
    assert sum(kind.count for kind in wrong_sets.kinds()) >= 300
    for kind in kinds:
        first, second = kind.images(2)
        (again,) = kind.images(1)
        assert first.name == again.name
        np.testing.assert_array_equal(first.image, again.image)
        assert not np.array_equal(first.image, second.image), kind.name
        for one in (first, second):
            assert (one.kind, one.image.dtype) == (kind.name, np.uint8)
            assert one.image.ndim == 2 or one.image.shape[2] == 3
            assert min(one.image.shape[:2]) >= 8


def test_refused_flagged_and_silent_inputs_are_counted(tmp_path):
    def said(kind, months, *flags, **measures):
        return wrong_inputs.Reading(kind, "a", "M", months, flags, "", measures, np.zeros((168, 168), np.uint8))

    readings = [
        said("noise", np.nan, "no hand", area=0.0),
        said("noise", 40.0, "cut off", area=0.2, side=0.3),
        said("noise", np.nan),
        said("noise", 61.0, area=0.3),
        said(wrong_inputs.REAL_HANDS, 120.0),
    ]
    assert wrong_inputs.table(readings)[2:] == [
        "| noise | 4 | 50.0 | 50.0 | 25.0 | 40 to 61, median 50 |",
        "| all wrong inputs | 4 | 50.0 | 50.0 | 25.0 | 40 to 61, median 50 |",
        f"| {wrong_inputs.REAL_HANDS} | 1 | 0.0 | 0.0 | 100.0 | 120 to 120, median 120 |",
    ]
    wrong_inputs.write_csv(readings, tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text().splitlines()[:3] == [
        "kind,name,sex,months,flags,problem,area,side",
        "noise,a,M,,no hand,,0,",
        "noise,a,M,40.0,cut off,,0.2,0.3",
    ]
