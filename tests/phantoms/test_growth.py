"""Shapes of bones by age: against the tables' statements, real hands and plain geometry."""

import functools

import cv2
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

from boneage_jax import anatomy
from boneage_jax.phantoms import bone_templates, growth, layout, population, shapes
from boneage_jax.phantoms.maturity import Variation, maturity
from boneage_jax.phantoms.parts import Parts

AGES = np.arange(0, 241, 3)
TUBULAR = [bone.name for bone in anatomy.TUBULAR_BONES]
EXACT = Variation(region_sd=0.0, bone_sd=0.0)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def _life(age, male):
    return growth.grow(jax.random.key(0), age, male, EXACT, samples=32)


@functools.cache
def life(male: bool) -> growth.Hand:
    """One child of no maturity offsets at all of `AGES`."""
    ages = jnp.asarray(AGES, jnp.float32)
    return jax.device_get(_life(ages, jnp.float32(male)))


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None, None))
def _crowd(key, age, male):
    return growth.grow(key, age, male, samples=32)


@functools.cache
def crowd(age: float, male: bool, count: int = 300) -> growth.Hand:
    """Many children of one age and sex."""
    return jax.device_get(_crowd(jax.random.split(jax.random.key(5), count), jnp.float32(age), jnp.float32(male)))


def thickness(parts: Parts, part: int) -> np.ndarray:
    """Twice the largest half of a part at each of the first axis' hands."""
    return 2 * np.sqrt(parts.table[:, part, :, 1].max(-1))


@pytest.mark.parametrize("male", [True, False])
def test_centres_appear_when_the_tables_say(male):
    column = 0 if male else 1
    hand = life(male)
    for n, bone in enumerate(anatomy.TUBULAR_BONES):
        present = AGES[(hand.epiphyses.extent[:, n] > 0) & (thickness(hand.epiphyses, n) > 0)]
        assert present.min() == pytest.approx(bone.appears[column], abs=3.01), bone.name
        assert (np.diff(present) == 3).all(), f"{bone.name}: once there it stays"
    for n, bone in enumerate(anatomy.ROUND_BONES):
        present = AGES[thickness(hand.round_bones, n) > 0.5]
        assert present.min() == pytest.approx(bone.appears[column], abs=3.01), bone.name


def gaps(hand: growth.Hand, n: int) -> np.ndarray:
    """Distance from the shaft's end to the nearest edge of the epiphysis in its middle, along the bone."""
    middle = hand.epiphyses.origin[:, n] + hand.epiphyses.axis[:, n] * hand.epiphyses.extent[:, n, None] / 2
    along = np.sum((hand.shafts.origin[:, n] - middle) * hand.shafts.axis[:, n], -1)
    row = hand.epiphyses.table[:, n, hand.epiphyses.table.shape[2] // 2]
    axis, shaft = hand.epiphyses.axis[:, n], hand.shafts.axis[:, n]
    toward = np.sign(-axis[:, 1] * shaft[:, 0] + axis[:, 0] * shaft[:, 1])
    return along - (toward * row[:, 0] + np.sqrt(row[:, 1]))


@pytest.mark.parametrize("male", [True, False])
def test_growth_plates_thin_and_close_when_the_tables_say(male):
    column = 0 if male else 1
    hand = life(male)
    for n, bone in enumerate(anatomy.TUBULAR_BONES):
        gap = gaps(hand, n)
        grown = (bone.appears[column] + 12 < AGES) & (bone.fuses[column] - 24 > AGES)
        assert (gap[grown] > 1.5).all(), f"{bone.name}: a plate is open"
        assert (np.diff(gap[grown]) < 0.8).all(), f"{bone.name}: it thins"
        assert (gap[bone.fuses[column] + 6 < AGES] < 0.5).all(), f"{bone.name}: none is left"


def test_epiphyses_widen_as_stated():
    """Half the metaphysis at 4.5 years in boys, equal at 9, wider at 13.5 (phalanges; summaries of the plates)."""
    hand, n = life(True), TUBULAR.index("proximal phalanx 3")
    metaphysis = 2 * np.sqrt(hand.shafts.table[:, n, :8, 1].max(-1))
    ratio = dict(zip(AGES, hand.epiphyses.extent[:, n] / metaphysis, strict=True))
    assert ratio[54] == pytest.approx(0.5, abs=0.07)
    assert ratio[108] == pytest.approx(1.0, abs=0.07)
    assert ratio[162] > 1.04


def test_growth_is_continuous():
    """Nothing jumps within three months but what has just appeared."""
    for male in (True, False):
        hand = life(male)
        assert np.abs(np.diff(hand.shafts.origin, axis=0)).max() < 12
        assert np.abs(np.diff(hand.shafts.extent, axis=0)).max() < 14
        assert np.diff(hand.round_bones.extent[:, :8], axis=0).min() > -1.0, "carpals do not shrink"


def test_girls_are_ahead():
    boy, girl = life(True), life(False)
    at = list(AGES).index(96)
    assert (girl.round_bones.extent[at] >= boy.round_bones.extent[at] - 1e-3).all()
    assert girl.epiphyses.extent[at].sum() > boy.epiphyses.extent[at].sum()


def test_regions_of_a_child_may_disagree():
    many = jax.vmap(lambda key: maturity(key, jnp.float32(120)))(jax.random.split(jax.random.key(0), 3000))
    many = np.asarray(many)
    assert many.mean() == pytest.approx(120, abs=0.5)
    # A truncated normal draw within 2.5 has 0.955 of the deviation.
    assert many.std(0).mean() == pytest.approx(0.955 * 5.0, abs=0.2)
    together = np.corrcoef(many.T)
    region = np.array([bone.region for bone in anatomy.BONES])
    same = (region[:, None] == region[None]) & ~np.eye(len(region), dtype=bool)
    assert together[same].mean() == pytest.approx(16 / 25, abs=0.03), "bones of a region share its offset"
    assert together[region[:, None] != region[None]].mean() == pytest.approx(0, abs=0.03)


def test_infants_do_not_lag_by_years():
    many = jax.vmap(lambda key: maturity(key, jnp.float32(6)))(jax.random.split(jax.random.key(0), 500))
    assert np.asarray(many).std() < 2.0


def test_set_ages_are_exact_and_leave_the_rest():
    ages = np.where(anatomy.select("carpals"), 60.0, np.nan).astype(np.float32)
    free = maturity(jax.random.key(3), jnp.float32(120))
    bound = maturity(jax.random.key(3), jnp.float32(120), ages=jnp.asarray(ages))
    np.testing.assert_array_equal(np.asarray(bound), np.where(np.isnan(ages), free, 60.0))


@pytest.mark.parametrize(("age", "male"), [(9.0, True), (133.0, False), (222.0, True)])
def test_every_hand_is_registered(age, male):
    hand = crowd(age, male)
    np.testing.assert_allclose(hand.key_points[:, 0], np.tile(anatomy.CANVAS_FINGERTIP, (300, 1)), atol=0.05)
    np.testing.assert_allclose(hand.key_points[:, 2], np.tile(anatomy.CANVAS_CAPITATE, (300, 1)), atol=0.05)
    joints = dict(zip(anatomy.JOINTS, np.swapaxes(hand.joints, 0, 1), strict=True))
    assert (joints["tip 1"][:, 0] > joints["tip 2"][:, 0]).mean() > 0.97, "thumb on the right"
    assert (joints["radiocarpal"][:, 0] > joints["ulnocarpal"][:, 0]).all(), "radius right of ulna"
    assert (
        hand.shafts.extent.max(0) < [bone_templates.MAX_LENGTHS.get(b.kind, 1e6) for b in anatomy.TUBULAR_BONES]
    ).all()


def test_joints_lie_where_they_were_measured():
    """On a real girl of 133 months, +-15 pixels, and two registered girls of 129 and 168 months."""
    hand = crowd(133.0, False)
    joints = dict(zip(anatomy.JOINTS, np.swapaxes(hand.joints, 0, 1), strict=True))
    heads = hand.epiphyses.origin + hand.epiphyses.axis * hand.epiphyses.extent[..., None] / 2
    ends = hand.shafts.origin + hand.shafts.axis * hand.shafts.extent[..., None]
    measured = {
        (1241, 1250): ends[:, TUBULAR.index("metacarpal 1")],
        **{
            at: heads[:, TUBULAR.index(f"metacarpal {digit}")]
            for digit, at in ((2, (999, 971)), (3, (778, 971)), (4, (625, 1057)), (5, (490, 1164)))
        },
        (800, 512): joints["proximal interphalangeal 3"],
        (800, 267): joints["distal interphalangeal 3"],
        (784, 1465): joints["carpometacarpal 3"],
        (873, 1823): hand.shafts.origin[:, TUBULAR.index("radius")],
        (622, 1838): hand.shafts.origin[:, TUBULAR.index("ulna")],
    }
    for at, drawn in measured.items():
        off = np.abs(drawn.mean(0) - at)
        # One girl is one draw: she may lie two deviations off, with what was measured to 15 pixels.
        assert (off < 2 * drawn.std(0) + 15).all(), (at, drawn.mean(0), drawn.std(0))
        assert (off < 45).all(), (at, drawn.mean(0))


@hypothesis.given(st.integers(0, 2**31 - 1))
@hypothesis.settings(max_examples=25)
def test_layout_parameters_are_invertible(seed):
    generator = np.random.default_rng(seed)
    areas = np.asarray(layout.sample(jax.random.key(seed), jnp.float32(generator.uniform(0, 240)), jnp.float32(1)))
    back = layout.from_parameters(jnp.asarray(layout.to_parameters(areas), jnp.float32))
    np.testing.assert_allclose(back, areas, atol=0.02)


def test_the_mean_hand_has_no_individual():
    a, b = (layout.sample(jax.random.key(n), jnp.float32(90), jnp.float32(0), 0.0) for n in (1, 2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bone", range(8))
def test_outlines_have_the_area_of_their_polygon(bone):
    """Against OpenCV's contour area; adult, unturned carpals as they were traced."""
    traced = np.array(bone_templates.CARPALS[anatomy.CARPAL_BONES[bone].name], np.float32)
    table, first, extent = shapes.outline(256, jnp.asarray(traced), depth=jnp.float32(30), wall=jnp.float32(5))
    half = np.sqrt(np.asarray(table[:, 1]))
    assert float(first) == traced[:, 0].min()
    area = np.trapezoid(2 * half, dx=float(extent) / 255)
    # Dents that a vertical line crosses are filled.
    assert area == pytest.approx(cv2.contourArea(traced), rel=0.04)
    inner = np.trapezoid(2 * np.sqrt(np.asarray(table[:, 4])), dx=float(extent) / 255)
    assert 0.6 * area < inner < area


def test_traced_outlines_keep_their_area_in_polar_form():
    for name, corners in bone_templates.CARPALS.items():
        centre, reach = shapes.radial(np.array(corners, np.float64))
        still = jnp.zeros(4)
        grown = shapes.grown_outline(jnp.asarray(reach), jnp.float32(1), jnp.float32(1), jnp.float32(1), 0.0, still)
        expected = cv2.contourArea(np.array(corners, np.float32))
        assert cv2.contourArea(np.asarray(grown)) == pytest.approx(expected, rel=0.04), name
        assert cv2.pointPolygonTest(np.array(corners, np.float32), centre.tolist(), False) > 0


def test_carpals_begin_as_dots_and_end_as_facets():
    reach = jnp.asarray(bone_templates.CARPAL_OUTLINES[0][1])
    still, one = jnp.zeros(4), jnp.float32(1)
    dot = np.asarray(shapes.grown_outline(reach, jnp.float32(0.2), jnp.float32(0), jnp.float32(0), 0.0, still))
    radii = np.hypot(*dot.T)
    assert np.ptp(radii) < 1e-3, "round"
    adult = np.asarray(shapes.grown_outline(reach, one, one, one, 0.0, still))
    assert np.hypot(*adult.T).max() / np.hypot(*adult.T).min() > 1.5


def test_ages_follow_rsna():
    ages, male = population.sample_ages(0, 20000)
    assert male.mean() == pytest.approx(6833 / 12611, abs=0.01)
    assert ages.mean() == pytest.approx(127.3, abs=0.9)
    assert ages.std() == pytest.approx(41.2, abs=1.0)
    assert ages.min() >= 0
    assert ages.max() < 231
    assert sum(population.MALE_COUNTS) == 6833
    assert sum(population.FEMALE_COUNTS) == 5778


def test_ages_can_be_even():
    ages, male = population.sample_evenly(0, 20000)
    assert scipy.stats.kstest(ages, scipy.stats.uniform(0, 231).cdf).pvalue > 0.01
    assert male.mean() == pytest.approx(0.5, abs=0.02)


def test_readings_scatter_as_stated():
    ages = np.full(20000, 120.0)
    one, six = population.read_ages(1, ages), population.read_ages(1, ages, readings=6)
    assert (one - ages).std() == pytest.approx(population.RATER_SD, rel=0.02)
    assert (six - ages).std() == pytest.approx(population.RATER_SD / np.sqrt(6), rel=0.02)
    assert population.read_ages(1, np.zeros(1000)).min() >= 0
    np.testing.assert_array_equal(population.read_ages(1, ages, sd=0.0), ages.astype(np.float32))
