"""Cells against the phantom's own bones, and there and back between canvas and radiograph."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage_jax import anatomy
from boneage_jax.data.examples import View
from boneage_jax.geometry import Similarity
from boneage_jax.importance import atlas
from boneage_jax.importance.atlas import AREAS, ELSEWHERE, GROUP_OF, GROUPS, REGION_OF, REGIONS, Picture, Territory
from boneage_jax.phantom.series import Series

SERIES = Series(seed=5, view="registered", sizes=((260, 200),))
CELL_OF_INSTANCE = [0, *(AREAS.index(name.removeprefix("epiphysis of ")) for name in anatomy.INSTANCES)]


def test_every_bone_has_a_cell_a_group_and_a_region():
    assert AREAS[1:] == tuple(bone.name for bone in anatomy.BONES)
    for number, bone in enumerate(anatomy.BONES, start=1):
        assert REGIONS[REGION_OF[GROUP_OF[number]]] == bone.region
    assert (GROUP_OF[ELSEWHERE], REGION_OF[ELSEWHERE]) == (0, 0)
    assert set(GROUP_OF) == set(range(len(GROUPS)))


@pytest.mark.parametrize("age", [30.0, 110.0, 216.0])
def test_bones_lie_in_their_own_cells(age):
    territory = atlas.of_child(SERIES, "test", 3, age, False)
    drawn = np.asarray(SERIES.draw("test", 3, age, False).instances)
    bones = np.array(CELL_OF_INSTANCE)[drawn]
    # A young epiphysis ends where the grown shaft does: all but the rims agree.
    assert (territory.areas == bones)[bones > 0].mean() > 0.95
    # Nothing farther than the margin belongs to a bone: the picture's corners do not.
    assert territory.areas[0, 0] == ELSEWHERE
    assert 0.3 < (territory.areas > 0).mean() < 0.9


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


@pytest.mark.parametrize("male", [False, True])
def test_the_atlas_knows_where_bones_of_other_children_lie(male):
    """By the stage's atlas, most pixels of children it was not made of belong to the right region (0.85 measured)."""
    territory = atlas.atlas(3, male)
    other = Series(seed=77, view="registered", sizes=(atlas.ATLAS_SIZE,))
    regions = np.array(REGION_OF)[list(GROUP_OF)]
    right = []
    for n in range(4):
        bones = np.array(CELL_OF_INSTANCE)[np.asarray(other.draw("test", n, 130.0, male).instances)]
        there = bones > 0
        right.append((regions[territory.areas] == regions[bones])[there].mean())
    assert np.mean(right) > 0.8


@settings(deadline=None, max_examples=25)
@given(
    st.floats(-40, 40), st.floats(0.5, 2.0), st.booleans(), st.floats(-20, 20), st.floats(-20, 20), st.integers(2, 5)
)
def test_an_atlas_carried_back_and_there_again_is_the_same(degrees, scale, mirrored, x, y, size):
    """Blocks carried to a radiograph that was mirrored, turned and enlarged, looked up from the canvas again."""
    blocks = np.kron(np.arange(1, 13, dtype=np.uint8).reshape(4, 3), np.ones((24, 24), np.uint8))
    territory = Territory(blocks, Similarity.scaling(size))
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn[:, 0] *= -1
    # The middle of the canvas lies in the middle of the radiograph.
    middle = np.array([36.0, 48.0]) * size
    matrix = np.concatenate([turn, (np.array([300.0 + x, 300.0 + y]) - turn @ middle)[:, None]], axis=1)
    to_picture = Similarity.of_matrix(matrix)
    picture = Picture((600, 600), to_picture.inverse())
    carried = atlas.on_picture(territory, picture)
    centres = np.stack(np.meshgrid(np.arange(3) * 24 + 12.0, np.arange(4) * 24 + 12.0), -1).reshape(-1, 2)
    places = to_picture(territory.to_canvas(centres))
    inside = ((places > 1) & (places < 598)).all(1)
    columns, rows = np.floor(places[inside]).astype(int).T
    np.testing.assert_array_equal(carried[rows, columns], np.arange(1, 13)[inside])


def test_planes_show_the_cells_of_the_pixels_that_the_network_sees():
    """Cells of a region cut from the canvas are those at the same place of the whole."""
    territory = atlas.of_child(SERIES, "test", 1, 150.0, True)
    whole = Picture(territory.areas.shape, territory.to_canvas)
    fitted = atlas.on_planes(territory, View(260, 200), [whole])
    np.testing.assert_array_equal(fitted[..., 0], territory.areas)
    region = next(one for one in anatomy.CANVAS_REGIONS if one.name == "B")
    cut = atlas.on_planes(territory, View(64, 64, regions=("A", "B")), [whole])
    assert cut.shape == (64, 64, 2)
    middle = [(sum(region.columns) / 2, sum(region.rows) / 2)]
    (x, y) = territory.to_canvas.inverse()(middle)[0]
    assert cut[32, 32, 1] in territory.areas[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
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
