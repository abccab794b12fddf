"""Radiographs that stand on their heads: which are tried again, and which turn counts."""

import types

import numpy as np

from boneage_jax.hand.turning import found_upright

FLAGS = {
    0: ("implausible key points",),
    1: (),
    2: ("low contrast",),
    3: ("uncertain mask", "cut off"),
    4: ("no hand",),
    5: ("two hands", "implausible key points"),
}
"""Flags of an image by the grey level of its top left corner, which the turns carry around."""


def image(corners):
    """Four quadrants, from the top left on clockwise."""
    picture = np.zeros((6, 4), np.uint8)
    picture[:3, :2], picture[:3, 2:], picture[3:, 2:], picture[3:, :2] = corners
    return picture


def register(calls, leans=None):
    """Finds hands by the top left corner; where leans are given, their axes lean so by the top right one."""

    def registration(corner):
        radians = np.radians(leans[corner])
        return types.SimpleNamespace(key_points=np.array([[np.sin(radians), -np.cos(radians)], [0, 0], [0, 0]]))

    def of(images):
        calls.append(len(images))
        return [
            types.SimpleNamespace(
                quality=types.SimpleNamespace(flags=FLAGS[int(one[0, 0])]),
                registration=registration(int(one[0, -1])) if leans else None,
            )
            for one in images
        ]

    return of


def test_the_turn_with_the_fewest_flags_counts():
    calls = []
    # By 90 degrees counterclockwise the top right corner becomes the top left one; by 270 the bottom left one.
    pictures = {
        "upright": image((1, 0, 0, 0)),
        "lying": image((3, 1, 0, 0)),
        "upside down": image((0, 3, 1, 0)),
        "lying the other way": image((4, 0, 0, 1)),
        "faint": image((2, 1, 1, 1)),
        "no turn is better": image((0, 0, 3, 4)),
        "one flag is better than two": image((3, 3, 0, 4)),
        "any hand is better than none": image((4, 3, 4, 4)),
        "two hands stay two": image((5, 1, 1, 1)),
    }
    found = dict(zip(pictures, found_upright(register(calls), list(pictures.values())), strict=True))
    assert {name: one.turned for name, one in found.items()} == {
        "upright": 0,
        "lying": 90,
        "upside down": 180,
        "lying the other way": 270,
        "faint": 0,
        "no turn is better": 0,
        "one flag is better than two": 180,
        "any hand is better than none": 90,
        "two hands stay two": 0,
    }
    for name, one in found.items():
        np.testing.assert_array_equal(one.image, np.rot90(pictures[name], one.turned // 90))
    assert calls == [9, 6, 6, 6], "those without flags that a turn takes away are read once"


def test_of_turns_without_flags_the_most_upright_one_counts():
    # Turned by 90 degrees its top corners are 1 and 1, by 180 they are 1 and 2: both without flags.
    (found,) = found_upright(register([], {0: 0.0, 1: 80.0, 2: -5.0}), [image((0, 1, 1, 2))])
    assert found.turned == 180


def test_nothing_is_tried_where_nothing_is_doubtful():
    calls = []
    found_upright(register(calls), [image((1, 0, 0, 0))])
    assert calls == [1]
