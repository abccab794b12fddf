"""The image and its truth: the truth is true, and age shows in anatomy alone."""

import dataclasses
import functools
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from boneage_jax import anatomy, cli
from boneage_jax.errors import UserError
from boneage_jax.phantoms import bone_thickness, exposure, growth, render, views
from boneage_jax.phantoms.camera import Camera, draw_pose
from boneage_jax.phantoms.maturity import Variation

STEADY = Camera(256, 192, rotation=0.0, size=(0.5, 0.54), shift=0.0)
QUIET = exposure.Exposure(sharpening=(0.0, 0.0), noise=(0.0, 0.0), gradient=0.0)
INSTANCE = {name: n + 1 for n, name in enumerate(anatomy.INSTANCES)}


@functools.cache
def draw(age, male=True, seed=0, camera=STEADY, taken=QUIET, bones="", months=0.0):
    ages = jnp.asarray(render.counterfactual(bones, months)) if bones else jnp.full(30, jnp.nan)
    key = jax.random.key(seed)
    variation = Variation()
    drawn = render.render(key, jnp.float32(age), jnp.float32(male), camera, variation, taken, ages)
    return jax.device_get(drawn)


def test_same_key_same_pixels():
    a, b, c = draw(100, seed=1), draw.__wrapped__(100, seed=1), draw(100, seed=2)
    np.testing.assert_array_equal(a.image, b.image)
    assert (a.image != c.image).any()


@pytest.mark.integration
def test_many_at_once_are_the_same_as_one_by_one():
    keys = jnp.stack([jax.random.key(n) for n in (1, 2)])
    bones = jnp.full(30, jnp.nan)
    shoot = functools.partial(render.render, camera=STEADY, variation=Variation(), exposure=QUIET, ages=bones)
    together = jax.vmap(lambda key: shoot(key, jnp.float32(100), jnp.float32(1)))(keys)
    for n, alone in enumerate((draw(100, seed=1), draw(100, seed=2))):
        # A texel of trabeculae may fall to its neighbour by rounding.
        assert (np.abs(together.image[n] - alone.image) < 2e-3).mean() > 0.999
        np.testing.assert_allclose(together.image[n], alone.image, atol=0.05)
        np.testing.assert_allclose(together.joints[n], alone.joints, atol=1e-2)


def test_key_points_lie_where_they_say():
    """Tips at the very end of the mask, the capitate's centre on the capitate, thumb to the right of a left hand."""
    for seed in range(8):
        phantom = draw(150, seed=seed)
        (tip_x, tip_y), (thumb_x, _), (capitate_x, capitate_y) = phantom.key_points
        rows, columns = np.nonzero(phantom.mask)
        for x, y in phantom.key_points[:2]:
            assert np.hypot(columns - x, rows - y).min() < 1.5
            nearby = phantom.mask[max(0, int(y) - 6) : int(y) + 7, max(0, int(x) - 6) : int(x) + 7].mean()
            assert nearby < 0.75, "a tip has background around it"
        assert phantom.instances[round(float(capitate_y)), round(float(capitate_x))] == INSTANCE["capitate"]
        assert tip_y < capitate_y
        assert thumb_x > tip_x


def test_a_mirrored_hand_is_a_mirrored_hand():
    left, right = draw(150), draw(150, camera=dataclasses.replace(STEADY, mirror=1.0))
    assert right.key_points[1, 0] < right.key_points[0, 0]
    middle = STEADY.width / 2
    np.testing.assert_allclose(right.joints[:, 0] - middle, middle - left.joints[:, 0], atol=0.02)
    np.testing.assert_allclose(right.areas[:, [2, 0]] - middle, middle - left.areas[:, [0, 2]], atol=0.02)
    # The mirror stands at pixel 96, so columns 1 to 191 show what columns 191 to 1 showed.
    assert (right.mask[:, :0:-1] == left.mask[:, 1:]).mean() > 0.99
    assert (right.instances[:, :0:-1] == left.instances[:, 1:]).mean() > 0.99


def test_the_mask_is_the_tissue():
    phantom = draw(120)
    assert phantom.image[phantom.mask].mean() > phantom.image[~phantom.mask].mean() + 0.15
    assert 0.15 < phantom.mask.mean() < 0.6
    bone = phantom.instances > 0
    assert phantom.mask[bone].mean() > 0.999, "bone lies within the hand"
    assert phantom.image[bone].mean() > phantom.image[phantom.mask & ~bone].mean() + 0.05
    parts, _ = cv2.connectedComponents(phantom.mask.astype(np.uint8))
    assert parts == 2, "one hand in one piece"


def test_instances_tell_bones_and_epiphyses_apart():
    phantom = draw(120, male=False)
    seen = {anatomy.INSTANCES[n - 1] for n in np.unique(phantom.instances) if n}
    grown = {bone.name for bone in anatomy.BONES if bone.appears[1] < 100}
    assert grown <= seen
    assert {f"epiphysis of {bone.name}" for bone in anatomy.TUBULAR_BONES} <= seen
    for bone in anatomy.TUBULAR_BONES:
        shaft = np.argwhere(phantom.instances == INSTANCE[bone.name]).mean(0)
        epiphysis = np.argwhere(phantom.instances == INSTANCE[f"epiphysis of {bone.name}"]).mean(0)
        assert shaft[0] != epiphysis[0]
        # Fingers point up: a distal epiphysis lies above its shaft, a proximal one below.
        assert (epiphysis[0] < shaft[0]) == (bone.epiphysis == "distal"), bone.name


def test_what_has_not_appeared_is_not_there():
    phantom = draw(10, male=True)
    seen = {anatomy.INSTANCES[n - 1] for n in np.unique(phantom.instances) if n}
    assert not seen & {"lunate", "scaphoid", "trapezium", "trapezoid", "pisiform", "sesamoid", "epiphysis of ulna"}
    assert {bone.name for bone in anatomy.TUBULAR_BONES} <= seen, "shafts are there from birth"


def test_joints_lie_between_their_bones():
    phantom = draw(130)
    joints = dict(zip(anatomy.JOINTS, phantom.joints, strict=True))
    for digit in (2, 3, 4, 5):
        for joint, above, below in (
            ("metacarpophalangeal", "proximal phalanx", "metacarpal"),
            ("proximal interphalangeal", "middle phalanx", "proximal phalanx"),
            ("distal interphalangeal", "distal phalanx", "middle phalanx"),
        ):
            x, y = joints[f"{joint} {digit}"]
            nearest = [
                np.hypot(*(np.argwhere(np.isin(phantom.instances, names)) - (y, x)).T).min()
                for names in (
                    [INSTANCE[f"{above} {digit}"], INSTANCE[f"epiphysis of {above} {digit}"]],
                    [INSTANCE[f"{below} {digit}"], INSTANCE[f"epiphysis of {below} {digit}"]],
                )
            ]
            assert max(nearest) < 4, (joint, digit, nearest)


def test_areas_hold_their_joints():
    phantom = draw(130)
    joints = dict(zip(anatomy.JOINTS, phantom.joints, strict=True))
    for area, (x0, y0, x1, y1) in zip(anatomy.OSSIFICATION_AREAS, phantom.areas, strict=True):
        names = {"DIP": "distal interphalangeal", "PIP": "proximal interphalangeal", "MCP": "metacarpophalangeal"}
        if " " in area:
            joint, digit = area.split()
            name = "interphalangeal 1" if area == "PIP 1" else f"{names[joint]} {digit}"
            x, y = joints[name]
            assert x0 < x < x1, area
            assert y0 < y < y1, area
    wrist = phantom.areas[anatomy.OSSIFICATION_AREAS.index("Wrist")]
    carpals = np.argwhere(np.isin(phantom.instances, [INSTANCE[b.name] for b in anatomy.CARPAL_BONES]))
    inside = (carpals[:, 1] > wrist[0]) & (carpals[:, 1] < wrist[2]) & (carpals[:, 0] > wrist[1])
    assert inside.mean() > 0.97


REGISTERED = Camera(260, 200, registered=True)


@pytest.mark.integration
def test_the_registered_canvas():
    """Points in pixels are those of the canvas, an eighth as large; pixel centres at whole numbers on both."""
    phantom = draw(130, camera=REGISTERED)
    np.testing.assert_allclose(phantom.key_points[0], (np.array([800, 100]) + 0.5) / 8 - 0.5, atol=0.01)
    np.testing.assert_allclose(phantom.key_points[2], (np.array([800, 1600]) + 0.5) / 8 - 0.5, atol=0.01)
    for region, corners in zip(anatomy.CANVAS_REGIONS, phantom.regions, strict=True):
        expected = np.array([(x, y) for y in region.rows for x in region.columns])[[0, 1, 3, 2]]
        np.testing.assert_allclose(corners, (expected + 0.5) / 8 - 0.5, atol=0.01)


@pytest.mark.integration
def test_size_does_not_change_the_hand():
    small, large = (
        draw(130, camera=REGISTERED),
        draw(130, camera=dataclasses.replace(REGISTERED, height=520, width=400)),
    )
    np.testing.assert_allclose((large.joints + 0.5) / 2 - 0.5, small.joints, atol=0.01)
    shrunk = large.image.reshape(260, 2, 200, 2).mean((1, 3))
    assert np.corrcoef(shrunk.ravel(), small.image.ravel())[0, 1] > 0.99
    agree = large.mask.reshape(260, 2, 200, 2).mean((1, 3)) > 0.5
    assert (agree == small.mask).mean() > 0.995


@pytest.mark.integration
def test_patches_hold_their_bones(monkeypatch):
    """Twice as large, they show the same bones: nothing is cut off, in any direction."""
    camera = Camera(192, 144, rotation=180.0, size=(0.45, 0.5), shift=0.0)

    def bones(key, hand):
        return bone_thickness.draw_bones(hand, draw_pose(key, camera), camera)

    keys = [jax.random.split(key) for key in jax.random.split(jax.random.key(1), 12)]
    hands = [
        growth.grow(key, age, jnp.float32(1), samples=64)
        for (key, _), age in zip(keys, jnp.linspace(5.0, 235.0, 12), strict=True)
    ]
    usual, wide = jax.jit(bones), jax.jit(lambda key, hand: bones(key, hand))
    few = [usual(key, hand) for (_, key), hand in zip(keys, hands, strict=True)]
    larger = [dataclasses.replace(group, reach=1.6 * group.reach) for group in bone_thickness.PIECE_GROUPS]
    monkeypatch.setattr(bone_thickness, "PIECE_GROUPS", larger)
    for (_, key), hand, mine in zip(keys, hands, few, strict=True):
        theirs = wide(key, hand)
        np.testing.assert_array_equal(mine[1], theirs[1])
        np.testing.assert_allclose(mine[0], theirs[0], atol=0.05)


def test_a_counterfactual_changes_its_bone_alone():
    free, bound = draw(120), draw(120, bones="capitate", months=40.0)
    assert bound.maturity[[b.name for b in anatomy.BONES].index("capitate")] == 40.0
    changed = np.abs(bound.image - free.image) > 1e-5
    assert changed.sum() > 30
    near = cv2.dilate((free.instances == INSTANCE["capitate"]).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert not changed[~near].any(), "beyond the bone and the blur not one pixel differs"
    np.testing.assert_array_equal(free.joints, bound.joints)
    np.testing.assert_array_equal(free.mask, bound.mask)


def test_a_counterfactual_of_a_region_and_of_all():
    free, older = draw(60), draw(60, bones="carpals", months=150.0)
    count = [np.isin(p.instances, [INSTANCE[b.name] for b in anatomy.CARPAL_BONES]).sum() for p in (free, older)]
    assert count[1] > 1.5 * count[0]
    fused = draw(60, bones="all", months=230.0)
    assert (fused.maturity == 230.0).all()
    with pytest.raises(UserError, match="bone 'femur'"):
        render.counterfactual("femur", 12)
    with pytest.raises(UserError, match="age 241: expected 0 to 240"):
        render.counterfactual("ulna", 241)


@pytest.mark.parametrize("size", [(63, 100), (100, 63), (0, 0)])
def test_images_that_are_too_small(size):
    with pytest.raises(UserError, match="at least 64 pixels"):
        Camera(*size)


RAW = views.view("raw")
RAW_CAMERA = RAW.sized(128, 96)


@functools.cache
def scenes():
    """Hands of all ages before the raw camera."""
    keys, ages = jax.random.split(jax.random.key(1), 24), jnp.linspace(0, 240, 24)
    laid = [render.lay(key, age, jnp.float32(1), RAW_CAMERA, Variation()) for key, age in zip(keys, ages, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *laid)


@functools.cache
def crowd(**chances):
    """Raw images of these hands: named disturbances always, or, with none named, all by their probabilities."""
    never = dict.fromkeys(("inverted", "collimation", "marker", "label"), 0.0)
    taken = dataclasses.replace(RAW.exposure, **(never | chances if chances else {}))
    scene, truth = scenes()
    expose = jax.vmap(lambda key, scene: exposure.expose(key, scene, taken))
    image, mask = expose(jax.random.split(jax.random.key(2), 24), scene)
    return jax.device_get(render.Phantom(image=image, mask=mask, **truth))


def test_raw_images_are_whole():
    many = crowd()
    assert np.isfinite(many.image).all()
    assert many.image.min() >= 0
    assert many.image.max() <= 1
    assert (many.mask.mean((1, 2)) > 0.05).all()
    means = [many.image[n][~many.mask[n]].mean() for n in range(24)]
    assert np.ptp(means) > 0.4, "bright and dark backgrounds"
    (ax, ay), (bx, by) = ((many.key_points[:, n] - many.key_points[:, 2]).T for n in (1, 0))
    sides = ax * by - ay * bx
    assert 1 <= (sides > 0).sum() <= 14, "some right hands"
    tilt = np.degrees(np.arctan2(*(many.key_points[:, 0] - many.key_points[:, 2]).T[::-1])) + 90
    assert np.abs(tilt).max() > 20


def test_inverted_images():
    upright, inverted = crowd(marker=0.0), crowd(inverted=1.0)
    np.testing.assert_allclose(inverted.image, 1 - upright.image, atol=1e-5)


def test_collimation_takes_from_the_mask_what_was_not_exposed():
    whole, collimated = crowd(marker=0.0), crowd(collimation=1.0)
    assert not (collimated.mask & ~whole.mask).any()
    lost = 1 - collimated.mask.sum((1, 2)) / whole.mask.sum((1, 2))
    assert lost.max() > 0.03
    assert lost.max() < 0.6
    # Beyond the field it is even: the darkest and brightest corner regions hold nearly one grey level.
    outside = whole.mask & ~collimated.mask
    assert outside.any()


def test_markers_and_labels_are_bright():
    bare, marked = crowd(marker=0.0), crowd(marker=1.0)
    differs = np.abs(bare.image - marked.image).max((1, 2)) > 0.1
    assert differs.mean() > 0.9
    labelled = crowd(label=1.0)
    assert (np.abs(bare.image - labelled.image).max((1, 2)) > 0.1).mean() > 0.9
    np.testing.assert_array_equal(bare.mask, marked.mask)


def test_masked_images_are_black_around_the_hand():
    phantom = draw(100, camera=REGISTERED, taken=views.view("registered").exposure)
    assert (phantom.image[~phantom.mask] == 0).all()
    assert (phantom.image[phantom.mask] > 0).all()


def call(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_draws_one_with_its_truth(tmp_path, capsys):
    out = tmp_path / "hand.png"
    command = (
        "phantom",
        "--age",
        96,
        "--sex",
        "F",
        "--size",
        "128x96",
        "--set",
        "carpals=130",
        "--truth",
        "--out",
        out,
    )
    status, printed, _ = call(capsys, *command)
    assert status == 0
    assert printed.split() == [str(out.with_suffix(s)) for s in (".png", ".mask.png", ".bones.png", ".json")]
    truth = json.loads(out.with_suffix(".json").read_text())
    assert truth["bone_age_by_bone"]["hamate"] == 130
    picture, mask = cv2.imread(str(out), 0), cv2.imread(str(tmp_path / "hand.mask.png"), 0)
    bones = cv2.imread(str(tmp_path / "hand.bones.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == mask.shape == bones.shape == (128, 96)
    x, y = truth["key_points"]["capitate"]
    assert truth["instances"][str(bones[round(y), round(x)])] == "capitate"
    first = out.read_bytes()
    assert call(capsys, *command)[0] == 0
    assert out.read_bytes() == first


def test_the_command_draws_strips_and_animations(tmp_path, capsys):
    size = ("--size", "128x96", "--sex", "M")
    assert call(capsys, "phantom", "--ages", "0:240:120", *size, "--out", tmp_path / "grow.gif")[0] == 0
    with Image.open(tmp_path / "grow.gif") as animation:
        assert animation.n_frames == 3
    assert call(capsys, "phantom", "--ages", "0:240:120", *size, "--out", tmp_path / "grow.png")[0] == 0
    strip = cv2.imread(str(tmp_path / "grow.png"), 0)
    assert strip.shape[1] == 3 * 96
    assert call(capsys, "phantom", "--plate", *size, "--out", tmp_path / "plate.png")[0] == 0
    assert cv2.imread(str(tmp_path / "plate.png"), 0).shape[1] == 6 * 96


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--age=241"], "age 241: expected 0 to 240 months"),
        (["--age=-1"], "age -1: expected 0 to 240 months"),
        (["--age=nan"], "age nan: expected 0 to 240 months"),
        (["--ages=230:250:10"], "age 250: expected 0 to 240 months"),
        (["--age=20", "--sex=x"], "sex 'x': expected M or F"),
        (["--age=20", "--set=femur=3"], "bone 'femur'"),
        (["--age=20", "--set=ulna=999"], "age 999: expected 0 to 240 months"),
        (["--age=20", "--set=ulna"], "expected BONES=MONTHS"),
        (["--age=20", "--size=63x100"], "at least 64 pixels"),
        (["--age=20", "--view=sideways"], "view 'sideways': expected one of plain, raw, registered"),
    ],
)
def test_bad_input_gets_one_message(tmp_path, capsys, arguments, expected):
    status, out, err = call(capsys, "phantom", *arguments, "--out", tmp_path / "hand.png")
    assert status == 2
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert not out
    assert not list(tmp_path.iterdir())
