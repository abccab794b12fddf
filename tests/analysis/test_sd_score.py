"""SD scores against calculations by hand from the published table."""

import pytest

from boneage_jax.analysis.sd_score import TABLES, sd_score, standard_deviation


@pytest.mark.parametrize(
    ("bone_age", "chronological", "male", "expected"),
    [
        # By hand: a boy of 120 months whose bone age is 100: SD 9.79.
        (100, 120, True, -20 / 9.79),
        # A girl of 126: halfway between 11.73 and 11.94.
        (150, 126, False, 24 / 11.835),
        # A boy of 15 months: halfway between 1.97 (12) and 3.52 (18).
        (15, 15, True, 0.0),
        (18, 15, True, 3 / 2.745),
        # Ends of the tables.
        (204, 204, True, 0.0),
        (199.31, 192, False, 1.0),
        (3.69, 3, True, 1.0),
    ],
)
def test_against_a_calculation_by_hand(bone_age, chronological, male, expected):
    assert sd_score(bone_age, chronological, male) == pytest.approx(expected)


def test_ages_outside_the_table_have_no_score():
    for chronological, male in ((2.9, True), (204.1, True), (192.1, False), (float("nan"), True)):
        with pytest.raises(ValueError, match=r"the reference has no (boys|girls) of other ages"):
            standard_deviation(chronological, male)


def test_tables_are_whole():
    for ages, deviations in TABLES.values():
        assert len(ages) == len(deviations)
        assert list(ages) == sorted(set(ages))
