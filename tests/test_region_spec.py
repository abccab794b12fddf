"""Names of regions, as they are typed and as settings hold them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax import anatomy
from boneage_jax.errors import UserError
from boneage_jax.region_spec import KNOWN, RegionNames, RegionSpec, check_size, parse_regions

EXPECTED = "expected one of A, B, C, whole, perhaps with @HEIGHTxWIDTH, or NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH"

sizes = st.tuples(st.integers(16, 10_000), st.integers(16, 10_000))
ends = st.tuples(st.floats(-1e20, 1e20), st.floats(-1e20, 1e20)).map(sorted).filter(lambda e: e[0] < e[1]).map(tuple)
specs = st.one_of(
    st.builds(RegionSpec, st.sampled_from(KNOWN), size=st.one_of(st.none(), sizes)),
    st.builds(RegionSpec, st.from_regex(r"\w+", fullmatch=True), ends, ends, sizes),
)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("A", RegionSpec("A")),
        (" whole@104x80 ", RegionSpec("whole", size=(104, 80))),
        ("wrist=1500:2000,400:1200@250x400", RegionSpec("wrist", (1500, 2000), (400, 1200), (250, 400))),
        ("A=-40:2040.5,-0.25:0@16x16", RegionSpec("A", (-40, 2040.5), (-0.25, 0), (16, 16))),
    ],
)
def test_a_region(text, spec):
    assert RegionSpec.parse(text) == spec
    assert str(spec) == text.strip()


@given(specs)
def test_what_is_printed_is_read_as_the_same(spec):
    assert RegionSpec.parse(str(spec)) == spec


@given(st.lists(specs, unique_by=lambda spec: spec.name, max_size=4))
def test_lists_are_read_as_they_are_printed(some):
    for comma in (",", " , "):
        assert parse_regions(comma.join(map(str, some))) == tuple(some)


def test_commas_within_a_place_separate_nothing():
    read = parse_regions("A,wrist=1500:2000, 400:1200@250x400".replace(", ", ",") + ",,B@188x188,")
    assert read == (
        RegionSpec("A"),
        RegionSpec("wrist", (1500, 2000), (400, 1200), (250, 400)),
        RegionSpec("B", size=(188, 188)),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Q", f"region 'Q': {EXPECTED}"),
        ("a", f"region 'a': {EXPECTED}"),
        ("Q@100x100", f"region 'Q@100x100': {EXPECTED}"),
        ("A@100", f"region 'A@100': {EXPECTED}"),
        ("", f"region '': {EXPECTED}"),
        ("wrist=1500:2000@250x400", f"region 'wrist=1500:2000@250x400': {EXPECTED}"),
        ("w=0:1e3,0:9@20x20", f"region 'w=0:1e3,0:9@20x20': {EXPECTED}"),
        ("w=0:9,0:9", "region 'w=0:9,0:9': found no size, expected @HEIGHTxWIDTH at its end"),
        ("w=9:9,0:9@20x20", "region 'w=9:9,0:9@20x20': expected rows and columns that grow, as in 1225:1975,425:1175"),
        ("w=0:9,9:0@20x20", "region 'w=0:9,9:0@20x20': expected rows and columns that grow, as in 1225:1975,425:1175"),
        (f"w=0:{'9' * 400},0:9@20x20", "expected rows and columns that grow"),
        ("A@15x100", "region 'A@15x100': expected a height and a width of at least 16 pixels"),
        ("w=0:9,0:9@100x0", "region 'w=0:9,0:9@100x0': expected a height and a width of at least 16 pixels"),
        ("A,B,A@20x20", "region 'A': found twice, expected names that differ"),
    ],
)
def test_what_is_no_region(text, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        parse_regions(text) if "," in text and "=" not in text else RegionSpec.parse(text)


def test_a_size_of_its_own():
    check_size(RegionSpec("A"), 16, 16)
    with pytest.raises(UserError, match="region 'A': expected a height and a width of at least 16 pixels"):
        check_size(RegionSpec("A"), 16, 15)


@given(st.lists(st.sampled_from([region.name for region in anatomy.CANVAS_REGIONS]), max_size=4, unique=True))
def test_names_joined_by_plus(names):
    regions = RegionNames(tuple(names))
    assert RegionNames.parse(str(regions)) == regions
    assert list(regions) == names
    assert len(regions) == len(names)


@pytest.mark.parametrize("text", ["Q", "A+Q", "A,B", "+", "A+", "A+A", "whole"])
def test_names_that_are_not_known(text):
    with pytest.raises(ValueError, match=r"^of A, B, C, joined by \+, each once$"):
        RegionNames.parse(text)
