"""The tables against what the literature states, not against themselves."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from boneage_jax import anatomy
from boneage_jax.errors import UserError

BY_NAME = {bone.name: bone for bone in anatomy.BONES}


@pytest.mark.parametrize("name", ["whole", "W+X", "W-1", "W@1", ""])
def test_names_that_settings_could_not_name(name):
    with pytest.raises(ValueError, match="expected letters, digits and _, and not 'whole'"):
        dataclasses.replace(anatomy.CANVAS_REGIONS[0], name=name)


def test_the_hand_has_its_bones():
    count = {}
    for bone in anatomy.BONES:
        count[bone.kind] = count.get(bone.kind, 0) + 1
    assert count == {
        "distal phalanx": 5,
        "middle phalanx": 4,
        "proximal phalanx": 5,
        "metacarpal": 5,
        "carpal": 8,
        "forearm": 2,
        "sesamoid": 1,
    }


def test_epiphyses_lie_at_the_right_ends():
    for digit in (2, 3, 4, 5):
        assert BY_NAME[f"metacarpal {digit}"].epiphysis == "distal"
    assert BY_NAME["metacarpal 1"].epiphysis == "proximal"
    assert all(b.epiphysis == "proximal" for b in anatomy.BONES if "phalanx" in b.kind)
    assert {BY_NAME["radius"].epiphysis, BY_NAME["ulna"].epiphysis} == {"distal"}
    assert all(b.epiphysis is None for b in anatomy.ROUND_BONES)


def test_carpals_appear_in_the_known_order():
    """Capitate, hamate, triquetrum, lunate, scaphoid with trapezium and trapezoid, pisiform (Gilsanz and Ratib)."""
    order = ["capitate", "hamate", "triquetrum", "lunate", "scaphoid", "pisiform"]
    for sex in (0, 1):
        ages = [BY_NAME[name].appears[sex] for name in order]
        assert ages == sorted(ages)
        assert max(BY_NAME[n].appears[sex] for n in ("trapezium", "trapezoid")) < BY_NAME["pisiform"].appears[sex]
        assert max(BY_NAME[n].appears[sex] for n in ("capitate", "hamate")) < 6, "both by the age of six months"


def test_girls_are_never_behind_boys():
    for bone in anatomy.BONES:
        assert bone.appears[1] <= bone.appears[0], bone.name
        assert bone.fuses[1] < bone.fuses[0], bone.name


def test_epiphyses_of_the_middle_finger_come_before_those_of_the_little_one():
    """Toddlers: middle finger first, fifth last (Gilsanz and Ratib)."""
    for kind in ("metacarpal", "proximal phalanx", "middle phalanx", "distal phalanx"):
        for sex in (0, 1):
            assert BY_NAME[f"{kind} 3"].appears[sex] < BY_NAME[f"{kind} 5"].appears[sex]


def test_fusion_goes_from_distal_to_proximal_and_ends_with_the_radius():
    for sex in (0, 1):
        fuses = [
            BY_NAME[n].fuses[sex]
            for n in ("distal phalanx 3", "middle phalanx 3", "proximal phalanx 3", "ulna", "radius")
        ]
        assert fuses == sorted(fuses)
        assert BY_NAME["radius"].fuses[sex] == max(b.fuses[sex] for b in anatomy.BONES)


def test_fusion_falls_into_the_stages_that_it_marks():
    """Phalanges fuse about late puberty, ulna and radius after (Gilsanz and Ratib); mature by 19 and 18 years."""
    for sex in (0, 1):
        late, post = anatomy.STAGES[4], anatomy.STAGES[5]
        for kind in ("distal", "middle", "proximal"):
            assert late.starts[sex] - 0.5 * 12 <= BY_NAME[f"{kind} phalanx 3"].fuses[sex] <= post.starts[sex] + 6
        assert post.starts[sex] <= BY_NAME["ulna"].fuses[sex] + 12
        assert late.ends[sex] <= BY_NAME["radius"].fuses[sex] <= (228, 216)[sex]


def test_the_sesamoid_comes_with_puberty():
    for sex in (0, 1):
        stage = anatomy.stage_of(anatomy.SESAMOID.appears[sex], male=sex == 0)
        assert stage.name == "early and mid-puberty"
        assert BY_NAME["pisiform"].appears[sex] < anatomy.SESAMOID.appears[sex]


def test_stages_follow_one_another():
    assert len(anatomy.STAGES) == 6
    for sex in (0, 1):
        assert anatomy.STAGES[0].starts[sex] == 0
        for before, after in zip(anatomy.STAGES[:-1], anatomy.STAGES[1:], strict=True):
            assert before.ends[sex] == after.starts[sex]


@pytest.mark.parametrize(
    ("months", "male", "name"),
    [
        (9.9, False, "infancy"),
        (10, False, "toddlers"),
        (13, True, "infancy"),
        (36, True, "pre-puberty"),
        (84, False, "early and mid-puberty"),
        (84, True, "pre-puberty"),
        (240, True, "post-puberty"),
    ],
)
def test_stage_of(months, male, name):
    assert anatomy.stage_of(months, male).name == name


@pytest.mark.parametrize("months", [-1, 240.5, float("nan")])
def test_ages_that_no_hand_has(months):
    with pytest.raises(UserError, match="expected 0 to 240 months"):
        anatomy.stage_of(months, male=True)


def test_names_are_unique():
    for names in (anatomy.INSTANCES, anatomy.JOINTS, anatomy.OSSIFICATION_AREAS):
        assert len(set(names)) == len(names)
    assert len(anatomy.JOINTS) >= 21
    assert len(anatomy.INSTANCES) == 30 + 21


def test_selecting_bones():
    assert anatomy.select("capitate").sum() == 1
    assert anatomy.select("Carpals").sum() == 8
    assert anatomy.select("distal phalanx, ulna").sum() == 6
    assert anatomy.select("all").all()
    assert (sum(anatomy.select(region).astype(int) for region in anatomy.REGIONS) == 1).all(), "each in one region"
    np.testing.assert_array_equal(anatomy.select("phalanges"), ["phalanx" in bone.kind for bone in anatomy.BONES])
    with pytest.raises(UserError, match="bone 'patella'"):
        anatomy.select("ulna, patella")


def test_sexes():
    assert [anatomy.is_male(word) for word in ("M", "male", "F", " Female ")] == [True, True, False, False]
    with pytest.raises(UserError, match="sex 'x': expected M or F"):
        anatomy.is_male("x")


ANOTHER_REGION = """
import dataclasses
import subprocess
import sys

import numpy as np
from boneage_jax import anatomy

# As a line in anatomy.py would.
place = {"rows": (1500, 2000), "columns": (400, 1200)}
anatomy.CANVAS_REGIONS += (
    anatomy.CanvasRegion("wrist", "wrist and carpals", **place, size=(125, 200), bones="forearm, carpals"),
)

from boneage_jax.config import validate
from boneage_jax.data.examples import View, lay_out
from boneage_jax.hand import register, regions
from boneage_jax.region_spec import parse_regions

config = validate({"data": {"regions": "A+wrist", "height": 125, "width": 200}})
assert config.data.pictures == 2

image = np.random.default_rng(0).integers(1, 256, (520, 400), dtype=np.uint8)
mask = np.ones(image.shape, bool)
mask[:8] = False
key_points = np.array([[200.0, 25.0], [350.0, 250.0], [200.0, 400.0]])
registered = register.registration(image, mask, key_points)
new, same = regions.named(parse_regions("wrist,other=1500:2000,400:1200@125x200"))
cut = register.cut(image, mask, registered, [new, same])
assert cut["wrist"].shape == (125, 200)
assert (cut["wrist"] == cut["other"]).all()
assert cut["wrist"].std() > 10

view = View(height=125, width=200, regions=("A", "wrist"))
example = lay_out(view, [image], male=1.0, bone_age=120.0)
assert example["image"].shape == (125, 200, 2)
# The canvas at a quarter of its size: rows 375 to 500 and columns 100 to 300 of it.
np.testing.assert_array_equal(example["image"][..., 1], image[375:500, 100:300])
"""


def test_a_new_region_is_one_declaration():
    """Configs, the cutting of registered hands and the examples of training know it at once."""
    done = subprocess.run([sys.executable, "-c", ANOTHER_REGION], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_regions_lie_on_the_canvas_and_their_bones_are_known():
    for region in anatomy.CANVAS_REGIONS:
        assert 0 <= region.rows[0] < region.rows[1] <= anatomy.CANVAS[0]
        assert 0 <= region.columns[0] < region.columns[1] <= anatomy.CANVAS[1]
        assert anatomy.select(region.bones).any()
        assert anatomy.canvas_region(region.name) is region
    with pytest.raises(UserError, match="region 'Q': expected one of A, B, C"):
        anatomy.canvas_region("Q")
