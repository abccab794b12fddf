"""Areas against the phantom's own bones, and from the canvas to the radiograph and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax import anatomy
from boneage_jax.data.examples import View
from boneage_jax.geometry import Similarity
from boneage_jax.hand import atlas
from boneage_jax.hand.atlas import (
    AREAS,
    ELSEWHERE,
    GROUP_OF,
    GROUPS,
    REGION_OF,
    REGIONS,
    AreaMap,
    PlacedImage,
)
from boneage_jax.phantoms.series import Series

SERIES = Series(seed=5, view="registered", sizes=((260, 200),))
AREA_OF_INSTANCE = [0, *(AREAS.index(name.removeprefix("epiphysis of ")) for name in anatomy.INSTANCES)]


def test_every_bone_has_an_area_a_group_and_a_region():
    assert AREAS[1:] == tuple(bone.name for bone in anatomy.BONES)
    for number, bone in enumerate(anatomy.BONES, start=1):
        assert REGIONS[REGION_OF[GROUP_OF[number]]] == bone.region
    assert (GROUP_OF[ELSEWHERE], REGION_OF[ELSEWHERE]) == (0, 0)
    assert set(GROUP_OF) == set(range(len(GROUPS)))


@pytest.mark.parametrize("age", [30.0, 110.0, 216.0])
def test_bones_lie_in_their_own_areas(age):
    area_map = atlas.of_phantom(SERIES, "test", 3, age=age, male=False)
    drawn = np.asarray(SERIES.draw("test", 3, age, False).instances)
    bones = np.array(AREA_OF_INSTANCE)[drawn]
    # A young epiphysis ends where the grown shaft does: all but the rims agree.
    assert (area_map.areas == bones)[bones > 0].mean() > 0.95
    # Nothing farther than the margin belongs to a bone: the picture's corners do not.
    assert area_map.areas[0, 0] == ELSEWHERE
    assert 0.3 < (area_map.areas > 0).mean() < 0.9


def test_a_pixel_goes_to_the_nearest_bone_within_the_margin():
    instances = np.zeros((40, 60), np.uint8)
    radius, ulna = anatomy.INSTANCES.index("radius") + 1, anatomy.INSTANCES.index("ulna") + 1
    instances[20, 20], instances[20, 40] = radius, ulna
    found = atlas.spread(instances, scale=atlas.MARGIN / 15)
    assert AREAS[found[20, 29]] == "radius"
    assert AREAS[found[20, 31]] == "ulna"
    assert AREAS[found[20, 5]] == "radius"
    assert found[20, 4] == ELSEWHERE
    assert not atlas.spread(np.zeros((4, 4), np.uint8), 1.0).any()


@pytest.mark.integration
@pytest.mark.parametrize("male", [False, True])
def test_the_atlas_shows_where_bones_of_other_children_lie(male):
    """By the stage's atlas, most pixels of children it was not made of belong to the right region (0.85 measured)."""
    area_map = atlas.of_stage(3, male)
    assert (area_map.areas != atlas.drawn(3, male)).mean() < 1e-3, "the file is what the phantoms give"
    other = Series(seed=77, view="registered", sizes=(atlas.ATLAS_SIZE,))
    regions = np.array(REGION_OF)[list(GROUP_OF)]
    right = []
    for n in range(4):
        bones = np.array(AREA_OF_INSTANCE)[np.asarray(other.draw("test", n, 130.0, male).instances)]
        there = bones > 0
        right.append((regions[area_map.areas] == regions[bones])[there].mean())
    assert np.mean(right) > 0.8


@settings(max_examples=25)
@given(
    st.floats(-40, 40), st.floats(0.5, 2.0), st.booleans(), st.floats(-20, 20), st.floats(-20, 20), st.integers(2, 5)
)
def test_an_atlas_projected_to_a_radiograph_and_back_is_the_same(degrees, scale, mirrored, x, y, size):
    """Blocks projected to a radiograph that is mirrored, turned and enlarged, and looked up from the canvas."""
    blocks = np.kron(np.arange(1, 13, dtype=np.uint8).reshape(4, 3), np.ones((24, 24), np.uint8))
    area_map = AreaMap(blocks, Similarity.scaling(size))
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn[:, 0] *= -1
    # The middle of the canvas lies in the middle of the radiograph.
    middle = np.array([36.0, 48.0]) * size
    matrix = np.concatenate([turn, (np.array([300.0 + x, 300.0 + y]) - turn @ middle)[:, None]], axis=1)
    to_image = Similarity.of_matrix(matrix)
    image = PlacedImage((600, 600), to_image.inverse())
    projected = atlas.on_image(area_map, image)
    centres = np.stack(np.meshgrid(np.arange(3) * 24 + 12.0, np.arange(4) * 24 + 12.0), -1).reshape(-1, 2)
    places = to_image(area_map.to_canvas(centres))
    inside = ((places > 1) & (places < 598)).all(1)
    columns, rows = np.floor(places[inside]).astype(int).T
    np.testing.assert_array_equal(projected[rows, columns], np.arange(1, 13)[inside])


def test_the_input_has_the_areas_of_its_own_pixels():
    """Areas of a region cut from the canvas are those at the same place of the whole."""
    area_map = atlas.of_phantom(SERIES, "test", 1, age=150.0, male=True)
    whole = PlacedImage(area_map.areas.shape, area_map.to_canvas)
    fitted = atlas.on_input(area_map, View(260, 200), [whole])
    np.testing.assert_array_equal(fitted[..., 0], area_map.areas)
    region = next(one for one in anatomy.CANVAS_REGIONS if one.name == "B")
    cut = atlas.on_input(area_map, View(64, 64, regions=("A", "B")), [whole])
    assert cut.shape == (64, 64, 2)
    middle = [(sum(region.columns) / 2, sum(region.rows) / 2)]
    (x, y) = area_map.to_canvas.inverse()(middle)[0]
    assert cut[32, 32, 1] in area_map.areas[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
    carpals = np.isin(cut, [AREAS.index(bone.name) for bone in anatomy.BONES if bone.region == "carpals"])
    assert carpals[..., 1].mean() > 3 * carpals[..., 0].mean() > 0


def test_sums_by_group_and_region():
    values = np.random.default_rng(0).random((2, len(AREAS)))
    groups = atlas.grouped(values)
    np.testing.assert_allclose(groups.sum(1), values.sum(1))
    carpals = [n for n, name in enumerate(AREAS) if n and anatomy.BONES[n - 1].region == "carpals"]
    np.testing.assert_allclose(groups[:, GROUPS.index("carpals")], values[:, carpals].sum(1))
    forearm = atlas.by_region(groups)[:, REGIONS.index("forearm")]
    np.testing.assert_allclose(forearm, values[:, AREAS.index("radius")] + values[:, AREAS.index("ulna")])
