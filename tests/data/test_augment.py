"""Augmentation against SciPy, and its independence of everything but the key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.sharding import NamedSharding, PartitionSpec

from boneage_jax.config import AugmentConfig
from boneage_jax.data.augment import Move, augment, example_keys, moved

NONE = AugmentConfig(shift=0, zoom=0, rotation=0, flip=0, gamma=0, contrast=0)
ALL = AugmentConfig(shift=0.1, zoom=0.1, rotation=20, flip=0.5, gamma=0.3, contrast=0.2)


def some_images(count=8, h=24, w=18):
    smooth = scipy.ndimage.gaussian_filter(np.random.default_rng(0).random((count, h, w)), (0, 2, 2))
    return jnp.asarray((smooth - smooth.min()) / np.ptp(smooth), jnp.float32)


def augmented(images, keys_b, config):
    return augment({"image": images}, keys_b, config)["image"]


def keys(count=8, step=5):
    return example_keys(7, jnp.int32(step), jnp.arange(count))


def test_nothing_asked_nothing_done():
    images = some_images()
    np.testing.assert_array_equal(augmented(images, keys(), NONE), images)


def test_a_flip_is_a_mirror():
    images = some_images()
    flipped = augmented(images, keys(), dataclasses.replace(NONE, flip=1.0))
    np.testing.assert_allclose(flipped, images[:, :, ::-1], atol=1e-6)


def test_moves_are_similarities_about_the_centre():
    """Recovers the similarity from how a ramp is moved, then has SciPy apply it to a picture."""
    config = dataclasses.replace(ALL, gamma=0.0, contrast=0.0, flip=0.0)
    h, w = 24, 18
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    key = keys(1)

    def moved(picture):
        return np.asarray(augmented(jnp.asarray(picture, jnp.float32)[None], key, config)[0])

    rows, columns = moved(y + 1000.0) - 1000.0, moved(x + 1000.0) - 1000.0
    inside = (rows > 0) & (columns > 0) & (rows < h - 1) & (columns < w - 1)
    basis = np.stack([y[inside], x[inside], np.ones(inside.sum())], -1)
    (ry, rx, _), (cy, cx, _) = (np.linalg.lstsq(basis, t[inside], rcond=None)[0] for t in (rows, columns))
    assert ry == pytest.approx(cx, abs=1e-3)
    assert rx == pytest.approx(-cy, abs=1e-3)
    assert 1 / 1.1 - 1e-3 <= np.hypot(ry, rx) <= 1 / 0.9 + 1e-3
    picture = np.asarray(some_images(1)[0])
    reference = scipy.ndimage.map_coordinates(picture, [rows, columns], order=1)
    np.testing.assert_allclose(moved(picture)[inside], reference[inside], atol=1e-3)


def test_light_changes_keep_order_and_range():
    config = dataclasses.replace(NONE, gamma=0.3, contrast=0.2)
    images = some_images()
    changed = np.asarray(augmented(images, keys(), config))
    assert changed.min() >= 0
    assert changed.max() <= 1
    for before, after in zip(np.asarray(images), changed, strict=True):
        order = np.argsort(before.ravel())
        assert (np.diff(after.ravel()[order]) >= -1e-6).all()


def test_some_images_are_inverted_before_they_move():
    images, all_keys = some_images(64), keys(64)
    turned = np.asarray(augmented(images, all_keys, dataclasses.replace(NONE, invert=0.25)))
    inverted = np.array([not np.array_equal(one, other) for one, other in zip(turned, images, strict=True)])
    assert 6 <= inverted.sum() <= 26
    np.testing.assert_allclose(turned[inverted], 1 - np.asarray(images)[inverted], atol=1e-6)
    # What comes in from outside is black all the same.
    moved_in = np.asarray(augmented(jnp.zeros((64, 24, 18)), all_keys, dataclasses.replace(ALL, invert=1.0, gamma=0.0)))
    assert moved_in.max() > 0.99
    assert moved_in.min() < 0.01


def test_an_example_depends_on_its_own_key_alone():
    images, all_keys = some_images(), keys()
    together = augmented(images, all_keys, ALL)
    for n in (0, 5):
        np.testing.assert_allclose(augmented(images[n : n + 1], all_keys[n : n + 1], ALL)[0], together[n], atol=1e-6)
    assert not np.allclose(augmented(images, keys(step=6), ALL), together)


def test_the_number_of_devices_does_not_matter():
    images = some_images()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    on_eight = jax.jit(lambda i, k: augmented(i, k, ALL))(
        jax.device_put(images, spread), jax.device_put(keys(), spread)
    )
    np.testing.assert_allclose(on_eight, jax.jit(lambda i, k: augmented(i, k, ALL))(images, keys()), atol=1e-5)


def test_masks_and_points_move_with_the_image():
    """A bright disc, its mask and its centre stay together, wherever the similarity takes them."""
    config = dataclasses.replace(ALL, gamma=0.0, contrast=0.0)
    h, w, count = 64, 48, 12
    generator = np.random.default_rng(4)
    centres = generator.uniform((18, 26), (30, 38), (count, 2))
    y, x = np.mgrid[:h, :w]
    discs = np.stack([np.hypot(x - cx, y - cy) < 5 for cx, cy in centres]).astype(np.float32)
    example = {"image": jnp.asarray(discs), "hand": jnp.asarray(discs), "key_points": jnp.asarray(centres[:, None])}
    moved = {name: np.asarray(value) for name, value in augment(example, keys(count), config).items()}
    np.testing.assert_allclose(moved["hand"], moved["image"], atol=1e-6)
    weight = moved["hand"].sum((1, 2))
    middle = np.stack([(moved["hand"] * x).sum((1, 2)) / weight, (moved["hand"] * y).sum((1, 2)) / weight], -1)
    np.testing.assert_allclose(moved["key_points"][:, 0], middle, atol=0.15)
    assert np.abs(middle - centres).max() > 3


@pytest.mark.parametrize("move", [Move(rotation=30.0), Move(zoom=1.3), Move(shift=(0.1, -0.2)), Move(mirror=True)])
def test_a_move_carries_a_spot_where_it_says(move):
    """A spot right of the middle: turned clockwise it comes down, zoomed it goes out, mirrored it changes sides."""
    y, x = np.mgrid[:65, :65] - 32.0
    spot = np.exp(-0.5 * ((x - 12) ** 2 + y**2) / 4)
    image = np.asarray(moved({"image": jnp.asarray(spot, jnp.float32)}, move)["image"])
    found = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
    angle = np.deg2rad(move.rotation)
    right = -12.0 if move.mirror else 12.0
    expected = (
        move.zoom * right * np.cos(angle) + 65 * move.shift[1],
        move.zoom * right * np.sin(angle) + 65 * move.shift[0],
    )
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_blur_is_gaussian_and_leaves_half_of_the_images_sharp():
    config, count = dataclasses.replace(NONE, blur=2.0), 64
    spot = np.zeros((41, 41), np.float32) + 1e-6
    spot[20, 20] = 1.0
    blurred = np.asarray(augmented(jnp.asarray(np.stack([spot] * count)), keys(count), config))
    x = np.arange(41) - 20.0
    widths = np.sqrt((blurred * x**2).sum((1, 2)) / blurred.sum((1, 2)))
    sharp = blurred[:, 20, 20] > 0.99
    assert 0.3 < sharp.mean() < 0.7
    assert 1.2 < widths[~sharp].max() < 2.0
    strongest = widths.argmax()
    reference = scipy.ndimage.gaussian_filter(spot, widths[strongest], truncate=4.0)
    np.testing.assert_allclose(blurred[strongest], reference, atol=4e-3)


def test_sharpening_is_an_unsharp_mask_and_leaves_half_of_the_images():
    config, count = dataclasses.replace(NONE, sharpen=1.5), 64
    image = np.asarray(some_images(1))[0] * 0.5 + 0.25
    sharpened = np.asarray(augmented(jnp.asarray(np.stack([image] * count)), keys(count), config))
    detail = image - scipy.ndimage.gaussian_filter(image, 1.0, truncate=3.0, mode="nearest")
    strengths = ((sharpened - image) * detail).sum((1, 2)) / (detail**2).sum()
    np.testing.assert_allclose(sharpened, image + strengths[:, None, None] * detail, atol=1e-5)
    assert 0.3 < (np.abs(strengths) < 1e-4).mean() < 0.7
    assert strengths.min() > -1e-4
    assert 1.2 < strengths.max() <= 1.5


def test_neither_blur_nor_noise_nor_sharpening_light_up_what_is_black():
    config, count = dataclasses.replace(NONE, blur=2.0, noise=0.1, sharpen=1.0), 24
    images = np.full((count, 48, 40), 0.5, np.float32)
    images[:, :10] = 0.0
    changed = np.asarray(augmented(jnp.asarray(images), keys(count), config))
    assert (changed[:, :10] == 0).all()
    noise = changed[:, 20:].std((1, 2))
    assert 0.08 < noise.max() < 0.1
    assert noise.min() < 0.02
