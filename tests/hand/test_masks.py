"""Masks: largest piece, holes, sizes; grey levels; regions; what is carried both ways."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.canvas import Canvas
from boneage_jax.data import contrast, images, input_layout
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity
from boneage_jax.hand import masks, quality, regions, register
from boneage_jax.hand.quality import KeyPointViews
from boneage_jax.region_spec import parse_regions


def disc(shape, x, y, r):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(columns - x, rows - y) < r


def test_intersection_over_union_by_counting():
    """Rectangles of 12 and 24 pixels that share 6: 6 of the 30 that either holds."""
    one, other = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    one[2:5, 2:6] = True
    other[2:8, 4:8] = True
    assert masks.iou(one, other) == masks.iou(other, one) == 6 / 30
    assert masks.iou(one, one) == 1
    assert masks.iou(one, one & False) == masks.iou(one & False, one) == 0
    assert masks.iou(one & False, one & False) == 1


def test_the_largest_piece_is_kept_and_its_holes_filled():
    truth = disc((96, 80), 35, 40, 25)
    seen = truth & ~disc((96, 80), 30, 40, 6) | disc((96, 80), 72, 85, 6)
    found = masks.clean([seen.astype(np.float32)], (96, 80))
    np.testing.assert_array_equal(found.inside, truth)
    assert found.second == pytest.approx(36 / 625, abs=0.03)
    assert found.area == pytest.approx(truth.mean())
    assert found.border == 0


def test_masks_come_back_at_the_pictures_size():
    """A picture of 150 x 100 fitted into 96 x 96: the map's disc lies where the picture's was."""
    truth = disc((150, 100), 40, 90, 30)
    seen = images.fit(truth.astype(np.uint8) * 255, 96, 96) / 255.0
    found = masks.clean([seen.astype(np.float32)], (150, 100))
    assert masks.iou(found.inside, truth) > 0.98


def test_views_are_averaged_and_the_strangest_is_compared():
    one, other = disc((64, 64), 30, 32, 20), disc((64, 64), 34, 32, 20)
    views = [view.astype(np.float32) for view in (one, other, one)]
    found = masks.clean(views, (64, 64))
    np.testing.assert_array_equal(found.inside, one)
    assert found.agreement == pytest.approx(masks.iou(one, other))
    inside, outside = np.mean(views, axis=0)[one].sum(), np.mean(views, axis=0)[~one].sum()
    assert found.expected == pytest.approx(inside / (one.sum() + outside))


def test_no_hand_is_an_empty_mask():
    found = masks.clean([np.zeros((32, 32), np.float32)], (64, 64))
    assert not found.inside.any()
    report = quality.check(np.zeros((64, 64), np.uint8), found, None, None)
    assert quality.NO_HAND in report.flags


def test_grey_levels_come_to_one_range_whichever_way_round():
    generator = np.random.default_rng(0)
    mask = disc((200, 160), 80, 100, 60)
    bone = disc((200, 160), 80, 100, 25)
    picture = np.where(mask, np.where(bone, 150, 110), 70) + generator.normal(0, 4, mask.shape)
    picture = picture.clip(0, 255).astype(np.uint8)
    plain, inverted = contrast.equalise(picture, mask), contrast.equalise(255 - picture, mask)
    assert not contrast.is_inverted(picture, mask)
    assert contrast.is_inverted(255 - picture, mask)
    np.testing.assert_allclose(plain.astype(int), inverted.astype(int), atol=1)
    assert (plain[~mask] == 0).all()
    low, middle, high = np.percentile(plain[mask], (1, 50, 99))
    assert low == pytest.approx(contrast.LOW, abs=6)
    assert high == pytest.approx(contrast.HIGH, abs=6)
    assert middle == pytest.approx(contrast.MIDDLE, abs=12)
    assert plain[bone].mean() > plain[mask & ~bone].mean()


def test_a_faint_hand_is_seen_after_local_equalisation():
    mask = disc((256, 256), 120, 130, 50)
    picture = np.full((256, 256), 120.0)
    picture[mask] += 5
    picture[:, :20], picture[:, -20:] = 0, 255
    picture = (picture + np.random.default_rng(0).normal(0, 1, picture.shape)).clip(0, 255).astype(np.uint8)
    equal = contrast.local(picture).astype(float)
    ring = disc((256, 256), 120, 130, 70) & ~mask
    assert equal[mask].mean() - equal[ring].mean() > 20


def test_few_grey_levels_fill_the_whole_range():
    """What limited contrast leaves in a narrow band is stretched; a picture of one level has nothing to stretch."""
    levels = np.random.default_rng(0).integers(118, 121, (256, 256)).astype(np.uint8)
    np.testing.assert_array_equal(np.percentile(contrast.local(levels), (1, 99)), (0, 255))
    assert len(np.unique(contrast.local(np.full((256, 256), 120, np.uint8)))) == 1


@pytest.mark.parametrize("layout", ["hand_box", "upright_box", "canvas"])
def test_fine_stages_show_bone_bright_whichever_way_round(layout):
    picture, mask, points, pose = turned_hand()
    picture = np.where(disc(picture.shape, *pose((800, 1000)), 40), 220, picture).astype(np.uint8)
    plain, inverted = (
        input_layout.lay(layout, image, 128, 96, mask=mask, key_points=points, local=True).image
        for image in (picture, 255 - picture)
    )
    np.testing.assert_allclose(plain.astype(int), inverted.astype(int), atol=8)
    as_is = input_layout.lay(layout, 255 - picture, 128, 96, mask=mask, key_points=points)
    x, y = as_is.transform(pose((800.0, 1000.0))).round().astype(int)
    assert plain[y, x] > plain.mean()
    assert as_is.image[y, x] == 35


def test_one_resampling_does_not_alias():
    """Shrunk fourfold, a chequerboard of single pixels is even grey; plain linear sampling would show a pattern."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    shrunk = images.warp(board, Similarity.scaling(0.25), 64, 64)[4:-4, 4:-4]
    assert np.abs(shrunk.astype(int) - 127).max() <= 8


def turned_hand():
    """A picture of 400 x 300 whose hand lies turned and mirrored."""
    canvas = Canvas()
    pose = Similarity(0.15, 0.06, 60.0, 20.0, mirrored=False).then(Similarity(1.0, 0.0, 290.0, 0.0, mirrored=True))
    on_canvas = np.array([canvas.fingertip, (1500, 1000), canvas.capitate])
    mask = disc((400, 300), *pose((800, 1000)), 90)
    picture = np.where(mask, 140, 30).astype(np.uint8)
    return picture, mask, pose(on_canvas), pose


def test_registration_undoes_the_pose():
    picture, mask, points, pose = turned_hand()
    registration = register.registration(picture, mask, points)
    np.testing.assert_allclose(registration.to_canvas.matrix, pose.inverse().matrix, atol=1e-6)
    assert registration.mirrored
    assert registration.side < 0


def test_regions_show_what_lies_there():
    """A dot at a canvas place comes out at the region's pixel for it."""
    picture, mask, points, pose = turned_hand()
    mark = pose((800.0, 1000.0))
    picture = np.where(disc(picture.shape, *mark, 4), 255, picture).astype(np.uint8)
    registration = register.registration(picture, mask, points)
    chosen = regions.named(["whole", "A", "mine=900:1100,700:900@100x100"])
    cut = register.cut(picture, mask, registration, chosen)
    assert {name: x.shape for name, x in cut.items()} == {"whole": (520, 400), "A": (500, 375), "mine": (100, 100)}
    for region in chosen:
        bright = cut[region.name] > 200
        y, x = (np.nonzero(bright)[n].mean() for n in (0, 1))
        np.testing.assert_allclose((x, y), region.transform((800.0, 1000.0)), atol=1.5)


def test_masks_are_carried_both_ways():
    picture, mask, points, _ = turned_hand()
    registration = register.registration(picture, mask, points)
    (whole,) = regions.named(["whole@1040x800"])
    there = register.mask_on_canvas(mask, registration, whole)
    back = register.mask_from_canvas(there, registration, whole, mask.shape)
    assert masks.iou(back, mask) > 0.97


def test_region_b_is_the_papers():
    (b,) = regions.named(["B"])
    assert (b.rows, b.columns) == ((1225, 1975), (425, 1175))
    np.testing.assert_allclose(b.transform((424.5, 1224.5)), (-0.5, -0.5))
    np.testing.assert_allclose(b.transform((1174.5, 1974.5)), (374.5, 374.5))


@pytest.mark.parametrize("text", ["D", "x=1:2", "A@4x4", "x=5:1,0:9@20x20", "x=0:9,0:9"])
def test_bad_regions_are_answered(text):
    with pytest.raises(UserError, match="region"):
        regions.named([text])
    with pytest.raises(UserError, match="twice"):
        regions.named(["A", "A"])


def test_whole_is_a_quarter_of_the_canvas():
    (whole,) = regions.named(["whole"], Canvas.of(1200, 800, 400, 100, 400, 900))
    assert (whole.rows, whole.columns, whole.height, whole.width) == ((0, 1200), (0, 800), 300, 200)
    with pytest.raises(UserError, match="paper's canvas"):
        regions.named(["B"], Canvas.of(1200, 800, 400, 100, 400, 900))


def test_region_lists_are_cut_at_the_right_commas():
    specs = parse_regions("A,w=1:20,3:40@20x20,B")
    assert [str(spec) for spec in specs] == ["A", "w=1:20,3:40@20x20", "B"]


def views_of(points, spread=1.0, shift=0.0):
    views = np.stack([points, points + shift])
    return KeyPointViews(points, views, np.full((2, 3), spread))


def report(picture, mask, points, **changes):
    found = masks.clean([mask.astype(np.float32)] * 2, mask.shape)
    registration = register.registration(picture, found.inside, points)
    return quality.check(picture, found, views_of(points, **changes), registration)


def with_fingers(mask, points, *, beyond=0.0):
    """The mask with fingers from the capitate to the tips, or farther by a part of their length."""
    fingers = mask.astype(np.uint8)
    for point in points:
        along = point - points[2]
        # OpenCV rounds a line's end by half its width beyond it.
        end = point + beyond * along - 6 * along / max(np.linalg.norm(along), 1)
        cv2.line(fingers, tuple(points[2].round().astype(int)), tuple(end.round().astype(int)), 1, 12)
    return fingers > 0


def test_a_plain_hand_is_good():
    picture, mask, points, _ = turned_hand()
    mask = with_fingers(mask, points)
    picture = np.where(mask, 140, 30).astype(np.uint8) + (np.indices(mask.shape).sum(0) % 40).astype(np.uint8)
    good = report(picture, mask, points)
    assert good.good
    assert good.measures["inside"] < 0.01


def test_a_mask_that_ends_elsewhere_than_the_finger_is_flagged():
    picture, mask, points, _ = turned_hand()
    picture = picture + (np.indices(mask.shape).sum(0) % 40).astype(np.uint8)
    assert "implausible key points" in report(picture, with_fingers(mask, points, beyond=-0.1), points).flags
    wide = cv2.dilate(with_fingers(mask, points, beyond=0.1).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert "implausible key points" in report(picture, wide, points).flags


def test_reasons_are_named():
    picture, mask, points, _ = turned_hand()
    assert "low contrast" in report(picture, mask, points).flags
    assert "implausible key points" in report(picture, mask, points, spread=4.0).flags
    assert "implausible key points" in report(picture, mask, points, shift=20.0).flags
    outside = points - (0, points[0, 1] + 30)
    assert "cut off" in report(picture, mask, outside).flags
    straight = points.copy()
    straight[1] = 0.5 * (points[0] + points[2])
    assert "wrong side" in report(picture, mask, straight).flags
    two = masks.clean([(disc((100, 200), 45, 50, 30) | disc((100, 200), 150, 50, 28)).astype(np.float32)], (100, 200))
    assert "two hands" in quality.check(np.zeros((100, 200), np.uint8), two, None, None).flags


def test_few_pixels_are_told_by_the_length_of_the_hand():
    picture, mask, points, _ = turned_hand()
    mask = with_fingers(mask, points)
    length = float(np.linalg.norm(points[0] - points[2]))
    assert report(picture, mask, points).measures["pixels"] == pytest.approx(length)
    for limit, flagged in ((length - 1, False), (length + 1, True)):
        flags = quality.flags_of(report(picture, mask, points).measures, quality.Thresholds(pixels=limit))
        assert (quality.FEW_PIXELS in flags) == flagged


def test_every_flag_is_explained():
    """Each that `flags_of` can raise: all measures beyond all thresholds, with and without key points."""
    low = dict.fromkeys(quality.MEASURES, -1e9)
    high = dict.fromkeys(quality.MEASURES, 1e9) | {"side": 0.0}
    raised = {
        flag
        for row in (low, high, {"area": 1.0, "expected": 1.0} | low)
        for flag in quality.flags_of(row, quality.Thresholds())
    }
    assert raised == set(quality.MEANINGS)
    assert raised > quality.REFUSING


def test_the_box_of_a_hand_holds_it_whole():
    mask = disc((400, 300), 180, 220, 70)
    laid_out = input_layout.lay("masked_hand_box", mask.astype(np.uint8) * 99, 256, 192, mask=mask)
    assert laid_out.image.shape == (256, 192)
    border = np.concatenate([laid_out.image[0], laid_out.image[-1], laid_out.image[:, 0], laid_out.image[:, -1]])
    assert (border == 0).all()
    np.testing.assert_allclose(laid_out.transform((180, 220)), (95.5, 127.5), atol=1)
    assert cv2.countNonZero(laid_out.image) > 0.4 * laid_out.image.size


CORNERS = [(-1, -1), (1, -1), (1, 1), (-1, 1)]


@given(st.floats(-180, 180), st.floats(30, 90), st.floats(12, 28), st.booleans())
def test_a_hand_is_stood_upright(degrees, long, short, sideways):
    """A rectangle at any angle comes to stand, whole and as large as its margin lets it."""
    height, width = (192, 256) if sideways else (256, 192)
    mask = np.zeros((300, 320), np.uint8)
    turned = Similarity.turning(degrees, 301, 321)(np.array([160, 150]) + np.array(CORNERS) * (long, short))
    cv2.fillPoly(mask, [np.round(turned).astype(np.int32)], 1)
    laid_out = input_layout.lay("upright_box", mask * 200, height, width, mask=mask > 0)
    assert abs(laid_out.transform.degrees) <= 90 + 1e-6
    rows, columns = np.nonzero(laid_out.image > 100)
    tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    if long > 1.3 * short:
        assert tall / wide == pytest.approx(long / short, rel=0.12)
    border = input_layout.UPRIGHT_MARGIN * max(tall, wide)
    assert tall + 2 * border == pytest.approx(height, rel=0.05) or wide + 2 * border == pytest.approx(width, rel=0.05)
    assert tall < height
    assert wide < width
    np.testing.assert_allclose(laid_out.transform((160, 150)), ((width - 1) / 2, (height - 1) / 2), atol=2)


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_what_has_no_long_side_is_fitted_all_the_same(pixels):
    mask = np.zeros((40, 30), bool)
    mask[20, 10 : 10 + pixels] = True
    laid_out = input_layout.lay("upright_box", np.full((40, 30), 9, np.uint8), 64, 64, mask=mask)
    assert np.isfinite(laid_out.transform.matrix).all()
    assert laid_out.transform.scale > 0


def test_the_canvas_with_background_keeps_what_the_mask_has_lost():
    """The tip of a finger that lies outside the mask shows on the canvas, at its place, but not when masked."""
    picture, mask, points, _ = turned_hand()
    tip = disc(picture.shape, *points[0], 3)
    picture = np.where(tip, 255, picture).astype(np.uint8)
    mask = mask & ~disc(picture.shape, *points[0], 12)
    seen = input_layout.lay("canvas", picture, 256, 192, mask=mask, key_points=points)
    rows, columns = np.nonzero(seen.image > 200)
    np.testing.assert_allclose((columns.mean(), rows.mean()), seen.transform(points[0]), atol=1)
    masked = input_layout.lay("masked_canvas", picture, 256, 192, mask=mask, key_points=points)
    x, y = np.round(masked.transform(points[0])).astype(int)
    assert masked.image[y, x] == 0
    np.testing.assert_array_equal(masked.transform.matrix, seen.transform.matrix)
