"""The phantom: its truth is true, and age shows in anatomy alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from boneage_jax import anatomy
from boneage_jax.phantom import growth, population
from boneage_jax.phantom.render import Camera, render

STEADY = Camera(rotation=0.0, shift=0.0, noise=(0.0, 0.0))


def draw(age, male=True, seed=0, camera=STEADY, **options):
    return render(jax.random.key(seed), jnp.float32(age), jnp.float32(male), camera, **options)


def test_same_key_same_pixels():
    a, b, c = draw(100, seed=1), draw(100, seed=1), draw(100, seed=2)
    np.testing.assert_array_equal(a.image, b.image)
    assert (np.asarray(a.image) != np.asarray(c.image)).any()


def test_key_points_lie_where_they_say():
    """Tips at the very end of the mask, the capitate's centre on the capitate, thumb to the right of a left hand."""
    for seed in range(5):
        phantom = draw(150, seed=seed, camera=Camera())
        mask = np.asarray(phantom.mask)
        (tip_x, tip_y), (thumb_x, _), (capitate_x, capitate_y) = np.asarray(phantom.key_points)
        rows, columns = np.nonzero(mask)
        for x, y in np.asarray(phantom.key_points)[:2]:
            distance = np.hypot(columns - x, rows - y)
            assert distance.min() < 1.5
            nearby = mask[max(0, int(y) - 6) : int(y) + 7, max(0, int(x) - 6) : int(x) + 7].mean()
            assert nearby < 0.75, "a tip has background around it"
        assert mask[round(float(capitate_y)), round(float(capitate_x))]
        assert tip_y < capitate_y
        assert thumb_x > tip_x


def test_a_mirrored_hand_has_its_thumb_on_the_left():
    phantom = draw(150, camera=dataclasses.replace(STEADY, mirror=1.0))
    assert float(phantom.key_points[1, 0]) < float(phantom.key_points[0, 0])


def test_the_mask_is_the_tissue():
    phantom = draw(120)
    image, mask = np.asarray(phantom.image), np.asarray(phantom.mask)
    assert image[mask].mean() > image[~mask].mean() + 0.15
    assert 0.15 < mask.mean() < 0.6


@pytest.mark.parametrize("male", [True, False])
def test_bones_appear_and_fuse_when_the_tables_say(male):
    exact = growth.Individual(maturity_sd=0.0)
    column = 0 if male else 1
    grown = {
        age: growth.grow(jax.random.key(0), jnp.float32(age), jnp.float32(male), exact) for age in range(0, 241, 3)
    }
    n = len(anatomy.TUBULAR_BONES)
    for place, bone in enumerate(anatomy.BONES):

        def height(hand, place=place):
            return float(hand.epiphyses[place, 5] if place < n else hand.carpals[place - n, 5])

        present = [age for age, hand in grown.items() if height(hand) > 0]
        assert min(present) == pytest.approx(bone.appears[column], abs=3.01), bone.name
        if bone.epiphysis:
            start, centre, axis = (
                np.asarray(grown[240].shafts[place, :2]),
                np.asarray(grown[240].epiphyses[place, :2]),
                np.asarray(grown[240].epiphyses[place, 2:4]),
            )
            gap = (start - centre) @ axis - float(grown[240].epiphyses[place, 5])
            assert gap == pytest.approx(0.0, abs=0.01), f"{bone.name}: no plate is left in an adult"


def test_epiphyses_widen_as_stated():
    """Half the metaphysis at 4.5 years in boys, equal at 9, capping at 13.5 (phalanges; PAPER: summary)."""
    exact = growth.Individual(maturity_sd=0.0)
    place = [b.name for b in anatomy.BONES].index("proximal phalanx 3")

    def ratio(years):
        hand = growth.grow(jax.random.key(0), jnp.float32(12 * years), jnp.float32(1), exact)
        return float(hand.epiphyses[place, 4] / hand.shafts[place, 4])

    assert ratio(4.5) == pytest.approx(0.5, abs=0.05)
    assert ratio(9.0) == pytest.approx(1.0, abs=0.05)
    assert ratio(13.5) > 1.05


def test_girls_are_ahead():
    exact = growth.Individual(maturity_sd=0.0)
    boy, girl = (growth.grow(jax.random.key(0), jnp.float32(96), jnp.float32(m), exact) for m in (1.0, 0.0))
    assert (np.asarray(girl.carpals[:, 5]) >= np.asarray(boy.carpals[:, 5])).all()
    assert np.asarray(girl.epiphyses[:, 4]).sum() > np.asarray(boy.epiphyses[:, 4]).sum()


def test_per_bone_truth_scatters_about_the_age():
    maturity = np.stack([draw(120, seed=s, camera=Camera(height=32, width=24)).maturity for s in range(40)])
    assert maturity.mean() == pytest.approx(120, abs=0.6)
    assert maturity.std() == pytest.approx(4.0, abs=0.4)


def test_ages_follow_rsna():
    ages, male = population.sample_ages(0, 20000)
    assert male.mean() == pytest.approx(6833 / 12611, abs=0.01)
    assert ages.mean() == pytest.approx(127.3, abs=0.9)
    assert ages.std() == pytest.approx(41.2, abs=1.0)
    assert ages.min() >= 0
    assert ages.max() < 231
    assert sum(population.MALE_COUNTS) == 6833
    assert sum(population.FEMALE_COUNTS) == 5778
