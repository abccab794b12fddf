"""Errors by group: against NumPy's own means, and what is refused."""

import csv
import json

import numpy as np
import pytest

from boneage_jax.analysis import groups
from boneage_jax.analysis.predictions import SplitPredictions
from boneage_jax.data import pairing
from boneage_jax.errors import UserError
from boneage_jax.runs import run_folder
from tests.test_cli import call


def predictions(count=200, seed=0):
    draws = np.random.default_rng(seed)
    reading = draws.uniform(0, 228, count)
    male = draws.random(count) < 0.5
    months = reading + draws.normal(2.0, 8.0, count)
    ids = [str(1000 + n) for n in range(count)]
    return SplitPredictions(ids, reading, male, months, np.full(count, np.nan))


def table(path, rows, header=("id", "scanner")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def among(found):
    return pairing.Images(tuple(found.ids))


def test_each_group_has_the_errors_of_its_images_alone(tmp_path):
    found = predictions()
    scanner = ["A" if n % 4 else "B" for n in range(200)]
    path = table(tmp_path / "scanners.csv", zip(found.ids[:190], scanner, strict=False))
    values = groups.read_columns(path, ["scanner"], among(found))
    (grouped,) = groups.by_columns(found, ["scanner"], values)
    assert [group.name for group in grouped.groups] == ["A", "B", groups.UNKNOWN]
    error = found.months - found.reading
    inside = np.array([n < 190 and scanner[n] == "B" for n in range(200)])
    group = grouped.groups[1]
    assert group.images == inside.sum()
    assert group.mae.value == pytest.approx(np.abs(error[inside]).mean())
    assert group.bias.value == pytest.approx(error[inside].mean())
    assert group.within_12.value == pytest.approx(100 * (np.abs(error[inside]) <= 12).mean())
    expected = np.abs(error[inside]).mean() - np.abs(error[~inside]).mean()
    assert group.against_rest.value == pytest.approx(expected)
    assert [group.is_small for group in grouped.groups] == [False, False, True]
    text = groups.as_text(grouped)
    assert "few images: fewer than 30" in text
    assert text.count("few images") == 2


def test_the_interval_of_a_difference_is_that_of_two_independent_means():
    """Against the normal distribution: the standard error of a difference of means."""
    draws = np.random.default_rng(1)
    one, rest = draws.normal(0, 12, 300), draws.normal(0, 8, 900)
    found = groups.against(one, rest)
    error = np.sqrt(np.abs(one).var() / 300 + np.abs(rest).var() / 900)
    assert found.value == pytest.approx(np.abs(one).mean() - np.abs(rest).mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert found.low > 0, "a group that does worse is seen to do worse"


def test_many_numbers_are_cut_into_quartiles_and_few_stay(tmp_path):
    found = predictions()
    rows = [(image_id, n, n % 3) for n, image_id in enumerate(found.ids)]
    path = table(tmp_path / "t.csv", rows, ("id", "height", "room"))
    values = groups.read_columns(path, ["height", "room"], among(found))
    heights, rooms = groups.by_columns(found, ["height", "room"], values)
    assert [group.images for group in heights.groups] == [50, 50, 50, 50]
    assert heights.groups[0].name == "0 to 49.75"
    assert [group.name for group in rooms.groups] == ["0", "1", "2"]


def test_sex_stage_and_age_need_no_table():
    found = predictions()
    sex, stage, age = groups.by_columns(found, ["sex", "stage", "age"], {})
    assert {group.name: group.images for group in sex.groups} == {
        "female": int((~found.male).sum()),
        "male": int(found.male.sum()),
    }
    assert [group.name for group in stage.groups][:2] == ["infancy", "toddlers"]
    assert sum(group.images for group in age.groups) == 200
    band = next(group for group in age.groups if group.name == "24 to 48 months")
    assert band.images == ((found.reading >= 24) & (found.reading < 48)).sum()


@pytest.mark.parametrize(
    ("header", "rows", "columns", "message"),
    [
        (("id", "scanner"), [("1000", "A")], ["hospital"], "found the columns id, scanner, expected hospital"),
        (("name", "scanner"), [("1000", "A")], ["scanner"], "expected id"),
        (("id", "scanner"), [("7", "A")], ["scanner"], "names none of the 200 images"),
        (("id", "scanner"), [("1000", "A"), ("1000", "B")], ["scanner"], "1000"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, header, rows, columns, message):
    found = predictions()
    with pytest.raises(UserError, match=message):
        groups.read_columns(table(tmp_path / "t.csv", rows, header), columns, among(found))


def test_a_column_without_a_table_is_refused():
    with pytest.raises(UserError, match="--by scanner: found no --table"):
        groups.read_columns(None, ["scanner", "sex"], pairing.Images(("1",)))


def test_the_command_writes_groups_to_text_json_and_page(trained, phantoms, tmp_path, capsys):
    ids = run_folder.load(trained) and phantoms.split("test").ids()
    path = table(
        tmp_path / "t.csv", [(one, "ward" if n % 2 else "clinic") for n, one in enumerate(ids)], ("id", "place")
    )
    out = tmp_path / "out"
    status, said, _ = call(
        capsys, "evaluate", trained, "--out", out, "--report", "--by", "place", "--by", "sex", "--table", path
    )
    assert status == 0
    assert "by place" in said
    facts = json.loads((out / "scores.json").read_text())["groups"]
    assert [group["name"] for group in facts["place"]] == ["clinic", "ward"]
    assert facts["sex"][0]["mae"]["value"] == pytest.approx(
        json.loads((out / "scores.json").read_text())["scores"]["female"]["MAE"]["value"]
    )
    assert "Errors by place" in (out / "report.html").read_text()
    status, _, said = call(capsys, "evaluate", trained, "--out", out, "--table", path)
    assert status == 2
    assert "found no --by" in said
