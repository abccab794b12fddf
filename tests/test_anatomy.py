"""The tables against what the literature states, not against themselves."""

from boneage_jax import anatomy

BY_NAME = {bone.name: bone for bone in anatomy.BONES}


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
    }


def test_epiphyses_lie_at_the_right_ends():
    for digit in (2, 3, 4, 5):
        assert BY_NAME[f"metacarpal {digit}"].epiphysis == "distal"
    assert BY_NAME["metacarpal 1"].epiphysis == "proximal"
    assert all(b.epiphysis == "proximal" for b in anatomy.BONES if "phalanx" in b.kind)
    assert {BY_NAME["radius"].epiphysis, BY_NAME["ulna"].epiphysis} == {"distal"}


def test_carpals_appear_in_the_known_order():
    """Capitate, hamate, triquetrum, lunate, scaphoid with trapezium and trapezoid, pisiform (Gilsanz and Ratib)."""
    order = ["capitate", "hamate", "triquetrum", "lunate", "scaphoid", "pisiform"]
    for sex in (0, 1):
        ages = [BY_NAME[name].appears[sex] for name in order]
        assert ages == sorted(ages)
        assert max(BY_NAME[n].appears[sex] for n in ("trapezium", "trapezoid")) < BY_NAME["pisiform"].appears[sex]


def test_girls_are_never_behind_boys():
    for bone in anatomy.BONES:
        assert bone.appears[1] <= bone.appears[0], bone.name
        assert bone.fuses[1] < bone.fuses[0], bone.name


def test_fusion_goes_from_distal_to_proximal_and_ends_with_the_radius():
    for sex in (0, 1):
        fuses = [
            BY_NAME[n].fuses[sex]
            for n in ("distal phalanx 3", "middle phalanx 3", "proximal phalanx 3", "ulna", "radius")
        ]
        assert fuses == sorted(fuses)
        assert BY_NAME["radius"].fuses[sex] == max(b.fuses[sex] for b in anatomy.BONES)
