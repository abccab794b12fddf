"""Children of a dataset, drawn again, and hands of which one region alone shows the age."""

import json

import numpy as np
import pytest

from boneage_jax import anatomy
from boneage_jax.data import images
from boneage_jax.phantoms.render import counterfactual
from boneage_jax.phantoms.series import Series, place_of
from boneage_jax.workflows import build
from boneage_jax.workflows.requests import BuildRequest


@pytest.fixture(scope="module")
def carpals(data_dir):
    return build.build(
        BuildRequest(
            "hand_phantom/only_carpals", out=data_dir, workers=2, counts={"train": 6, "validation": 1, "test": 2}
        )
    )


def series_of(dataset):
    return Series.of(json.loads((dataset.path / "metadata.json").read_text())["series"])


@pytest.mark.parametrize("which", ["phantoms", "carpals"])
def test_a_stored_child_is_drawn_again_and_one_bone_changed(which, request):
    dataset = request.getfixturevalue(which)
    series = series_of(dataset)
    assert Series.of(json.loads(json.dumps(series.as_json()))) == series
    # As datasets of before the first release have it.
    older = json.loads(json.dumps(series.as_json()).replace('"soft_tissue_sd"', '"flesh_sd"'))
    assert older != series.as_json()
    assert Series.of(older) == series
    row = dataset.split("test").row(1)
    stored, bones = images.decode(row["image"]), images.decode(row["instances"])
    child = (*place_of(row["id"].decode()), float(row["true_bone_age"]), bool(row["male"]))
    again = series.draw(*child)
    assert np.array_equal(np.round(again.image * 255).astype(np.uint8), stored)
    np.testing.assert_array_equal(again.maturity, row["bone_maturity"])
    older = series.draw(*child, counterfactual("radius", 230.0))
    changed = np.abs(older.image - again.image) > 0.02
    radius = np.isin(bones, [n + 1 for n, name in enumerate(anatomy.INSTANCES) if name.endswith("radius")])
    assert changed.any()
    # All that has changed lies in the rows about the wrist.
    assert np.flatnonzero(changed.any(1)).min() > np.flatnonzero(radius.any(1)).min() - 12
    assert (older.maturity != again.maturity).sum() == 1


def test_one_region_alone_carries_the_age(carpals):
    """Its bones are as old as the child, exactly; what the others show has nothing to do with it."""
    records = carpals.split("train")
    chosen = anatomy.select("carpals")
    rows = [records.row(n) for n in range(6)]
    ages = np.array([row["true_bone_age"] for row in rows])
    maturity = np.stack([row["bone_maturity"] for row in rows])
    np.testing.assert_allclose(maturity[:, chosen], np.repeat(ages[:, None], chosen.sum(), 1), atol=1e-4)
    assert np.abs(maturity[:, ~chosen].mean(1) - ages).max() > 20
    with pytest.raises(ValueError, match="expected an id as in test_00012"):
        place_of("1377")
    # The rest of the hand does not change with the age that the carpals show.
    series = series_of(carpals)
    young, old = (series.draw("train", 0, age, True) for age in (40.0, 180.0))
    np.testing.assert_array_equal(young.key_points, old.key_points)
    np.testing.assert_array_equal(young.maturity[~chosen], old.maturity[~chosen])
