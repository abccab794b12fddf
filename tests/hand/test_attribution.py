"""Which bones an age rests on: by networks that look at the bones of one kind alone."""

import numpy as np
import pytest

from boneage_jax.hand import atlas, attribution
from boneage_jax.hand.age_ensemble import Ages, EnsembleAges
from boneage_jax.hand.regions import named

REGIONS = tuple(named(["A@288x216", "B@188x188"]))


class LooksAt:
    """A network whose age is 100 months and the contrast in one rectangle of the canvas, where a region shows it."""

    regions = REGIONS

    def __init__(self, rows, columns, batch_size=16, sign=1):
        self._rows, self._columns, self._sign, self.batch_size = rows, columns, sign, batch_size

    def predict(self, regions, images, males):
        assert len(regions) == len(images) == len(males) <= self.batch_size
        months = np.array([self._age(of) for of in regions])
        ages = Ages(months, np.ones(len(months)))
        return EnsembleAges(ages, (ages,))

    def _age(self, of_hand):
        total = 100.0
        for region in REGIONS:
            scale = region.transform.scale
            x, y = region.transform(np.array([[self._columns[0], self._rows[0]]], float))[0]
            height, width = (scale * (end - start) for start, end in (self._rows, self._columns))
            part = of_hand[region.name][max(0, int(y)) : int(y + height), max(0, int(x)) : int(x + width)]
            total += self._sign * float(part.std()) / 10 if part.size else 0.0
        return total


def box_of(group, male):
    """Rows and columns of the canvas in the midst of a kind of bone at 10 years, by the atlas."""
    areas = np.array(atlas.GROUP_OF)[atlas.of_stage(3, male).areas]
    rows, columns = np.nonzero(areas == atlas.GROUPS.index(group))
    middle = int(np.median(rows)), int(np.median(columns))
    near = np.abs(rows - middle[0]) + np.abs(columns - middle[1])
    row, column = rows[near.argmin()], columns[near.argmin()]
    return (8 * row - 24, 8 * row + 24), (8 * column - 24, 8 * column + 24)


@pytest.mark.parametrize("group", ["metacarpals", "carpals", "radius", "ulna", "proximal phalanges"])
@pytest.mark.parametrize(("batch_size", "sign"), [(16, 1), (2, -1)])
def test_the_bones_that_a_network_looks_at_are_named(group, batch_size, sign):
    noise = np.random.default_rng(0)
    regions = {of.name: noise.integers(0, 256, (of.height, of.width)).astype(np.uint8) for of in REGIONS}
    ensemble = LooksAt(*box_of(group, True), batch_size=batch_size, sign=sign)
    found = attribution.attribution(ensemble, regions, regions[REGIONS[0].name], male=True, months=130.0)
    assert set(found.months) == set(atlas.GROUPS) - {"elsewhere"}
    named_one = max(found.months, key=lambda kind: abs(found.months[kind]))
    assert named_one == group
    assert np.sign(found.months[group]) == sign, "noise that is blurred loses its contrast"
    rest = sum(abs(months) for kind, months in found.months.items() if kind != group)
    assert rest < 0.8 * abs(found.months[group]), "a rectangle may reach into the next bone"
    assert found.areas.shape == atlas.ATLAS_SIZE
